//! Feeds over HTTP that leak, forget, keep what is lost, or never end.
//!
//! The oracle of `nuage-testkit` against the built program. `NUAGE_SEED` replays a history,
//! `NUAGE_HISTORIES` sets how many, `NUAGE_STEPS` how long they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nuage_testkit::backend::{Backend, block_on};
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::oracle::{
    Ask, BUCKETS, Campaign, Deed, Entry, Minimum, Names, PERSONS, Page, Reply, Stage, Subject,
    campaign,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::programs::{now_ms, number, open_server};

both_databases!(random_histories_agree_with_the_oracle);

const HISTORIES: u64 = 200;
/// The time after which no other is begun: some machines are slow.
const TIME: Duration = Duration::from_secs(60);
/// What must be tried, however slow the machine is.
const LEAST: Minimum = Minimum { histories: 40, resets: 100, removals: 40 };
const STEPS: u64 = 40;
const WORKERS: usize = 8;
const KEEPER: &str = "keeper:0";

fn random_histories_agree_with_the_oracle(backend: Backend) {
    let mut server = open_server(backend);
    let seed = number("NUAGE_SEED");
    let histories = number("NUAGE_HISTORIES").unwrap_or(seed.map_or(HISTORIES, |_| 1));
    let tried = Campaign {
        seed: seed.unwrap_or(now_ms() as u64 % 1_000_000_000),
        histories: Some(histories),
        time: TIME,
        least: if histories == HISTORIES { LEAST } else { Minimum::default() },
        steps: number("NUAGE_STEPS").unwrap_or(STEPS) as usize,
        workers: WORKERS,
        mix: None,
        shrink: true,
        every: Duration::from_secs(3_600),
    };
    let stage = Arc::new(Doors(server.address()));
    block_on(async {
        let tally = campaign(stage, tried, |_| ()).await.unwrap_or_else(|why| panic!("{why}"));
        eprintln!("feeds over HTTP: {tally}");
    });
    assert_eq!(server.terminate().code(), Some(0));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}

struct Doors(SocketAddr);

impl Stage for Doors {
    type Subject = Door;

    async fn subject(&self, seed: u64) -> Door {
        block_in_place(|| {
            let mut client = Client::new(self.0);
            let logins: Vec<String> =
                (0..PERSONS).map(|person| format!("h{seed}p{person}:0")).collect();
            let mut persons = Vec::new();
            for login in &logins {
                let hello = client.send(&Call::get("/v1/").login(login)).unwrap().json();
                persons.push(hello["user"]["id"].as_str().unwrap().to_owned());
            }
            let names = Names { bucket: format!("h{seed}"), persons };
            // A history that was played before left its buckets.
            for bucket in 0..BUCKETS {
                let gone = Call::delete(format!("/v1/buckets/{}", names.bucket(bucket)));
                client.send(&gone.login(KEEPER)).unwrap();
            }
            Door { client, logins, names }
        })
    }
}

struct Door {
    client: Client,
    logins: Vec<String>,
    names: Names,
}

impl Door {
    fn bucket(&self, number: usize) -> String {
        format!("/v1/buckets/{}", self.names.bucket(number))
    }

    fn group(&self, group: usize) -> String {
        let (bucket, group) = self.names.group(group);
        format!("/v1/buckets/{bucket}/groups/{group}")
    }

    fn call(&self, deed: &Deed) -> Call {
        let bucket = self.bucket(0);
        let collection = format!("{bucket}/collections/c");
        match deed {
            Deed::Put { record, readers, content, chosen } => {
                let names = self.names.principals(readers);
                // Whoever may write may read.
                let (read, write) =
                    if content % 3 == 0 { (Vec::new(), names) } else { (names, Vec::new()) };
                let mut data = json!({ "n": content });
                if let Some(chosen) = chosen {
                    data["last_modified"] = json!(chosen);
                }
                let permissions = json!({ "read": read, "write": write });
                let body = json!({ "data": data, "permissions": permissions });
                Call::put(format!("{collection}/records/r{record}"), &body)
            }
            Deed::Delete { record, chosen } => {
                let chosen = chosen.map(|chosen| format!("?last_modified={chosen}"));
                let chosen = chosen.unwrap_or_default();
                Call::delete(format!("{collection}/records/r{record}{chosen}"))
            }
            Deed::SetMembers { group, members } => {
                let data = json!({ "members": self.names.principals(members) });
                Call::put(self.group(*group), &json!({ "data": data }))
            }
            Deed::DropGroup(group) => Call::delete(self.group(*group)),
            Deed::CollectionReaders(readers) => {
                let permissions = json!({ "read": self.names.principals(readers) });
                Call::put(collection, &json!({ "permissions": permissions }))
            }
            Deed::BucketReaders(readers) => {
                let permissions = json!({ "read": self.names.principals(readers) });
                Call::put(bucket, &json!({ "permissions": permissions }))
            }
            Deed::DropCollection => Call::delete(collection),
            Deed::DropBucket(number) => Call::delete(self.bucket(*number)),
            Deed::CreateBucket(number) => Call::put(self.bucket(*number), &json!({})),
            Deed::CreateCollection => Call::put(collection, &json!({})),
        }
    }

    fn send(&mut self, call: &Call) -> Result<Answer, String> {
        block_in_place(|| self.client.send(call)).map_err(|error| format!("{call}: {error}"))
    }

    fn changed(&mut self, deeds: &[Deed]) -> Result<Vec<i64>, String> {
        let mut bodies = Vec::new();
        if let [deed] = deeds {
            let call = self.call(deed).login(KEEPER);
            let answer = self.send(&call)?;
            if !(200..300).contains(&answer.status) {
                return Err(format!("{call}: {answer}"));
            }
            bodies.push(answer.json());
        } else {
            let requests: Vec<Value> = deeds.iter().map(|deed| request(&self.call(deed))).collect();
            let batch = Call::post("/v1/batch", &json!({ "requests": requests })).login(KEEPER);
            let answer = self.send(&batch)?;
            let body = answer.json();
            for (n, _) in deeds.iter().enumerate() {
                let response = &body["responses"][n];
                if !(200..300).contains(&response["status"].as_u64().unwrap_or(0)) {
                    return Err(format!("{batch}: {answer}"));
                }
                bodies.push(response["body"].clone());
            }
        }
        let times = deeds.iter().zip(bodies).map(|(deed, body)| match deed {
            Deed::Put { .. } | Deed::Delete { .. } => {
                body["data"]["last_modified"].as_i64().ok_or("no time in an answer".to_owned())
            }
            _ => Ok(0),
        });
        times.collect()
    }

    fn asked(&mut self, ask: Ask<'_>) -> Result<Reply, String> {
        let bucket = &self.names.bucket;
        let mut path = format!("/v1/buckets/{bucket}/collections/c/feed?limit={}", ask.limit);
        if let Some(token) = ask.token {
            path.push_str(&format!("&token={token}"));
        }
        if ask.sum {
            path.push_str("&digest=true");
        }
        let mut call = Call::get(path);
        if let Some(login) = self.logins.get(ask.person) {
            call = call.login(login);
        }
        let answer = self.send(&call)?;
        match answer.status {
            200 => page(&answer.json()).map_err(|why| format!("{why}: {call}: {answer}")),
            401 | 403 | 404 => Ok(Reply::Refused),
            _ => Err(format!("{call}: {answer}")),
        }
    }
}

fn request(call: &Call) -> Value {
    let body = call.body.as_ref().map(|body| serde_json::from_slice(body).unwrap());
    let body: Value = body.unwrap_or(Value::Null);
    let mut request = json!({ "method": call.method, "path": call.path });
    if !body.is_null() {
        request["body"] = body;
    }
    request
}

fn page(body: &Value) -> Result<Reply, &'static str> {
    let mut entries = Vec::new();
    for entry in body["data"].as_array().ok_or("no data")? {
        let id = entry["id"].as_str().ok_or("no id")?.to_owned();
        entries.push(match &entry["deleted"] {
            Value::Bool(true) => Entry::Removal(id),
            _ => Entry::Change(
                id,
                entry["n"].as_u64().ok_or("no content")?,
                entry["last_modified"].as_i64().ok_or("no time")?,
            ),
        });
        if entry["deleted"] == json!(true) && entry.as_object().map_or(0, |entry| entry.len()) != 2
        {
            return Err("a removal tells more than that");
        }
    }
    let sum = match &body["digest"] {
        Value::Null => None,
        digest => {
            let number = |name: &str| digest[name].as_u64().ok_or("half a digest");
            Some((number("count")?, number("sum")?))
        }
    };
    Ok(Reply::Page(Page {
        reset: body["reset"].as_bool().ok_or("no reset")?,
        entries,
        token: body["token"].as_str().ok_or("no token")?.to_owned(),
        more: body["more"].as_bool().ok_or("no more")?,
        head: None,
        sum,
    }))
}

impl Subject for Door {
    async fn change(&mut self, deeds: &[Deed]) -> Result<Vec<i64>, String> {
        self.changed(deeds)
    }

    async fn page(&mut self, ask: Ask<'_>) -> Result<Reply, String> {
        self.asked(ask)
    }

    // The server does these by itself, and not for who asks.
    async fn compact(&mut self, _: Option<i64>) -> Result<Option<i64>, String> {
        Ok(None)
    }

    async fn forget_views(&mut self) -> Result<bool, String> {
        Ok(false)
    }
}
