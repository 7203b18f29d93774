//! One way to a record is open, and another closed: whoever may read a record by itself finds it in
//! lists, counts, batches, the permissions endpoint, the history and the feed, as it is; and nobody
//! else does, by any of them.
//!
//! Random rights for random people, who then look everywhere. `NUAGE_SEED` replays a run.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{RecordId, Timestamp, digest};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::random::Random;
use serde_json::{Value, json};

use crate::programs::{now_ms, number, program, write_settings};

both_databases!(every_way_to_a_record_is_judged_alike);

const SETTINGS: &str = "\
kinto.includes = kinto.plugins.history
kinto.userid_hmac_secret = judgement
multiauth.policies = basicauth
kinto.experimental_permissions_endpoint = true
";

/// Buckets with rights of their own, and how often each is looked at, after some changes.
const BUCKETS: usize = 12;
const LOOKS: usize = 3;
const RECORDS: usize = 10;
const GROUPS: usize = 3;
const KEEPER: &str = "keeper:0";
const PERSONS: [&str; 4] = ["ann:0", "ben:0", "cem:0", "dot:0"];
/// A device is at rest after so many pages.
const PAGES: usize = 200;

/// Records by id, as their readers see them.
type Seen = BTreeMap<String, Value>;

#[expect(clippy::print_stderr, reason = "shown when the test fails")]
fn every_way_to_a_record_is_judged_alike(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let setup = program().on(backend).argument("--kinto-ini").argument(settings);
    let server = setup.start_on(data, folder);
    let seed = number("NUAGE_SEED").unwrap_or(now_ms() as u64 % 1_000_000_000);
    eprintln!("replay with NUAGE_SEED={seed}");
    let mut scene = Scene {
        client: server.client(),
        random: Random::new(seed),
        people: Vec::new(),
        bucket: String::new(),
        contents: 0,
    };
    scene.people = PERSONS.iter().map(|login| scene.person(Some(login))).collect();
    let stranger = scene.person(None);
    scene.people.push(stranger);
    let mut readable = 0;
    for bucket in 0..BUCKETS {
        scene.bucket = format!("/v1/buckets/b{bucket}");
        scene.found();
        let mut devices = vec![Device::default(); scene.people.len()];
        for _ in 0..LOOKS {
            for _ in 0..scene.random.below(8) {
                scene.change();
            }
            for (person, device) in devices.iter_mut().enumerate() {
                readable += scene.look(person, device);
            }
        }
    }
    assert!(readable > 100, "people hardly see anything: {readable}");
}

/// Somebody who looks.
#[derive(Clone)]
struct Person {
    login: Option<&'static str>,
    id: Option<String>,
}

/// What somebody keeps of a feed.
#[derive(Clone, Default)]
struct Device {
    mirror: Seen,
    fresh: Option<Seen>,
    token: Option<String>,
}

struct Scene {
    client: Client,
    random: Random,
    people: Vec<Person>,
    bucket: String,
    contents: u64,
}

impl Scene {
    fn person(&mut self, login: Option<&'static str>) -> Person {
        let hello = self.send(login, Call::get("/v1/")).json();
        Person { login, id: hello["user"]["id"].as_str().map(str::to_owned) }
    }

    fn send(&mut self, login: Option<&str>, mut call: Call) -> Answer {
        if let Some(login) = login {
            call = call.login(login);
        }
        self.client.send(&call).unwrap()
    }

    fn done(&mut self, call: Call) {
        let shown = call.to_string();
        let answer = self.send(Some(KEEPER), call);
        assert!((200..300).contains(&answer.status), "{shown}: {answer}");
    }

    /// Somebody or nobody, each permission with its own likelihood in percent.
    fn holders(&mut self, percent: usize) -> Vec<String> {
        let mut holders = Vec::new();
        while self.random.chance(percent) && holders.len() < 3 {
            holders.push(match self.random.below(12) {
                0 => "system.Everyone".to_owned(),
                1 => "system.Authenticated".to_owned(),
                2..=5 => self.group_principal(),
                _ => self.somebody(),
            });
        }
        holders
    }

