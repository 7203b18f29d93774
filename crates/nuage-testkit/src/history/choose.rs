//! What a history tries next: few names, few users, so that they meet.

use serde_json::{Map, Value, json};

use crate::history::Flavour;
use crate::history::ask::{Ask, Filter, Test};
use crate::history::step::{Condition, Content, List, Step, Target};
use crate::history::world::{AUTHENTICATED, EVERYONE, Listing, World};
use crate::random::Random;

/// Long ago, when clients choose a time in the past.
const PAST: i64 = 1_500_000_000_000;

/// Chooses steps.
pub(super) struct Chooser {
    pub(super) random: Random,
    pub(super) flavour: Flavour,
    /// The present time in milliseconds, as the test sees it.
    pub(super) now: i64,
    chosen: i64,
}

impl Chooser {
    pub(super) fn new(seed: u64, flavour: Flavour) -> Self {
        Self { random: Random::new(seed), flavour, now: 0, chosen: 0 }
    }

    /// The first step makes sure that there is something to meet.
    pub(super) fn opening(&mut self, world: &World) -> Vec<Step> {
        let bucket = Target::Object(List::Buckets, "b0".to_owned());
        let collection = Target::Object(List::Collections("b0".to_owned()), "c0".to_owned());
        let mut steps = vec![Step::new(Some(0), "PUT", bucket)];
        steps.push(Step::new(Some(0), "PUT", collection));
        for step in &mut steps {
            let permissions = self.permissions(world, step.target.list());
            step.body = Some(json!({"data": {}, "permissions": permissions}));
        }
        steps
    }

    pub(super) fn step(&mut self, world: &World) -> Step {
        let user = self.random.weighted(&[(45, Some(0)), (25, Some(1)), (15, Some(2)), (15, None)]);
        let (bucket, alias) = self.bucket(world, user);
        let kind = self.random.weighted(&[(56, 3), (18, 2), (12, 1), (14, 0)]);
        let list = match kind {
            0 => List::Buckets,
            1 => List::Groups(bucket.clone()),
            2 => List::Collections(bucket.clone()),
            _ => List::Records(bucket.clone(), self.name("c", 2)),
        };
        let methods = [
            (28, ("PUT", true)),
            (16, ("PATCH", true)),
            (if kind == 3 { 10 } else { 4 }, ("DELETE", true)),
            (10, ("GET", true)),
            (2, ("HEAD", true)),
            (9, ("POST", false)),
            (22, ("GET", false)),
            (4, ("HEAD", false)),
            (if kind == 3 { 4 } else { 1 }, ("DELETE", false)),
        ];
        let (mut method, on_object) = self.random.weighted(&methods);
        // In the original, members of a group that went with its bucket stay members.
        let grouped = |(list, listing): (&List, &Listing)| {
            matches!(list, List::Groups(_)) && !listing.live.is_empty()
        };
        let lingering = kind == 0 && method == "DELETE" && world.listings.iter().any(grouped);
        if lingering && self.flavour == Flavour::Kinto {
            method = "GET";
        }
        let target = match on_object {
            false => Target::List(list),
            true if kind == 0 => Target::Object(list, bucket),
            true => {
                let id = self.id(&list);
                Target::Object(list, id)
            }
        };
        let mut step = Step::new(user, method, target);
        // The list of buckets has no alias.
        step.alias = alias && step.target != Target::List(List::Buckets);
        self.fill(world, &mut step);
        // The original empties what is put through the alias without data.
        let data = step.body.as_ref().is_some_and(|body| body.get("data").is_some());
        step.alias &= data || step.method != "PUT" || self.flavour == Flavour::Nuage;
        step
    }

    fn fill(&mut self, world: &World, step: &mut Step) {
        match (step.method, step.target.clone()) {
            ("GET" | "HEAD" | "DELETE", Target::List(list)) => {
                step.ask = self.ask(world, &list);
                // The original forgets the permissions of what such a deletion leaves.
                if step.method == "DELETE" && self.flavour == Flavour::Kinto {
                    step.ask.limit = None;
                }
            }
            ("POST", Target::List(list)) => {
                let mut body = self.body(world, &list, None);
                let with_id = if matches!(list, List::Records(..)) { 60 } else { 90 };
                if self.random.chance(with_id) {
                    body["data"]["id"] = Value::from(self.id(&list));
                }
                step.body = Some(body);
            }
            ("PUT", Target::Object(list, id)) if self.random.chance(90) => {
                step.body = Some(self.body(world, &list, Some(&id)));
            }
            ("PATCH", Target::Object(list, id)) => self.patch(world, step, &list, &id),
            ("DELETE", Target::Object(list, id)) if self.random.chance(20) => {
                step.chosen = self.time(world, &list, Some(&id)).as_i64();
            }
            _ => {}
        }
        step.condition = self.condition(world, &step.target, step.method == "POST");
    }

