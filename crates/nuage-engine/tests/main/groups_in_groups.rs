//! Groups in groups, where the limit is met before or after a request is judged.

use nuage_engine::{EngineError, Settings, Verdict};
use nuage_model::{CollectionPath, Limits, Principal, RecordPath};

use crate::houses::{House, collection, put, records};

fn group(name: &str) -> RecordPath {
    CollectionPath::groups("b".into()).record(name)
}

/// A house where one group is as many as may be, with bob in one, and that in `outer`.
async fn crowded() -> House {
    let limits = Limits { groups_of_person: 1, ..Limits::default() };
    let house = House::with_collection(Settings { limits, ..Settings::default() }).await;
    let mut alice = house.session("alice").await;
    put(&mut alice, &group("inner"), r#"{"members":["bob","carol"]}"#).await;
    put(&mut alice, &group("outer"), r#"{"members":["/buckets/b/groups/inner"]}"#).await;
    alice.commit().await.unwrap();
    house
}

fn is_crowded<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::TooManyGroups(1)))
}

#[tokio::test]
async fn who_is_in_too_many_groups_is_told_so_and_can_be_explained_and_forgotten() {
    let house = crowded().await;
    let bob = Principal::from("bob");
    assert!(is_crowded(&house.engine.caller(Some(bob.clone())).await));
    let mut alice = house.session("alice").await;
    assert!(is_crowded(&alice.act_as(Some(bob.clone())).await));
    assert_eq!(alice.caller().user(), Some(&Principal::from("alice")), "it goes on as before");
    assert!(is_crowded(&alice.explain(collection(), &bob).await));

    house.engine.erase(&bob).await.unwrap();
    assert_eq!(house.body(&group("inner")).await.unwrap(), r#"{"members":["carol"]}"#);
    assert!(house.engine.caller(Some(bob)).await.is_ok());
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
