//! The first round trip of a transaction: it begins, locks, and reads what its batches need.

use deadpool_postgres::Object;
use futures_util::future::join_all;
use nuage_model::{CollectionPath, GroupPath, Guard, RecordId, RecordPath, Seq, StoreError};
use tokio_postgres::Row as PgRow;
use tokio_postgres::types::ToSql;

use crate::postgres::errors::Fault;
use crate::postgres::needs::Needs;
use crate::postgres::overlay::{Overlay, Row};
use crate::postgres::rows::{self, one_record, one_record_to_lock};
use crate::rules::Ended;

macro_rules! sequence_columns {
    () => {
        "c.bucket, c.collection, c.incarnation, c.seq, c.timestamp, c.gc_seq, c.live, \
         c.tombstones, c.chosen, c.gone, c.dropped"
    };
}
/// One after the other in the order of the names given, which is the order of locks.
pub(super) const LOCK: &str = concat!(
    "SELECT ",
    sequence_columns!(),
    " FROM unnest($1::text[], $2::text[]) AS k (bucket, collection)
    CROSS JOIN LATERAL (SELECT * FROM collections
        WHERE bucket = k.bucket AND collection = k.collection FOR UPDATE) c"
);
const LOCK_BUCKETS: &str = concat!(
    "SELECT ",
    sequence_columns!(),
    " FROM collections c WHERE bucket = ANY($1) ORDER BY bucket, collection FOR UPDATE"
);
const LOCK_ALL: &str = "LOCK TABLE collections IN EXCLUSIVE MODE";
/// A row without a collection, so that there is something to lock.
const MAKE: &str = "
    INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live,
        tombstones, chosen, gone, dropped)
    SELECT bucket, collection, '\\x0000000000000000', 0, NULL, 0, 0, 0, 0, 0, true
    FROM unnest($1::text[], $2::text[]) AS k (bucket, collection)
    ON CONFLICT (bucket, collection) DO NOTHING";
