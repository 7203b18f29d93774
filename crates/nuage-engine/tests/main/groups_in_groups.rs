//! Groups in groups: how far they count, and whom their bounds concern.

use nuage_engine::{
    Attempts, CHAIN_MAX, CommitError, EngineError, FeedQuery, Intent, ListIntent, Session,
    Settings, Verdict,
};
use nuage_model::{CollectionPath, Limits, Principal, Query, RecordPath};

use crate::houses::{House, bucket, change, collection, put, records};

fn group(name: &str) -> RecordPath {
    CollectionPath::groups("b".into()).record(name)
}

fn name(group: &str) -> String {
    format!("/buckets/b/groups/{group}")
}

async fn share(session: &mut Session, id: &str, with: &str) -> Result<(), EngineError> {
    let opened = session.open(records().record(id), Intent::Put).await?;
    let mut shared = change("{}");
    shared.permissions.add("read", with.into());
    session.put(&opened, shared).await?;
    Ok(())
}

/// A bucket or a collection of whoever asks, which these groups may read from now on.
async fn open_to(session: &mut Session, path: RecordPath, groups: &[&str]) {
    let opened = session.open(path, Intent::Write).await.unwrap();
    let mut shared = change("{}");
    groups.iter().for_each(|group| shared.permissions.add("read", name(group).as_str().into()));
    session.put(&opened, shared).await.unwrap();
}

async fn fill(
    session: &mut Session,
    group_name: &str,
    members: &[&str],
) -> Result<(), EngineError> {
    let opened = session.open(group(group_name), Intent::Put).await?;
    let body = serde_json::json!({ "members": members }).to_string();
    session.put(&opened, change(&body)).await?;
    Ok(())
}

async fn reads(house: &House, user: &str) -> (bool, usize) {
    let mut session = house.session(user).await;
    let one = session.open(records().record("r"), Intent::Read).await.is_ok();
    let mut session = house.session(user).await;
    let list = session.open_list(records(), ListIntent::Read).await;
    let all = match &list {
        Ok(list) => session.list(list, Query::all(records(), 10)).await.unwrap().1.records.len(),
        Err(_) => 0,
    };
    (one, all)
}

fn is_invalid(result: Result<(), EngineError>, part: &str) -> bool {
    matches!(result, Err(EngineError::Invalid(invalid)) if invalid.description.contains(part))
}

#[tokio::test]
async fn chains_count_up_to_a_length() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    share(&mut alice, "r", &name("g1")).await.unwrap();
    // From above, so that no write sees how long the chain becomes: g1 contains g2, and so on.
    for n in 1..=CHAIN_MAX {
        let inner = name(&format!("g{}", n + 1));
        fill(&mut alice, &format!("g{n}"), &[&inner, &format!("user{n}")]).await.unwrap();
    }
    fill(&mut alice, &format!("g{}", CHAIN_MAX + 1), &["far"]).await.unwrap();
    alice.commit().await.unwrap();
    assert_eq!(reads(&house, "user1").await, (true, 1));
    assert_eq!(reads(&house, &format!("user{CHAIN_MAX}")).await, (true, 1));
    assert_eq!(reads(&house, "far").await, (false, 0), "one group too far");
    let mut alice = house.session("alice").await;
    let path = records().record("r");
    let explained = alice.explain_unjudged(path, &"far".into()).await.unwrap();
    assert_eq!(explained.too_far, [name("g1").as_str().into()]);
    let told = explained.sentences().next().unwrap();
    assert!(told.contains("through a chain of more than 8 groups, which does not count"), "{told}");
    // A short way beside the long one counts, whichever is found first.
    let mut alice = house.session("alice").await;
    let far = name(&format!("g{}", CHAIN_MAX + 1));
    fill(&mut alice, "g2", &[&name("g3"), &far]).await.unwrap();
    alice.commit().await.unwrap();
    assert_eq!(reads(&house, "far").await, (true, 1));
}

