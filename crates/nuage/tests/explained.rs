//! An explanation says something else than what a request is answered, or tells the asker what is
//! not for them to know.
//!
//! Random people, groups and permissions; `NUAGE_SEED` replays one world.

use std::io::Write;
use std::process::Output;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::random::Random;
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::programs::{now_ms, number, open_server, program, write_settings};

both_databases!(
    what_is_explained_is_what_is_answered,
    a_chain_is_told_in_words_and_as_data,
    a_batch_explains_what_it_leaves,
    nobody_learns_who_is_in_a_hidden_group,
    the_command_line_tells_everything,
);

const OWNER: &str = "owner:1";
const GUEST: &str = "guest:1";
const RECORD: &str = "/v1/buckets/b/collections/c/records/r";

/// Worlds of the test of verdicts.
const WORLDS: u64 = 8;
/// Who asks and is asked about, beside strangers. The last one is in no group and no permission.
const PEOPLE: [&str; 5] = ["owner:1", "ann:1", "bob:1", "carl:1", "zoe:1"];

/// Without ownership, a change adds nobody to the permissions. Somebody may read all records.
fn settings_of(reader: &str) -> String {
    format!(
        "{}kinto.explicit_permissions = false\nkinto.record_read_principals = {reader}\n\
         kinto.experimental_permissions_endpoint = true\n",
        nuage_testkit::history::SETTINGS
    )
}

fn server_with(backend: Backend, settings: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), settings);
    let data = folder.path().join("data");
    program().on(backend).argument("--kinto-ini").argument(settings).start_on(data, folder)
}

