//! Rights do not pass through groups in groups, stay after a group in the middle lost its member, or
//! are lost where strangers put people into groups.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::feed::reader::Reader;
use crate::programs::{open_server, program, write_settings};

both_databases!(
    rights_pass_through_groups_in_groups,
    a_loss_in_the_middle_takes_the_right_away_at_once,
    groups_of_everybody_may_be_in_groups,
    the_list_of_buckets_shows_what_groups_of_somebody_give,
    a_batch_counts_the_groups_that_it_changes,
    too_many_groups_put_off_who_needs_them_and_nobody_else,
    a_collection_names_only_so_many_groups,
);

const OWNER: &str = "owner:1";
const GUEST: &str = "guest:1";
const OTHER: &str = "other:1";
const RECORD: &str = "/v1/buckets/b/collections/c/records/r";

/// A record that the last of three groups may read; each holds the one before, the first the
/// guest. The second is in a bucket of its own.
struct Scene {
    client: Client,
    guest: String,
}

const GROUPS: [&str; 3] =
    ["/v1/buckets/b/groups/first", "/v1/buckets/other/groups/second", "/v1/buckets/b/groups/third"];

impl Scene {
    fn on(server: &Server) -> Self {
        let mut client = server.client();
        let guest = id_of(&mut client, GUEST);
        let mut scene = Self { client, guest };
        for path in ["/v1/buckets/b", "/v1/buckets/other", "/v1/buckets/b/collections/c"] {
            assert_eq!(scene.owner(Call::put(path, &json!({}))).status, 201);
        }
        for (number, group) in GROUPS.into_iter().enumerate() {
            let member = scene.member(number);
            assert_eq!(scene.fill(group, &[&member]).status, 201);
        }
        let readers = json!({"permissions": {"read": [principal(GROUPS[2])]}});
        assert_eq!(scene.owner(Call::put(RECORD, &readers)).status, 201);
        scene
    }

    /// Who is in the group of this number.
    fn member(&self, number: usize) -> String {
        match number {
            0 => self.guest.clone(),
            number => principal(GROUPS[number - 1]),
        }
    }

    fn owner(&mut self, call: Call) -> Answer {
        send(&mut self.client, call, OWNER)
    }

    fn fill(&mut self, group: &str, members: &[&str]) -> Answer {
        self.owner(Call::put(group, &json!({"data": {"members": members}})))
    }

    /// What the guest is answered, which must be the same by every way.
    fn seen(&mut self) -> u16 {
        let one = send(&mut self.client, Call::get(RECORD), GUEST);
        let list = "/v1/buckets/b/collections/c/records";
        let all = send(&mut self.client, Call::get(list), GUEST);
        let count = send(&mut self.client, Call::new("HEAD", list), GUEST);
        match one.status {
            200 => {
                let ids: Vec<Value> = all.json()["data"].as_array().unwrap().to_vec();
                assert!(ids.iter().any(|record| record["id"] == "r"), "{all}");
                let total = ids.len().to_string();
                assert_eq!(count.header("Total-Records"), Some(total.as_str()));
            }
            _ => assert_eq!((all.status, count.status), (403, 403), "{all} {count}"),
        }
        one.status
    }

    fn principals(&mut self) -> Vec<String> {
        let hello = send(&mut self.client, Call::get("/v1/"), GUEST).json();
        let principals = hello["user"]["principals"].as_array().unwrap();
        principals.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }
}

fn rights_pass_through_groups_in_groups(backend: Backend) {
    let server = open_server(backend);
    let mut scene = Scene::on(&server);
    assert_eq!(scene.seen(), 200);
    // Told are only the groups that have somebody as a member themselves.
    let told = scene.principals();
    assert!(told.contains(&principal(GROUPS[0])), "{told:?}");
    assert!(!told.contains(&principal(GROUPS[1])), "{told:?}");
    // Round in circles, and each in itself.
    let guest = scene.guest.clone();
    let [first, second, third] = GROUPS.map(principal);
    for (group, before) in [(GROUPS[0], &guest), (GROUPS[1], &first), (GROUPS[2], &second)] {
        let members = [before.as_str(), &first, &second, &third];
        assert_eq!(scene.fill(group, &members).status, 200);
    }
    assert_eq!(scene.seen(), 200);
    assert_eq!(scene.principals().len(), told.len());
    // A circle that nobody is in gives nothing to anybody.
    assert_eq!(scene.fill(GROUPS[0], &[&first, &second, &third]).status, 200);
    assert_eq!(scene.seen(), 403);
    assert_eq!(scene.principals().len(), told.len() - 1);
}