#[tokio::test]
async fn a_group_is_not_put_over_a_chain_that_is_too_long() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    fill(&mut alice, "g1", &["bob"]).await.unwrap();
    for n in 2..=CHAIN_MAX {
        fill(&mut alice, &format!("g{n}"), &[&name(&format!("g{}", n - 1))]).await.unwrap();
    }
    let last = name(&format!("g{CHAIN_MAX}"));
    let refused = fill(&mut alice, "g9", &[&last]).await;
    assert!(is_invalid(refused, "chains of more than 8 groups"));
    fill(&mut alice, "g9", &[&name("g7")]).await.unwrap();
    // A circle is no long chain.
    fill(&mut alice, "g1", &[&last, "bob"]).await.unwrap();
    alice.commit().await.unwrap();
    let mut alice = house.session("alice").await;
    let refused = fill(&mut alice, "g10", &[&last]).await;
    assert!(is_invalid(refused, "chains of more than 8 groups"));
    // Over what became too long from below, no group is added, but others may go.
    fill(&mut alice, "g9", &[&name("g7"), "carol"]).await.unwrap();
    let many: Vec<String> = (0..101).map(|n| name(&format!("m{n}"))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    fill(&mut alice, "g9", &many[..100]).await.unwrap();
    assert!(is_invalid(fill(&mut alice, "g9", &many).await, "more than 100 groups"));
}