    fn bucket(&mut self, world: &World, user: Option<usize>) -> (String, bool) {
        let own = user.map(|user| world.users[user].bucket.clone());
        match (self.random.below(100), own) {
            (0..13, Some(own)) => (own, true),
            (13..16, _) => (world.users[0].bucket.clone(), false),
            (16..70, _) => ("b0".to_owned(), false),
            _ => ("b1".to_owned(), false),
        }
    }

    fn name(&mut self, prefix: &str, below: usize) -> String {
        format!("{prefix}{}", self.random.below(below))
    }

    fn id(&mut self, list: &List) -> String {
        match list {
            List::Buckets => self.name("b", 2),
            List::Collections(_) => self.name("c", 2),
            List::Groups(_) => self.name("g", 2),
            List::Records(..) => self.name("r", 5),
        }
    }

    fn condition(&mut self, world: &World, target: &Target, post: bool) -> Condition {
        let time = match target {
            Target::Object(list, id) => world.object(list, id).map(|object| object.time),
            Target::List(list) => world.listings.get(list).and_then(|listing| listing.clock),
        };
        let known = match (time, target) {
            (Some(time), _) => time,
            // What an unknown list answers to its own timestamp cannot be foretold.
            (None, Target::List(_)) if !post => return Condition::None,
            (None, _) => PAST,
        };
        let weights = [(66, 0), (12, 1), (6, 2), (2, 3), (4, 4), (10, 5)];
        match self.random.weighted(&weights) {
            0 => Condition::None,
            1 => Condition::Match(known),
            2 => Condition::Match(known - 1 - self.random.below(3) as i64),
            3 if matches!(target, Target::List(_)) && !post => Condition::None,
            3 => Condition::MatchAny,
            4 => Condition::NoneMatch(known),
            _ => Condition::NoneMatchAny,
        }
    }

    // A timestamp that a client may wish for.
    fn time(&mut self, world: &World, list: &List, id: Option<&str>) -> Value {
        let listing = world.listings.get(list);
        let clock = listing.and_then(|listing| listing.clock).unwrap_or(self.now);
        let own = id.and_then(|id| world.object(list, id)).map(|object| object.time);
        self.chosen += 1;
        let past = match self.flavour {
            Flavour::Kinto => PAST + self.chosen,
            Flavour::Nuage => PAST + self.random.below(4) as i64,
        };
        let far = self.random.below(1_500) as i64;
        Value::from(match self.random.below(10) {
            0..4 => past,
            4..7 => clock.max(self.now) + far,
            7 => clock,
            8 => own.unwrap_or(clock),
            _ => return self.random.pick(&[json!("12"), json!(1.5)]).clone(),
        })
    }

    fn body(&mut self, world: &World, list: &List, id: Option<&str>) -> Value {
        let mut data = self.data(world, list);
        if self.random.chance(14) {
            data.insert("last_modified".to_owned(), self.time(world, list, id));
        }
        if let (Some(id), true) = (id, self.random.chance(10)) {
            let id = if self.random.chance(80) { id } else { "other" };
            data.insert("id".to_owned(), Value::from(id));
        }
        let mut body = json!({"data": data});
        if self.random.chance(40) {
            body["permissions"] = self.permissions(world, list);
            // A body without data keeps what is there. Only the id of a new object is needed.
            if id.is_some() && self.random.chance(30) {
                body.as_object_mut().expect("written as an object").remove("data");
            }
        }
        body
    }

    fn data(&mut self, world: &World, list: &List) -> Map<String, Value> {
        let mut data = Map::new();
        if let List::Groups(_) = list {
            let members: Vec<_> = (0..self.random.below(3)).map(|_| self.member(world)).collect();
            data.insert("members".to_owned(), Value::from(members));
        }
        for field in ["a", "b"] {
            if self.random.chance(65) {
                data.insert(field.to_owned(), self.value());
            }
        }
        if self.random.chance(30) {
            data.insert("n".to_owned(), json!({"x": self.value()}));
        }
        if self.random.chance(30) {
            data.insert("l".to_owned(), self.words());
        }
        data
    }

