//! Signatures of a collection: in order, those of some principals or all, and what is counted.
//!
//! Principals are looked up one by one, each a range of one index, and merged. Memory is bounded
//! by what is asked for.

use std::collections::BTreeSet;

use nuage_model::{Counted, DIGEST_MODULUS, Principal, Signature, Sum, Whose};
use rusqlite::{OptionalExtension, params};

use crate::sqlite::errors::Fault;
use crate::sqlite::feed::Look;

/// Signatures that are summed up in one go.
const CHUNK: usize = 4_096;
/// At and beyond every signature.
const LAST: Signature = Signature([0xff; 16]);

const ALL: &str = "
    SELECT signature, live FROM signatures
    WHERE bucket = ?1 AND collection = ?2 AND signature > ?3 ORDER BY signature LIMIT ?4";
const OF_PRINCIPAL: &str = "
    SELECT signature FROM signature_principals
    WHERE bucket = ?1 AND collection = ?2 AND principal = ?3
        AND signature > ?4 AND signature <= ?5
    ORDER BY signature LIMIT ?6";
const LIVE: &str = "
    SELECT live FROM signatures WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";
const PRINCIPALS: &str = "
    SELECT principal FROM signature_principals
    WHERE bucket = ?1 AND collection = ?2 AND signature = ?3 ORDER BY principal";
const SUM_ALL: &str = "
    SELECT live, digest FROM signatures WHERE bucket = ?1 AND collection = ?2";
const SUM_ONE: &str = "
    SELECT live, digest FROM signatures WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";

/// Every statement that walks, for the test of their plans.
#[cfg(test)]
pub(super) const WALKS: &[&str] = &[ALL, OF_PRINCIPAL, LIVE, PRINCIPALS, SUM_ALL, SUM_ONE];

/// Signatures after this one, in order, with their live records.
pub(super) fn counted(
    look: &Look<'_>,
    whose: Whose<'_>,
    after: Option<Signature>,
    limit: usize,
) -> Result<Vec<Counted>, Fault> {
    match whose {
        Whose::All => all(look, after, limit),
        Whose::Of(principals) => {
            let signatures = of_principals(look, principals, after, limit)?;
            signatures.into_iter().map(|signature| count(look, signature)).collect()
        }
    }
}

fn all(look: &Look<'_>, after: Option<Signature>, limit: usize) -> Result<Vec<Counted>, Fault> {
    let (bucket, name) = look.names();
    let mut statement = look.connection.prepare_cached(ALL)?;
    let mut rows = statement.query(params![bucket, name, lower(&after), rows_max(limit)])?;
    let mut counted = Vec::new();
    while let Some(row) = rows.next()? {
        look.deadline.check()?;
        counted.push(Counted { signature: Signature(row.get(0)?), live: natural(row.get(1)?) });
    }
    Ok(counted)
}

fn count(look: &Look<'_>, signature: Signature) -> Result<Counted, Fault> {
    look.deadline.check()?;
    let (bucket, name) = look.names();
    let mut statement = look.connection.prepare_cached(LIVE)?;
    let live = statement.query_row(params![bucket, name, signature.0], |row| row.get(0));
    Ok(Counted { signature, live: natural(live.optional()?.unwrap_or(0)) })
}

/// The first signatures after this one that have one of the principals.
fn of_principals(
    look: &Look<'_>,
    principals: &[Principal],
    after: Option<Signature>,
    limit: usize,
) -> Result<BTreeSet<Signature>, Fault> {
    let (bucket, name) = look.names();
    let mut statement = look.connection.prepare_cached(OF_PRINCIPAL)?;
    let mut kept = BTreeSet::new();
    for principal in principals {
        look.deadline.check()?;
        // Once there are enough, only smaller ones are of interest.
        let last = if kept.len() < limit { None } else { kept.last().copied() };
        let last = last.unwrap_or(LAST);
        let principal = principal.as_str();
        let range = params![bucket, name, principal, lower(&after), last.0, rows_max(limit)];
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            look.deadline.check()?;
            kept.insert(Signature(row.get(0)?));
            if kept.len() > limit {
                kept.pop_last();
            }
        }
    }
    Ok(kept)
}

/// Who is in each of these, in order.
pub(super) fn principals_of(
    look: &Look<'_>,
    signatures: &[Signature],
) -> Result<Vec<Vec<Principal>>, Fault> {
    let (bucket, name) = look.names();
    let mut statement = look.connection.prepare_cached(PRINCIPALS)?;
    let mut answers = Vec::with_capacity(signatures.len());
    for signature in signatures {
        let mut rows = statement.query(params![bucket, name, signature.0])?;
        let mut principals = Vec::new();
        while let Some(row) = rows.next()? {
            look.deadline.check()?;
            principals.push(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?.into());
        }
        answers.push(principals);
    }
    Ok(answers)
}

/// Live records, and the sum of their digests.
pub(super) fn sum(look: &Look<'_>, whose: Whose<'_>) -> Result<Sum, Fault> {
    let (bucket, name) = look.names();
    let mut sum = Sum::default();
    let principals = match whose {
        Whose::Of(principals) => principals,
        Whose::All => {
            let mut statement = look.connection.prepare_cached(SUM_ALL)?;
            let mut rows = statement.query([bucket, name])?;
            while let Some(row) = rows.next()? {
                look.deadline.check()?;
                add(&mut sum, row.get(0)?, row.get(1)?);
            }
            return Ok(sum);
        }
    };
    let mut statement = look.connection.prepare_cached(SUM_ONE)?;
    let mut after = None;
    loop {
        let signatures = of_principals(look, principals, after, CHUNK)?;
        for signature in &signatures {
            look.deadline.check()?;
            let found = statement
                .query_row(params![bucket, name, signature.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((live, digest)) = found {
                add(&mut sum, live, digest);
            }
        }
        if signatures.len() < CHUNK {
            return Ok(sum);
        }
        after = signatures.last().copied();
    }
}

fn add(sum: &mut Sum, live: i64, digest: i64) {
    sum.live += natural(live);
    sum.digest = (sum.digest + natural(digest) % DIGEST_MODULUS) % DIGEST_MODULUS;
}

// Counters are never less than zero.
fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

// Nothing is before every signature.
fn lower(after: &Option<Signature>) -> &[u8] {
    after.as_ref().map_or(&[], |signature| &signature.0)
}

fn rows_max(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
