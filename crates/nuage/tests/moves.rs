//! A client notices that everything was moved to another database; or a move that was cut off,
//! or that somebody wrote into, passes for a whole one.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nuage_model::copy::Table;
use nuage_model::{
    Batch, Bodies, Body, CollectionPath, Placement, Put, Readers, RecordPath, Store, Timestamp,
    Write,
};
use nuage_store::copy::{Copying, Resume, Watch};
use nuage_store::{Address, Options};
use nuage_testkit::backend::{Backend, block_on};
use nuage_testkit::both_databases;
use nuage_testkit::client::{Call, Client};
use nuage_testkit::history::{self, Flavour};
use nuage_testkit::postgres::Database;
use nuage_testkit::random::Random;
use nuage_testkit::server::{Server, clean_command};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::programs::{now_ms, number, program, write_settings};

both_databases!(
    who_comes_back_notices_nothing,
    a_copy_that_is_killed_goes_on,
    a_source_that_moved_is_told,
    nothing_is_copied_into_what_is_served,
);

/// Without secrets: those that were made up must go along.
const SETTINGS: &str = "\
kinto.includes = kinto.plugins.default_bucket kinto.plugins.flush kinto.plugins.accounts
multiauth.policies = account basicauth
multiauth.policy.account.use = kinto.plugins.accounts.authentication.AccountsAuthenticationPolicy
kinto.account_create_principals = system.Everyone
";
const STEPS: usize = 200;
const USERS: &[&str] = &["alice:1", "bob:2", "carol:3"];
const RECORDS: usize = 5_000;

/// Where a store of a test is.
struct Home {
    folder: TempDir,
    database: Option<Arc<Database>>,
}

impl Home {
    fn new(backend: Backend) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: backend.database() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// As `nuage copy` is told.
    fn place(&self) -> String {
        match &self.database {
            Some(database) => database.url().to_owned(),
            None => self.data().display().to_string(),
        }
    }

    fn serve(&self) -> Server {
        let log = tempfile::tempdir().unwrap();
        let settings = write_settings(self.folder.path(), SETTINGS);
        let mut setup = program().argument("--kinto-ini").argument(settings);
        setup.database = self.database.clone();
        setup.start_on(self.data(), log)
    }

    async fn open(&self) -> Arc<dyn Store> {
        let Some(database) = &self.database else {
            std::fs::create_dir_all(self.data()).unwrap();
            let path = self.data().join("nuage.db");
            return nuage_store::open(&path, Options::default()).await.unwrap();
        };
        let address = Address { url: database.url().to_owned(), password: None };
        nuage_store::connect(&address, Options::default()).await.unwrap()
    }

    /// What the program says of it: its exit code and its words.
    fn check(&self) -> (Option<i32>, String) {
        let mut command = clean_command(&program().binary);
        command.arg("check");
        match &self.database {
            Some(database) => command.arg("--storage-url").arg(database.url()),
            None => command.arg("--data").arg(self.data()),
        };
        said(&mut command)
    }
}

fn copy(from: &Home, to: &Home) -> Command {
    let mut command = clean_command(&program().binary);
    command.args(["copy", "--from", &from.place(), "--to", &to.place()]);
    command
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&words).into_owned())
}

fn the_other(backend: Backend) -> Backend {
    match backend {
        Backend::Sqlite => Backend::Postgres,
        Backend::Postgres => Backend::Sqlite,
    }
}

fn who_comes_back_notices_nothing(backend: Backend) {
    let homes = [Home::new(backend), Home::new(the_other(backend)), Home::new(backend)];
    let mut server = homes[0].serve();
    let seed = number("NUAGE_SEED").unwrap_or(now_ms() as u64 % 1_000_000_000);
    history::run(server.address(), Flavour::Nuage, seed, STEPS).unwrap();
    let mut client = server.client();
    let account = json!({"data": {"password": "a long password"}});
    let made = client.send(&Call::put("/v1/accounts/zoe", &account)).unwrap();
    assert_eq!(made.status, 201, "{made}");
    for n in 0..40 {
        let path = format!("/v1/buckets/default/collections/moving/records/r{n}");
        let put = Call::put(path, &json!({"data": {"n": n % 7}})).login(USERS[0]);
        assert_eq!(client.send(&put).unwrap().status, 201);
    }
    // The first look makes personal buckets and gives times to empty lists, which others then see.
    look_around(&mut client, &server);
    let seen = look_around(&mut client, &server);
    assert!(seen.len() > 20, "the history left only {} things to look at", seen.len());
    let (code, words) = said(&mut copy(&homes[0], &homes[1]));
    match backend {
        Backend::Sqlite => {
            assert_eq!(code, Some(4), "the server runs: {words}");
            assert!(words.contains("Another nuage serves"), "{words}");
        }
        Backend::Postgres => {
            assert_eq!(code, Some(4), "the server runs: {words}");
            assert!(words.contains("is served") && words.contains("stop its servers"), "{words}");
        }
    }
    assert_eq!(server.terminate().code(), Some(0));
    for pair in homes.windows(2) {
        let (code, words) = said(&mut copy(&pair[0], &pair[1]));
        assert_eq!(code, Some(0), "{words}");
        assert!(words.contains("everything"), "{words}");
        let mut server = pair[1].serve();
        let mut client = server.client();
        for (call, before) in &seen {
            let after = answer(&mut client, &server, call);
            assert_eq!(after, *before, "seed {seed}: {} {}", call.method, call.path);
        }
        drop(client);
        assert_eq!(server.terminate().code(), Some(0));
    }
    let server = homes[2].serve();
    let path = "/v1/buckets/default/collections/moving/records/r1";
    let list = "/v1/buckets/default/collections/moving/records";
    let mut client = server.client();
    let head = client.send(&Call::get(list).login(USERS[0])).unwrap().etag();
    let put = Call::put(path, &json!({"data": {"n": 8}})).login(USERS[0]);
    assert_eq!(client.send(&put).unwrap().status, 200);
    assert!(client.send(&Call::get(list).login(USERS[0])).unwrap().etag() > head);
}

