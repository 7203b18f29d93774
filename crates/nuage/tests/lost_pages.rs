//! A record is shown twice, or never, because a list is read in pages.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::random::Random;
use serde_json::{Value, json};

use crate::programs::{foreign_server, now_ms, number, open_server};

both_databases!(
    every_page_size_gives_the_same_sequence,
    what_stays_is_shown_once_while_others_come_and_go
);

/// Records in the list. A batch has at most 25.
const RECORDS: usize = 50;
const SORTS: [&str; 9] = [
    "",
    "last_modified",
    "id",
    "-a,b",
    "a,-b,id",
    "b,-last_modified",
    "-n.x,a,-b",
    "n.x,-a,last_modified",
    "-missing,b",
];

fn every_page_size_gives_the_same_sequence(backend: Backend) {
    with_list(backend, "sizes:1", |list, random| {
        for sort in SORTS {
            for filters in ["", "has_b=true", "not_a=1&_since=0"] {
                let whole = list.read(&format!("_sort={sort}&{filters}"));
                let mut sizes = vec![1, 2, 3, 7, RECORDS - 1, RECORDS, RECORDS + 1];
                sizes.push(4 + random.below(RECORDS - 5));
                for size in sizes {
                    let paged = list.read(&format!("_sort={sort}&{filters}&_limit={size}"));
                    assert_eq!(whole, paged, "_sort={sort}&{filters} in pages of {size}");
                }
            }
        }
    });
}

fn what_stays_is_shown_once_while_others_come_and_go(backend: Backend) {
    with_list(backend, "passing:1", |list, random| {
        for (number, sort) in SORTS.into_iter().enumerate() {
            let stayed: Vec<_> = list.read(&format!("_sort={sort}"));
            let mut passing = 0;
            let size = 1 + random.below(6);
            let shown = list.walk(&format!("_sort={sort}&_limit={size}"), |list| {
                for _ in 0..2 {
                    // Who always adds to the end never reads to the end.
                    if passing == RECORDS {
                        return;
                    }
                    // None comes twice: it would rightly be shown twice.
                    let path = |one| format!("{}/passing-{number}-{one}", list.path);
                    passing += 1;
                    let put = Call::put(path(passing), &json!({"data": data(random)}));
                    let delete = Call::delete(path(1 + random.below(passing)));
                    list.send(&put);
                    if random.chance(60) {
                        list.send(&delete);
                    }
                }
            });
            assert!(passing > 10, "nothing came and went");
            let distinct: BTreeSet<_> = shown.iter().collect();
            assert_eq!(distinct.len(), shown.len(), "_sort={sort}: shown twice in {shown:?}");
            let remaining: Vec<_> =
                shown.into_iter().filter(|id| !id.starts_with("passing")).collect();
            assert_eq!(stayed, remaining, "_sort={sort} in pages of {size}");
            list.send(&Call::delete(format!("{}?like_id=passing*", list.path)));
        }
    });
}

struct List {
    client: Client,
    user: &'static str,
    path: &'static str,
}

impl List {
    fn send(&mut self, call: &Call) -> Answer {
        self.client.send(&call.clone().login(self.user)).unwrap()
    }

    // The identifiers in order.
    fn read(&mut self, query: &str) -> Vec<String> {
        let mut pages = 0;
        let ids = self.walk(query, |_| pages += 1);
        let size = query.rsplit_once("_limit=").and_then(|(_, size)| size.parse::<usize>().ok());
        if let Some(size) = size {
            let needed = ids.len().div_ceil(size).saturating_sub(1);
            assert_eq!(pages, needed, "{query}: an empty page after another");
        }
        ids
    }

    // Reads page after page, with something in between.
    fn walk(&mut self, query: &str, mut between: impl FnMut(&mut Self)) -> Vec<String> {
        let mut ids = Vec::new();
        let mut path = format!("{}?{query}", self.path);
        loop {
            let answer = self.send(&Call::get(&path));
            assert_eq!(answer.status, 200, "{path}: {answer}");
            let body = answer.json();
            let page = body["data"].as_array().unwrap();
            // What a page promises may be deleted before the next one is read.
            let is_last = answer.header("Next-Page").is_none();
            assert!(!page.is_empty() || is_last, "an empty page before another");
            ids.extend(page.iter().map(|record| record["id"].as_str().unwrap().to_owned()));
            assert!(ids.len() <= 3 * RECORDS, "endless pages of {query}");
            let Some(next) = answer.header("Next-Page") else { return ids };
            path = format!("/{}", next.splitn(4, '/').nth(3).unwrap());
            between(self);
        }
    }
}

// Runs it on a list of records with fields that miss, differ in type and are often equal.
fn with_list(backend: Backend, user: &'static str, law: impl Fn(&mut List, &mut Random)) {
    let seed = number("NUAGE_SEED").unwrap_or_else(|| now_ms() as u64 % 1_000_000);
    let run = |server: SocketAddr| {
        let mut random = Random::new(seed);
        let mut list = List {
            client: Client::new(server),
            user,
            path: "/v1/buckets/default/collections/pages/records",
        };
        list.send(&Call::delete("/v1/buckets/default"));
        for chunk in 0..RECORDS.div_ceil(25) {
            let ids = chunk * 25..RECORDS.min(chunk * 25 + 25);
            let requests: Vec<_> = ids
                .map(|n| json!({"path": format!("{}/r{n}", list.path), "body": {"data": data(&mut random)}}))
                .collect();
            let batch = json!({"defaults": {"method": "PUT"}, "requests": requests});
            let answer = list.send(&Call::post("/v1/batch", &batch));
            assert_eq!(answer.status, 200, "{answer}");
        }
        assert_eq!(list.read("").len(), RECORDS);
        law(&mut list, &mut random);
    };
    // Told by a failing test.
    std::io::Write::write_all(&mut std::io::stderr(), format!("NUAGE_SEED={seed}\n").as_bytes())
        .unwrap();
    match foreign_server() {
        Some(server) => run(server),
        None => run(open_server(backend).address()),
    }
}

fn data(random: &mut Random) -> Value {
    let mut data = json!({});
    for field in ["a", "b"] {
        if random.chance(75) {
            data[field] = value(random);
        }
    }
    if random.chance(50) {
        data["n"] = json!({"x": value(random)});
    }
    data
}

fn value(random: &mut Random) -> Value {
    let values = [
        json!(null),
        json!("a"),
        json!("b"),
        json!("ü \"%&+"),
        json!(3),
        json!(2.5),
        json!(-7),
        json!(123456789012345678_i64),
        json!(true),
        json!(false),
    ];
    random.pick(&values).clone()
}
