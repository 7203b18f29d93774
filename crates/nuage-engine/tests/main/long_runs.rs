//! A run that begins afresh or does not end because others write, or because groups change.

use std::collections::BTreeSet;

use nuage_engine::mutants::{self, Mutant};
use nuage_engine::{Entry, FeedQuery, Intent, Settings};
use nuage_model::{CollectionPath, Permissions, Principal};

use crate::houses::{House, bucket, change, collection, create_unjudged, delete, put, records};

const RECORDS: usize = 120;
const GROUP: &str = "/buckets/b/groups/g";
const OTHER: &str = "/buckets/b/groups/other";

async fn share(house: &House, id: &str, with: &[&str]) {
    loop {
        let mut session = house.session("alice").await;
        let opened = session.open(records().record(id), Intent::Put).await.unwrap();
        let mut permissions = Permissions::default();
        permissions.set("read", with.iter().map(|who| Principal::from(*who)).collect());
        let change = nuage_engine::Change { permissions, ..change("{}") };
        session.put(&opened, change).await.unwrap();
        // What is remembered of a record may have gone with its bucket.
        if session.commit().await.is_ok() {
            return;
        }
    }
}

async fn set_members(house: &House, group: &str, members: &[&str]) {
    let group = CollectionPath::groups("b".into()).record(group);
    let body = serde_json::json!({ "members": members }).to_string();
    loop {
        let mut session = house.session("alice").await;
        put(&mut session, &group, &body).await;
        if session.commit().await.is_ok() {
            return;
        }
    }
}

/// More records than fit into a page, which bob may read because he is in a group.
async fn shared_house() -> House {
    let house = House::with_collection(Settings::default()).await;
    set_members(&house, "g", &["bob"]).await;
    for number in 0..RECORDS {
        share(&house, &format!("r{number:03}"), &[GROUP]).await;
    }
    house
}

/// What bob has at rest, after so many pages, if this happens after each of them.
async fn load_while(house: &House, happens: impl AsyncFn(usize)) -> (BTreeSet<String>, usize) {
    let (mut mirror, mut token, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let user = Some(Principal::from("bob"));
        let query = FeedQuery { user, collection: records(), limit: 10, sum: false };
        let page = house.engine.feed(&query, token.as_deref()).await.unwrap();
        assert_eq!(page.reset, token.is_none(), "page {pages}");
        for entry in page.entries {
            match entry {
                Entry::Change(record) => mirror.insert(record.id.to_string()),
                Entry::Removal(id) => mirror.remove(id.as_str()),
            };
        }
        pages += 1;
        assert!(pages < RECORDS, "it does not end");
        if !page.more {
            return (mirror, pages);
        }
        token = Some(page.token);
        happens(pages).await;
    }
}

#[tokio::test]
async fn a_run_ends_while_others_write() {
    let house = shared_house().await;
    let happens = async |number: usize| {
        share(&house, &format!("new{number:03}"), &[GROUP]).await;
        share(&house, &format!("r{:03}", number % RECORDS), &[GROUP]).await;
    };
    let (mirror, pages) = load_while(&house, happens).await;
    assert_eq!(mirror.len(), RECORDS + pages - 1);
}

#[tokio::test]
async fn groups_that_change_do_not_begin_a_run_afresh() {
    let house = shared_house().await;
    share(&house, "other", &[OTHER]).await;
    let happens = async |number: usize| {
        let more = format!("person{number}");
        set_members(&house, "g", &["bob", &more]).await;
        set_members(&house, "other", if number.is_multiple_of(2) { &[] } else { &["bob"] }).await;
        set_members(&house, &format!("unnamed{number}"), &["bob"]).await;
    };
    let (mirror, pages) = load_while(&house, happens).await;
    let is_in_other = pages.is_multiple_of(2);
    assert_eq!(mirror.contains("other"), is_in_other, "after {pages} pages");
    assert_eq!(mirror.len(), RECORDS + usize::from(is_in_other));
}

#[tokio::test]
async fn what_a_run_sent_is_taken_back_when_its_group_is_lost() {
    let house = shared_house().await;
    share(&house, "own", &["bob"]).await;
    let happens = async |number: usize| {
        if number == 3 {
            set_members(&house, "g", &[]).await;
        }
    };
    let (mirror, _) = load_while(&house, happens).await;
    assert_eq!(mirror, BTreeSet::from(["own".to_owned()]));
}

#[tokio::test]
async fn a_view_that_went_with_its_bucket_is_kept_again() {
    let mut settings = Settings::default();
    settings.feed.secret = "the same in both engines".to_owned();
    let house = House::with_collection(settings).await;
    let other = house.neighbour();
    let query = || {
        let user = Some(Principal::from("bob"));
        FeedQuery { user, collection: records(), limit: 10, sum: false }
    };
    for life in 0..2 {
        if life == 1 {
            let mut session = house.session("alice").await;
            delete(&mut session, &bucket()).await;
            session.commit().await.unwrap();
            loop {
                let mut session = house.session("alice").await;
                create_unjudged(&mut session, &bucket()).await;
                put(&mut session, &collection(), "{}").await;
                if session.commit().await.is_ok() {
                    break;
                }
            }
        }
        set_members(&house, "g", &["bob"]).await;
        share(&house, "r", &[GROUP]).await;
        let kept = vec![Mutant::NoOrdinals];
        let page = mutants::with(kept, other.feed(&query(), None)).await.unwrap();
        if life == 1 {
            let next = house.engine.feed(&query(), Some(&page.token)).await.unwrap();
            assert!(!next.reset && next.entries.is_empty(), "{next:?}");
        }
    }
}
