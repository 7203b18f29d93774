//! Where residencies began and ended: along the positions, or along the positions of signatures.
//!
//! Which of the two is decided by the caller, never by the planner. Along a signature, a range is
//! asked for that begins at a pair of signature and position, in the order of this pair: nothing
//! but the index of signatures can give that, whatever the statistics say. What is passed over is
//! told in a CASE, of which the planner thinks nothing. A test looks at the plans.
//!
//! What is told of one position stays together: ended residencies first, in order of identifiers,
//! then the record that is there now.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nuage_model::{Fate, Record, RecordId, Residents, Seq, Signature, StoreError, Trace};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::postgres::errors::Fault;
use crate::postgres::feed::Look;
use crate::postgres::rows::{self, is_storable, one_record};

// What was found, each with the signature that its record has now, where the residency ended by
// another signature. $1 bucket, $2 collection.
macro_rules! told {
    ($found:expr) => {
        concat!(
            "SELECT t.seq, t.id, t.signature, t.entered, t.dead,
                CASE WHEN t.dead IS NULL THEN (SELECT signature FROM (",
            one_record!("signature, dead", "$1", "$2", "t.id"),
            ") AS present WHERE NOT dead) END FROM (",
            $found,
            ") AS t"
        )
    };
}
/// Positions after $3, at most $4 and the rest of the last one.
const TAIL: &str = told!(
    "SELECT seq, id, signature, entered, dead FROM (
        (SELECT seq, id, signature, entered, dead FROM records
            WHERE bucket = $1 AND collection = $2 AND seq > $3 ORDER BY seq LIMIT $4)
        UNION ALL (SELECT seq, id, signature, entered, NULL::boolean FROM gone
            WHERE bucket = $1 AND collection = $2 AND seq > $3
            ORDER BY seq FETCH FIRST $4 ROWS WITH TIES)) AS walk
    ORDER BY seq FETCH FIRST $4 ROWS WITH TIES"
);
/// Positions after $3, at most $4 and the rest of the last one, of records that have the signatures
/// $5, $6 whether live ones, $7 whether tombstones; and of what had the signatures $8.
const TAIL_OF: &str = told!(
    "SELECT seq, id, signature, entered, dead FROM (
        (SELECT r.seq, r.id, own.signature, r.entered, r.dead
            FROM unnest($5::bytea[], $6::boolean[], $7::boolean[]) AS own (signature, live, ended)
            CROSS JOIN LATERAL (SELECT seq, id, entered, dead FROM records
                WHERE bucket = $1 AND collection = $2
                AND (signature, seq) > (own.signature, $3) AND signature <= own.signature
                AND CASE WHEN dead THEN own.ended ELSE own.live END
                ORDER BY signature, seq LIMIT $4) AS r)
        UNION ALL (SELECT g.seq, g.id, own.signature, g.entered, NULL::boolean
            FROM unnest($8::bytea[]) AS own (signature)
            CROSS JOIN LATERAL (SELECT seq, id, entered FROM gone
                WHERE bucket = $1 AND collection = $2
                AND (signature, seq) > (own.signature, $3) AND signature <= own.signature
                ORDER BY signature, seq FETCH FIRST $4 ROWS WITH TIES) AS g)) AS probed
    ORDER BY seq FETCH FIRST $4 ROWS WITH TIES"
);
/// $3 signatures, of the first only positions after $4, all up to $5 and entered up to $6, at most
/// $7. They come in the order of the signatures, one after the other, and end when there are
/// enough; whoever reads them holds the database to that.
const RESIDENTS: &str = "
    SELECT r.seq, r.id, own.signature, r.entered, false, NULL::bytea, own.n
    FROM unnest($3::bytea[]) WITH ORDINALITY AS own (signature, n)
    CROSS JOIN LATERAL (SELECT seq, id, entered FROM records
        WHERE bucket = $1 AND collection = $2
        AND (signature, seq) > (own.signature, CASE own.n WHEN 1 THEN $4::bigint ELSE 0 END)
        AND signature <= own.signature AND seq <= $5
        AND CASE WHEN dead THEN false ELSE entered <= $6 END
        ORDER BY signature, seq LIMIT $7) AS r
    ORDER BY own.n LIMIT $7";