    fn value(&mut self) -> Value {
        let simple = [
            json!(null),
            json!(""),
            json!("a"),
            json!("Ab"),
            json!("b"),
            json!("é,*%_"),
            json!("1"),
            json!(0),
            json!(1),
            json!(1.0),
            json!(-2),
            json!(2.5),
            json!(true),
            json!(false),
        ];
        // To the original, 0 and 1 are sometimes the same as false and true.
        let zero_or_one = |value: &Value| value.as_f64().is_some_and(|x| x == 0.0 || x == 1.0);
        // It fails on orders of arrays and objects with mixed content.
        let mixed = [json!([]), json!([1]), json!(["a", 1]), json!([null]), json!({"y": [1]})];
        if self.flavour == Flavour::Nuage && self.random.chance(15) {
            return self.random.pick(&mixed).clone();
        }
        match self.random.pick(&simple) {
            value if self.flavour == Flavour::Kinto && zero_or_one(value) => json!(3),
            value => value.clone(),
        }
    }

    fn words(&mut self) -> Value {
        (0..self.random.below(3)).map(|_| *self.random.pick(&["a", "b", "c"])).collect()
    }

    fn member(&mut self, world: &World) -> String {
        let user = self.random.below(world.users.len() + 1);
        world.users.get(user).map_or(AUTHENTICATED, |user| &user.id).to_owned()
    }

    fn principal(&mut self, world: &World) -> String {
        match self.random.below(8) {
            0 => EVERYONE.to_owned(),
            1 => AUTHENTICATED.to_owned(),
            2 => "nobody".to_owned(),
            3..5 => format!("/buckets/b0/groups/{}", self.name("g", 2)),
            _ => self.random.pick(&world.users).id.clone(),
        }
    }

    fn permissions(&mut self, world: &World, list: &List) -> Value {
        let mut permissions = Map::new();
        for name in list.permissions() {
            if self.random.chance(45) {
                let count = self.random.below(3);
                let holders: Vec<_> = (0..count).map(|_| self.principal(world)).collect();
                permissions.insert((*name).to_owned(), Value::from(holders));
            }
        }
        Value::Object(permissions)
    }

    fn patch(&mut self, world: &World, step: &mut Step, list: &List, id: &str) {
        // The original takes permissions that it does not show to be empty when it patches them.
        let own = world.holds(&world.who(step.user), list, id, &["write"]);
        let others = if own || self.flavour == Flavour::Nuage { 3 } else { 0 };
        let kinds =
            [(5, Content::Json), (others, Content::MergePatch), (others, Content::JsonPatch)];
        step.content = self.random.weighted(&kinds);
        step.body = Some(match step.content {
            Content::Json => self.body(world, list, None),
            Content::MergePatch => {
                let mut body = self.body(world, list, None);
                if let Some(data) = body["data"].as_object_mut() {
                    // Null is not a timestamp; elsewhere it takes away.
                    data.insert(self.name("", 1), Value::Null);
                    if self.random.chance(40) {
                        let field = *self.random.pick(&["a", "b", "l"]);
                        data.insert(field.to_owned(), Value::Null);
                    }
                    if self.random.chance(30) {
                        data.insert("n".to_owned(), json!({"x": null, "z": {"u": null, "v": 1}}));
                    }
                }
                body
            }
            Content::JsonPatch => self.operations(world, list, id),
        });
    }

    fn operations(&mut self, world: &World, list: &List, id: &str) -> Value {
        let object = world.object(list, id);
        let count = self.random.below(3);
        let operations = (0..count).map(|_| {
            let field = *self.random.pick(&["a", "b", "a b"]);
            let value = match object.and_then(|object| object.data.get(field)) {
                Some(value) if self.random.chance(60) => value.clone(),
                _ => self.value(),
            };
            let path = format!("/data/{field}");
            let name = *self.random.pick(&["read", "write"]);
            let holder = self.principal(world).replace('/', "~1");
            match self.random.below(7) {
                0 => json!({"op": "add", "path": path, "value": value}),
                1 => json!({"op": "replace", "path": path, "value": value}),
                2 => json!({"op": "remove", "path": path}),
                3 => json!({"op": "test", "path": path, "value": value}),
                4 => json!({"op": "remove", "path": format!("/permissions/{name}/{holder}")}),
                _ => json!({"op": "add", "path": format!("/permissions/{name}/{holder}")}),
            }
        });
        operations.collect()
    }

