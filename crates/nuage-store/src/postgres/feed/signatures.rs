//! Signatures of a collection: in order, those of some principals or all, and what is counted.
//!
//! Each principal is looked up as a range of one index, in the order that only this index has.

use std::ops::ControlFlow;

use nuage_model::{Counted, Principal, Signature, StoreError, Sum, Whose};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::postgres::errors::Fault;
use crate::postgres::feed::Look;
use crate::postgres::rows::{self, is_storable};

/// Signatures after $3, at most $4.
const ALL: &str = "
    SELECT signature, live FROM signatures
    WHERE bucket = $1 AND collection = $2 AND signature > $3 ORDER BY signature LIMIT $4";
// The signatures after $3 that have one of the principals $4, each once and in order. Nothing is
// hashed for DISTINCT ON.
macro_rules! of_principals {
    ($most:literal) => {
        concat!(
            "SELECT DISTINCT ON (p.signature) p.signature
            FROM unnest($4::text[]) AS own (principal)
            CROSS JOIN LATERAL (SELECT signature FROM signature_principals
                WHERE bucket = $1 AND collection = $2
                AND (principal, signature) > (own.principal, $3) AND principal <= own.principal
                ORDER BY principal, signature ",
            $most,
            ") AS p ORDER BY p.signature ",
            $most
        )
    };
}
/// At most $5.
const OF: &str = concat!(
    "SELECT k.signature, s.live FROM (",
    of_principals!("LIMIT $5"),
    ") AS k LEFT JOIN LATERAL (SELECT live FROM signatures
        WHERE bucket = $1 AND collection = $2 AND signature = k.signature LIMIT 1) AS s ON true"
);
/// $3 signatures.
const PRINCIPALS: &str = "
    SELECT own.n, p.principal FROM unnest($3::bytea[]) WITH ORDINALITY AS own (signature, n)
    CROSS JOIN LATERAL (SELECT principal FROM signature_principals
        WHERE bucket = $1 AND collection = $2
        AND signature >= own.signature AND signature <= own.signature
        ORDER BY signature, principal OFFSET 0) AS p";
const SUM_ALL: &str = "
    SELECT sum(live)::bigint, (sum(digest) % (1::bigint << 48))::bigint FROM (
        SELECT live, digest FROM signatures
        WHERE bucket = $1 AND collection = $2 ORDER BY signature OFFSET 0) AS each";
const SUM_OF: &str = concat!(
    "SELECT sum(s.live)::bigint, (sum(s.digest) % (1::bigint << 48))::bigint FROM (",
    of_principals!("OFFSET 0"),
    ") AS k CROSS JOIN LATERAL (SELECT live, digest FROM signatures
        WHERE bucket = $1 AND collection = $2 AND signature = k.signature LIMIT 1) AS s"
);

/// Every statement, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 5] = [ALL, OF, PRINCIPALS, SUM_ALL, SUM_OF];

/// Signatures after this one, in order, with their live records.
pub(super) async fn counted(
    look: &Look<'_>,
    whose: Whose<'_>,
    after: Option<Signature>,
    limit: usize,
) -> Result<Vec<Counted>, Fault> {
    // Nothing is before every signature.
    let after = after.as_ref().map_or(&[][..], |signature| &signature.0);
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut counted: Vec<Counted> = Vec::new();
    let mut visit = |row: &Row| {
        let signature = rows::signature(row, 0)?;
        let live: Option<i64> = rows::value(row, 1)?;
        if counted.last().is_some_and(|last| last.signature >= signature) {
            let why = "signatures come out of order, or twice".to_owned();
            return Err(StoreError::Corrupt(why).into());
        }
        counted.push(Counted { signature, live: unsigned(live) });
        Ok(ControlFlow::Continue(()))
    };
    match whose {
        Whose::All => {
            let asked: [&(dyn ToSql + Sync); 4] = [&look.bucket, &look.name, &after, &most];
            look.reader.each(ALL, &asked, &mut visit).await?;
        }
        Whose::Of(principals) => {
            let principals = names(principals);
            let asked: [&(dyn ToSql + Sync); 5] =
                [&look.bucket, &look.name, &after, &principals, &most];
            look.reader.each(OF, &asked, &mut visit).await?;
        }
    }
    Ok(counted)
}

/// Who is in each of these, in order.
pub(super) async fn principals_of(
    look: &Look<'_>,
    signatures: &[Signature],
) -> Result<Vec<Vec<Principal>>, Fault> {
    let mut principals = vec![Vec::new(); signatures.len()];
    let signatures: Vec<&[u8]> = signatures.iter().map(|one| one.0.as_slice()).collect();
    let mut visit = |row: &Row| {
        let n: i64 = rows::value(row, 0)?;
        let own = usize::try_from(n - 1).ok().and_then(|n| principals.get_mut(n));
        if let Some(own) = own {
            own.push(Principal::from(rows::value::<&str>(row, 1)?));
        }
        Ok(ControlFlow::Continue(()))
    };
    let asked: [&(dyn ToSql + Sync); 3] = [&look.bucket, &look.name, &signatures];
    look.reader.each(PRINCIPALS, &asked, &mut visit).await?;
    Ok(principals)
}

/// Live records, and the sum of their digests.
pub(super) async fn sum(look: &Look<'_>, whose: Whose<'_>) -> Result<Sum, Fault> {
    let row = match whose {
        Whose::All => {
            let statement = look.reader.prepare_cached(SUM_ALL).await?;
            look.reader.query_one(&statement, &[&look.bucket, &look.name]).await?
        }
        Whose::Of(principals) => {
            let (principals, after) = (names(principals), &[][..] as &[u8]);
            let statement = look.reader.prepare_cached(SUM_OF).await?;
            let asked: [&(dyn ToSql + Sync); 4] = [&look.bucket, &look.name, &after, &principals];
            look.reader.query_one(&statement, &asked).await?
        }
    };
    Ok(Sum { live: unsigned(rows::value(&row, 0)?), digest: unsigned(rows::value(&row, 1)?) })
}

fn names(principals: &[Principal]) -> Vec<&str> {
    principals.iter().map(Principal::as_str).filter(|text| is_storable(text)).collect()
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}
