//! One connection with its prepared statements, on the tables of `nuage-store`. Whatever need not
//! wait for an answer is sent at once: each call is one round trip or, with a judgement between,
//! two.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use futures_util::future::{try_join, try_join_all, try_join3};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::raw::{BUCKET, COLLECTION, PERMISSIONS, Row, readers};
use crate::workload::LIST_RECORDS;

const GET: &str = "SELECT id, seq, timestamp, dead, signature, permissions, body FROM records \
     WHERE bucket = $1 AND collection = $2 AND id = $3";
/// The head and, after a position, the latest records: in one statement, so in one snapshot.
const LIST: &str = "SELECT c.seq, c.timestamp, c.live, r.id, r.seq, r.timestamp, r.dead, \
     r.signature, r.permissions, r.body \
     FROM collections c LEFT JOIN LATERAL (SELECT * FROM records r WHERE r.bucket = $1 \
     AND r.collection = $2 AND r.seq > $3 ORDER BY r.seq DESC LIMIT $4) r ON true \
     WHERE c.bucket = $1 AND c.collection = $2";
const LOCK: &str = "SELECT seq, timestamp, gc_seq, live, tombstones, chosen, gone, dropped \
     FROM collections WHERE bucket = $1 AND collection = $2 FOR UPDATE";
const OLD: &str = "SELECT id, seq, timestamp, signature, entered, dead, permissions FROM records \
     WHERE bucket = $1 AND collection = $2 AND id = ANY ($3::text[])";
const MOVE_HEAD: &str = "UPDATE collections SET seq = $3, live = live + $4 \
     WHERE bucket = $1 AND collection = $2";
/// Any sum will do for the work.
const COUNT: &str = "UPDATE signatures SET live = live + $4, digest = (digest + $4) % (1::bigint << 48) \
     WHERE bucket = $1 AND collection = $2 AND signature = $3";
const UPSERT_ONE: &str = "INSERT INTO records AS r (bucket, collection, id, seq, timestamp, \
     signature, entered, dead, permissions, body) \
     VALUES ($1, $2, $3, $4, NULL, $5, $6, false, $7, $8) \
     ON CONFLICT (bucket, collection, id) DO UPDATE SET seq = excluded.seq, timestamp = NULL, \
     signature = excluded.signature, entered = excluded.entered, dead = false, \
     permissions = excluded.permissions, body = excluded.body";
const UPSERT_MANY: &str = "INSERT INTO records AS r (bucket, collection, id, seq, timestamp, \
     signature, entered, dead, permissions, body) \
     SELECT $1, $2, w.id, w.seq, NULL, $5, w.entered, false, $7, w.body \
     FROM unnest($3::text[], $4::bigint[], $6::bigint[], $8::text[]) w (id, seq, entered, body) \
     ON CONFLICT (bucket, collection, id) DO UPDATE SET seq = excluded.seq, timestamp = NULL, \
     signature = excluded.signature, entered = excluded.entered, dead = false, \
     permissions = excluded.permissions, body = excluded.body";
/// New records alone: it counts each as one more. Positions follow the head, whatever it is.
const BLIND: &str = "WITH head AS (UPDATE collections SET seq = greatest(seq, $7) + $8, \
     live = live + $8 WHERE bucket = $1 AND collection = $2 RETURNING seq), \
     counted AS (UPDATE signatures SET live = live + $8, \
     digest = (digest + $8) % (1::bigint << 48) WHERE bucket = $1 AND collection = $2 \
     AND signature = $4), \
     written AS (INSERT INTO records AS r (bucket, collection, id, seq, timestamp, signature, \
     entered, dead, permissions, body) \
     SELECT $1, $2, w.id, head.seq - $8 + w.place, NULL, $4, head.seq - $8 + w.place, false, $5, \
     w.body FROM head, unnest($3::text[], $6::text[]) WITH ORDINALITY w (id, body, place) \
     ON CONFLICT (bucket, collection, id) DO UPDATE SET seq = excluded.seq, timestamp = NULL, \
     signature = excluded.signature, entered = excluded.entered, dead = false, \
     permissions = excluded.permissions, body = excluded.body) \
     SELECT seq FROM head";

/// How rows are written once it is known what is there.
pub(super) enum Applied {
    Singly,
    InArrays,
    InOne,
}

/// A connection.
pub(super) struct Session {
    client: Client,
    signature: Vec<u8>,
    get: Statement,
    list: Statement,
    begin: Statement,
    commit: Statement,
    lock: Statement,
    old: Statement,
    move_head: Statement,
    count: Statement,
    upsert_one: Statement,
    upsert_many: Statement,
    apply: Statement,
    blind: Statement,
}

impl Session {
    /// Connects, and prepares what will be asked.
    pub(super) async fn open(url: &str) -> Result<Self> {
        // Otherwise PostgreSQL plans anew each time a list is read: it thinks that a plan made for
        // the very limit is so much better. That would be half of what a list costs.
        let mut config: Config = url.parse()?;
        config.options("-c plan_cache_mode=force_generic_plan");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::task::spawn_local(connection);
        // The three statements of UPSERT_MANY, MOVE_HEAD and COUNT in one.
        let head = MOVE_HEAD.replace("$3", "$9").replace("$4", "$10");
        let count = COUNT.replace("$3", "$5").replace("$4", "$10");
        let apply = format!("WITH moved AS ({head}), counted AS ({count}) {UPSERT_MANY}");
        Ok(Self {
            get: client.prepare(GET).await?,
            list: client.prepare(LIST).await?,
            begin: client.prepare("BEGIN").await?,
            commit: client.prepare("COMMIT").await?,
            lock: client.prepare(LOCK).await?,
            old: client.prepare(OLD).await?,
            move_head: client.prepare(MOVE_HEAD).await?,
            count: client.prepare(COUNT).await?,
            upsert_one: client.prepare(UPSERT_ONE).await?,
            upsert_many: client.prepare(UPSERT_MANY).await?,
            apply: client.prepare(&apply).await?,
            blind: client.prepare(BLIND).await?,
            signature: readers().signature().0.to_vec(),
            client,
        })
    }