fn what_is_explained_is_what_is_answered(backend: Backend) {
    let reader = "/buckets/b/groups/readers";
    let server = server_with(backend, &settings_of(reader));
    let mut client = server.client();
    let first = number("NUAGE_SEED").unwrap_or_else(|| now_ms() as u64 % 1_000_000);
    let worlds = if number("NUAGE_SEED").is_some() { 1 } else { WORLDS };
    let mut told = Told::default();
    for seed in first..first + worlds {
        let told = std::panic::AssertUnwindSafe(&mut told);
        let client = std::panic::AssertUnwindSafe(&mut client);
        let compare = move || {
            let (client, told) = (client, told);
            World::new(client.0, seed).compare(told.0);
        };
        if let Err(panic) = std::panic::catch_unwind(compare) {
            let _ = writeln!(std::io::stderr(), "replay with NUAGE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    assert!(told.allowed > 0 && told.refused > 0, "{told:?}");
}

/// How often somebody was told so.
#[derive(Default, Debug)]
struct Told {
    allowed: usize,
    refused: usize,
}

/// Two buckets of the owner, with things in them and rights at random.
struct World<'a> {
    client: &'a mut Client,
    ids: Vec<String>,
    objects: Vec<String>,
}

impl<'a> World<'a> {
    fn new(client: &'a mut Client, seed: u64) -> Self {
        let mut random = Random::new(seed);
        assert_eq!(client.send(&Call::new("POST", "/v1/__flush__")).unwrap().status, 202);
        let ids: Vec<String> = PEOPLE.iter().map(|who| id_of(client, who)).collect();
        let mut groups: Vec<String> =
            (0..5).map(|n| format!("/buckets/{}/groups/g{n}", ["b", "o"][n % 2])).collect();
        groups.push("/buckets/b/groups/readers".to_owned());
        // Zoe is nowhere, so that she may do what everybody may.
        let mut names = ids[..4].to_vec();
        names.extend(groups.iter().cloned());
        names.push("system.Authenticated".to_owned());
        let mut objects = Vec::new();
        for (path, rights) in [
            ("/buckets/b", ["read", "write", "collection:create", "group:create"].as_slice()),
            ("/buckets/o", &["read", "write"]),
            ("/buckets/b/collections/c", &["read", "write", "record:create"]),
            ("/buckets/b/collections/c/records/r0", &["read", "write", "delete"]),
            ("/buckets/b/collections/c/records/r1", &["read", "write", "delete"]),
        ] {
            let is_bucket = path.matches('/').count() == 2;
            let mut permissions = some_rights(&mut random, rights, &names, is_bucket);
            if is_bucket {
                // The owner looks into everything.
                let mut writers = permissions["write"].as_array().cloned().unwrap_or_default();
                writers.push(ids[0].clone().into());
                permissions["write"] = writers.into();
            }
            make(client, path, &json!({ "permissions": permissions }));
            objects.push(path.to_owned());
        }
        for group in groups {
            let members = some(&mut random, &names[..names.len() - 1], 3);
            let permissions = some_rights(&mut random, &["read", "write"], &names, true);
            let body = json!({ "data": { "members": members }, "permissions": permissions });
            make(client, &group, &body);
            objects.push(group);
        }
        Self { client, ids, objects }
    }

    fn compare(&mut self, said: &mut Told) {
        for object in self.objects.clone() {
            for (number, id) in self.ids.clone().iter().enumerate() {
                let explained = self.explain(&object, id, Some(OWNER));
                let explained = rights_of(&explained);
                for (right, told) in &explained {
                    let answered = self.tried(&object, right, Some(PEOPLE[number]));
                    assert_eq!(*told, Some(answered), "{id} {right} {object}: {explained:?}");
                    *if answered { &mut said.allowed } else { &mut said.refused } += 1;
                }
                // Zoe is everybody who is logged in.
                if number + 1 == PEOPLE.len() {
                    let everybody = self.explain(&object, "system.Authenticated", Some(OWNER));
                    assert_eq!(rights_of(&everybody), explained, "{object}");
                }
                self.compare_asker(&object, PEOPLE[number]);
            }
            let stranger = self.explain(&object, "system.Everyone", Some(OWNER));
            for (right, told) in rights_of(&stranger) {
                let answered = self.tried(&object, &right, None);
                assert_eq!(told, Some(answered), "strangers {right} {object}");
            }
        }
    }

    /// Only those who may change the object are told, the others what they are told of a change;
    /// and what is told is true, as far as it goes.
    fn compare_asker(&mut self, object: &str, asker: &str) {
        let about = self.ids[2].clone();
        let answer = self.explain(object, &about, Some(asker));
        let change = self.change(object, Some(asker));
        if change.status != 412 {
            assert_eq!(answer.status, change.status, "{asker} asks about {object}: {answer}");
            return;
        }
        for (right, told) in rights_of(&answer) {
            let answered = self.tried(object, &right, Some(PEOPLE[2]));
            assert!(told.is_none_or(|told| told == answered), "{asker} {right} {answer}");
            assert!(told.is_some() || asker != PEOPLE[2], "people know their own groups: {answer}");
        }
    }

    fn explain(&mut self, object: &str, principal: &str, asker: Option<&str>) -> Answer {
        send(self.client, Call::get(explain_path(object, principal)), asker)
    }

    fn change(&mut self, object: &str, who: Option<&str>) -> Answer {
        let call = Call::patch(format!("/v1{object}"), &json!({ "data": {} }));
        send(self.client, call.if_match(1), who)
    }

    /// Whether a request is let through as far as its precondition, which never holds.
    fn tried(&mut self, object: &str, right: &str, who: Option<&str>) -> bool {
        let path = format!("/v1{object}");
        let empty = json!({ "data": {} });
        let answer = match right {
            "read" => send(self.client, Call::get(path), who),
            "write" => self.change(object, who),
            "delete" => send(self.client, Call::delete(path).if_match(1), who),
            "collection:create" => send(
                self.client,
                Call::put(format!("{path}/collections/new"), &empty).if_match(1),
                who,
            ),
            "group:create" => {
                send(self.client, Call::put(format!("{path}/groups/new"), &empty).if_match(1), who)
            }
            "record:create" => {
                send(self.client, Call::put(format!("{path}/records/new"), &empty).if_match(1), who)
            }
            other => panic!("what is {other}?"),
        };
        assert!(matches!(answer.status, 200 | 401 | 403 | 412), "{right} {object}: {answer}");
        matches!(answer.status, 200 | 412)
    }
}

/// Permissions, each for a few.
fn some_rights(random: &mut Random, rights: &[&str], names: &[String], rarely: bool) -> Value {
    let mut permissions = json!({});
    for right in rights {
        if random.chance(if rarely { 30 } else { 50 }) {
            let mut holders = some(random, names, 2);
            if random.chance(5) {
                holders.push("system.Everyone".to_owned());
            }
            permissions[*right] = json!(holders);
        }
    }
    permissions
}

fn some(random: &mut Random, names: &[String], most: usize) -> Vec<String> {
    let mut chosen: Vec<String> =
        (0..random.below(most + 1)).map(|_| random.pick(names).clone()).collect();
    chosen.sort();
    chosen.dedup();
    chosen
}

/// Each right, and whether it is said to be held; `None` where it is not said.
fn rights_of(answer: &Answer) -> Vec<(String, Option<bool>)> {
    assert_eq!(answer.status, 200, "{answer}");
    let rights = answer.json()["data"]["rights"].as_array().cloned().unwrap_or_default();
    assert!(!rights.is_empty(), "{answer}");
    let right = |right: &Value| {
        assert!(right["allowed"].is_boolean() || right["allowed"].is_null(), "{right}");
        (right["right"].as_str().unwrap().to_owned(), right["allowed"].as_bool())
    };
    rights.iter().map(right).collect()
}

fn a_chain_is_told_in_words_and_as_data(backend: Backend) {
    let server = open_server(backend);
    let mut client = server.client();
    let (owner, guest) = (id_of(&mut client, OWNER), id_of(&mut client, GUEST));
    let (inner, outer) = ("/buckets/b/groups/inner", "/buckets/b/groups/outer");
    make(&mut client, "/buckets/b", &json!({"permissions": {"read": [outer]}}));
    make(&mut client, inner, &json!({"data": {"members": [guest]}}));
    make(&mut client, outer, &json!({"data": {"members": [inner]}}));
    make(&mut client, "/buckets/b/collections/c", &json!({}));
    make(&mut client, RECORD.trim_start_matches("/v1"), &json!({}));
    let record = RECORD.trim_start_matches("/v1");
    let answer = send(&mut client, Call::get(explain_path(record, &guest)), Some(OWNER));
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let data = answer.json()["data"].clone();
    assert_eq!((&data["object"], &data["principal"]), (&record.into(), &guest.as_str().into()));
    let [read, write, delete] = data["rights"].as_array().unwrap().as_slice() else {
        panic!("{data}")
    };
    assert_eq!(read["allowed"], true);
    assert_eq!(read["chain"], json!([guest, inner, outer]));
    let grant = json!({"object": "/buckets/b", "permission": "read", "principal": outer});
    assert_eq!(read["grant"], grant);
    let sentence = format!(
        "{guest} may read {record}: it is a member of {inner}, which is a member of {outer}, \
         which holds `read` on /buckets/b."
    );
    assert_eq!(read["sentence"], sentence);
    assert_eq!(write["allowed"], false);
    let looked_at = json!([
        {"object": record, "permissions": {"write": [owner]}},
        {"object": "/buckets/b/collections/c", "permissions": {"write": [owner]}},
        {"object": "/buckets/b", "permissions": {"write": [owner]}},
    ]);
    assert_eq!(write["looked_at"], looked_at);
    assert_eq!(delete["right"], "delete");
    assert_eq!(delete["looked_at"][0]["permissions"], json!({"write": [owner], "delete": []}));
    let words = delete["sentence"].as_str().unwrap();
    let begin =
        format!("{guest} may not delete {record}: `write` on {record} is held by {owner}, ");
    assert!(words.starts_with(&begin), "{words}");
    assert!(words.contains(&format!("`delete` on {record} is held by nobody")), "{words}");
    what_is_wrong_with_a_question(&mut client, record);
    let hello = client.send(&Call::get("/v1/")).unwrap().json();
    assert!(hello["capabilities"]["explain"].is_object(), "{hello}");
    // A personal bucket, under its own name.
    let own = send(&mut client, Call::get(explain_path("/buckets/default", &guest)), Some(GUEST));
    assert_eq!(rights_of(&own).iter().filter(|(_, held)| *held == Some(true)).count(), 5);
}

fn what_is_wrong_with_a_question(client: &mut Client, record: &str) {
    for query in [
        "",
        "?",
        "?principal",
        "?principal=",
        "?principal=a&principal=b",
        "?who=a",
        "?principal=a&_fields=b",
        "?principal=%ff",
    ] {
        let wrong = send(client, Call::get(format!("/v1{record}/explain{query}")), Some(OWNER));
        assert_eq!(wrong.status, 400, "{query}: {wrong}");
        assert_eq!(wrong.json()["errno"], 107, "{wrong}");
    }
    // Nothing that does not exist is told of, nor anything that does.
    for (object, who, status) in [
        (record, Some(GUEST), 403),
        (record, None, 401),
        ("/buckets/b/collections/c/records/none", Some(OWNER), 404),
        ("/buckets/b/collections/c/records/none", Some("zoe:1"), 403),
        ("/buckets/none", Some(OWNER), 403),
        ("/buckets/none/collections/c", Some(OWNER), 403),
        ("/buckets/b/collections/none/records/r", Some(OWNER), 404),
        ("/buckets/b/collections/none/records/r", Some("zoe:1"), 403),
    ] {
        let answer = send(client, Call::get(explain_path(object, "x")), who);
        assert_eq!(answer.status, status, "{object}: {answer}");
    }
    for principal in ["%00", "nobody", "a%20b", "/buckets/b/groups/none", "%F0%9F%90%9F"] {
        let path = format!("/v1{record}/explain?principal={principal}");
        let answer = send(client, Call::get(path), Some(OWNER));
        let rights = rights_of(&answer);
        assert!(rights.iter().all(|(_, held)| *held == Some(false)), "{answer}");
    }
    for method in ["PUT", "POST", "PATCH", "DELETE"] {
        let call = Call::new(method, format!("/v1{record}/explain?principal=a"));
        assert_eq!(send(client, call, Some(OWNER)).status, 405, "{method}");
    }
}

fn a_batch_explains_what_it_leaves(backend: Backend) {
    let server = open_server(backend);
    let mut client = server.client();
    let guest = id_of(&mut client, GUEST);
    let group = "/buckets/b/groups/g";
    let put = |path: &str, body: Value| json!({"method": "PUT", "path": path, "body": body});
    let requests = json!({"requests": [
        put("/buckets/b", json!({"permissions": {"read": [group]}})),
        {"path": explain_path("/buckets/b", &guest)},
        put(group, json!({"data": {"members": [guest]}})),
        {"path": explain_path("/buckets/b", &guest)},
        {"method": "DELETE", "path": group},
        {"path": explain_path("/buckets/b", &guest)},
    ]});
    let answer = send(&mut client, Call::post("/v1/batch", &requests), Some(OWNER)).json();
    let told = |n: usize| answer["responses"][n]["body"]["data"]["rights"][0].clone();
    assert_eq!(told(1)["allowed"], false, "{answer}");
    assert_eq!(told(3)["chain"], json!([guest, group]), "{answer}");
    assert_eq!(told(5)["allowed"], false, "{answer}");
}

/// Whoever owns something could otherwise name any group in its permissions, and ask.
fn nobody_learns_who_is_in_a_hidden_group(backend: Backend) {
    let server = open_server(backend);
    let mut client = server.client();
    let (guest, other) = (id_of(&mut client, GUEST), id_of(&mut client, "other:1"));
    let mallory = "mallory:1";
    let secret = "/buckets/b/groups/secret";
    make(&mut client, "/buckets/b", &json!({}));
    make(&mut client, secret, &json!({"data": {"members": [guest]}}));
    let through = "/buckets/m/groups/through";
    let as_mallory = |client: &mut Client, path: &str, body: Value| {
        let made = send(client, Call::put(format!("/v1{path}"), &body), Some(mallory));
        assert!(matches!(made.status, 200 | 201), "{made}");
    };
    as_mallory(&mut client, "/buckets/m", json!({}));
    as_mallory(&mut client, through, json!({"data": {"members": [secret]}}));
    for (named, of) in [(secret, "itself"), (through, "a member"), ("/buckets/x/groups/x", "none")]
    {
        as_mallory(&mut client, "/buckets/m", json!({"permissions": {"read": [named]}}));
        let mut told = Vec::new();
        for who in [&guest, &other] {
            let path = explain_path("/buckets/m", who);
            let answer = send(&mut client, Call::get(path), Some(mallory));
            assert_eq!(rights_of(&answer)[0], ("read".to_owned(), None), "{of}: {answer}");
            told.push(String::from_utf8(answer.body).unwrap().replace(who.as_str(), "somebody"));
        }
        assert_eq!(told[0], told[1], "{of}");
    }
    // What is granted in another way is told, and people know their own groups.
    as_mallory(&mut client, "/buckets/m", json!({"permissions": {"read": [secret, guest]}}));
    let answer = send(&mut client, Call::get(explain_path("/buckets/m", &guest)), Some(mallory));
    assert_eq!(answer.json()["data"]["rights"][0]["chain"], json!([guest]), "{answer}");
    let writers = json!({"permissions": {"write": [secret]}});
    as_mallory(&mut client, "/buckets/m", writers);
    let answer = send(&mut client, Call::get(explain_path("/buckets/m", &guest)), Some(GUEST));
    assert_eq!(answer.json()["data"]["rights"][1]["chain"], json!([guest, secret]), "{answer}");
    what_is_above_is_withheld(&mut client, &guest);
}

/// Who may change a record only does not see the permissions of its bucket.
fn what_is_above_is_withheld(client: &mut Client, guest: &str) {
    let record = RECORD.trim_start_matches("/v1");
    make(client, "/buckets/b/collections/c", &json!({}));
    make(client, record, &json!({"permissions": {"write": [guest]}}));
    let answer = send(client, Call::get(explain_path(record, "somebody")), Some(GUEST));
    let looked_at = answer.json()["data"]["rights"][0]["looked_at"].clone();
    assert!(looked_at[0]["permissions"]["write"].is_array(), "{answer}");
    assert_eq!(looked_at[1]["permissions"], Value::Null, "{answer}");
    assert_eq!(looked_at[2], json!({"object": "/buckets/b", "permissions": null}), "{answer}");
    let words = answer.json()["data"]["rights"][1]["sentence"].as_str().unwrap().to_owned();
    assert!(words.contains("who holds `write` on /buckets/b is not for you to know"), "{words}");
}

fn the_command_line_tells_everything(backend: Backend) {
    let server = server_with(backend, &settings_of("/buckets/b/groups/readers"));
    let mut client = server.client();
    let guest = id_of(&mut client, GUEST);
    let owner = id_of(&mut client, OWNER);
    let record = RECORD.trim_start_matches("/v1");
    make(&mut client, "/buckets/b", &json!({"permissions": {"write": [owner]}}));
    make(&mut client, "/buckets/b/groups/readers", &json!({"data": {"members": [guest]}}));
    make(&mut client, "/buckets/b/collections/c", &json!({}));
    make(&mut client, record, &json!({}));
    let explain = |arguments: &[&str]| server.tool("explain").args(arguments).output().unwrap();
    let told = explain(&[record, "--principal", &guest]);
    assert_eq!(told.status.code(), Some(0), "{}", words_of(&told));
    let sentences = String::from_utf8(told.stdout).unwrap();
    let first = format!(
        "{guest} may read {record}: it is a member of /buckets/b/groups/readers, which is in the \
         setting `record_read`."
    );
    assert_eq!(sentences.lines().next(), Some(first.as_str()));
    assert_eq!(sentences.lines().count(), 3, "{sentences}");
    let told = explain(&[&format!("/v1{record}"), "--principal", "system.Everyone", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let read = &told["rights"][0];
    assert!(read["sentence"].as_str().unwrap().starts_with("Everybody may not read"), "{read}");
    let holders = json!({"record_read": ["/buckets/b/groups/readers"]});
    assert_eq!(read["looked_at"][3], json!({ "settings": holders }));
    for (arguments, code, word) in [
        (["/buckets/none", "--principal", "x"], 1, "There is no /buckets/none."),
        (["/buckets/b/collections/n/records/r", "--principal", "x"], 1, "There is no /buckets/b/"),
        (["/buckets", "--principal", "x"], 2, "is not the path of an object"),
    ] {
        let ended = explain(&arguments);
        assert_eq!(ended.status.code(), Some(code), "{}", words_of(&ended));
        assert!(words_of(&ended).contains(word), "{}", words_of(&ended));
    }
    assert_eq!(explain(&[record]).status.code(), Some(2), "whom to explain it for is missing");
}

fn words_of(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn explain_path(object: &str, principal: &str) -> String {
    format!("/v1{object}/explain?principal={principal}")
}

/// Creates or replaces something of the owner.
fn make(client: &mut Client, path: &str, body: &Value) {
    let made = send(client, Call::put(format!("/v1{path}"), body), Some(OWNER));
    assert!(matches!(made.status, 200 | 201), "{path}: {made}");
}

fn id_of(client: &mut Client, user: &str) -> String {
    let hello = send(client, Call::get("/v1/"), Some(user)).json();
    hello["user"]["id"].as_str().unwrap().to_owned()
}

fn send(client: &mut Client, call: Call, user: Option<&str>) -> Answer {
    let call = match user {
        Some(user) => call.login(user),
        None => call,
    };
    let answer = client.send(&call).unwrap();
    assert!(answer.status < 500, "{call}: {answer}");
    answer
}
