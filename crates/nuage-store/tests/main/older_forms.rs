//! Data of an older form that is not brought forward, or is another afterwards.

use nuage_model::CollectionPath;
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::tables::readable;

use crate::moves::{fill, findings};
use crate::place::Place;
use crate::seeds;

both_databases!(async data_of_the_first_form_is_brought_forward);

const SQLITE: &str = concat!(
    include_str!("../../src/sqlite/migrations/0001_first.sql"),
    "PRAGMA application_id = 0x4e756167; PRAGMA user_version = 1;"
);
const POSTGRES: &str = concat!(
    include_str!("../../src/postgres/migrations/0001_first.sql"),
    "INSERT INTO meta VALUES ('application', 'nuage'), ('form', '1'),
        ('store', '0123456789abcdef0123456789abcdef');"
);

/// The tables of the first form, and their columns.
const TABLES: &[(&str, &str)] = &[
    (
        "collections",
        "bucket, collection, incarnation, seq, timestamp, gc_seq, live, tombstones, chosen, \
         dropped",
    ),
    (
        "records",
        "bucket, collection, id, seq, timestamp, signature, entered, dead, permissions, body",
    ),
    ("gone", "bucket, collection, seq, id, signature, entered"),
    ("signatures", "bucket, collection, signature, live"),
    ("signature_principals", "bucket, collection, principal, signature"),
    ("members", "bucket, member, grp"),
    ("directory_groups", "member, bucket"),
    ("directory_collections", "principal, bucket, collection"),
];
/// What later forms have more, as far as it follows from what was there.
const ADDED: &[&str] = &[
    "SELECT bucket, collection, gone, names FROM collections ORDER BY 1, 2",
    "SELECT bucket, collection, signature, digest, held FROM named_signatures ORDER BY 1, 2, 3",
    "SELECT bucket, collection, grp_bucket, grp, signatures FROM named_names
    ORDER BY 1, 2, 3, 4",
];
/// What was forgotten by age is not known any more, and did not count: what is there does.
const TOPS: [&str; 2] = [
    "SELECT bucket, collection, signature, top FROM named_signatures ORDER BY 1, 2, 3",
    "SELECT s.bucket, s.collection, s.signature, coalesce(max(coalesce(r.timestamp, r.seq)), 0)
    FROM named_signatures s LEFT JOIN named_records r ON r.bucket = s.bucket
        AND r.collection = s.collection AND r.signature = s.signature
    GROUP BY s.bucket, s.collection, s.signature ORDER BY 1, 2, 3",
];

async fn data_of_the_first_form_is_brought_forward(backend: Backend) {
    for seed in seeds(3) {
        let source = Place::new(backend).another();
        let store = source.open().await;
        fill(&*store, seed).await;
        let found = findings(&*store).await;
        store.close().await;

        let old = source.another();
        old.execute(backend.choose(SQLITE, POSTGRES));
        for (table, columns) in TABLES {
            old.take(&source, table, columns);
        }
        let store = old.open().await;
        assert_eq!(findings(&*store).await, found, "seed {seed}");
        store.close().await;

        let (source, old) = (source.tables().await, old.tables().await);
        let anywhere = CollectionPath::new("", "");
        for (table, columns) in TABLES {
            let sql = format!("SELECT {columns} FROM {} ORDER BY 1, 2", readable(table));
            let sorted = |mut rows: Vec<Vec<Option<String>>>| {
                rows.sort();
                rows
            };
            let rows = sorted(old.read(&sql, &anywhere).await);
            assert_eq!(rows, sorted(source.read(&sql, &anywhere).await), "{table}, seed {seed}");
        }
        let [tops, shown] = TOPS;
        let rows = old.read(tops, &anywhere).await;
        assert_eq!(rows, old.read(shown, &anywhere).await, "seed {seed}");
        for sql in ADDED {
            let rows = old.read(sql, &anywhere).await;
            assert_eq!(rows, source.read(sql, &anywhere).await, "seed {seed}");
        }
    }
}
