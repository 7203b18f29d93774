//! Polls of devices at rest: they cost no snapshot where nothing moved, and notice all that did.

use std::sync::Arc;

use nuage_engine::{Attempts, Engine, EngineError, FeedPage, FeedQuery, Intent, Settings};
use nuage_model::{CollectionPath, Permissions, RecordPath, Store};
use nuage_testkit::fault::FaultStore;

use crate::houses::{House, change, collection, delete, put, records, world};

const GROUP: &str = "/buckets/b/groups/g";
/// Somebody who sees the whole, one who sees a record, and one who does as a member of a group.
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

fn query(user: &str) -> FeedQuery {
    FeedQuery { user: Some(user.into()), collection: records(), limit: 10, sum: false }
}

fn group() -> RecordPath {
    CollectionPath::groups("b".into()).record("g")
}

/// Two engines over one store, which tell each other nothing.
struct Two {
    store: Arc<FaultStore>,
    near: Arc<Engine>,
    far: Arc<Engine>,
    tokens: Vec<String>,
    _house: House,
}

impl Two {
    async fn new() -> Self {
        let house = House::with_collection(Settings::default()).await;
        let store = Arc::new(FaultStore::new(Arc::clone(house.engine.store())));
        let mut settings = Settings::default();
        settings.feed.secret = "shared".to_owned();
        let engine =
            || Engine::new(Arc::clone(&store) as Arc<dyn Store>, settings.clone(), world());
        let (near, far) = (engine(), engine());
        let two = Self { store, near, far, tokens: Vec::new(), _house: house };
        two.set_members(&["carol"]).await;
        two.share("one", &["bob"]).await;
        two.share("two", &[GROUP]).await;
        let mut tokens = Vec::new();
        for who in PEOPLE {
            tokens.push(two.near.feed(&query(who), None).await.unwrap().token);
        }
        Self { tokens, ..two }
    }

    /// In another process.
    async fn change<T>(
        &self,
        path: RecordPath,
        work: impl AsyncFnOnce(&mut nuage_engine::Session) -> T,
    ) -> T {
        let mut session = self.far.session(Some("alice".into()), &Attempts::at(path)).await;
        let done = work(&mut session).await;
        session.commit().await.unwrap();
        done
    }

    async fn share(&self, id: &str, readers: &[&str]) {
        let path = records().record(id);
        let share = async |session: &mut nuage_engine::Session| {
            let opened = session.open(path.clone(), Intent::Put).await.unwrap();
            let mut change = change("{}");
            change.permissions = Permissions::default();
            let readers = readers.iter().map(|reader| (*reader).into()).collect();
            change.permissions.set("read", readers);
            session.put(&opened, change).await.unwrap();
        };
        self.change(path.clone(), share).await;
    }

    async fn set_members(&self, members: &[&str]) {
        let put = async |session: &mut nuage_engine::Session| {
            let opened = session.open(group(), Intent::Put).await.unwrap();
            let body = format!("{{\"members\":{}}}", serde_json::json!(members));
            session.put(&opened, change(&body)).await.unwrap();
        };
        self.change(group(), put).await;
    }

    /// The next page of each, and how many snapshots they took.
    async fn polls(&mut self) -> (Vec<Result<FeedPage, EngineError>>, u64) {
        let before = self.store.snapshots();
        let mut pages = Vec::new();
        for (who, token) in PEOPLE.iter().zip(&mut self.tokens) {
            let page = self.near.feed(&query(who), Some(token)).await;
            if let Ok(page) = &page {
                token.clone_from(&page.token);
            }
            pages.push(page);
        }
        (pages, self.store.snapshots() - before)
    }

    /// How many entries each is told.
    async fn told(&mut self) -> Vec<Option<usize>> {
        let (pages, _) = self.polls().await;
        pages.into_iter().map(|page| page.ok().map(|page| page.entries.len())).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_costs_no_snapshot() {
    let mut two = Two::new().await;
    // What groups say is remembered from here on.
    two.polls().await;
    for _ in 0..3 {
        let tokens = two.tokens.clone();
        let (pages, snapshots) = two.polls().await;
        assert_eq!(snapshots, 0);
        for page in pages {
            let page = page.unwrap();
            assert!(page.entries.is_empty() && !page.more && !page.reset && !page.continues);
        }
        assert_eq!(two.tokens, tokens, "the same place has the same token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_moves_is_told() {
    let mut two = Two::new().await;
    assert_eq!(two.told().await, [Some(0), Some(0), Some(0)]);
    two.share("one", &["bob", "dan"]).await;
    assert_eq!(two.told().await, [Some(1), Some(1), Some(0)]);
    // The record does not move where a member goes or comes.
    two.set_members(&["dan"]).await;
    assert_eq!(two.told().await, [Some(0), Some(0), Some(1)]);
    two.set_members(&["carol"]).await;
    assert_eq!(two.told().await, [Some(0), Some(0), Some(1)]);
    // Nor where a right to the whole comes or goes.
    let share_all = async |session: &mut nuage_engine::Session, readers: &[&str]| {
        let opened = session.open(collection(), Intent::Put).await.unwrap();
        let mut change = change("{}");
        change.permissions = opened.permissions().clone();
        change.permissions.set("read", readers.iter().map(|reader| (*reader).into()).collect());
        session.put(&opened, change).await.unwrap();
    };
    two.change(collection(), async |session| share_all(session, &["bob"]).await).await;
    assert_eq!(two.told().await, [Some(0), Some(1), Some(0)]);
    two.change(collection(), async |session| share_all(session, &[]).await).await;
    assert_eq!(two.told().await, [Some(0), Some(1), Some(0)]);
    let one = records().record("one");
    two.change(one.clone(), async |session| delete(session, &one).await).await;
    assert_eq!(two.told().await, [Some(1), Some(1), Some(0)]);
    // Who sees nothing of another life of the collection is told to forget what is gone.
    let gone = collection();
    two.change(gone.clone(), async |session| {
        delete(session, &gone).await;
        put(session, &gone, "{}").await
    })
    .await;
    let (pages, _) = two.polls().await;
    assert!(pages.into_iter().all(|page| page.is_ok_and(|page| page.reset)));
}