/// What a client may have kept: requests, and what it was told.
fn look_around(client: &mut Client, server: &Server) -> Vec<(Call, Seen)> {
    let mut seen = Vec::new();
    let mut look = |call: Call| {
        let answer = answer(client, server, &call);
        seen.push((call, answer.clone()));
        answer
    };
    look(Call::get("/v1/").login("zoe:a long password"));
    for user in USERS {
        look(Call::get("/v1/").login(user));
        look(Call::get("/v1/buckets/default").login(user));
        look(Call::get("/v1/permissions").login(user));
        let buckets = look(Call::get("/v1/buckets").login(user));
        for bucket in buckets.ids() {
            let bucket = format!("/v1/buckets/{bucket}");
            look(Call::get(format!("{bucket}/groups?_since=0")).login(user));
            let collections = look(Call::get(format!("{bucket}/collections")).login(user));
            for collection in collections.ids() {
                let records = format!("{bucket}/collections/{collection}/records");
                let all = look(Call::get(format!("{records}?_since=0")).login(user));
                if let Some(head) = all.header("ETag") {
                    let unchanged = Call::get(&*records).header("If-None-Match", head);
                    look(unchanged.login(user));
                    let newer = head.trim_matches('"');
                    look(Call::get(format!("{records}?_since={newer}")).login(user));
                }
                let mut page = look(Call::get(format!("{records}?_limit=3&_sort=n")).login(user));
                for _ in 0..3 {
                    let Some(next) = page.header("Next-Page") else { break };
                    let path = next.splitn(4, '/').nth(3).unwrap();
                    page = look(Call::get(format!("/{path}")).login(user));
                }
            }
        }
    }
    seen
}

/// What of an answer a client may rely on.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn ids(&self) -> Vec<String> {
        let data = self.body["data"].as_array().into_iter().flatten();
        data.filter_map(|object| object["id"].as_str().map(str::to_owned)).collect()
    }
}

fn answer(client: &mut Client, server: &Server, call: &Call) -> Seen {
    let answer = client.send(call).unwrap();
    let here = server.address().to_string();
    let kept = ["ETag", "Last-Modified", "Next-Page", "Total-Records", "Total-Objects"];
    let headers = kept
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), answer.header(name)?.replace(&here, "here"))));
    let body = String::from_utf8(answer.body.clone()).unwrap().replace(&here, "here");
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    Seen { status: answer.status, headers: headers.collect(), body }
}

async fn fill(home: &Home) {
    let store = home.open().await;
    let collection = CollectionPath::new("b", "c");
    let parents =
        [RecordPath::bucket("b".into()), CollectionPath::collections("b".into()).record("c")];
    let records = (0..RECORDS).map(|n| collection.record(format!("record-{n}")));
    let paths: Vec<RecordPath> = parents.into_iter().chain(records).collect();
    for paths in paths.chunks(500) {
        write(&*store, paths.iter().map(put).collect()).await;
    }
    store.close().await;
}

async fn write(store: &dyn Store, writes: Vec<Write>) {
    let batch = Batch::new(Timestamp(now_ms()), writes);
    store.apply(batch).await.unwrap();
}

