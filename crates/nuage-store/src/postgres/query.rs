//! Interim reads.
use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use crate::rules::Sequence;
use nuage_model::*;
use tokio_postgres::Row as PgRow;

fn record(row: &PgRow) -> Record {
    let dead: bool = row.get(3);
    let chosen: Option<i64> = row.get(2);
    let signature: &[u8] = row.get(4);
    Record {
        id: RecordId::from(row.get::<_, &str>(0)),
        seq: Seq(row.get(1)),
        chosen: chosen.map(Timestamp),
        state: if dead {
            State::Tombstone
        } else {
            State::Live {
                body: row.get(6),
                permissions: row.get(5),
                signature: Signature(signature.try_into().expect("16")),
            }
        },
    }
}
const COLUMNS: &str = "id, seq, timestamp, dead, signature, permissions, body";

pub(super) async fn get(pool: &Pool, paths: &[RecordPath]) -> Result<Vec<Option<Record>>, Fault> {
    let client = pool.get().await?;
    let mut out = Vec::new();
    for path in paths {
        let sql = format!("SELECT {COLUMNS} FROM records WHERE bucket=$1 AND collection=$2 AND id=$3");
        let rows = client
            .query(
                &client.prepare_cached(&sql).await?,
                &[&path.collection.bucket.as_str(), &path.collection.name.as_str(), &path.id.as_str()],
            )
            .await?;
        out.push(rows.first().map(record));
    }
    Ok(out)
}

async fn sequence(c: &deadpool_postgres::Object, path: &CollectionPath) -> Result<Option<Sequence>, Fault> {
    let rows = c.query(&c.prepare_cached("SELECT seq, timestamp, live, tombstones FROM collections WHERE bucket=$1 AND collection=$2 AND NOT dropped").await?, &[&path.bucket.as_str(), &path.name.as_str()]).await?;
    Ok(rows.first().map(|row| {
        let seq = Seq(row.get(0));
        let mut s = Sequence::begin(seq);
        s.timestamp = row.get::<_, Option<i64>>(1).map_or(seq.into(), Timestamp);
        s.live = row.get(2);
        s
    }))
}

pub(super) async fn head(pool: &Pool, path: &CollectionPath) -> Result<Option<Head>, Fault> {
    let client = pool.get().await?;
    Ok(sequence(&client, path).await?.as_ref().and_then(Sequence::head))
}

async fn all(pool: &Pool, query: &Query) -> Result<(Option<Head>, Vec<Record>), Fault> {
    let client = pool.get().await?;
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let head = sequence(&client, &query.collection).await?.as_ref().and_then(Sequence::head);
    let (scope, who): (bool, Vec<String>) = match &query.scope {
        Scope::All => (false, vec![]),
        Scope::Readers(w) | Scope::Holders(_, w) => (true, w.iter().map(|p| p.as_str().to_owned()).collect()),
    };
    let sql = format!("SELECT {COLUMNS} FROM records r WHERE bucket=$1 AND collection=$2 AND (NOT $3 OR signature IN (SELECT signature FROM signature_principals p WHERE p.bucket=$1 AND p.collection=$2 AND p.principal = ANY($4)))");
    let rows = client
        .query(
            &client.prepare_cached(&sql).await?,
            &[&query.collection.bucket.as_str(), &query.collection.name.as_str(), &scope, &who],
        )
        .await?;
    client.batch_execute("COMMIT").await?;
    let mut records: Vec<Record> = if head.is_some() { rows.iter().map(record).collect() } else { vec![] };
    if let Scope::Holders(permission, w) = &query.scope {
        records.retain(|r| {
            Permissions::from_text(&r.permissions())
                .is_ok_and(|own| own.grants(permission, &|holder| w.iter().any(|x| x.as_str() == holder)))
        });
    }
    Ok((head, records))
}

pub(super) async fn list(pool: &Pool, query: &Query, _: u64) -> Result<Page, Fault> {
    let (head, mut records) = all(pool, query).await?;
    records.retain(|r| query.matches(&View::new(r)));
    records.sort_by(|a, b| {
        query.compare_positions(&query.position(&View::new(a)), &query.position(&View::new(b)))
    });
    let more = records.len() > query.limit;
    records.truncate(query.limit);
    Ok(Page { head, records, more })
}

pub(super) async fn count(pool: &Pool, query: &Query, _: u64) -> Result<(Option<Head>, u64), Fault> {
    let query = Query { after: None, ..query.clone() };
    let (head, mut records) = all(pool, &query).await?;
    records.retain(|r| query.matches(&View::new(r)));
    Ok((head, records.len() as u64))
}