#[tokio::test]
async fn what_a_place_names_is_bounded_there_and_nowhere_else() {
    let limits = Limits { inner_groups: 3, ..Limits::default() };
    let house = House::with_collection(Settings { limits, ..Settings::default() }).await;
    let mut alice = house.session("alice").await;
    for (id, with) in [("r", name("outer")), ("s", "bob".to_owned())] {
        share(&mut alice, id, &with).await.unwrap();
    }
    fill(&mut alice, "i1", &["bob"]).await.unwrap();
    for (outer, inner) in [("i2", "i1"), ("outer", "i2"), ("i3", "i5"), ("i4", "i3")] {
        fill(&mut alice, outer, &[&name(inner)]).await.unwrap();
    }
    alice.commit().await.unwrap();
    assert_eq!(reads(&house, "bob").await, (true, 2));

    // From below it can be more than may be looked at, and then only who needs it is put off.
    let mut alice = house.session("alice").await;
    fill(&mut alice, "i1", &["bob", &name("i4")]).await.unwrap();
    alice.commit().await.unwrap();
    assert_eq!(reads(&house, "alice").await, (true, 2));
    let mut bob = house.session("bob").await;
    let refused = bob.open(records().record("r"), Intent::Read).await;
    assert!(matches!(refused, Err(EngineError::TooManyInnerGroups(3))));
    let refused = bob.open_list(records(), ListIntent::Read).await;
    assert!(matches!(refused, Err(EngineError::TooManyInnerGroups(3))));
    assert!(bob.open(records().record("s"), Intent::Read).await.is_ok());
    let query =
        FeedQuery { user: Some("bob".into()), collection: records(), limit: 10, sum: false };
    let refused = house.engine.feed(&query, None).await;
    assert!(matches!(refused, Err(EngineError::TooManyInnerGroups(3))));
    // Whose groups are named above sees the whole.
    let mut alice = house.session("alice").await;
    open_to(&mut alice, collection(), &["plain"]).await;
    fill(&mut alice, "plain", &["bob"]).await.unwrap();
    alice.commit().await.unwrap();
    assert_eq!(reads(&house, "bob").await, (true, 2));
    assert_eq!(house.engine.feed(&query, None).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn a_collection_names_so_many_groups() {
    let limits = Limits { names: 3, ..Limits::default() };
    let house = House::with_collection(Settings { limits, ..Settings::default() }).await;
    let mut alice = house.session("alice").await;
    for n in 0..3 {
        share(&mut alice, &format!("r{n}"), &name(&format!("g{n}"))).await.unwrap();
    }
    alice.commit().await.unwrap();
    let mut attempts = Attempts::default();
    let is_refused = loop {
        let mut alice = house.engine.session(Some("alice".into()), &attempts).await;
        // One more of a name that is known, one of a new one.
        share(&mut alice, "s", &name("g1")).await.unwrap();
        let refused = share(&mut alice, "t", &name("g3")).await;
        match alice.commit().await {
            Ok(_) => break matches!(refused, Err(EngineError::TooManyNames(3))),
            Err(CommitError::Conflict(conflict)) => assert!(attempts.again(conflict, 5)),
            Err(CommitError::Store(error)) => panic!("{error}"),
        }
    };
    assert!(is_refused);
    assert!(house.body(&records().record("s")).await.is_some());
    assert!(house.body(&records().record("t")).await.is_none());
    // In the list of all buckets everybody has names.
    let mut alice = house.session("alice").await;
    open_to(&mut alice, bucket(), &["g0", "g1", "g2", "g3", "g4"]).await;
    alice.commit().await.unwrap();
}

#[tokio::test]
async fn groups_of_strangers_cost_nobody_anything() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    share(&mut alice, "r", &name("g")).await.unwrap();
    fill(&mut alice, "g", &["bob"]).await.unwrap();
    alice.commit().await.unwrap();
    let mut mallory = house.session("mallory").await;
    let evil = CollectionPath::groups("evil".into());
    crate::houses::create_unjudged(&mut mallory, &RecordPath::bucket("evil".into())).await;
    for n in 0..300 {
        let opened = mallory.open(evil.record(format!("e{n}")), Intent::Put).await.unwrap();
        let members = ["bob".to_owned(), name("g"), format!("/buckets/evil/groups/e{}", n + 1)];
        let body = serde_json::json!({ "members": members }).to_string();
        mallory.put(&opened, change(&body)).await.unwrap();
    }
    mallory.commit().await.unwrap();
    assert_eq!(reads(&house, "bob").await, (true, 1));
    let explained =
        house.session("alice").await.explain(records().record("r"), &"bob".into()).await;
    assert!(matches!(explained.unwrap().answers[0].verdict, Verdict::Allowed { .. }));
    house.engine.erase(&"bob".into()).await.unwrap();
    assert_eq!(reads(&house, "bob").await, (false, 0));
}

#[tokio::test]
async fn what_is_explained_counts_what_the_unit_of_work_changed() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    put(&mut alice, &group("g"), r#"{"members":["system.Authenticated"]}"#).await;
    let opened = alice.open(records().record("r"), nuage_engine::Intent::Put).await.unwrap();
    let mut shared = crate::houses::change("{}");
    shared.permissions.add("read", "/buckets/b/groups/g".into());
    alice.put(&opened, shared).await.unwrap();
    let bob = Principal::from("bob");
    let explanation = alice.explain(records().record("r"), &bob).await.unwrap();
    let Verdict::Allowed { chain, .. } = &explanation.answers[0].verdict else {
        panic!("{explanation:?}")
    };
    let chain: Vec<&str> = chain.iter().map(Principal::as_str).collect();
    assert_eq!(chain, ["bob", "system.Authenticated", "/buckets/b/groups/g"]);
    let told: Vec<String> = explanation.sentences().collect();
    assert!(told[0].contains("counts as system.Authenticated, which is a member of"), "{told:?}");
    assert!(matches!(explanation.answers[1].verdict, Verdict::Refused(_)));
}

// Resident memory of this process.
fn resident_mb() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[tokio::test]
async fn who_is_refused_fills_no_memory() {
    let house = House::with_collection(Settings::default()).await;
    for n in 0..100 {
        let inner: Vec<String> = (0..100).map(|k| name(&format!("deep{n}x{k}"))).collect();
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        let mut alice = house.session("alice").await;
        fill(&mut alice, &format!("l{n}"), &inner).await.unwrap();
        alice.commit().await.unwrap();
    }
    let inner: Vec<String> = (0..100).map(|n| name(&format!("l{n}"))).collect();
    let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
    let mut alice = house.session("alice").await;
    fill(&mut alice, "big", &inner).await.unwrap();
    open_to(&mut alice, bucket(), &["big"]).await;
    alice.commit().await.unwrap();
    let mut before = None;
    for n in 0..60 {
        // Of one collection as different people, and of collections that are not there.
        let (user, at) = (format!("user{n}"), CollectionPath::new("b", format!("x{n}").as_str()));
        assert!(house.session(&user).await.open_list(records(), ListIntent::Read).await.is_err());
        assert!(house.session("bob").await.open_list(at, ListIntent::Read).await.is_err());
        if n == 10 {
            before = Some(resident_mb());
        }
    }
    let (before, after) = (before.unwrap(), resident_mb());
    assert!(after < before + 60, "{before} MB became {after} MB");
}

#[tokio::test]
async fn what_a_batch_changed_holds_wherever_it_is_met() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    share(&mut alice, "r", &name("T")).await.unwrap();
    fill(&mut alice, "S", &["bob"]).await.unwrap();
    fill(&mut alice, "T", &[&name("S")]).await.unwrap();
    fill(&mut alice, "N", &[&name("S")]).await.unwrap();
    alice.commit().await.unwrap();
    // S is reached by two ways, one of which the store knows alone.
    let mut alice = house.session("alice").await;
    fill(&mut alice, "T", &[&name("S"), &name("N")]).await.unwrap();
    fill(&mut alice, "S", &[]).await.unwrap();
    alice.act_as(Some("bob".into()));
    let refused = alice.open(records().record("r"), Intent::Read).await;
    assert!(matches!(refused, Err(EngineError::Forbidden)), "{refused:?}");
}

