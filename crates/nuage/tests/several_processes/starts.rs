//! Processes that start at once on an empty database make its tables twice, or secrets that
//! differ.

use std::sync::Arc;
use std::thread;

use nuage_testkit::client::{Call, Client};
use nuage_testkit::postgres;
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::several_processes::sites::serve;

const PROCESSES: usize = 4;
const SETTINGS: &str = "\
kinto.includes = kinto.plugins.default_bucket
multiauth.policies = basicauth
";
const LIST: &str = "/v1/buckets/default/collections/c/records";

#[test]
fn many_that_start_at_once_make_one_site() {
    let database = Arc::new(postgres::database());
    let processes: Vec<Server> = thread::scope(|scope| {
        let start = || scope.spawn(|| serve(Some(Arc::clone(&database)), SETTINGS));
        let starting: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
        starting.into_iter().map(|process| process.join().unwrap()).collect()
    });
    let told = processes.iter().filter(|process| process.log().contains("the tables are made"));
    assert_eq!(told.count(), 1, "migrations ran more than once, or not at all");
    let names = database.execute("SELECT key FROM meta WHERE key IN ('form', 'store')");
    assert_eq!(names.lines().count(), 2, "{names}");
    // Who somebody is, his personal bucket and the tokens of pages come from generated secrets.
    let ask = |process: &Server, call: Call| {
        let mut client = Client::new(process.address());
        let answer = client.send(&call.login("somebody:1")).unwrap();
        assert!(answer.status < 400, "{answer}");
        answer
    };
    for (number, process) in processes.iter().enumerate() {
        let path = format!("{LIST}/r{number}");
        ask(process, Call::put(path, &json!({"data": {"number": number}})));
    }
    let people: Vec<Value> = processes
        .iter()
        .map(|process| ask(process, Call::get("/v1/")).json()["user"].clone())
        .collect();
    assert!(people.iter().all(|person| *person == people[0]), "{people:?}");
    let mut seen = Vec::new();
    let mut address = format!("{LIST}?_limit=1&_sort=number");
    for process in processes.iter().cycle().take(PROCESSES) {
        let page = ask(process, Call::get(address));
        seen.push(page.json()["data"][0]["number"].as_u64().unwrap() as usize);
        let next = page.header("Next-Page").unwrap_or(LIST);
        address = next[next.find("/v1/").unwrap()..].to_owned();
    }
    assert_eq!(seen, (0..PROCESSES).collect::<Vec<_>>(), "pages go on in another process");
}