macro_rules! old {
    ($one:ident, $lock:literal) => {
        concat!(
            "SELECT k.n, r.seq, r.timestamp, r.signature, r.entered, r.dead
            FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
                AS k (bucket, collection, id, n)
            CROSS JOIN LATERAL (",
            $one!("seq, timestamp, signature, entered, dead", "k.bucket", "k.collection", "k.id"),
            $lock,
            ") r"
        )
    };
}
const OLD: &str = old!(one_record, "");
const OLD_TO_CHANGE: &str = old!(one_record_to_lock, " FOR UPDATE");
const OLD_TO_KEEP: &str = old!(one_record_to_lock, " FOR SHARE");
const MEMBERS: &str = "
    SELECT k.n, m.member FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (bucket, grp, n)
    CROSS JOIN LATERAL (SELECT member FROM members
        WHERE bucket = k.bucket AND grp = k.grp OFFSET 0) m";
const SHOWN: &str = "
    SELECT k.n, r.shown, r.id
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
        AS k (bucket, collection, low, high, n)
    CROSS JOIN LATERAL (
        SELECT seq AS shown, id FROM records
        WHERE bucket = k.bucket AND collection = k.collection AND seq >= k.low AND seq < k.high
            AND timestamp IS NULL
        UNION ALL SELECT timestamp, id FROM records
        WHERE bucket = k.bucket AND collection = k.collection AND timestamp >= k.low
            AND timestamp < k.high) r";

const DEAD: &str = "
    SELECT k.n, r.seq, r.timestamp, r.signature, r.entered, r.dead, r.id
    FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY
        AS k (bucket, collection, up_to, n)
    CROSS JOIN LATERAL (SELECT id, seq, timestamp, signature, entered, dead FROM records
        WHERE bucket = k.bucket AND collection = k.collection AND seq <= k.up_to AND dead
        ORDER BY seq) r";
const ENDED: &str = "
    SELECT k.n, g.seq, g.id, g.signature, g.entered
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
        AS k (bucket, collection, up_to, most, n)
    CROSS JOIN LATERAL (SELECT seq, id, signature, entered FROM gone
        WHERE bucket = k.bucket AND collection = k.collection AND seq <= k.up_to
        ORDER BY seq LIMIT k.most) g";

/// Begins a transaction and reads what the batches need. One round trip; one more where a
/// collection gets its first row.
pub(super) async fn begin(
    client: &Object,
    begin: &str,
    needs: &Needs,
    guards: &[&Guard],
) -> Result<Overlay, Fault> {
    let mut overlay = Overlay::default();
    let reads = Reads::prepare(client, needs).await?;
    let singles = singles(needs);
    // Joined futures send in their order, without waiting for each other's answers.
    let (begun, locked_all, locked, more, answers) = tokio::join!(
        client.batch_execute(begin),
        async {
            match needs.all {
                true => client.batch_execute(LOCK_ALL).await,
                false => Ok(()),
            }
        },
        lock(client, &reads, &singles),
        lock_buckets(client, &reads, needs),
        reads.run(client, needs),
    );
    begun?;
    locked_all?;
    take_sequences(&mut overlay, locked?)?;
    take_sequences(&mut overlay, more?)?;
    let missing: Vec<&CollectionPath> = needs
        .collections
        .iter()
        .filter(|(path, makes)| **makes && !overlay.has_sequence(path))
        .map(|(path, _)| path)
        .collect();
    if missing.is_empty() {
        reads.take(&mut overlay, needs, answers?)?;
        return Ok(overlay);
    }
    answers?;
    // What is deleted at the same time does not know of the new row: the records that the guards
    // name are held instead.
    let make = client.prepare_cached(MAKE).await?;
    let keep = client.prepare_cached(OLD_TO_KEEP).await?;
    let kept = Names::of(guards.iter().map(|guard| &guard.path));
    let (buckets, names) = collection_names(&missing);
    let make_parameters: [&(dyn ToSql + Sync); 2] = [&buckets, &names];
    let kept_parameters = kept.parameters();
    let (made, held, locked, answers) = tokio::join!(
        client.execute(&make, &make_parameters),
        client.query(&keep, &kept_parameters),
        lock(client, &reads, &missing),
        reads.run(client, needs),
    );
    made?;
    held?;
    take_sequences(&mut overlay, locked?)?;
    reads.take(&mut overlay, needs, answers?)?;
    Ok(overlay)
}

/// Statements that are needed, made ready before the transaction begins.
struct Reads {
    lock: tokio_postgres::Statement,
    lock_buckets: Option<tokio_postgres::Statement>,
    queries: Vec<(Query, tokio_postgres::Statement)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    Records,
    Parents,
    Members,
    Shown,
    Dead,
    Ended,
}

impl Reads {
    async fn prepare(client: &Object, needs: &Needs) -> Result<Self, Fault> {
        let mut queries = Vec::new();
        let wanted = [
            // Locked first: what else is read shows what was committed before.
            (Query::Parents, OLD_TO_CHANGE, !needs.parents.is_empty()),
            (Query::Records, OLD, !needs.records.is_empty()),
            (Query::Members, MEMBERS, !needs.groups.is_empty()),
            (Query::Shown, SHOWN, !needs.times.is_empty()),
            (Query::Dead, DEAD, !needs.compacted.is_empty()),
            (Query::Ended, ENDED, !needs.compacted.is_empty() || !needs.merged.is_empty()),
        ];
        for (query, sql, is_wanted) in wanted {
            if is_wanted {
                queries.push((query, client.prepare_cached(sql).await?));
            }
        }
        let lock_buckets = match needs.buckets.is_empty() {
            true => None,
            false => Some(client.prepare_cached(LOCK_BUCKETS).await?),
        };
        Ok(Self { lock: client.prepare_cached(LOCK).await?, lock_buckets, queries })
    }

    async fn run(&self, client: &Object, needs: &Needs) -> Result<Vec<Vec<PgRow>>, Fault> {
        let queries = self.queries.iter().map(|(query, statement)| async move {
            match query {
                Query::Records => {
                    let names = Names::of(&needs.records);
                    client.query(statement, &names.parameters()).await
                }
                Query::Parents => {
                    let names = Names::of(&needs.parents);
                    client.query(statement, &names.parameters()).await
                }
                Query::Members => {
                    let buckets: Vec<&str> =
                        needs.groups.iter().map(|group| group.bucket.as_str()).collect();
                    let groups: Vec<&str> =
                        needs.groups.iter().map(|group| group.group.as_str()).collect();
                    client.query(statement, &[&buckets, &groups]).await
                }
                Query::Shown => {
                    let paths: Vec<_> = needs.times.iter().map(|(path, _)| path).collect();
                    let (buckets, names) = collection_names(&paths);
                    let (lows, highs): (Vec<i64>, Vec<i64>) =
                        needs.times.iter().map(|(_, from)| Needs::probed(*from)).unzip();
                    client.query(statement, &[&buckets, &names, &lows, &highs]).await
                }
                Query::Dead => {
                    let paths: Vec<_> = needs.compacted.keys().collect();
                    let (buckets, names) = collection_names(&paths);
                    let up_to: Vec<i64> = needs.compacted.values().map(|seq| seq.0).collect();
                    client.query(statement, &[&buckets, &names, &up_to]).await
                }
                Query::Ended => {
                    let ended = needs.ended();
                    let paths: Vec<_> = ended.iter().map(|(path, ..)| *path).collect();
                    let (buckets, names) = collection_names(&paths);
                    let up_to: Vec<i64> = ended.iter().map(|(_, up_to, _)| *up_to).collect();
                    let most: Vec<Option<i64>> = ended.iter().map(|(.., most)| *most).collect();
                    client.query(statement, &[&buckets, &names, &up_to, &most]).await
                }
            }
        });
        let answers = join_all(queries).await;
        Ok(answers.into_iter().collect::<Result<_, _>>()?)
    }

    fn take(
        &self,
        overlay: &mut Overlay,
        needs: &Needs,
        answers: Vec<Vec<PgRow>>,
    ) -> Result<(), Fault> {
        for ((query, _), rows) in self.queries.iter().zip(answers) {
            match query {
                // Read once more with the others.
                Query::Parents => {}
                Query::Records => {
                    let paths: Vec<&RecordPath> = needs.records.iter().collect();
                    for row in rows {
                        let path = nth(&paths, row.try_get(0)?)?;
                        overlay.add_record(path.clone(), record_row(&row)?);
                    }
                }
                Query::Members => {
                    let groups: Vec<&GroupPath> = needs.groups.iter().collect();
                    for row in rows {
                        let group = nth(&groups, row.try_get(0)?)?;
                        overlay.add_present(group.clone(), row.try_get(1)?);
                    }
                }
                Query::Shown => {
                    let paths: Vec<&CollectionPath> =
                        needs.times.iter().map(|(path, _)| path).collect();
                    for path in &paths {
                        overlay.watch_times(path);
                    }
                    for row in rows {
                        let path = nth(&paths, row.try_get(0)?)?;
                        let id = RecordId::from(row.try_get::<_, &str>(2)?);
                        overlay.add_shown(path, row.try_get(1)?, id);
                    }
                }
                Query::Dead => {
                    let paths: Vec<&CollectionPath> = needs.compacted.keys().collect();
                    for row in rows {
                        let path = nth(&paths, row.try_get(0)?)?;
                        let path = path.record(row.try_get::<_, &str>(6)?);
                        overlay.add_record(path, record_row(&row)?);
                    }
                }
                Query::Ended => {
                    let ended = needs.ended();
                    let paths: Vec<&CollectionPath> =
                        ended.iter().map(|(path, ..)| *path).collect();
                    for row in rows {
                        let path = nth(&paths, row.try_get(0)?)?;
                        overlay.add_ended(path, ended_row(&row)?);
                    }
                }
            }
        }
        Ok(())
    }
}

async fn lock(
    client: &Object,
    reads: &Reads,
    paths: &[&CollectionPath],
) -> Result<Vec<PgRow>, Fault> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let (buckets, names) = collection_names(paths);
    Ok(client.query(&reads.lock, &[&buckets, &names]).await?)
}