#[tokio::test]
async fn what_was_far_down_counts_when_a_batch_brings_it_nearer() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    share(&mut alice, "r", &name("g1")).await.unwrap();
    for n in 1..=10 {
        fill(&mut alice, &format!("g{n}"), &[&name(&format!("g{}", n + 1))]).await.unwrap();
    }
    fill(&mut alice, "g11", &["far"]).await.unwrap();
    alice.commit().await.unwrap();
    assert_eq!(reads(&house, "far").await, (false, 0));
    let mut alice = house.session("alice").await;
    // The last group that was looked at, and not into.
    fill(&mut alice, "g1", &[&name("g2"), &name("g8")]).await.unwrap();
    alice.act_as(Some("far".into()));
    assert!(alice.open(records().record("r"), Intent::Read).await.is_ok());
}

#[tokio::test]
async fn a_collection_that_is_made_anew_has_no_names() {
    let limits = Limits { names: 3, ..Limits::default() };
    let house = House::with_collection(Settings { limits, ..Settings::default() }).await;
    let mut alice = house.session("alice").await;
    for n in 0..3 {
        share(&mut alice, &format!("r{n}"), &name(&format!("g{n}"))).await.unwrap();
    }
    alice.commit().await.unwrap();
    let mut alice = house.session("alice").await;
    crate::houses::delete(&mut alice, &collection()).await;
    put(&mut alice, &collection(), "{}").await;
    share(&mut alice, "s", &name("g9")).await.unwrap();
    alice.commit().await.unwrap();
    assert!(house.body(&records().record("s")).await.is_some());
}

#[tokio::test]
async fn a_place_that_names_too_much_hides_nothing_else() {
    let limits = Limits { inner_groups: 3, ..Limits::default() };
    let mut settings = Settings { limits, ..Settings::default() };
    settings.grants.set("record", "read", [name("operators").as_str().into()].into());
    let house = House::with_collection(settings).await;
    let mut alice = house.session("alice").await;
    for (outer, inner) in [("i3", "i4"), ("i2", "i3"), ("i1", "i2"), ("outer", "i1")] {
        fill(&mut alice, outer, &[&name(inner)]).await.unwrap();
    }
    fill(&mut alice, "operators", &["olga"]).await.unwrap();
    share(&mut alice, "s", "bob").await.unwrap();
    let opened = alice.open(records().record("m"), Intent::Put).await.unwrap();
    let mut shared = change("{}");
    shared.owner = Some("mallory".into());
    shared.permissions.add("write", name("outer").as_str().into());
    alice.put(&opened, shared).await.unwrap();
    alice.commit().await.unwrap();
    let mut found = Vec::new();
    let mut bob = house.session("bob").await;
    let tell = |holding: nuage_engine::Holding| {
        found.push(holding.path);
        std::ops::ControlFlow::Continue(())
    };
    bob.holdings(None, 1_000, tell).await.unwrap();
    assert_eq!(found, [records().record("s")]);
    // Who reads the whole is shown permissions only where it is known that they may change them.
    let mut alice = house.session("alice").await;
    let opened = alice.open(records().record("m"), Intent::Read).await.unwrap();
    assert!(!alice.holds(opened.permissions(), "write").await.unwrap());
    // Nor is the operator concerned, whatever is named above.
    let mut alice = house.session("alice").await;
    open_to(&mut alice, collection(), &["outer"]).await;
    alice.commit().await.unwrap();
    let mut olga = house.session("olga").await;
    olga.open(records().record("m"), Intent::Read).await.unwrap();
    assert!(olga.open_list(records(), ListIntent::Read).await.is_ok());
    let query =
        FeedQuery { user: Some("olga".into()), collection: records(), limit: 10, sum: false };
    assert_eq!(house.engine.feed(&query, None).await.unwrap().entries.len(), 2);
    let mut carol = house.session("carol").await;
    let refused = carol.open(records().record("m"), Intent::Read).await;
    assert!(matches!(refused, Err(EngineError::TooManyInnerGroups(3))), "{refused:?}");
}
