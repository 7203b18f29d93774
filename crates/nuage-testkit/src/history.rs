//! Random histories of requests, compared with a small model of what Kinto means.
//!
//! Users, groups, permissions and their inheritance, preconditions, client-chosen timestamps,
//! lists with filters, orders and pages, tombstones, cascades, the default bucket and batches: a
//! seed decides what is tried, and the model what each answer must be. The histories were
//! compared with the original first: [`Flavour::Kinto`] leaves out what it does wrong.
//!
//! The model takes timestamps from the answers, after checking that they are possible ones. It
//! knows nothing of malformed requests.

mod ask;
mod change;
mod choose;
mod judge;
mod step;
mod world;

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::client::{Answer, Call, Client};
use crate::history::choose::Chooser;
use crate::history::judge::{Judge, Seen};
use crate::history::step::{Condition, Content, List, Step, Target};
use crate::history::world::{Object, User, World};

/// Whose server it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// The original, spared what it is known to do wrong.
    Kinto,
    /// Ours.
    Nuage,
}

/// The settings that a server must have for this, as an `.ini` file of Kinto has them.
pub const SETTINGS: &str = "\
kinto.includes = kinto.plugins.default_bucket kinto.plugins.flush
kinto.userid_hmac_secret = histories
kinto.default_bucket_hmac_secret = histories
multiauth.policies = basicauth
";

/// Exchanges that a failure shows.
const SHOWN: usize = 1600;

/// Empties the server, then tries so many steps. The error tells what was wrong, after what.
pub fn run(server: SocketAddr, flavour: Flavour, seed: u64, steps: usize) -> Result<(), String> {
    let mut run = Run {
        client: Client::new(server),
        flavour,
        world: World::default(),
        chooser: Chooser::new(seed, flavour),
        transcript: Vec::new(),
    };
    let outcome = run.all(steps);
    outcome.map_err(|why| {
        let from = run.transcript.len().saturating_sub(SHOWN);
        format!("seed {seed}: {why}\n\n{}", run.transcript[from..].join("\n"))
    })
}

struct Run {
    client: Client,
    flavour: Flavour,
    world: World,
    chooser: Chooser,
    transcript: Vec<String>,
}