fn a_loss_in_the_middle_takes_the_right_away_at_once(backend: Backend) {
    let server = open_server(backend);
    let mut scene = Scene::on(&server);
    assert_eq!(scene.seen(), 200);
    for (number, group) in GROUPS.into_iter().enumerate() {
        let member = scene.member(number);
        // Emptied, and filled again.
        assert_eq!(scene.fill(group, &[]).status, 200);
        assert_eq!(scene.seen(), 403, "{group} is empty");
        assert_eq!(scene.fill(group, &[&member]).status, 200);
        assert_eq!(scene.seen(), 200, "{group} is filled again");
        // Deleted, and made again.
        assert_eq!(scene.owner(Call::delete(group)).status, 200);
        assert_eq!(scene.seen(), 403, "{group} is deleted");
        assert_eq!(scene.fill(group, &[&member]).status, 201);
        assert_eq!(scene.seen(), 200, "{group} is made again");
    }
    // With its bucket; what is made again under that name has no members.
    let bucket = "/v1/buckets/other";
    assert_eq!(scene.owner(Call::delete(bucket)).status, 200);
    assert_eq!(scene.seen(), 403, "the bucket of {} is deleted", GROUPS[1]);
    assert_eq!(scene.owner(Call::put(bucket, &json!({}))).status, 201);
    assert_eq!(scene.seen(), 403, "a bucket of that name is made");
    let member = scene.member(1);
    assert_eq!(scene.fill(GROUPS[1], &[&member]).status, 201);
    assert_eq!(scene.seen(), 200, "the whole chain is there again");
}

fn groups_of_everybody_may_be_in_groups(backend: Backend) {
    let server = open_server(backend);
    let mut scene = Scene::on(&server);
    assert_eq!(send(&mut scene.client, Call::get(RECORD), OTHER).status, 403);
    assert_eq!(scene.fill(GROUPS[0], &["system.Authenticated"]).status, 200);
    assert_eq!(scene.seen(), 200);
    assert_eq!(send(&mut scene.client, Call::get(RECORD), OTHER).status, 200);
    assert_eq!(scene.client.send(&Call::get(RECORD)).unwrap().status, 401);
}

fn the_list_of_buckets_shows_what_groups_of_somebody_give(backend: Backend) {
    let server = open_server(backend);
    let mut scene = Scene::on(&server);
    let listed = |scene: &mut Scene| {
        let answer = send(&mut scene.client, Call::get("/v1/buckets"), GUEST).json();
        answer["data"].as_array().unwrap().len()
    };
    assert_eq!(listed(&mut scene), 0);
    // Through a group in a group a bucket opens, and is not listed.
    let readers = |group: &str| json!({"permissions": {"read": [principal(group)]}});
    assert_eq!(scene.owner(Call::patch("/v1/buckets/other", &readers(GROUPS[2]))).status, 200);
    assert_eq!(send(&mut scene.client, Call::get("/v1/buckets/other"), GUEST).status, 200);
    assert_eq!(listed(&mut scene), 0);
    assert_eq!(scene.owner(Call::patch("/v1/buckets/b", &readers(GROUPS[0]))).status, 200);
    assert_eq!(listed(&mut scene), 1);
    // Whoever puts somebody into many groups changes nothing about that.
    let fill = |n: usize| {
        let path = format!("/v1/buckets/other/groups/x{n}");
        json!({"method": "PUT", "path": path, "body": {"data": {"members": [scene.guest]}}})
    };
    let requests: Vec<Value> = (0..20).map(fill).collect();
    assert_eq!(scene.owner(Call::post("/v1/batch", &batch(requests))).status, 200);
    assert_eq!(listed(&mut scene), 1);
    assert_eq!(scene.fill(GROUPS[0], &[]).status, 200);
    assert_eq!(listed(&mut scene), 0);
}