fn put(path: &RecordPath) -> Write {
    let reader = format!("account:{}", path.id.as_str().len());
    Write::Put(Put {
        body: Body::from(format!(r#"{{"id":"{}","text":"{}"}}"#, path.id, "x".repeat(200))),
        permissions: json!({"read": [&reader]}).to_string(),
        readers: Readers::new([reader.into()].into()),
        path: path.clone(),
        placement: Placement::Next,
    })
}

fn a_copy_that_is_killed_goes_on(backend: Backend) {
    let (from, to) = (Home::new(the_other(backend)), Home::new(backend));
    block_on(fill(&from));
    let mut random = Random::new(number("NUAGE_SEED").unwrap_or(now_ms() as u64));
    let mut kills = 0;
    // Each attempt lives longer than the one before, so that one of them is the last.
    for attempt in 1..200 {
        let mut command = copy(&from, &to);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(attempt * 60) as u64));
        let _ = child.kill();
        let status = child.wait().unwrap();
        // Refused: the one before was killed when nothing was left to be done.
        if status.success() || status.code() == Some(4) {
            break;
        }
        assert_eq!(status.code(), None, "it was not killed, but failed");
        kills += 1;
        let (code, words) = to.check();
        let begun = words.contains("holds a copy that is not finished");
        let nothing = words.contains("There is no data") || code == Some(0);
        assert!(begun || nothing, "{words}");
    }
    let (code, words) = to.check();
    assert_eq!(code, Some(0), "after {kills} kills: {words}");
    let (code, words) = said(&mut copy(&from, &to));
    assert_eq!(code, Some(4), "it is not empty any more: {words}");
    block_on(async {
        let (from, to) = (from.open().await, to.open().await);
        let paths: Vec<RecordPath> = (0..RECORDS)
            .map(|n| CollectionPath::new("b", "c").record(format!("record-{n}")))
            .collect();
        assert_eq!(
            to.get(&paths, Bodies::All).await.unwrap(),
            from.get(&paths, Bodies::All).await.unwrap()
        );
        from.close().await;
        to.close().await;
    });
}

fn nothing_is_copied_into_what_is_served(backend: Backend) {
    let (from, to) = (Home::new(the_other(backend)), Home::new(backend));
    block_on(fill(&from));
    let mut server = to.serve();
    let (code, words) = said(&mut copy(&from, &to));
    assert_eq!(code, Some(4), "{words}");
    let refused = ["Another nuage serves", "is served"].iter().any(|why| words.contains(why));
    assert!(refused, "{words}");
    // One that is killed says nothing of its end.
    server.kill();
    let (code, words) = said(&mut copy(&from, &to));
    assert_eq!(code, Some(0), "{words}");
    let server = to.serve();
    assert_eq!(server.client().send(&Call::get("/v1/")).unwrap().status, 200);
}

struct Silent;

impl Watch for Silent {
    fn advance(&mut self, _: Table, _: u64) {}
}

fn a_source_that_moved_is_told(backend: Backend) {
    let (from, to) = (Home::new(backend), Home::new(the_other(backend)));
    block_on(async {
        fill(&from).await;
        let (source, target) = (from.open().await, to.open().await);
        let meta = nuage_store::copy::meta(&*source).await.unwrap();
        let copying = Copying::begin(&*source, &*target, meta, Resume::Continue).await.unwrap();
        copying.run(&mut Silent).await.unwrap();
        write(&*source, vec![put(&CollectionPath::new("b", "c").record("record-7"))]).await;
        source.close().await;
        target.close().await;
    });
    for _ in 0..2 {
        let (code, words) = said(&mut copy(&from, &to));
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("differ in collections, records"), "{words}");
        let (code, words) = to.check();
        assert_eq!(code, Some(4), "{words}");
        assert!(words.contains("not finished"), "{words}");
    }
    let (code, words) = said(copy(&from, &to).arg("--restart"));
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(to.check().0, Some(0));
}

#[test]
fn passwords_are_read_from_files_and_what_is_wrong_with_an_end_is_told() {
    let (from, to) = (Home::new(Backend::Sqlite), Home::new(Backend::Postgres));
    block_on(async { from.open().await.close().await });
    let database = to.database.as_ref().unwrap();
    let role = format!("role_of_{}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right'"));
    database.execute(&format!("GRANT ALL ON SCHEMA public TO {role}"));
    let (_, place) = database.url().split_once('@').unwrap();
    let url = format!("postgres://{role}@{place}");
    let file = |password: &str| {
        let path = from.folder.path().join(password);
        std::fs::write(&path, format!("{password}\n")).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right"), file("wrong"));
    let (data, nowhere) = (from.data().display().to_string(), from.folder.path().join("no"));
    let nowhere = nowhere.display().to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--from", &data, "--to", &url, "--to-password-file", &wrong], 4, "refuses the password"),
        (&["--from", &data, "--to", &url, "--to-password-file", &nowhere], 3, "cannot be read"),
        (&["--from", &data, "--to", "mysql://h/d"], 3, "mysql is not a database of Nuage"),
        (&["--from", &data, "--to", &data], 2, "cannot be copied into itself"),
        (&["--from", &nowhere, "--to", &url], 4, "There is no data at"),
        (&["--from", &data], 2, "--to"),
        (&["--from", &data, "--to", &url, "--to-password-file", &right], 0, "is sound"),
        (&["--from", &data, "--to", &url, "--to-password-file", &right], 0, "is sound"),
        (&["--from", &url, "--from-password-file", &right, "--to", &nowhere], 0, "everything"),
    ];
    for (arguments, code, words) in cases {
        let mut command = clean_command(&program().binary);
        let (ended, said) = said(command.arg("copy").args(*arguments));
        assert_eq!(ended, Some(*code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
