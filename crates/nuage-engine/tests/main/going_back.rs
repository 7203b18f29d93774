//! The data is replaced by an older copy of itself, and devices go on with what they were told of
//! what never happened.

use std::path::Path;
use std::sync::Arc;

use nuage_engine::{Engine, Entry, FeedPage, FeedQuery, Settings};
use tokio::task::JoinSet;

use crate::houses::{House, bucket, collection, create_unjudged, put, records, world};

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.feed.secret = "the same after each start".to_owned();
    settings.feed.compact_ms = 0;
    settings
}

async fn page(engine: &Arc<Engine>, user: &str, token: Option<&str>) -> FeedPage {
    let collection = records();
    let query = FeedQuery { user: Some(user.into()), collection, limit: 100, sum: false };
    engine.feed(&query, token).await.unwrap()
}

async fn write(house: &House, id: &str, body: &str) {
    let mut session = house.session("alice").await;
    put(&mut session, &records().record(id), body).await;
    session.commit().await.unwrap();
}

fn changed(page: &FeedPage) -> Vec<String> {
    let ids = page.entries.iter().map(|entry| match entry {
        Entry::Change(record) => record.id.to_string(),
        Entry::Removal(id) => format!("-{id}"),
    });
    ids.collect()
}

async fn opened(path: &Path) -> Arc<Engine> {
    let store = nuage_store::open(path, nuage_store::Options::default()).await.unwrap();
    Engine::new(store, settings(), world())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_device_that_knows_more_makes_all_begin_afresh() {
    let house = House::new(settings()).await;
    let mut session = house.session("alice").await;
    create_unjudged(&mut session, &bucket()).await;
    put(&mut session, &collection(), "{}").await;
    session.commit().await.unwrap();
    write(&house, "kept", "{}").await;
    let early = page(&house.engine, "alice", None).await.token;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    house.engine.store().admin().backup(&copy).await.unwrap();
    write(&house, "lost", "{}").await;
    let late = page(&house.engine, "alice", Some(&early)).await;
    assert_eq!((changed(&late), late.reset), (vec!["lost".to_owned()], false));

    // Nothing tells the copy that it is one.
    let engine = opened(&copy).await;
    let same = page(&engine, "alice", Some(&early)).await;
    assert_eq!((changed(&same), same.reset), (vec![], false), "nobody knows yet");
    let asked = (0..8).map(|_| {
        let (engine, token) = (Arc::clone(&engine), late.token.clone());
        async move { page(&engine, "alice", Some(&token)).await }
    });
    let answers = asked.collect::<JoinSet<_>>().join_all().await;
    for answer in &answers {
        assert_eq!((changed(answer), answer.reset), (vec!["kept".to_owned()], true));
    }
    let tokens = answers.iter().map(|answer| &answer.token);
    assert!(tokens.clone().all(|token| *token == answers[0].token), "one new epoch is enough");
    let known = page(&engine, "alice", Some(&answers[0].token)).await;
    assert_eq!((changed(&known), known.reset), (vec![], false));
    let others = page(&engine, "alice", Some(&early)).await;
    assert!(others.reset, "other devices may have been told of what is gone as well");
}