fn a_batch_counts_the_groups_that_it_changes(backend: Backend) {
    let server = open_server(backend);
    let mut scene = Scene::on(&server);
    let guest = scene.guest.clone();
    let [first, second, _] = GROUPS.map(principal);
    let fill = |group: &str, members: &[&str]| json!({"method": "PUT", "path": group, "body": {"data": {"members": members}}});
    let look = json!({"path": RECORD, "headers": {"Authorization": authorization(GUEST)}});
    let delete = |path: &str| json!({"method": "DELETE", "path": path});
    let requests = [
        (look.clone(), 200),
        (fill(GROUPS[1], &[]), 200),
        (look.clone(), 403),
        (fill(GROUPS[1], &[&first]), 200),
        (look.clone(), 200),
        (delete(GROUPS[0]), 200),
        (look.clone(), 403),
        // Two changes that give something only together, in the order from above.
        (fill(GROUPS[0], &[&second]), 201),
        (look.clone(), 403),
        (fill(GROUPS[1], &[&guest]), 200),
        (look.clone(), 200),
        (delete("/v1/buckets/other"), 200),
        (look.clone(), 403),
        (json!({"method": "PUT", "path": "/v1/buckets/other"}), 201),
        (look.clone(), 403),
        (fill(GROUPS[1], &[&guest]), 201),
        (look, 200),
    ];
    let (requests, expected): (Vec<Value>, Vec<u16>) = requests.into_iter().unzip();
    let answer = scene.owner(Call::post("/v1/batch", &batch(requests)));
    assert_eq!(statuses(&answer), expected, "{answer}");
    assert_eq!(scene.seen(), 200, "as the batch left it");
}

fn too_many_groups_put_off_who_needs_them_and_nobody_else(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), nuage_testkit::history::SETTINGS);
    let data = folder.path().join("data");
    let setup = program().on(backend).argument("--kinto-ini").argument(settings);
    let setup = setup.argument("--set").argument("limits.inner_groups=3");
    let server = setup.start_on(data, folder);
    let mut scene = Scene::on(&server);
    assert_eq!(scene.seen(), 200);
    let records = "/v1/buckets/b/collections/c/records";
    let feed = "/v1/buckets/b/collections/c/feed";
    let own = json!({"permissions": {"read": [scene.guest]}});
    assert_eq!(scene.owner(Call::put("/v1/buckets/b/collections/d", &json!({}))).status, 201);
    let other_record = "/v1/buckets/b/collections/d/records/s";
    assert_eq!(scene.owner(Call::put(other_record, &own)).status, 201);
    let token = send(&mut scene.client, Call::get(feed), GUEST).json();
    let token = token["token"].as_str().unwrap().to_owned();
    // A group of strangers above these does no harm, however much is in it.
    let [first, second, third] = GROUPS.map(principal);
    let around = ["/v1/buckets/b/groups/x", "/v1/buckets/b/groups/y", "/v1/buckets/b/groups/z"];
    for group in around {
        assert_eq!(scene.fill(group, &[&first, &second, &third]).status, 201);
    }
    assert_eq!(scene.seen(), 200);
    let mut stream = Reader::lines(server.address(), feed, GUEST);
    stream.until_rest();
    // From below: the first of the three groups gets others.
    let [x, y, z] = ["/v1/buckets/b/groups/1", "/v1/buckets/b/groups/2", "/v1/buckets/b/groups/3"];
    for group in [x, y, z] {
        assert_eq!(scene.fill(group, &[]).status, 201);
    }
    let guest = scene.guest.clone();
    let members = [guest, principal(x), principal(y), principal(z)];
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    assert_eq!(scene.fill(GROUPS[0], &members).status, 200);
    // Nothing was taken from who follows.
    let close = stream.next().unwrap();
    assert_eq!((close["kind"].as_str(), stream.next()), (Some("close"), None), "{close}");
    let with_token = format!("{feed}?token={token}");
    for path in [RECORD, records, feed, &with_token] {
        let call = Call::get(path).login(GUEST);
        let refused = scene.client.send(&call).unwrap();
        assert_eq!(refused.status, 503, "{path}: {refused}");
        assert_eq!(refused.header("Retry-After"), Some("300"));
        let body = refused.json();
        let message = body["message"].as_str().unwrap_or_default();
        assert!(message.contains("more than 3 groups (limits.inner_groups)"), "{path}: {message}");
        // Who has a right by themselves is not concerned.
        assert_eq!(send(&mut scene.client, Call::get(path), OWNER).status, 200);
    }
    for path in [other_record, "/v1/buckets/b/collections/d/records", "/v1/", "/v1/buckets"] {
        assert_eq!(send(&mut scene.client, Call::get(path), GUEST).status, 200, "{path}");
    }
    // In a batch only what needs them is put off.
    let as_whom = |path: &str, who: &str| json!({"path": path, "headers": {"Authorization": authorization(who)}});
    let requests =
        vec![as_whom(RECORD, OWNER), as_whom(RECORD, GUEST), as_whom(other_record, GUEST)];
    let answer = scene.owner(Call::post("/v1/batch", &batch(requests)));
    assert_eq!(statuses(&answer), [200, 503, 200], "{answer}");
    // Where there are fewer again, all is as before: devices lost nothing.
    let guest = scene.guest.clone();
    assert_eq!(scene.fill(GROUPS[0], &[&guest]).status, 200);
    assert_eq!(scene.seen(), 200);
    let page = send(&mut scene.client, Call::get(&with_token), GUEST).json();
    assert_eq!((page["reset"].as_bool(), page["data"].as_array().unwrap().len()), (Some(false), 0));
}