impl Run {
    fn all(&mut self, steps: usize) -> Result<(), String> {
        self.send(&Call::post("/v1/__flush__", &json!({})))?;
        for credentials in ["alice:1", "bob:2", "carol:3"] {
            let hello = self.send(&Call::get("/v1/").login(credentials))?.json();
            let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("no user in hello");
            let (id, bucket) = (text(&hello["user"]["id"])?, text(&hello["user"]["bucket"])?);
            self.transcript.clear();
            self.world.users.push(User { credentials: credentials.to_owned(), id, bucket });
        }
        for step in self.chooser.opening(&self.world) {
            self.step(step)?;
        }
        for _ in 0..steps {
            self.chooser.now = now_ms();
            if self.chooser.random.chance(6) {
                self.batch()?;
            } else {
                let step = self.chooser.step(&self.world);
                self.step(step)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let made = if step.alias { self.prepare(&step)? } else { false };
        let credentials = step.user.map(|user| self.world.users[user].credentials.clone());
        let call = step.call(credentials.as_deref());
        let from = now_ms();
        let answer = self.send(&call)?;
        if made {
            self.learn(&step)?;
        }
        self.judge(&step, &answer, from, Some(0))?;
        let follow = step.method == "GET" && matches!(step.target, Target::List(_));
        if follow { self.follow(&step, call, answer) } else { Ok(()) }
    }

    // Reads the other pages, as clients do.
    fn follow(&mut self, step: &Step, call: Call, mut answer: Answer) -> Result<(), String> {
        let mut offset = 0;
        let mut step = step.clone();
        step.condition = Condition::None;
        while let Some(next) = answer.header("Next-Page") {
            let path = next.splitn(4, '/').nth(3).ok_or("Next-Page is not absolute")?;
            let mut call = call.clone();
            call.path = format!("/{path}");
            call.headers.retain(|(name, _)| !name.starts_with("If-"));
            offset += step.ask.limit.unwrap_or(0);
            let from = now_ms();
            answer = self.send(&call)?;
            self.judge(&step, &answer, from, Some(offset))?;
        }
        Ok(())
    }

    // Any request in the default bucket makes the bucket and the collection that it names. What
    // the request itself is about must be known before; the rest may be learned after it: then
    // this is true.
    fn prepare(&mut self, step: &Step) -> Result<bool, String> {
        let mut missing = false;
        for (list, id) in defaults(&step.target) {
            missing |= self.world.object(&list, &id).is_none();
        }
        if !missing {
            return Ok(false);
        }
        if matches!(step.target.list(), List::Records(..)) && self.chooser.random.chance(50) {
            let who = self.world.who(step.user).id;
            for (list, id) in defaults(&step.target) {
                if self.world.object(&list, &id).is_none() {
                    let permissions = [("write".to_owned(), [who.clone()].into())].into();
                    let made = Object { permissions, ..Object::default() };
                    let listing = self.world.listing(&list);
                    listing.dead.remove(&id);
                    listing.live.insert(id, made);
                }
            }
            return Ok(true);
        }
        let mut target = step.target.clone();
        if let Target::Object(List::Collections(bucket), id) = target {
            target = Target::List(List::Records(bucket, id));
        }
        let method = *self.chooser.random.pick(&["GET", "HEAD"]);
        let mut touch = Step::new(step.user, method, target);
        touch.alias = true;
        let user = step.user.ok_or("only users have a default bucket")?;
        let call = touch.call(Some(&self.world.users[user].credentials.clone()));
        self.send(&call)?;
        self.learn(&touch)?;
        Ok(false)
    }

    // Finds out when the default bucket and its collection were made.
    fn learn(&mut self, step: &Step) -> Result<(), String> {
        let user = step.user.ok_or("only users have a default bucket")?;
        let (credentials, who) =
            (self.world.users[user].credentials.clone(), self.world.who(step.user).id);
        for (list, id) in defaults(&step.target) {
            if self.world.object(&list, &id).is_some_and(|object| object.time > 0) {
                continue;
            }
            let call = Call::get(format!("/v1{}/{id}", list.path())).login(&credentials);
            let answer = self.send(&call)?;
            let time = answer.json()["data"]["last_modified"].as_i64();
            let time = time.ok_or("the default bucket or its collection was not made")?;
            let permissions = [("write".to_owned(), [who.clone()].into())].into();
            let listing = self.world.listing(&list);
            if listing.clock.is_some_and(|clock| clock >= time) {
                return Err(format!("implicit creation of {id} went back in time"));
            }
            listing.clock = Some(time);
            listing.dead.remove(&id);
            let made = Object { time, permissions, ..Object::default() };
            listing.live.insert(id, made);
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<(), String> {
        let count = 1 + self.chooser.random.below(5);
        let mut steps = Vec::new();
        while steps.len() < count {
            let mut step = self.chooser.step(&self.world);
            // The original knows no other patches here, keeps to the groups and collections as
            // they were before, and fails on a 304.
            let groups = !matches!(step.target.list(), List::Records(..) | List::Collections(_));
            let written = groups || step.method == "DELETE";
            let beyond = step.content != Content::Json
                || (written && step.method != "GET")
                || matches!(step.condition, Condition::NoneMatch(_));
            if step.alias || (beyond && self.flavour == Flavour::Kinto) {
                continue;
            }
            // In ours a batch shows the tombstones that it made itself, and what it wrote has no
            // time yet that another could be greater than.
            let deletes = steps.iter().any(|step: &Step| step.method == "DELETE");
            let writes = steps.iter().any(|step: &Step| !matches!(step.method, "GET" | "HEAD"));
            if deletes && step.ask.shows_tombstones() || writes && step.chooses() {
                continue;
            }
            if let (Target::List(_), false) = (&step.target, step.method == "POST") {
                step.condition = Condition::None;
            }
            steps.push(step);
        }
        let credentials =
            |step: &Step| step.user.map(|user| self.world.users[user].credentials.as_str());
        let requests: Vec<_> = steps.iter().map(|step| step.batched(credentials(step))).collect();
        let from = now_ms();
        let answer = self.send(&Call::post("/v1/batch", &json!({"requests": requests})))?;
        let body = answer.json();
        let responses = body["responses"].as_array().ok_or("no responses to the batch")?;
        if responses.len() != steps.len() {
            return Err(format!("{} responses to {} requests", responses.len(), steps.len()));
        }
        for (step, response) in steps.iter().zip(responses) {
            let headers = response["headers"].as_object().into_iter().flatten();
            let answer = Answer {
                status: response["status"].as_u64().unwrap_or(0) as u16,
                headers: headers
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()))
                    .collect(),
                body: response["body"].to_string().into_bytes(),
            };
            self.judge(step, &answer, from, None).map_err(|why| format!("in a batch: {why}"))?;
        }
        Ok(())
    }

    // As one page of a list, after so many objects, or in a batch.
    fn judge(
        &mut self,
        step: &Step,
        answer: &Answer,
        from: i64,
        at: Option<usize>,
    ) -> Result<(), String> {
        let seen = Seen { answer, from, to: now_ms() };
        let (world, flavour) = (&mut self.world, self.flavour);
        let verdict =
            Judge { world, flavour, step, seen, offset: at.unwrap_or(0), in_batch: at.is_none() }
                .judge();
        verdict.map_err(|why| format!("{why}\n   after {} {}", step.method, step.path()))
    }

    fn send(&mut self, call: &Call) -> Result<Answer, String> {
        self.transcript.push(format!("> {call}"));
        let answer = self.client.send(call).map_err(|error| format!("no answer: {error}"))?;
        self.transcript.push(format!("< {answer}"));
        if answer.status >= 500 {
            return Err(format!("status {}", answer.status));
        }
        Ok(answer)
    }
}

// The bucket and the collection that a request to the default bucket names.
fn defaults(target: &Target) -> Vec<(List, String)> {
    let (bucket, collection) = match target {
        Target::Object(List::Buckets, bucket) => (bucket, None),
        Target::Object(List::Collections(bucket), id) => (bucket, Some(id)),
        Target::List(List::Records(bucket, id)) | Target::Object(List::Records(bucket, id), _) => {
            (bucket, Some(id))
        }
        Target::List(list) | Target::Object(list, _) => match list {
            List::Collections(bucket) | List::Groups(bucket) => (bucket, None),
            List::Buckets | List::Records(..) => return Vec::new(),
        },
    };
    let collection = collection.map(|id| (List::Collections(bucket.clone()), id.clone()));
    [(List::Buckets, bucket.clone())].into_iter().chain(collection).collect()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}