async fn lock_buckets(client: &Object, reads: &Reads, needs: &Needs) -> Result<Vec<PgRow>, Fault> {
    let Some(statement) = &reads.lock_buckets else { return Ok(Vec::new()) };
    let buckets: Vec<&str> = needs.buckets.iter().map(|bucket| bucket.as_str()).collect();
    Ok(client.query(statement, &[&buckets]).await?)
}

// Collections that are not locked with their bucket, in order.
fn singles(needs: &Needs) -> Vec<&CollectionPath> {
    needs.collections.keys().filter(|path| !needs.buckets.contains(&path.bucket)).collect()
}

fn take_sequences(overlay: &mut Overlay, rows: Vec<PgRow>) -> Result<(), Fault> {
    for row in rows {
        let path = CollectionPath::new(row.try_get::<_, &str>(0)?, row.try_get::<_, &str>(1)?);
        let sequence = rows::sequence(&row, 2)?;
        overlay.add_sequence(path, sequence);
    }
    Ok(())
}

fn record_row(row: &PgRow) -> Result<Row, Fault> {
    Ok(Row {
        seq: Seq(row.try_get(1)?),
        chosen: row.try_get(2)?,
        signature: rows::signature(row, 3)?,
        entered: Seq(row.try_get(4)?),
        dead: row.try_get(5)?,
    })
}

fn ended_row(row: &PgRow) -> Result<Ended, Fault> {
    Ok(Ended {
        seq: Seq(row.try_get(1)?),
        id: RecordId::from(row.try_get::<_, &str>(2)?),
        signature: rows::signature(row, 3)?,
        entered: Seq(row.try_get(4)?),
    })
}

// Ordinals begin at one.
fn nth<'a, T>(all: &[&'a T], n: i64) -> Result<&'a T, Fault> {
    let index = usize::try_from(n - 1).unwrap_or(usize::MAX);
    all.get(index).copied().ok_or_else(|| {
        Fault::Store(StoreError::Corrupt("the database numbered a row that was not asked".into()))
    })
}

/// Names of collections as two arrays.
pub(super) fn collection_names<'a>(paths: &[&'a CollectionPath]) -> (Vec<&'a str>, Vec<&'a str>) {
    paths.iter().map(|path| (path.bucket.as_str(), path.name.as_str())).unzip()
}

/// Names of records as three arrays.
pub(super) struct Names<'a> {
    pub(super) buckets: Vec<&'a str>,
    pub(super) collections: Vec<&'a str>,
    pub(super) ids: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn of(paths: impl IntoIterator<Item = &'a RecordPath>) -> Self {
        let mut names = Self { buckets: Vec::new(), collections: Vec::new(), ids: Vec::new() };
        for path in paths {
            names.buckets.push(path.collection.bucket.as_str());
            names.collections.push(path.collection.name.as_str());
            names.ids.push(path.id.as_str());
        }
        names
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.buckets, &self.collections, &self.ids]
    }
}