    fn somebody(&mut self) -> String {
        let at = self.random.below(PERSONS.len());
        self.people[at].id.clone().expect("who logs in has a name")
    }

    fn group_principal(&mut self) -> String {
        let number = self.random.below(GROUPS);
        format!("{}/groups/g{number}", self.bucket.trim_start_matches("/v1"))
    }

    /// A bucket, its collection and its groups. Rights above the records stay as they are: the
    /// history tells of a change to those who could read the record then.
    fn found(&mut self) {
        let permissions = json!({
            "read": self.holders(8),
            "write": self.holders(4),
            "collection:create": self.holders(15),
        });
        self.done(Call::put(self.bucket.clone(), &json!({ "permissions": permissions })));
        let permissions = json!({
            "read": self.holders(15),
            "write": self.holders(6),
            "record:create": self.holders(25),
        });
        let collection = format!("{}/collections/c", self.bucket);
        self.done(Call::put(collection, &json!({ "permissions": permissions })));
        for number in 0..GROUPS {
            self.fill(number);
        }
        for record in 0..RECORDS {
            self.write(record);
        }
    }

    fn fill(&mut self, number: usize) {
        let mut members = BTreeSet::new();
        for _ in 0..self.random.below(3) {
            members.insert(match self.random.chance(40) {
                true => self.group_principal(),
                false => self.somebody(),
            });
        }
        let body = json!({ "data": { "members": members } });
        self.done(Call::put(format!("{}/groups/g{number}", self.bucket), &body));
    }

    fn write(&mut self, record: usize) {
        self.contents += 1;
        // Who may delete may not read.
        let body = json!({
            "data": { "n": self.contents },
            "permissions": {
                "read": self.holders(45),
                "write": self.holders(20),
                "delete": self.holders(20),
            },
        });
        self.done(Call::put(self.record(record), &body));
    }

    fn record(&self, record: usize) -> String {
        format!("{}/collections/c/records/r{record}", self.bucket)
    }

    fn change(&mut self) {
        let record = self.random.below(RECORDS);
        match self.random.below(10) {
            0..=4 => self.write(record),
            5 | 6 => {
                let call = Call::delete(self.record(record)).login(KEEPER);
                let status = self.client.send(&call).unwrap().status;
                assert!(matches!(status, 200 | 404), "{status}");
            }
            _ => {
                let number = self.random.below(GROUPS);
                self.fill(number);
            }
        }
    }

    /// Looks everywhere; gives the number of records that the person may read.
    fn look(&mut self, person: usize, device: &mut Device) -> usize {
        let Person { login, .. } = self.people[person];
        let who = format!("{} in {}", login.unwrap_or("a stranger"), self.bucket);
        let one_by_one = self.one_by_one(login);
        assert_eq!(self.batched(login), one_by_one, "batch, {who}");
        let listed = self.listed(login);
        let counted = self.counted(login);
        match &listed {
            Some(listed) => assert_eq!(*listed, one_by_one, "list, {who}"),
            None => assert!(one_by_one.is_empty(), "the list is refused: {one_by_one:?}, {who}"),
        }
        let count = listed.as_ref().map(BTreeMap::len);
        assert_eq!(counted, [count, count], "totals, {who}");
        let begun = self.fed(login, &mut Device::default(), &who);
        assert_eq!(begun, listed, "feed from the beginning, {who}");
        let followed = self.fed(login, device, &who);
        assert_eq!(followed.unwrap_or_default(), one_by_one, "feed, {who}");
        let own = self.own(login, &one_by_one, &who);
        if let Some(permitted) = self.permitted(login) {
            assert_eq!(permitted, own, "permissions endpoint, {who}");
        }
        assert_eq!(self.remembered(login), one_by_one, "history, {who}");
        one_by_one.len()
    }

