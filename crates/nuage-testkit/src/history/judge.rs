//! Whether an answer is right, and what the server is believed to hold after it.

use serde_json::{Map, Value};

use crate::client::Answer;
use crate::history::Flavour;
use crate::history::change::{self, Change};
use crate::history::step::{Condition, List, Step, Target};
use crate::history::world::{Listing, Object, Tombstone, Who, World, seeing};

/// An answer, and between which moments it was made (in milliseconds since 1970).
pub(super) struct Seen<'a> {
    pub(super) answer: &'a Answer,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Compares the answer to a step with what it must be.
pub(super) struct Judge<'a> {
    pub(super) world: &'a mut World,
    pub(super) flavour: Flavour,
    pub(super) step: &'a Step,
    pub(super) seen: Seen<'a>,
    /// How many objects the pages before this one had.
    pub(super) offset: usize,
    /// Whether others of the same unit of work came before: what it took from somebody still counts.
    pub(super) in_batch: bool,
}

/// Writes of a history that choose a time in the past.
const PAST_WRITES_MAX: i64 = 100;

type Verdict = Result<(), String>;

impl Judge<'_> {
    /// Changes the world as the step did.
    pub(super) fn judge(mut self) -> Verdict {
        let who = self.world.who(self.step.user);
        if self.orphan() {
            // The original answers whoever asks. Not to tell strangers is as good.
            let stranger = !self.world.may_read_all(&who, self.step.target.list());
            let silent = self.flavour == Flavour::Nuage && stranger;
            return self.error(404, 111).or_else(|why| match silent {
                true => self.refused(&who),
                false => Err(why),
            });
        }
        match (self.step.method, self.step.target.clone()) {
            ("GET" | "HEAD", Target::List(list)) => self.read_list(&who, &list),
            ("POST", Target::List(list)) => self.post(&who, &list),
            ("DELETE", Target::List(list)) => self.delete_list(&who, &list),
            ("GET" | "HEAD", Target::Object(list, id)) => self.read_object(&who, &list, &id),
            ("PUT", Target::Object(list, id)) => self.put(&who, &list, &id),
            ("PATCH", Target::Object(list, id)) => self.patch(&who, &list, &id),
            ("DELETE", Target::Object(list, id)) => self.delete(&who, &list, &id),
            (method, target) => unreachable!("no history tries {method} {target:?}"),
        }
    }

    // A write to a record, or a new one, whose collection is not there.
    fn orphan(&self) -> bool {
        let list = self.step.target.list();
        let writes = match self.step.target {
            Target::List(_) => self.step.method == "POST",
            Target::Object(..) => !matches!(self.step.method, "GET" | "HEAD"),
        };
        writes && matches!(list, List::Records(..)) && !self.world.has_parent(list)
    }

    fn read_list(&mut self, who: &Who, list: &List) -> Verdict {
        let Some(mut found) = self.visible(who, list, seeing(list)) else {
            return self.refused(who);
        };
        if !self.world.has_parent(list) {
            return self.error(404, 111);
        }
        let (clock, is_whole) = self.clock(who, list);
        match (self.step.condition, clock) {
            (Condition::Match(time), Some(clock)) if time != clock => return self.error(412, 114),
            (Condition::NoneMatch(time), Some(clock)) if time == clock && is_whole => {
                self.etag(list)?;
                return self.status(304);
            }
            (Condition::NoneMatchAny, _) => return self.error(412, 114),
            (Condition::Match(_), None) if self.seen.answer.status == 412 => {
                return self.error(412, 114);
            }
            _ => {}
        }
        self.status(200)?;
        match is_whole {
            true => self.etag(list)?,
            false => self.etag_of_part(who, list, found.is_empty())?,
        }
        let ask = &self.step.ask;
        if self.step.method == "HEAD" {
            let live = found.iter().filter(|object| !is_tombstone(self.world, list, object));
            let total = live.count().to_string();
            for name in ["Total-Objects", "Total-Records"] {
                let got = self.seen.answer.header(name);
                ensure(got == Some(&total), || format!("{name}: {got:?} instead of {total}"))?;
            }
            return Ok(());
        }
        found.drain(..self.offset.min(found.len()));
        let limit = ask.limit.unwrap_or(usize::MAX);
        let next = self.seen.answer.header("Next-Page").is_some();
        let more = found.len() > limit;
        ensure(next == more, || format!("Next-Page is {next} instead of {more}"))?;
        found.truncate(limit);
        let wanted = found.iter().map(|object| Value::Object(ask.select(object))).collect();
        let body = self.seen.answer.json();
        same_values(list, &body["data"], &Value::Array(wanted))
    }

    fn delete_list(&mut self, who: &Who, list: &List) -> Verdict {
        let Some(mut found) = self.visible(who, list, &["write"]) else {
            // Who may read would learn it anyway.
            let told = self.flavour == Flavour::Nuage && self.world.may_read_all(who, list);
            return match self.seen.answer.status {
                404 if told && !self.world.has_parent(list) => self.error(404, 111),
                _ => self.refused(who),
            };
        };
        if !self.world.has_parent(list) {
            return self.error(404, 111);
        }
        found.retain(|object| !is_tombstone(self.world, list, object));
        match (self.step.condition, self.clock(who, list).0) {
            (Condition::Match(time), Some(clock)) if time != clock => return self.error(412, 114),
            (Condition::NoneMatchAny, _) => return self.error(412, 114),
            (Condition::Match(_), None) if self.seen.answer.status == 412 => {
                return self.error(412, 114);
            }
            _ => {}
        }
        self.status(200)?;
        found.truncate(self.step.ask.limit.unwrap_or(usize::MAX));
        let body = self.seen.answer.json();
        let answered = body["data"].as_array().cloned().unwrap_or_default();
        let ids = |objects: &mut dyn Iterator<Item = &Map<String, Value>>| {
            let mut ids: Vec<_> = objects.map(|object| object["id"].to_string()).collect();
            ids.sort();
            ids
        };
        let wanted = ids(&mut found.iter());
        let got = ids(&mut answered.iter().filter_map(Value::as_object));
        ensure(got == wanted, || format!("deleted {got:?} instead of {wanted:?}"))?;
        let mut times: Vec<_> =
            answered.iter().filter_map(|t| t["last_modified"].as_i64()).collect();
        times.sort_unstable();
        for time in times {
            self.place(list, None, None, time)?;
        }
        for tombstone in &answered {
            let (id, time) = (&tombstone["id"], tombstone["last_modified"].as_i64().unwrap_or(0));
            ensure(tombstone["deleted"] == true, || format!("not a tombstone: {tombstone}"))?;
            self.world.remove(list, id.as_str().unwrap_or(""), time);
        }
        Ok(())
    }

    fn post(&mut self, who: &Who, list: &List) -> Verdict {
        let body = self.step.body.clone().unwrap_or(Value::Null);
        let id = body["data"]["id"].as_str().map(str::to_owned);
        let existing = id.as_deref().and_then(|id| self.world.object(list, id));
        if let (Some(existing), Some(id)) = (existing, &id) {
            let time = existing.time;
            if !self.world.may_see(who, list, id) {
                return self.refused(who);
            }
            match self.step.condition {
                Condition::NoneMatchAny => return self.conflict(who, list, id),
                Condition::Match(wanted) if wanted != time => return self.conflict(who, list, id),
                _ => {}
            }
            self.status(200)?;
            return self.shows(who, list, id);
        }
        if !self.world.may_create(who, list) {
            return self.refused(who);
        }
        if matches!(self.step.condition, Condition::Match(_) | Condition::MatchAny) {
            return self.error(412, 114);
        }
        let change = change::put(None, Some(&body));
        self.status(201)?;
        let answered = self.seen.answer.json()["data"]["id"].as_str().unwrap_or("").to_owned();
        ensure(id.as_ref().is_none_or(|id| *id == answered), || "another id".to_owned())?;
        ensure(!answered.is_empty(), || "no id".to_owned())?;
        self.write(who, list, &answered, change)
    }

    fn read_object(&mut self, who: &Who, list: &List, id: &str) -> Verdict {
        if !self.world.may_see(who, list, id) {
            return self.refused(who);
        }
        let Some(time) = self.world.object(list, id).map(|object| object.time) else {
            let errno = if self.world.has_parent(list) { 110 } else { 111 };
            return self.error(404, errno);
        };
        match self.step.condition {
            Condition::Match(wanted) if wanted != time => return self.conflict(who, list, id),
            Condition::NoneMatchAny => return self.conflict(who, list, id),
            Condition::NoneMatch(held) if held == time => {
                let etag = self.seen.answer.etag();
                ensure(etag == Some(time), || format!("ETag {etag:?} instead of {time}"))?;
                return self.status(304);
            }
            _ => {}
        }
        self.status(200)?;
        self.shows(who, list, id)
    }

    fn put(&mut self, who: &Who, list: &List, id: &str) -> Verdict {
        let existing = self.world.object(list, id).cloned();
        let create = existing.is_none() || self.step.condition == Condition::NoneMatchAny;
        let allowed = match create {
            true => self.world.may_create(who, list),
            false => self.world.may_write(who, list, id),
        };
        if !allowed {
            return self.refused(who);
        }
        let body = self.step.body.clone();
        let own = body.as_ref().and_then(|body| body["data"]["id"].as_str());
        let misnamed = own.is_some_and(|own| own != id);
        if misnamed && self.seen.answer.status == 400 {
            return self.error(400, 107);
        }
        if !self.world.has_parent(list) {
            return self.error(404, 111);
        }
        match (self.step.condition, &existing) {
            (Condition::NoneMatchAny, Some(_)) => return self.conflict(who, list, id),
            (Condition::Match(wanted), Some(object)) if wanted != object.time => {
                return self.conflict(who, list, id);
            }
            (Condition::Match(_) | Condition::MatchAny, None) => return self.error(412, 114),
            _ => {}
        }
        if misnamed {
            return self.error(400, 107);
        }
        self.status(if existing.is_some() { 200 } else { 201 })?;
        let change = change::put(existing.as_ref(), body.as_ref());
        self.write(who, list, id, change)
    }

    fn patch(&mut self, who: &Who, list: &List, id: &str) -> Verdict {
        let Some(existing) = self.changeable(who, list, id)? else { return Ok(()) };
        let body = self.step.body.clone().unwrap_or(Value::Null);
        if self.refuses(&existing) {
            return self.conflict(who, list, id);
        }
        let Some(change) = change::patch(&existing, self.step.content, &body) else {
            return self.error(400, 107);
        };
        self.status(200)?;
        self.write(who, list, id, change)
    }

    fn delete(&mut self, who: &Who, list: &List, id: &str) -> Verdict {
        let Some(existing) = self.changeable(who, list, id)? else { return Ok(()) };
        if self.refuses(&existing) {
            return self.conflict(who, list, id);
        }
        self.status(200)?;
        let body = self.seen.answer.json();
        let time = body["data"]["last_modified"].as_i64().unwrap_or(0);
        self.place(list, Some(id), self.step.chosen, time)?;
        let wanted = Value::Object(Listing::tombstone(id, time));
        self.world.remove(list, id, time);
        same_values(list, &body["data"], &wanted)
    }

    // The object, if it is there and may be changed; else the answer is judged.
    fn changeable(&self, who: &Who, list: &List, id: &str) -> Result<Option<Object>, String> {
        let Some(object) = self.world.object(list, id) else {
            return match self.world.may_read_all(who, list) {
                false => self.refused(who),
                true if self.world.has_parent(list) => self.error(404, 110),
                true => self.error(404, 111),
            }
            .map(|()| None);
        };
        if !self.world.may_write(who, list, id) {
            return self.refused(who).map(|()| None);
        }
        Ok(Some(object.clone()))
    }

    fn refuses(&self, object: &Object) -> bool {
        match self.step.condition {
            Condition::NoneMatchAny => true,
            Condition::Match(wanted) => wanted != object.time,
            _ => false,
        }
    }

    // What of a list one is shown, in order; `None` if one may not ask.
    fn visible(&self, who: &Who, list: &List, shared: &[&str]) -> Option<Vec<Map<String, Value>>> {
        let all = match shared {
            ["write"] => self.world.may_write_all(who, list),
            _ => self.world.may_read_all(who, list),
        };
        let nothing = Listing::default();
        let listing = self.world.listings.get(list).unwrap_or(&nothing);
        let live = listing.live.iter().filter(|(_, object)| all || who.holds(object, shared));
        let mut found: Vec<_> = live.map(|(id, object)| object.show(id)).collect();
        if !all && found.is_empty() && !self.world.may_create(who, list) {
            return None;
        }
        if self.step.ask.shows_tombstones() {
            let theirs = self.flavour == Flavour::Nuage;
            // Ours also tells those who could read it.
            let told = |dead: &Tombstone| all || theirs && who.is_in(&dead.permissions, shared);
            let dead = listing.dead.iter().filter(|(_, dead)| told(dead));
            found.extend(dead.map(|(id, dead)| Listing::tombstone(id, dead.time)));
        }
        found.retain(|object| self.step.ask.matches(object));
        found.sort_by(|a, b| self.step.ask.order(a, b));
        Some(found)
    }

    // Takes the timestamp from the answer, if it is a possible one, and checks the rest.
    fn write(&mut self, who: &Who, list: &List, id: &str, change: Change) -> Verdict {
        let time = self.seen.answer.json()["data"]["last_modified"].as_i64();
        let time = time.ok_or("no timestamp in the answer")?;
        self.place(list, Some(id), change.chosen, time)?;
        let mut permissions = change.permissions;
        permissions.entry("write".to_owned()).or_default().insert(who.id.clone());
        let listing = self.world.listing(list);
        listing.dead.remove(id);
        listing.live.insert(id.to_owned(), Object { data: change.data, time, permissions });
        // Who wrote a group may be in it since.
        let who = self.world.who(self.step.user);
        self.shows(&who, list, id)
    }

    // The answer is the object, with its permissions if he may write it by his own right.
    fn shows(&self, who: &Who, list: &List, id: &str) -> Verdict {
        let object = self.world.object(list, id).ok_or("the object is not there")?;
        let etag = self.seen.answer.etag();
        ensure(etag == Some(object.time), || format!("ETag {etag:?}, not {}", object.time))?;
        if self.step.method == "HEAD" {
            return Ok(());
        }
        let body = self.seen.answer.json();
        same_values(list, &body["data"], &Value::Object(object.show(id)))?;
        let mut wanted = Map::new();
        if who.holds(object, &["write"]) {
            for (name, holders) in &object.permissions {
                wanted.insert(name.clone(), holders.iter().cloned().collect());
            }
        }
        let mut got = body["permissions"].clone();
        for holders in got.as_object_mut().into_iter().flatten().map(|(_, holders)| holders) {
            let holders = holders.as_array_mut().ok_or("holders are not a list")?;
            holders.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
        let wanted = Value::Object(wanted);
        ensure(got == wanted, || format!("permissions {got} instead of {wanted}"))
    }

    // 412 with the object for those who may see it.
    fn conflict(&self, who: &Who, list: &List, id: &str) -> Verdict {
        self.error(412, 114)?;
        if self.step.method == "HEAD" {
            return Ok(());
        }
        let shown = self.world.show(list, id).map_or(Value::Null, Value::Object);
        let existing = &self.seen.answer.json()["details"]["existing"];
        if !self.world.may_see(who, list, id) && self.flavour == Flavour::Nuage {
            return ensure(existing.is_null(), || "shown to one who may not see it".to_owned());
        }
        same_values(list, existing, &shown)
    }

    // Whether a write may have got that timestamp, and what the list's is then.
    fn place(&mut self, list: &List, id: Option<&str>, chosen: Option<i64>, time: i64) -> Verdict {
        let (from, to, flavour) = (self.seen.from, self.seen.to, self.flavour);
        let sees_all = self.world.may_read_all(&self.world.who(self.step.user), list);
        let listing = self.world.listing(list);
        let own = id.and_then(|id| listing.live.get(id)).map(|object| object.time);
        let chosen = chosen.filter(|chosen| own.is_none_or(|own| *chosen > own));
        // Ours gives past times to those alone who may see which ones are taken.
        let is_past = |chosen: &i64| listing.clock.is_some_and(|clock| *chosen < clock);
        let is_kept = |chosen: &i64| flavour == Flavour::Kinto || sees_all || !is_past(chosen);
        let chosen = chosen.filter(is_kept);
        let others = listing.live.iter().map(|(id, object)| (id, object.time));
        let others = others.chain(listing.dead.iter().map(|(id, dead)| (id, dead.time)));
        let taken = others.filter(|(other, _)| id != Some(other)).any(|(_, t)| t == time);
        // The original lets clients choose the same past twice.
        let taken = taken && (flavour == Flavour::Nuage || Some(time) != chosen);
        ensure(!taken, || format!("another object has the timestamp {time}"))?;
        // Past times do not move what ours shows, and yet take a place each.
        let hidden = if flavour == Flavour::Nuage { PAST_WRITES_MAX } else { 0 };
        let next = match listing.clock {
            Some(clock) => time >= from.max(clock + 1) && time <= to.max(clock + 1 + hidden),
            // The original starts afresh with a list that was dropped.
            None => time >= from && (time > listing.floor || flavour == Flavour::Kinto),
        };
        // A past time that another object has is raised to the next free one.
        let raised = |chosen| flavour == Flavour::Nuage && time > chosen && time < chosen + 100;
        match (chosen, listing.clock) {
            (Some(chosen), Some(clock)) if chosen < clock => {
                let fits = time == chosen || raised(chosen);
                return ensure(fits, || format!("not {chosen}: {time}"));
            }
            (Some(chosen), Some(clock)) if chosen > clock => {
                ensure(time == chosen, || format!("{time} instead of {chosen}"))?;
            }
            (Some(chosen), Some(_)) if time == chosen + 1 => {}
            (Some(chosen), None) => {
                let fits = time == chosen || next || raised(chosen);
                ensure(fits, || format!("not {chosen}: {time}"))?;
                listing.floor = listing.floor.max(time);
                return Ok(());
            }
            _ => ensure(next, || {
                let clock = (listing.clock, listing.floor);
                format!("timestamp {time} out of order: list {clock:?}, now {from} to {to}")
            })?,
        }
        listing.clock = Some(time);
        Ok(())
    }

    // The list's timestamp for somebody, as far as it is known, and whether it is that of all of it.
    fn clock(&mut self, who: &Who, list: &List) -> (Option<i64>, bool) {
        let is_whole = self.flavour == Flavour::Kinto || self.world.may_read_all(who, list);
        let shown = self.shown_to(who, list);
        let listing = self.world.listing(list);
        match is_whole {
            true => (listing.clock, true),
            false => {
                (listing.first.map(|first| shown.map_or(first, |shown| shown.max(first))), false)
            }
        }
    }

    // The greatest time of what somebody sees of a list, deleted objects included.
    fn shown_to(&self, who: &Who, list: &List) -> Option<i64> {
        let listing = self.world.listings.get(list)?;
        let live = listing.live.values().map(|object| (&object.permissions, object.time));
        let dead = listing.dead.values().map(|dead| (&dead.permissions, dead.time));
        let seen = live.chain(dead).filter(|(all, _)| who.is_in(all, seeing(list)));
        seen.map(|(_, time)| time).max()
    }

    // The timestamp that a list shows whoever sees part of it.
    fn etag_of_part(&mut self, who: &Who, list: &List, is_empty: bool) -> Verdict {
        let etag = self.seen.answer.etag().ok_or("no ETag")?;
        let shown = self.shown_to(who, list);
        let (clock, is_whole) = self.clock(who, list);
        debug_assert!(!is_whole);
        let since = self.step.ask.newer_than().filter(|_| is_empty && self.step.method == "GET");
        let in_batch = self.in_batch;
        let listing = self.world.listing(list);
        let is_possible =
            |etag: i64| etag >= listing.ended && listing.clock.is_none_or(|clock| etag <= clock);
        // Where nothing was written yet, all of it is there as well.
        let begins = listing.live.is_empty() && listing.dead.is_empty();
        if in_batch && clock.is_none_or(|clock| clock <= etag) && is_possible(etag) {
            listing.clock = listing.clock.or(begins.then_some(etag));
            return Ok(());
        }
        if let (Some(clock), Some(first)) = (clock, listing.first) {
            let told = since.filter(|since| *since >= first).map_or(clock, |s| s.min(clock));
            return ensure(etag == told, || format!("ETag {etag}, a part is at {told}"));
        }
        // The first time is not known yet: what is shown may be it.
        if Some(etag) == shown || since == Some(etag) {
            return Ok(());
        }
        let fits = shown.is_none_or(|shown| etag > shown) && is_possible(etag);
        ensure(fits, || format!("ETag {etag}, a part is at {shown:?}, and all {listing:?}"))?;
        listing.clock = listing.clock.or(begins.then_some(etag));
        listing.first = Some(etag);
        Ok(())
    }

    // The list's timestamp, learned at the first sight of it.
    fn etag(&mut self, list: &List) -> Verdict {
        let etag = self.seen.answer.etag().ok_or("no ETag")?;
        let (flavour, listing) = (self.flavour, self.world.listing(list));
        match listing.clock {
            Some(clock) => ensure(etag == clock, || format!("ETag {etag}, list at {clock}")),
            None => {
                let early = etag < listing.floor && flavour == Flavour::Nuage;
                ensure(!early, || format!("ETag {etag} went back before {}", listing.floor))?;
                listing.clock = Some(etag);
                Ok(())
            }
        }
    }

    fn refused(&self, who: &Who) -> Verdict {
        if who.anonymous { self.error(401, 104) } else { self.error(403, 121) }
    }

    fn status(&self, wanted: u16) -> Verdict {
        let got = self.seen.answer.status;
        ensure(got == wanted, || format!("status {got} instead of {wanted}"))
    }

    fn error(&self, status: u16, errno: u16) -> Verdict {
        self.status(status)?;
        if self.step.method == "HEAD" {
            return Ok(());
        }
        let body = self.seen.answer.json();
        ensure(body["code"] == status && body["errno"] == errno, || {
            format!("errno {} instead of {errno}", body["errno"])
        })
    }
}

fn is_tombstone(world: &World, list: &List, object: &Map<String, Value>) -> bool {
    let id = object["id"].as_str().unwrap_or("");
    world.object(list, id).is_none()
}

// Numbers by value; a group without members is a group with none.
fn same_values(list: &List, got: &Value, wanted: &Value) -> Verdict {
    let fill = |value: &Value| {
        let mut value = value.clone();
        let mut fill_one = |object: &mut Value| {
            let group = matches!(list, List::Groups(_)) && object.get("deleted").is_none();
            if let Some(object) = object.as_object_mut().filter(|_| group) {
                object.entry("members").or_insert_with(|| Value::Array(Vec::new()));
            }
        };
        match &mut value {
            Value::Array(objects) => objects.iter_mut().for_each(&mut fill_one),
            object => fill_one(object),
        }
        value
    };
    let (got, wanted) = (fill(got), fill(wanted));
    ensure(alike(&got, &wanted), || format!("{got}\n   instead of {wanted}"))
}

fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let inside = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| alike(a, b));
            a.len() == b.len() && a.iter().all(inside)
        }
        (a, b) => nuage_model::same(a, b),
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}