    fn ask(&mut self, world: &World, list: &List) -> Ask {
        let mut ask = Ask::default();
        for _ in 0..self.random.weighted(&[(5, 0), (3, 1), (2, 2)]) {
            let filter = self.filter(world, list);
            // A parameter given twice means something else.
            if ask.filters.iter().all(|other| other.name() != filter.name()) {
                ask.filters.push(filter);
            }
        }
        if self.random.chance(25) {
            ask.since = Some(self.bound(world, list));
        }
        if self.random.chance(10) {
            ask.before = Some(self.bound(world, list));
        }
        if self.random.chance(40) {
            let fields: &[&str] = match self.flavour {
                Flavour::Kinto => &["a", "b", "n.x", "id", "last_modified"],
                Flavour::Nuage => &["a", "b", "n.x", "n", "l", "id", "last_modified", "deleted"],
            };
            for _ in 0..=self.random.below(3) {
                let field = (*self.random.pick(fields)).to_owned();
                if ask.sort.iter().all(|(_, other)| *other != field) {
                    ask.sort.push((self.random.chance(50), field));
                }
            }
        }
        if self.random.chance(45) {
            ask.limit = Some(1 + self.random.below(3));
        }
        // The original shows no difference between tombstones and records without these fields.
        let tellable = self.flavour == Flavour::Nuage || !ask.shows_tombstones();
        if tellable && self.random.chance(15) {
            let fields = [&["a"][..], &["b", "n.x"], &["nothing", "l"], &["id"]];
            let fields = self.random.pick(&fields).iter();
            ask.fields = Some(fields.map(|field| (*field).to_owned()).collect());
        }
        ask
    }

    fn bound(&mut self, world: &World, list: &List) -> i64 {
        let listing = world.listings.get(list);
        let live = listing.into_iter().flat_map(|listing| listing.live.values());
        let mut times: Vec<_> = live.map(|object| object.time).collect();
        let dead = listing.into_iter().flat_map(|listing| listing.dead.values());
        times.extend(dead.map(|dead| dead.time));
        times.extend(listing.and_then(|listing| listing.clock));
        times.push(0);
        *self.random.pick(&times)
    }

    fn filter(&mut self, world: &World, list: &List) -> Filter {
        let order = [Test::Eq, Test::Not, Test::Gt, Test::Min, Test::Lt, Test::Max];
        let (field, test, value) = match self.random.below(12) {
            0 => ("last_modified", *self.random.pick(&order), json!(self.bound(world, list))),
            1 => ("deleted", *self.random.pick(&[Test::Eq, Test::Not]), json!(true)),
            2 => {
                let ids = json!([self.id(list), self.id(list)]);
                ("id", *self.random.pick(&[Test::In, Test::Exclude]), ids)
            }
            3 => {
                let like = ["r*", "1", "*C*", "R1", "*0", "r*1*"];
                ("id", Test::Like, json!(self.random.pick(&like)))
            }
            4 => ("l", Test::Contains, json!(self.random.pick(&["a", "b"]))),
            5 => ("l", *self.random.pick(&[Test::Contains, Test::ContainsAny]), self.words()),
            // In the original this shows what other filters, and permissions, hide.
            6 if self.flavour == Flavour::Nuage => {
                let field = *self.random.pick(&["a", "n.x", "l", "n"]);
                (field, Test::Has, json!(self.random.chance(50)))
            }
            7 => {
                let values: Vec<_> = (0..1 + self.random.below(3)).map(|_| self.scalar()).collect();
                ("a", *self.random.pick(&[Test::In, Test::Exclude]), Value::from(values))
            }
            8 if self.flavour == Flavour::Nuage => {
                let like = ["a", "*b", "A*", "*", "%", "_", "é*", "a*a"];
                (*self.random.pick(&["a", "b", "l"]), Test::Like, json!(self.random.pick(&like)))
            }
            _ => {
                let field = *self.random.pick(&["a", "b", "n.x"]);
                (field, *self.random.pick(&order), self.scalar())
            }
        };
        Filter { test, field: field.to_owned(), value }
    }

    // Commas separate the items of some filters.
    fn scalar(&mut self) -> Value {
        loop {
            let value = self.value();
            let text = value.as_str().unwrap_or("-");
            if !value.is_array() && !value.is_object() && !text.is_empty() && !text.contains(',') {
                return value;
            }
        }
    }
}
