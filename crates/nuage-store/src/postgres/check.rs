//! Everything that is wrong in the tables, looked for by the rules of [`crate::integrity`].
//!
//! Whether the files of the server are sound is for the tools of PostgreSQL to say.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use nuage_model::{Finding, StoreError};
use tokio_postgres::Row;

use crate::integrity::{
    FINDINGS_MAX, Hashes, RULES, Sums, Words, in_words, signature_rules, wrong_members,
    wrong_texts, wrong_view,
};
use crate::postgres::cells::value;
use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use crate::postgres::reader::{Reader, read};

/// A check reads everything; beyond this, something stands still.
const CHECK: Duration = Duration::from_secs(24 * 60 * 60);

const SIGNATURE_RULES: &[&str] = signature_rules!("upper(encode(", ", 'hex'))");
/// The tables themselves have the names.
const WORDS: Words =
    Words { named: "", place: &["bucket", "collection"], is_group: "LIKE '/buckets/_%/groups/_%'" };
const RECORDS: &str = "SELECT bucket, collection, id, permissions, body FROM records";
const SIGNATURES: &str = "
    SELECT s.bucket, s.collection, s.signature, p.principal
    FROM signatures s LEFT JOIN signature_principals p
    ON p.bucket = s.bucket AND p.collection = s.collection AND p.signature = s.signature
    ORDER BY s.bucket, s.collection, s.signature";
const RESIDENTS: &str = "
    SELECT s.bucket, s.collection, s.signature, s.digest, r.id, coalesce(r.timestamp, r.seq)
    FROM signatures s LEFT JOIN records r
    ON r.bucket = s.bucket AND r.collection = s.collection AND r.signature = s.signature
        AND NOT r.dead
    ORDER BY s.bucket, s.collection, s.signature";
const VIEWS: &str = "SELECT bucket, person, name, groups FROM views";
const GROUPS: &str = "
    SELECT r.bucket, r.id, r.body,
        ARRAY(SELECT member FROM members WHERE bucket = r.bucket AND grp = r.id)
    FROM records r WHERE r.collection = '_groups' AND NOT r.dead";

/// All findings, in one snapshot.
pub(super) async fn check(pool: &Pool) -> Result<Vec<Finding>, Fault> {
    let _slot = pool.slot(CHECK).await?;
    Ok(read!(pool, CHECK, |reader| look(reader))?.1)
}

async fn look(reader: &Reader<'_>) -> Result<Vec<Finding>, Fault> {
    reader.begin_with(async { Ok(()) }).await?;
    let mut findings = Vec::new();
    for rule in RULES.iter().chain(SIGNATURE_RULES) {
        let rule = in_words(rule, &WORDS);
        let limited = format!("SELECT finding FROM ({rule}) AS told (finding) LIMIT $1");
        let told = i64::try_from(FINDINGS_MAX).unwrap_or(i64::MAX);
        for row in reader.query(&limited, &[&told]).await? {
            findings.push(Finding(value(&row, 0)?));
        }
    }
    tell(reader, RECORDS, &mut findings, &|row| {
        let name = [value(row, 0)?, value(row, 1)?, value(row, 2)?];
        Ok(wrong_texts(name, value(row, 3)?, value(row, 4)?))
    })
    .await?;
    findings.append(&mut hashes(reader).await?);
    findings.append(&mut sums(reader).await?);
    tell(reader, VIEWS, &mut findings, &|row| {
        let (name, groups) = (value(row, 2)?, value(row, 3)?);
        Ok(wrong_view(value(row, 0)?, value(row, 1)?, name, groups))
    })
    .await?;
    tell(reader, GROUPS, &mut findings, &|row| {
        let members: Vec<String> = value(row, 3)?;
        let members: BTreeSet<String> = members.into_iter().collect();
        Ok(wrong_members(value(row, 0)?, value(row, 1)?, value(row, 2)?, &members))
    })
    .await?;
    Ok(findings)
}

type Judge = dyn Fn(&Row) -> Result<Option<Finding>, Fault> + Sync;

// What is found row by row. The rows after the last finding are not wanted; they are read
// nevertheless, since a check has the time and more statements follow.
async fn tell(
    reader: &Reader<'_>,
    sql: &'static str,
    findings: &mut Vec<Finding>,
    judge: &Judge,
) -> Result<(), Fault> {
    let mut told = 0;
    let mut visit = |row: &Row| {
        if told < FINDINGS_MAX
            && let Some(finding) = judge(row)?
        {
            findings.push(finding);
            told += 1;
        }
        Ok(ControlFlow::Continue(()))
    };
    reader.each(sql, &[], &mut visit).await
}

// Each signature must name exactly the principals that are listed under it.
async fn hashes(reader: &Reader<'_>) -> Result<Vec<Finding>, Fault> {
    let mut hashes = Hashes::default();
    let mut visit = |row: &Row| {
        hashes.next((value(row, 0)?, value(row, 1)?, signature(row)?), value(row, 3)?);
        Ok(ControlFlow::Continue(()))
    };
    reader.each(SIGNATURES, &[], &mut visit).await?;
    hashes.end();
    Ok(hashes.findings)
}

// Each signature must keep the sum of the digests of its live records.
async fn sums(reader: &Reader<'_>) -> Result<Vec<Finding>, Fault> {
    let mut sums = Sums::default();
    let mut visit = |row: &Row| {
        let record = match value::<Option<&str>>(row, 4)? {
            Some(id) => Some((id, value(row, 5)?)),
            None => None,
        };
        let key = (value(row, 0)?, value(row, 1)?, signature(row)?);
        sums.next(key, value(row, 3)?, record);
        Ok(ControlFlow::Continue(()))
    };
    reader.each(RESIDENTS, &[], &mut visit).await?;
    sums.end();
    Ok(sums.findings)
}

fn signature(row: &Row) -> Result<[u8; 16], Fault> {
    let bytes: &[u8] = value(row, 2)?;
    bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt(format!("a signature has {} bytes", bytes.len())).into())
}