/// $3 identifiers, at most $4 bytes of bodies.
const RECORDS: &str = concat!(
    "SELECT id, seq, timestamp, dead, signature, permissions, body FROM (
        SELECT r.id, r.seq, r.timestamp, r.dead, r.signature, r.permissions, r.body,
            octet_length(r.body) AS bytes,
            sum(octet_length(r.body)) OVER (ORDER BY asked.n ROWS UNBOUNDED PRECEDING) AS filled
        FROM unnest($3::text[]) WITH ORDINALITY AS asked (id, n)
        CROSS JOIN LATERAL (",
    one_record!("id, seq, timestamp, dead, signature, permissions, body", "$1", "$2", "asked.id"),
    ") AS r WHERE NOT r.dead) AS found
    WHERE filled <= $4 OR filled = bytes"
);

/// Every statement, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 4] = [TAIL, TAIL_OF, RESIDENTS, RECORDS];

/// What happened after a position.
pub(super) async fn tail(look: &Look<'_>, after: Seq, limit: usize) -> Result<Vec<Trace>, Fault> {
    let most = most(limit.max(1));
    in_order(traces(look, TAIL, &[&look.bucket, &look.name, &after.0, &most]).await?)
}

/// What happened after a position to what has or had one of these signatures.
pub(super) async fn tail_of(
    look: &Look<'_>,
    live: &[Signature],
    ended: &[Signature],
    after: Seq,
    limit: usize,
) -> Result<Vec<Trace>, Fault> {
    // Most signatures are in both lists, and each is looked into once.
    let mut wanted: BTreeMap<&[u8], (bool, bool)> = BTreeMap::new();
    live.iter().for_each(|one| wanted.entry(&one.0).or_default().0 = true);
    ended.iter().for_each(|one| wanted.entry(&one.0).or_default().1 = true);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let signatures: Vec<&[u8]> = wanted.keys().copied().collect();
    let (of_live, of_ended): (Vec<bool>, Vec<bool>) = wanted.into_values().unzip();
    let (ended, most) = (bytes(ended), most(limit.max(1)));
    let asked: [&(dyn ToSql + Sync); 8] =
        [&look.bucket, &look.name, &after.0, &most, &signatures, &of_live, &of_ended, &ended];
    in_order(traces(look, TAIL_OF, &asked).await?)
}

/// The live records that have one of some signatures.
pub(super) async fn residents(look: &Look<'_>, residents: &Residents) -> Result<Vec<Trace>, Fault> {
    let Residents { signatures, after, up_to, entered_up_to, limit } = residents;
    if signatures.is_empty() || *limit == 0 {
        return Ok(Vec::new());
    }
    let (signatures, most) = (bytes(signatures), most(*limit));
    let up_to = up_to.map_or(i64::MAX, |seq| seq.0);
    let entered_up_to = entered_up_to.map_or(i64::MAX, |seq| seq.0);
    let asked: [&(dyn ToSql + Sync); 7] =
        [&look.bucket, &look.name, &signatures, &after.0, &up_to, &entered_up_to, &most];
    let (mut last, mut traces) = ((0_i64, 0_i64), Vec::new());
    let mut visit = |row: &Row| {
        let next = (rows::value(row, 6)?, rows::value(row, 0)?);
        if next <= last {
            return Err(out_of_order(next.1));
        }
        last = next;
        traces.push(trace(row)?);
        Ok(ControlFlow::Continue(()))
    };
    look.reader.each(RESIDENTS, &asked, &mut visit).await?;
    Ok(traces)
}

/// These live records, as many as fit.
pub(super) async fn records(
    look: &Look<'_>,
    ids: &[RecordId],
    bytes_max: usize,
) -> Result<Vec<Record>, Fault> {
    let ids: Vec<&str> = ids.iter().map(RecordId::as_str).filter(|id| is_storable(id)).collect();
    let bytes_max = most(bytes_max);
    let mut records = Vec::with_capacity(ids.len());
    let mut visit = |row: &Row| {
        records.push(rows::record(row)?);
        Ok(ControlFlow::Continue(()))
    };
    let asked: [&(dyn ToSql + Sync); 4] = [&look.bucket, &look.name, &ids, &bytes_max];
    look.reader.each(RECORDS, &asked, &mut visit).await?;
    Ok(records)
}

async fn traces(
    look: &Look<'_>,
    sql: &'static str,
    asked: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Trace>, Fault> {
    let mut traces = Vec::new();
    let mut visit = |row: &Row| {
        traces.push(trace(row)?);
        Ok(ControlFlow::Continue(()))
    };
    look.reader.each(sql, asked, &mut visit).await?;
    Ok(traces)
}

// The trace in seq, id, signature, entered, dead (nothing if it ended otherwise) and the signature
// that the record has now.
fn trace(row: &Row) -> Result<Trace, Fault> {
    let fate = match rows::value(row, 4)? {
        Some(false) => Fate::Live,
        Some(true) => Fate::Deleted,
        None => {
            let present: Option<&[u8]> = rows::value(row, 5)?;
            let present = present.map(|_| rows::signature(row, 5)).transpose()?;
            Fate::Left(present)
        }
    };
    Ok(Trace {
        id: RecordId::from(rows::value::<&str>(row, 1)?),
        seq: Seq(rows::value(row, 0)?),
        signature: rows::signature(row, 2)?,
        entered: Seq(rows::value(row, 3)?),
        fate,
    })
}

// Puts what is told of one position in order; the positions must be in order already.
fn in_order(mut traces: Vec<Trace>) -> Result<Vec<Trace>, Fault> {
    if let Some(pair) = traces.windows(2).find(|pair| pair[0].seq > pair[1].seq) {
        return Err(out_of_order(pair[1].seq.0));
    }
    let key = |trace: &Trace| (trace.seq, !matches!(trace.fate, Fate::Left(_)));
    traces.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id)));
    Ok(traces)
}

fn out_of_order(seq: i64) -> Fault {
    StoreError::Corrupt(format!("residencies come out of order, or twice, at {seq}")).into()
}

fn bytes(signatures: &[Signature]) -> Vec<&[u8]> {
    signatures.iter().map(|signature| signature.0.as_slice()).collect()
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
