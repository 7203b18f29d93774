//! What people were answered when the data were made, and what they are answered now.

use std::collections::{BTreeMap, BTreeSet};

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, Client};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::data::Form;

/// Of longer answers only a hash was kept.
const KEPT_BYTES: usize = 20_000;

/// Everything that was kept.
pub(super) struct Seen {
    logins: BTreeMap<String, Option<String>>,
    answers: Vec<Kept>,
    pub(super) feeds: Vec<Run>,
}

/// An answer.
struct Kept {
    who: String,
    path: String,
    headers: BTreeMap<String, String>,
    page: Page,
}

/// Status and body of an answer: its text without tokens, or the hash of that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    body: Value,
}

/// Most entries of a short page.
const FEW: u64 = 3;

/// Pages of a feed, until it is at rest.
pub(super) struct Run {
    pub(super) who: String,
    pub(super) path: String,
    limit: u64,
    /// Where they begin.
    pub(super) token: Option<String>,
    pub(super) pages: Vec<Page>,
}

impl Run {
    /// Whether it is of one of the devices that were in the middle of a run: their pages are short.
    pub(super) fn is_of_few(&self) -> bool {
        self.limit <= FEW
    }
}

impl Seen {
    pub(super) fn of(form: Form, backend: Backend) -> Self {
        let seen: Value = serde_json::from_slice(&form.unpack(backend, "seen.json.gz")).unwrap();
        let answers = seen["answers"].as_array().unwrap().iter().map(|answer| Kept {
            who: text(&answer["as"]),
            path: text(&answer["path"]),
            headers: serde_json::from_value(answer["headers"].clone()).unwrap(),
            page: Page::kept(answer),
        });
        let feeds = seen["feeds"].as_array().unwrap().iter().map(|run| Run {
            who: text(&run["as"]),
            path: text(&run["path"]),
            limit: run["limit"].as_u64().unwrap(),
            token: run["token"].as_str().map(str::to_owned),
            pages: run["pages"].as_array().unwrap().iter().map(Page::kept).collect(),
        });
        Self {
            logins: serde_json::from_value(seen["logins"].clone()).unwrap(),
            answers: answers.collect(),
            feeds: feeds.collect(),
        }
    }

    /// Asks as somebody.
    pub(super) fn send(&self, client: &mut Client, who: &str, call: Call) -> Answer {
        let call = match &self.logins[who] {
            Some(credentials) => call.login(credentials),
            None => call,
        };
        client.send(&call).unwrap()
    }

    /// Everybody is answered what they were answered.
    pub(super) fn expect_answers(&self, client: &mut Client) {
        assert!(self.answers.len() > 1_000, "only {} answers were kept", self.answers.len());
        for kept in &self.answers {
            let answer = self.send(client, &kept.who, Call::get(&*kept.path));
            let name = format!("{} {}", kept.who, kept.path);
            assert_eq!(Page::now(&answer), kept.page, "{name}");
            let is_time = |header: &str| ["ETag", "Last-Modified"].contains(&header);
            let is_partial = kept.is_list()
                && answer.header("ETag") != kept.headers.get("ETag").map(String::as_str);
            if is_partial {
                self.expect_time_of_part(client, kept, &answer);
            }
            for (header, value) in &kept.headers {
                if !is_partial || !is_time(header) {
                    assert_eq!(answer.header(header), Some(&**value), "{header} of {name}");
                }
            }
        }
    }

    // Who sees part of a list was told the time of all of it. Now it is the greatest that they see.
    fn expect_time_of_part(&self, client: &mut Client, kept: &Kept, answer: &Answer) {
        let path = kept.path.split('?').next().unwrap();
        let all = self.send(client, &kept.who, Call::get(format!("{path}?_since=0"))).json();
        let newest = greatest(&all["data"]);
        let name = format!("{} {}", kept.who, kept.path);
        assert!(newest.is_none() || answer.etag() == newest, "{name}: {answer}");
        let before = kept.headers["ETag"].trim_matches('"').parse().ok();
        assert!(answer.etag() < before, "{name}: {answer}");
    }

    /// Everybody is answered by an import what they are answered by what was exported.
    ///
    /// Not the same are deletions, of which an export does not tell who was able to read what was
    /// deleted, so that those who see part of a list are told the time of what is alive; the times of
    /// lists that never held anything; and line ends between the words of a body, which are spaces
    /// afterwards.
    pub(super) fn expect_same(&self, exported: &mut Client, imported: &mut Client) {
        // How lists are filtered, and records refused one by one, does not depend on the data.
        let telling = self.answers.iter().filter(|kept| {
            let is_plain = !kept.path.contains('?') || kept.path.ends_with("?_since=0");
            is_plain && (kept.page.status == 200 || !kept.path.contains("/records/"))
        });
        for kept in telling {
            let ask = |client: &mut Client| {
                let answer = self.send(client, &kept.who, Call::get(&*kept.path));
                let mut body = String::from_utf8(answer.body.clone()).unwrap();
                if kept.path.ends_with("?_since=0") && answer.status == 200 {
                    let mut body_read = answer.json();
                    let data = body_read["data"].as_array_mut().unwrap();
                    data.retain(|entry| entry["deleted"] != true);
                    body = body_read.to_string();
                }
                let is_empty = body == r#"{"data":[]}"#;
                let time = answer.etag().filter(|_| !is_empty);
                (time, (answer.status, body.replace(['\n', '\r'], " ")))
            };
            let [(time, now), (before, then)] = [ask(imported), ask(exported)];
            let name = format!("{} {}", kept.who, kept.path);
            assert_eq!(now, then, "{name}");
            let alive = || greatest(&serde_json::from_str::<Value>(&now.1).unwrap()["data"]);
            assert!(time == before || kept.is_list() && time == alive(), "{name}");
        }
    }