fn a_collection_names_only_so_many_groups(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), nuage_testkit::history::SETTINGS);
    let data = folder.path().join("data");
    let setup = program().on(backend).argument("--kinto-ini").argument(settings);
    let server = setup.argument("--set").argument("limits.names=2").start_on(data, folder);
    let mut scene = Scene::on(&server);
    let record = |id: &str| format!("/v1/buckets/b/collections/c/records/{id}");
    let shared = |group: &str| json!({"permissions": {"read": [principal(group)]}});
    assert_eq!(scene.owner(Call::put(record("s"), &shared(GROUPS[1]))).status, 201);
    let refused = scene.owner(Call::put(record("t"), &shared(GROUPS[0])));
    assert_eq!((refused.status, refused.json()["errno"].as_i64()), (403, Some(121)), "{refused}");
    assert!(refused.json()["message"].as_str().unwrap().contains("more than 2 groups"));
    // Names that are known can be used on, also by who is refused another one in the same batch.
    let put =
        |id: &str, group: &str| json!({"method": "PUT", "path": record(id), "body": shared(group)});
    let requests = vec![put("t", GROUPS[1]), put("u", GROUPS[0]), put("v", GROUPS[2])];
    let answer = scene.owner(Call::post("/v1/batch", &batch(requests)));
    assert_eq!(statuses(&answer), [201, 403, 201], "{answer}");
    assert_eq!(scene.seen(), 200);
    // Names are of one collection.
    assert_eq!(scene.owner(Call::put("/v1/buckets/b/collections/d", &json!({}))).status, 201);
    let elsewhere = "/v1/buckets/b/collections/d/records/r";
    assert_eq!(scene.owner(Call::put(elsewhere, &shared(GROUPS[0]))).status, 201);
}

fn principal(group: &str) -> String {
    group.trim_start_matches("/v1").to_owned()
}

fn batch(requests: Vec<Value>) -> Value {
    json!({"requests": requests, "defaults": {"headers": {"Authorization": authorization(OWNER)}}})
}

fn statuses(answer: &Answer) -> Vec<u16> {
    let answers = answer.json()["responses"].as_array().cloned().unwrap_or_default();
    answers.iter().map(|one| one["status"].as_u64().unwrap() as u16).collect()
}

fn authorization(user: &str) -> String {
    Call::get("/").login(user).headers.remove(0).1
}

fn id_of(client: &mut Client, user: &str) -> String {
    let hello = send(client, Call::get("/v1/"), user).json();
    hello["user"]["id"].as_str().unwrap().to_owned()
}

fn send(client: &mut Client, call: Call, user: &str) -> Answer {
    let answer = client.send(&call.login(user)).unwrap();
    assert!(answer.status < 500, "{answer}");
    answer
}
