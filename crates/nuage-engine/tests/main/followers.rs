//! A follower that is not woken, that loses something when it stops waiting, or that does not come
//! back after a refusal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nuage_engine::{
    Attempts, Engine, EngineError, Entry, FeedPage, FeedQuery, Follow, Intent, Settings,
};
use nuage_model::{CollectionPath, Permissions, Principal, RecordPath};
use nuage_testkit::fault::FaultStore;
use nuage_testkit::random::Random;

use crate::houses::{House, change, collection, delete, put, records, world};

/// Sooner than a subscription looks by itself.
const DEADLINE: Duration = Duration::from_secs(25);
const FOLLOWERS: usize = 12;
const WRITERS: usize = 4;
const WRITES: usize = 150;

/// Heads are compared once, so that nothing but wake-ups is tried.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.feed.look_ms = 24 * 60 * 60 * 1_000;
    settings.feed.compact_ms = 0;
    settings
}

fn query(user: &str) -> FeedQuery {
    FeedQuery { user: Some(user.into()), collection: records(), limit: 7, sum: false }
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} does not come"),
    }
}

/// Writes a record that these may read, as alice.
async fn share(engine: &Arc<Engine>, path: &RecordPath, body: &str, readers: &[&str]) {
    loop {
        let caller = Some("alice".into());
        let mut session = engine.session(caller, &Attempts::at(path.clone())).await;
        let opened = session.open(path.clone(), Intent::Put).await.unwrap();
        let mut change = change(body);
        let mut permissions = Permissions::default();
        permissions.set("write", [Principal::from("alice")].into());
        permissions.set("read", readers.iter().map(|reader| Principal::from(*reader)).collect());
        change.permissions = permissions;
        session.put(&opened, change).await.unwrap();
        if session.commit().await.is_ok() {
            return;
        }
    }
}

/// What a device has.
#[derive(Default)]
struct Mirror(BTreeMap<String, String>);

impl Mirror {
    fn apply(&mut self, page: FeedPage) {
        if page.reset {
            self.0.clear();
        }
        for entry in page.entries {
            match entry {
                Entry::Change(record) => {
                    self.0.insert(record.id.to_string(), record.body().to_owned());
                }
                Entry::Removal(id) => {
                    self.0.remove(id.as_str());
                }
            }
        }
    }
}