    fn one_by_one(&mut self, login: Option<&str>) -> Seen {
        let mut seen = Seen::new();
        for record in 0..RECORDS {
            let answer = self.send(login, Call::get(self.record(record)));
            note(&mut seen, answer.status, &answer.json());
        }
        seen
    }

    fn batched(&mut self, login: Option<&str>) -> Seen {
        let requests: Vec<Value> = (0..RECORDS)
            .map(|record| json!({ "method": "GET", "path": self.record(record) }))
            .collect();
        let batch = Call::post("/v1/batch", &json!({ "requests": requests }));
        let answer = self.send(login, batch).json();
        let mut seen = Seen::new();
        for response in answer["responses"].as_array().unwrap() {
            note(&mut seen, response["status"].as_u64().unwrap() as u16, &response["body"]);
        }
        seen
    }

    fn listed(&mut self, login: Option<&str>) -> Option<Seen> {
        let limit = 1 + self.random.below(4);
        let path = format!("{}/collections/c/records?_limit={limit}", self.bucket);
        self.pages(login, path).map(|all| by_id(&all))
    }

    /// All pages of a list, unless it is refused.
    fn pages(&mut self, login: Option<&str>, path: String) -> Option<Vec<Value>> {
        let (mut all, mut next) = (Vec::new(), Some(path));
        while let Some(path) = next {
            let answer = self.send(login, Call::get(path));
            if matches!(answer.status, 401 | 403) {
                return None;
            }
            assert_eq!(answer.status, 200, "{answer}");
            all.extend(answer.json()["data"].as_array().unwrap().iter().cloned());
            let url = answer.header("Next-Page");
            next = url.map(|url| format!("/{}", url.splitn(4, '/').nth(3).unwrap()));
        }
        Some(all)
    }

    /// What is said to be the number of records: by what is counted anyway, and by counting.
    fn counted(&mut self, login: Option<&str>) -> [Option<usize>; 2] {
        ["", "?min_n=0"].map(|filter| {
            let path = format!("{}/collections/c/records{filter}", self.bucket);
            let answer = self.send(login, Call::new("HEAD", path));
            answer.header("Total-Records").map(|total| total.parse().unwrap())
        })
    }

    /// What a device has at rest, unless it is refused.
    fn fed(&mut self, login: Option<&str>, device: &mut Device, who: &str) -> Option<Seen> {
        for _ in 0..PAGES {
            let limit = 1 + self.random.below(5);
            let mut path = format!("{}/collections/c/feed?digest=true&limit={limit}", self.bucket);
            if let Some(token) = &device.token {
                path.push_str(&format!("&token={token}"));
            }
            let answer = self.send(login, Call::get(path));
            if matches!(answer.status, 401 | 403) {
                *device = Device::default();
                return None;
            }
            assert_eq!(answer.status, 200, "{answer}, {who}");
            let page = answer.json();
            device.take(&page);
            if page["more"] == json!(false) {
                let sum = json!({ "count": device.mirror.len(), "sum": device.sum() });
                assert_eq!(page["digest"], sum, "digest, {who}");
                return Some(device.mirror.clone());
            }
        }
        panic!("the feed does not end, {who}");
    }