    /// Asks for the same pages, from this token on.
    pub(super) fn pages(&self, client: &mut Client, run: &Run) -> Vec<Page> {
        let mut token = run.token.clone();
        let mut pages = Vec::new();
        loop {
            let mut path = format!("{}?limit={}&digest=true", run.path, run.limit);
            path.extend(token.iter().map(|token| format!("&token={token}")));
            let answer = self.send(client, &run.who, Call::get(path));
            pages.push(Page::now(&answer));
            let body = answer.json();
            token = body["token"].as_str().map(str::to_owned);
            if body["more"] != true {
                return pages;
            }
        }
    }

    /// What somebody may see of a collection, by a list.
    pub(super) fn visible(&self, client: &mut Client, who: &str, collection: &str) -> Rows {
        let answer = self.send(client, who, Call::get(format!("{collection}/records")));
        let records = answer.json()["data"].take();
        let records = records.as_array().into_iter().flatten();
        records.map(|record| (text(&record["id"]), record.clone())).collect()
    }

    /// A device without anything is told what a list shows, of every list that somebody saw, and
    /// refused where the list is.
    pub(super) fn expect_feeds_like_lists(&self, client: &mut Client) {
        let lists = self.answers.iter().filter(|kept| kept.page.status == 200);
        let lists: BTreeSet<(&str, &str)> = lists
            .filter_map(|kept| Some((&*kept.who, kept.path.strip_suffix("/records")?)))
            .collect();
        assert!(lists.len() > 30, "only {} lists were kept", lists.len());
        for (who, collection) in lists {
            let [list, feed] = ["records", "feed"].map(|last| {
                self.send(client, who, Call::get(format!("{collection}/{last}"))).status
            });
            assert_eq!(list, feed, "{who} {collection}");
            if list != 200 {
                continue;
            }
            let mut device = Device::new(who, collection);
            device.follow(self, client);
            assert_eq!(device.rows, self.visible(client, who, collection), "{who} {collection}");
        }
    }
}

impl Kept {
    fn is_list(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        path.starts_with("/v1/buckets") && path.split('/').count() % 2 == 1
            || path == "/v1/accounts"
    }
}

// The greatest time in a list.
fn greatest(data: &Value) -> Option<i64> {
    let times = data.as_array().into_iter().flatten();
    times.filter_map(|entry| entry["last_modified"].as_i64()).max()
}

impl Page {
    fn kept(page: &Value) -> Self {
        let status = page["status"].as_u64().unwrap();
        let mut body = page["body"].clone();
        if let Value::String(text) = &mut body
            && page["path"].as_str().is_some_and(|path| path.starts_with("/v1/accounts"))
        {
            *text = without_passwords(text);
        }
        Self { status: status as u16, body }
    }

    fn now(answer: &Answer) -> Self {
        let text = without_tokens(str::from_utf8(&answer.body).unwrap());
        let body = match text.len() {
            ..=KEPT_BYTES => Value::from(text),
            bytes => {
                let hash = Sha256::digest(&text);
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                serde_json::json!({"bytes": bytes, "sha256": hash})
            }
        };
        Self { status: answer.status, body }
    }

    /// Whether it says to whoever brought a token to begin anew, or shows nothing.
    pub(super) fn begins_afresh(&self) -> bool {
        let is_reset = |text: &str| text.contains(r#""reset":true"#);
        self.status != 200 || self.body.as_str().is_some_and(is_reset)
    }

    /// What it says that the device has.
    pub(super) fn digest(&self) -> Option<&str> {
        self.body.as_str()?.split_once(r#""digest":"#).map(|(_, digest)| digest)
    }
}

/// Records by their names.
pub(super) type Rows = BTreeMap<String, Value>;

/// What somebody keeps of a collection.
pub(super) struct Device {
    who: String,
    collection: String,
    token: Option<String>,
    pub(super) rows: Rows,
}

/// What a device was told on its way.
#[derive(Default)]
pub(super) struct Told {
    pub(super) reset: bool,
    pub(super) ids: BTreeSet<String>,
}

impl Device {
    /// One without anything.
    pub(super) fn new(who: &str, collection: &str) -> Self {
        let (who, collection) = (who.to_owned(), collection.to_owned());
        Self { who, collection, token: None, rows: Rows::new() }
    }

    /// Reads pages until it is at rest.
    pub(super) fn follow(&mut self, seen: &Seen, client: &mut Client) -> Told {
        let mut told = Told::default();
        loop {
            let mut path = format!("{}/feed", self.collection);
            path.extend(self.token.iter().map(|token| format!("?token={token}")));
            let answer = seen.send(client, &self.who, Call::get(path));
            assert_eq!(answer.status, 200, "{} {}: {answer}", self.who, self.collection);
            let page = answer.json();
            if page["reset"] == true {
                told.reset = true;
                self.rows.clear();
            }
            for record in page["data"].as_array().unwrap() {
                let id = text(&record["id"]);
                match record["deleted"] == true {
                    true => self.rows.remove(&id),
                    false => self.rows.insert(id.clone(), record.clone()),
                };
                told.ids.insert(id);
            }
            self.token = Some(text(&page["token"]));
            if page["more"] == false {
                return told;
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

// Programs that wrote the first form showed the hash, as the first member.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split(r#""password":""#);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once("\",").map_or(part, |(_, rest)| rest));
    }
    kept
}

fn without_tokens(text: &str) -> String {
    let mark = r#""token":""#;
    let mut parts = text.split(mark);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(mark);
        kept.push_str(&part[part.find('"').unwrap_or(part.len())..]);
    }
    kept
}