/// Follows until this record is there, and often stops waiting in the middle.
async fn follow_until(mut follow: Follow, mut random: Random, last: &str) -> Mirror {
    let mut mirror = Mirror::default();
    loop {
        let patience = match random.below(2) {
            0 => Duration::from_micros(random.below(2_000) as u64),
            _ => Duration::from_secs(3_600),
        };
        match tokio::time::timeout(patience, follow.next()).await {
            Ok(page) => mirror.apply(page.unwrap()),
            // It is a client that went away in the middle of a page, or of the wait for one.
            Err(_) => continue,
        }
        if follow.is_at_rest() && mirror.0.contains_key(last) {
            return mirror;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_come_to_rest_with_all_that_was_written() {
    let seed = match std::env::var("NUAGE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    eprintln!("NUAGE_SEED={seed}");
    let mut random = Random::new(seed);
    let house = House::with_collection(settings()).await;
    let people: Vec<String> = (0..FOLLOWERS).map(|number| format!("person{number}")).collect();
    for person in &people {
        // So that there is something to see from the beginning.
        share(&house.engine, &records().record(format!("of-{person}")), "{}", &[person]).await;
    }
    let followers: Vec<_> = people
        .iter()
        .map(|person| {
            let follow = house.engine.follow(query(person), None);
            tokio::spawn(follow_until(follow, Random::new(random.number()), "last"))
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (engine, people) = (Arc::clone(&house.engine), people.clone());
            let mut random = Random::new(random.number());
            tokio::spawn(async move {
                for number in 0..WRITES {
                    let path = records().record(format!("r{writer}-{}", random.below(20)));
                    let readers: Vec<&str> =
                        (0..random.below(3)).map(|_| random.pick(&people).as_str()).collect();
                    share(&engine, &path, &format!("{{\"n\":{number}}}"), &readers).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let everyone: Vec<&str> = people.iter().map(String::as_str).collect();
    share(&house.engine, &records().record("last"), "{}", &everyone).await;
    for (person, follower) in people.iter().zip(followers) {
        let what = format!("rest of {person}, seed {seed},");
        let mirror = soon(&what, follower).await.unwrap();
        let expected = from_the_beginning(&house.engine, person).await;
        assert_eq!(mirror.0, expected.0, "what {person} has, seed {seed}");
    }
    assert_eq!(house.engine.feed_statistics().subscriptions, 0);
}

async fn from_the_beginning(engine: &Arc<Engine>, person: &str) -> Mirror {
    let (mut mirror, mut token) = (Mirror::default(), None);
    loop {
        let page = engine.feed(&query(person), token.as_deref()).await.unwrap();
        token = Some(page.token.clone());
        let more = page.more;
        mirror.apply(page);
        if !more {
            return mirror;
        }
    }
}

/// Pages until the feed is at rest with this in it, or lost.
async fn await_rest(follow: &mut Follow, mirror: &mut Mirror, expected: &[&str]) {
    let wait = async {
        while !follow.is_at_rest()
            || !mirror.0.keys().map(String::as_str).eq(expected.iter().copied())
        {
            mirror.apply(follow.next().await.unwrap());
        }
    };
    soon(&format!("rest with {expected:?}"), wait).await;
}

/// Pages until the follower is refused.
async fn await_refusal(follow: &mut Follow, mirror: &mut Mirror) -> EngineError {
    let wait = async {
        loop {
            match follow.next().await {
                Ok(page) => mirror.apply(page),
                Err(error) => return error,
            }
        }
    };
    soon("a refusal", wait).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_let_in_again() {
    let house = House::with_collection(settings()).await;
    let record = records().record("r");
    share(&house.engine, &record, "{}", &["bob"]).await;
    let mut follow = house.engine.follow(query("bob"), None);
    let mut mirror = Mirror::default();
    for _ in 0..3 {
        await_rest(&mut follow, &mut mirror, &["r"]).await;
        // Nothing is left to see of the collection ...
        share(&house.engine, &record, "{}", &[]).await;
        let error = await_refusal(&mut follow, &mut mirror).await;
        assert!(matches!(error, EngineError::Forbidden), "{error}");
        assert!(mirror.0.is_empty(), "{:?}", mirror.0);
        // ... and there is again.
        share(&house.engine, &record, "{}", &["bob"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_comes_back_is_followed_again() {
    let house = House::with_collection(settings()).await;
    share(&house.engine, &records().record("r"), "{}", &[]).await;
    let mut follow = house.engine.follow(query("alice"), None);
    let mut mirror = Mirror::default();
    await_rest(&mut follow, &mut mirror, &["r"]).await;
    let mut session = house.session("alice").await;
    delete(&mut session, &collection()).await;
    session.commit().await.unwrap();
    let error = await_refusal(&mut follow, &mut mirror).await;
    assert!(matches!(error, EngineError::UnknownParent(_)), "{error}");
    let mut session = house.session("alice").await;
    put(&mut session, &collection(), "{}").await;
    session.commit().await.unwrap();
    share(&house.engine, &records().record("s"), "{}", &[]).await;
    await_rest(&mut follow, &mut mirror, &["s"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_a_group_is_shown_what_it_may_see() {
    let house = House::with_collection(settings()).await;
    let group = CollectionPath::groups("b".into()).record("g");
    share(&house.engine, &records().record("own"), "{}", &["bob"]).await;
    share(&house.engine, &records().record("shared"), "{}", &["/buckets/b/groups/g"]).await;
    let mut follow = house.engine.follow(query("bob"), None);
    let mut mirror = Mirror::default();
    for _ in 0..3 {
        await_rest(&mut follow, &mut mirror, &["own"]).await;
        share(&house.engine, &group, r#"{"members":["bob"]}"#, &[]).await;
        await_rest(&mut follow, &mut mirror, &["own", "shared"]).await;
        share(&house.engine, &group, r#"{"members":[]}"#, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_into_a_group_is_shown_what_the_group_may_see() {
    let house = House::with_collection(settings()).await;
    let group = |name: &str| CollectionPath::groups("b".into()).record(name);
    share(&house.engine, &records().record("own"), "{}", &["bob"]).await;
    share(&house.engine, &records().record("shared"), "{}", &["/buckets/b/groups/g"]).await;
    share(&house.engine, &group("inner"), r#"{"members":["bob"]}"#, &[]).await;
    let mut follow = house.engine.follow(query("bob"), None);
    let mut mirror = Mirror::default();
    for members in ["/buckets/b/groups/inner", "system.Authenticated", "bob"] {
        await_rest(&mut follow, &mut mirror, &["own"]).await;
        let body = format!(r#"{{"members":["{members}"]}}"#);
        share(&house.engine, &group("g"), &body, &[]).await;
        await_rest(&mut follow, &mut mirror, &["own", "shared"]).await;
        share(&house.engine, &group("g"), r#"{"members":[]}"#, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_becomes_a_name_shows_what_it_may_see() {
    let house = House::with_collection(settings()).await;
    let group = CollectionPath::groups("b".into()).record("g");
    share(&house.engine, &records().record("own"), "{}", &["bob"]).await;
    share(&house.engine, &group, r#"{"members":["bob"]}"#, &[]).await;
    let mut follow = house.engine.follow(query("bob"), None);
    let mut mirror = Mirror::default();
    let record = records().record("shared");
    for _ in 0..3 {
        await_rest(&mut follow, &mut mirror, &["own"]).await;
        share(&house.engine, &record, "{}", &["/buckets/b/groups/g"]).await;
        await_rest(&mut follow, &mut mirror, &["own", "shared"]).await;
        share(&house.engine, &record, "{}", &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_nobody_waits_for_gives_its_place_to_others() {
    // More than are read at a time.
    const LEAVING: u64 = 20;
    let house = House::with_collection(settings()).await;
    share(&house.engine, &records().record("r"), "{}", &["bob"]).await;
    let store = Arc::new(FaultStore::new(Arc::clone(house.engine.store())));
    let engine = Engine::new(store.clone(), settings(), world());
    store.hang();
    for number in 0..LEAVING {
        let engine = Arc::clone(&engine);
        let query = query(&format!("person{number}"));
        let reading = tokio::spawn(async move { engine.feed(&query, None).await.map(drop) });
        let begins = async {
            while store.hanging() <= number {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(&format!("the beginning of page {number}"), begins).await;
        // The client goes away in the middle of the page.
        reading.abort();
    }
    store.recover();
    let page = soon("a page", engine.feed(&query("bob"), None)).await.unwrap();
    assert_eq!(page.entries.len(), 1);
}