    /// What the person may read by permissions on the record itself, as the keeper sees them.
    fn own(&mut self, login: Option<&str>, seen: &Seen, who: &str) -> BTreeSet<String> {
        let hello = self.send(login, Call::get("/v1/")).json();
        let everyone = || vec![json!("system.Everyone")];
        let principals = hello["user"]["principals"].as_array().cloned();
        let mut principals = principals.unwrap_or_else(everyone);
        // Those around them are not told.
        for _ in 0..GROUPS {
            for number in 0..GROUPS {
                let group = Call::get(format!("{}/groups/g{number}", self.bucket));
                let members = self.send(Some(KEEPER), group).json()["data"]["members"].clone();
                let members = members.as_array().cloned().unwrap_or_default();
                if members.iter().any(|member| principals.contains(member)) {
                    let bucket = self.bucket.trim_start_matches("/v1");
                    principals.push(format!("{bucket}/groups/g{number}").into());
                }
            }
        }
        let mut own = BTreeSet::new();
        for record in 0..RECORDS {
            let answer = self.send(Some(KEEPER), Call::get(self.record(record)));
            let permissions = &answer.json()["permissions"];
            let named = ["read", "write"]
                .iter()
                .filter_map(|name| permissions[name].as_array())
                .flatten()
                .any(|holder| principals.contains(holder));
            if named {
                own.insert(format!("r{record}"));
            }
        }
        assert!(own.iter().all(|id| seen.contains_key(id)), "{own:?} of {seen:?}, {who}");
        own
    }

    /// The records that the permissions endpoint says may be read, unless it is refused.
    fn permitted(&mut self, login: Option<&str>) -> Option<BTreeSet<String>> {
        let bucket = self.bucket.trim_start_matches("/v1/buckets/");
        let path = format!("/v1/permissions?resource_name=record&bucket_id={bucket}");
        let entries = self.pages(login, path)?;
        let readable = entries.iter().filter(|entry| {
            let names = entry["permissions"].as_array().unwrap();
            names.contains(&json!("read")) || names.contains(&json!("write"))
        });
        Some(readable.map(|entry| entry["record_id"].as_str().unwrap().to_owned()).collect())
    }

    /// Of the records that there are, those whose present content the history tells.
    fn remembered(&mut self, login: Option<&str>) -> Seen {
        let path = format!("{}/collections/c/records", self.bucket);
        let present = by_id(&self.pages(Some(KEEPER), path).unwrap());
        let path = format!("{}/history?resource_name=record&_limit=50", self.bucket);
        let entries = self.pages(login, path).unwrap_or_default();
        let told = entries.iter().map(|entry| &entry["target"]["data"]);
        by_id(&told.filter(|data| is_present(&present, data)).cloned().collect::<Vec<_>>())
    }
}

impl Device {
    fn take(&mut self, page: &Value) {
        if page["reset"] == json!(true) {
            self.fresh = Some(Seen::new());
        }
        let mirror = self.fresh.as_mut().unwrap_or(&mut self.mirror);
        for entry in page["data"].as_array().unwrap() {
            let id = entry["id"].as_str().unwrap().to_owned();
            match entry["deleted"] == json!(true) {
                true => mirror.remove(&id),
                false => mirror.insert(id, entry.clone()),
            };
        }
        self.token = Some(page["token"].as_str().unwrap().to_owned());
        if page["more"] == json!(false)
            && let Some(fresh) = self.fresh.take()
        {
            self.mirror = fresh;
        }
    }

    fn sum(&self) -> u64 {
        let digests = self.mirror.iter().map(|(id, record)| {
            let time = Timestamp(record["last_modified"].as_i64().unwrap());
            digest(&RecordId::from(id.as_str()), time)
        });
        digests.fold(0, |sum, one| (sum + one) % nuage_model::DIGEST_MODULUS)
    }
}

fn note(seen: &mut Seen, status: u16, body: &Value) {
    match status {
        200 => seen.extend(by_id(std::slice::from_ref(&body["data"]))),
        401 | 403 | 404 => {}
        _ => panic!("{status}: {body}"),
    }
}

fn by_id(records: &[Value]) -> Seen {
    let with_id = records.iter().map(|data| (data["id"].as_str().unwrap().to_owned(), data));
    with_id.map(|(id, data)| (id, data.clone())).collect()
}

fn is_present(present: &Seen, data: &Value) -> bool {
    data["id"].as_str().is_some_and(|id| present.get(id) == Some(data))
}