    /// Number of records that are there, but for the first one.
    pub(super) async fn count_records(&self) -> Result<u64> {
        let row = self.client.query_one("SELECT count(*) - 1 FROM records", &[]).await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// What autovacuum would do in the middle of a measurement.
    pub(super) async fn vacuum(&self) -> Result<()> {
        Ok(self.client.batch_execute("VACUUM (ANALYZE)").await?)
    }

    /// Reads a record.
    pub(super) async fn get(&self, id: &str) -> Result<()> {
        let row = self.client.query_one(&self.get, &[&BUCKET, &COLLECTION, &id]).await?;
        copy(&row, 0)
    }

    /// Reads the latest records and the head of their collection.
    pub(super) async fn list(&self) -> Result<()> {
        // One more tells whether there is another page.
        let limit = LIST_RECORDS as i64 + 1;
        let rows = self.client.query(&self.list, &[&BUCKET, &COLLECTION, &0_i64, &limit]).await?;
        ensure!(rows.len() as i64 == limit);
        rows.iter().try_for_each(|row| copy(row, 3))
    }

    /// What came after the latest: nothing.
    pub(super) async fn poll(&self) -> Result<()> {
        let (after, limit) = (i64::MAX, LIST_RECORDS as i64 + 1);
        let row =
            self.client.query_one(&self.list, &[&BUCKET, &COLLECTION, &after, &limit]).await?;
        ensure!(row.try_get::<_, Option<&str>>(3)?.is_none());
        Ok(())
    }

    /// Creates or replaces. Returns the position of the last.
    pub(super) async fn write(&self, rows: &[&Row], now: i64, applied: Applied) -> Result<i64> {
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let (_, head, old) = try_join3(
            self.client.execute(&self.begin, &[]),
            self.client.query_one(&self.lock, &[&BUCKET, &COLLECTION]),
            self.client.query(&self.old, &[&BUCKET, &COLLECTION, &ids]),
        )
        .await?;
        let mut entered: HashMap<&str, i64> = HashMap::with_capacity(old.len());
        for row in &old {
            entered.insert(row.try_get(0)?, row.try_get(4)?);
        }
        let first = now.max(head.get::<_, i64>(0) + 1);
        let seqs: Vec<i64> = (first..).take(rows.len()).collect();
        let last = *seqs.last().context("rows to write")?;
        let created = (rows.len() - old.len()) as i64;
        let entered: Vec<i64> =
            ids.iter().zip(&seqs).map(|(id, seq)| *entered.get(id).unwrap_or(seq)).collect();
        let bodies: Vec<&str> = rows.iter().map(|row| row.body.as_str()).collect();
        let head: [&(dyn ToSql + Sync); 4] = [&BUCKET, &COLLECTION, &last, &created];
        let count: [&(dyn ToSql + Sync); 4] = [&BUCKET, &COLLECTION, &self.signature, &created];
        let many: [&(dyn ToSql + Sync); 10] = [
            &BUCKET,
            &COLLECTION,
            &ids,
            &seqs,
            &self.signature,
            &entered,
            &PERMISSIONS,
            &bodies,
            &last,
            &created,
        ];
        let commit = self.client.execute(&self.commit, &[]);
        let heads = async {
            let moved = self.client.execute(&self.move_head, &head);
            try_join(moved, self.client.execute(&self.count, &count)).await
        };
        match applied {
            Applied::InOne => {
                try_join(self.client.execute(&self.apply, &many), commit).await?;
            }
            Applied::InArrays => {
                let written = self.client.execute(&self.upsert_many, &many[..8]);
                try_join3(written, heads, commit).await?;
            }
            Applied::Singly => {
                let singles: Vec<[&(dyn ToSql + Sync); 8]> = (0..rows.len())
                    .map(|i| -> [&(dyn ToSql + Sync); 8] {
                        [
                            &BUCKET,
                            &COLLECTION,
                            &ids[i],
                            &seqs[i],
                            &self.signature,
                            &entered[i],
                            &PERMISSIONS,
                            &bodies[i],
                        ]
                    })
                    .collect();
                let written = singles.iter().map(|one| self.client.execute(&self.upsert_one, one));
                try_join3(try_join_all(written), heads, commit).await?;
            }
        }
        Ok(last)
    }

    /// Creates, without a look at what is there. Returns the position of the last.
    pub(super) async fn write_blindly(&self, rows: &[&Row], now: i64) -> Result<i64> {
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let bodies: Vec<&str> = rows.iter().map(|row| row.body.as_str()).collect();
        let count = rows.len() as i64;
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&BUCKET, &COLLECTION, &ids, &self.signature, &PERMISSIONS, &bodies, &now, &count];
        let row = self.client.query_one(&self.blind, &parameters).await?;
        Ok(row.get(0))
    }
}

// Takes the row out of the driver's hands, as whoever answers must.
fn copy(row: &tokio_postgres::Row, from: usize) -> Result<()> {
    let id: String = row.try_get(from)?;
    let seq: i64 = row.try_get(from + 1)?;
    let permissions: String = row.try_get(from + 5)?;
    let body: String = row.try_get(from + 6)?;
    ensure!(seq > 0 && !id.is_empty() && !permissions.is_empty() && !body.is_empty());
    Ok(())
}
