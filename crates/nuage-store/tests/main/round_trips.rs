//! A write to PostgreSQL that asks for more than it must: what is known already is not read, and what
//! must be read is read at once.
//!
//! The server's log tells: a transaction locks its collections each time it reads, and sends a guess
//! where it needs not read at all.

use std::sync::Arc;
use std::time::Duration;

use nuage_model::{
    Batch, Bodies, Body, CollectionPath, Guard, Placement, Principal, Put, Readers, RecordPath,
    Seq, Store, Timestamp, Write,
};
use nuage_store::{Address, Options};
use nuage_testkit::backend::block_on;
use nuage_testkit::postgres::{Cluster, Database, Durability};

use crate::found;

/// How often a write read, and whether it had to.
#[derive(PartialEq, Eq, Debug)]
enum Way {
    Guessed,
    Read(usize),
}

#[test]
fn what_is_known_of_signatures_is_not_read() {
    let cluster = Cluster::new(Durability::Fast);
    let database = cluster.database();
    block_on(async {
        open(&database).await.close().await;
        let told = format!("ALTER DATABASE {} SET log_statement = 'all'", database.name());
        database.execute(&told);
        let (staff, board) = ("/buckets/b/groups/staff", "/buckets/b/groups/board");
        let posts = CollectionPath::new("b", "posts");
        let put = |id: &str, who: &[&str]| put(&posts.record(id), who);
        let compact = Write::Compact { collection: posts.clone(), up_to: Seq(i64::MAX) };
        let delete = Write::Delete { path: posts.record("b"), placement: Placement::Next };
        let store = open(&database).await;
        found(&store, "b", &["posts"]).await;
        write(&store, put("a", &["alice"])).await;
        // What was set aside is done with, and what was told of it was heard.
        tokio::time::sleep(Duration::from_millis(500)).await;
        write(&store, put("a", &["alice"])).await;
        for (step, (change, way)) in [
            (put("b", &["bob"]), Way::Guessed),
            // Whether it is there is asked, and who is counted along with it.
            (put("b", &["bob", staff]), Way::Read(1)),
            (put("b", &["bob", staff]), Way::Guessed),
            (put("c", &["bob", staff]), Way::Guessed),
            // Where it was, somebody may be told another time of the list from now on.
            (put("a", &["bob", staff]), Way::Read(1)),
            (put("a", &[staff, board]), Way::Read(1)),
            (put("a", &["bob", staff]), Way::Read(1)),
            (delete, Way::Guessed),
            // What goes, the signatures that had it, whom these name, and how many do.
            (compact, Way::Read(4)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(way_of(&cluster, &store, change).await, way, "step {step}");
        }
        store.close().await;
        let store = open(&database).await;
        for (step, (change, way)) in [
            // The collection is not known yet, and whether the signature is there is asked along.
            (put("d", &["bob", staff]), Way::Read(1)),
            (put("e", &["bob", staff]), Way::Guessed),
            (put("a", &["carol", board]), Way::Read(1)),
            (put("a", &["carol", board]), Way::Guessed),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(way_of(&cluster, &store, change).await, way, "step {step} of the next");
        }
        assert_eq!(store.admin().check().await.unwrap(), []);
        store.close().await;
    });
}

fn put(path: &RecordPath, who: &[&str]) -> Write {
    Write::Put(Put {
        path: path.clone(),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(who.iter().map(|one| Principal::from(*one)).collect()),
        placement: Placement::Next,
    })
}

// As whoever decides writes: what is taken for the record is said.
async fn write(store: &Arc<dyn Store>, write: Write) {
    let mut guards = Vec::new();
    if let Write::Put(Put { path, .. }) | Write::Delete { path, .. } = &write {
        let found = store.get(std::slice::from_ref(path), Bodies::Small).await.unwrap();
        guards.push(Guard::new(path.clone(), found[0].as_ref()));
    }
    store.apply(Batch { guards, ..Batch::new(Timestamp(1_000), vec![write]) }).await.unwrap();
}

async fn way_of(cluster: &Cluster, store: &Arc<dyn Store>, change: Write) -> Way {
    let before = cluster.log().len();
    write(store, change).await;
    let log = cluster.log();
    let asked = log[before..].matches("FOR UPDATE").count();
    match log[before..].matches("set_config('nuage.fit'").count() {
        0 => Way::Read(asked),
        guesses => {
            assert_eq!((guesses, asked), (1, 1), "what was guessed was wrong");
            Way::Guessed
        }
    }
}

async fn open(database: &Database) -> Arc<dyn Store> {
    let address = Address { url: database.url().to_owned(), password: None };
    let options = Options { trust_ms: 600_000, ..Options::default() };
    nuage_store::connect(&address, options).await.unwrap()
}
