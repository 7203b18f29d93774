//! Signatures of a collection: in order, those of some principals or all, and what is counted.

use nuage_model::copy::{Cell, Table};
use nuage_model::{
    Checksum, CollectionPath, DIGEST_MODULUS, Principal, ReaderFilter, Signature, SignatureCount,
    StoreError,
};

use crate::cells::{self, Cells, Source};
use crate::reads::{Columns, Found, Reads, Scan, Together};
use crate::schema::{Index, Range};

/// Signatures that are summed up in one go.
const CHUNK: usize = 4_096;

/// Signature, live records, sum of their digests.
const COLUMNS: Columns = Columns::of(Table::Signatures, 2, 5);

/// A signature in which somebody is.
const NAMED: Columns = Columns::of(Table::SignaturePrincipals, 3, 4);

/// Signatures after this one, in order, with their live records.
pub(crate) async fn counted<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    whose: ReaderFilter<'_>,
    after: Option<Signature>,
    limit: usize,
) -> Result<Vec<SignatureCount>, R::Fault> {
    let (each, _) = each(reads, path, whose, after, limit).await?;
    Ok(each.into_iter().map(|(counted, _)| counted).collect())
}

/// The first signatures that have one of these principals, in order.
pub(crate) async fn signatures_of<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    principals: &[Principal],
    limit: usize,
) -> Result<Vec<Signature>, R::Fault> {
    Ok(of_principals(reads, path, principals, None, limit).await?.rows)
}

/// Live records, and the sum of their digests.
pub(crate) async fn sum<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    whose: ReaderFilter<'_>,
) -> Result<Checksum, R::Fault> {
    let mut sum = Checksum::default();
    let mut after = None;
    loop {
        let (each, is_all) = each(reads, path, whose, after, CHUNK).await?;
        for (counted, digest) in &each {
            sum.live += counted.live;
            sum.digest = (sum.digest + digest % DIGEST_MODULUS) % DIGEST_MODULUS;
        }
        after = each.last().map(|(counted, _)| counted.signature);
        if is_all || after.is_none() {
            return Ok(sum);
        }
    }
}

// What is counted of each, with the sum of its digests; and whether these are the last.
async fn each<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    whose: ReaderFilter<'_>,
    after: Option<Signature>,
    limit: usize,
) -> Result<(Vec<(SignatureCount, u64)>, bool), R::Fault> {
    let ReaderFilter::Of(principals) = whose else {
        let range = Range::of(Index::Key(Table::Signatures), cells::collection(path));
        let range = range.after(behind(after));
        let scan = Scan { columns: COLUMNS, ..Scan::of(vec![range], limit) };
        let found = reads.scan(scan, count).await?;
        return Ok((found.rows, found.is_all));
    };
    let found = of_principals(reads, path, principals, after, limit).await?;
    let all = found.rows;
    let keys: Vec<Vec<Cell>> = all.iter().map(|one| cells::signature_of(path, *one)).collect();
    let rows = reads.get(&keys, COLUMNS, usize::MAX, count).await?.into_iter();
    let each = all.into_iter().zip(rows);
    let each =
        each.map(|(signature, row)| row.unwrap_or((SignatureCount { signature, live: 0 }, 0)));
    Ok((each.collect(), found.is_all))
}

/// The first signatures after this one that have one of the principals, each once and in order.
async fn of_principals<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    principals: &[Principal],
    after: Option<Signature>,
    limit: usize,
) -> Result<Found<Signature>, R::Fault> {
    let range = |principal: &Principal| {
        let mut prefix = cells::collection(path);
        prefix.push(cells::text(principal.as_str()));
        let of = Range::of(Index::Key(Table::SignaturePrincipals), prefix);
        of.after(behind(after))
    };
    let scan = Scan {
        together: Together::Merged,
        columns: NAMED,
        ..Scan::of(principals.iter().map(range).collect(), limit)
    };
    reads.scan(scan, |row: &dyn Source| Ok(Signature(Cells::from(NAMED, row, 3).bytes()?))).await
}

/// Who is in each of these, in order.
pub(crate) async fn principals_of<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    signatures: &[Signature],
) -> Result<Vec<Vec<Principal>>, R::Fault> {
    let range = |one: &Signature| {
        Range::of(Index::SignaturePrincipalsSignature, cells::signature_of(path, *one))
    };
    let ranges = signatures.iter().map(range).collect();
    let columns = Columns::of(Table::SignaturePrincipals, 2, 4);
    let scan = Scan { columns, ..Scan::of(ranges, usize::MAX) };
    let mut principals = vec![Vec::new(); signatures.len()];
    let pair = |row: &dyn Source| {
        let mut cells = Cells::from(columns, row, 2);
        Ok((Principal::from(cells.text()?), Signature(cells.bytes()?)))
    };
    let mut at = 0;
    for (principal, signature) in reads.scan(scan, pair).await?.rows {
        // They come in the order of the signatures.
        while signatures.get(at).is_some_and(|one| *one != signature) {
            at += 1;
        }
        if let Some(of) = principals.get_mut(at) {
            of.push(principal);
        }
    }
    Ok(principals)
}

// What a range goes on after.
fn behind(after: Option<Signature>) -> Vec<Cell> {
    after.map(cells::signature).into_iter().collect()
}

fn count(row: &dyn Source) -> Result<(SignatureCount, u64), StoreError> {
    let mut cells = Cells::from(COLUMNS, row, 2);
    // Counters are never less than zero.
    let signature = Signature(cells.bytes()?);
    let live = u64::try_from(cells.whole()?).unwrap_or(0);
    Ok((SignatureCount { signature, live }, u64::try_from(cells.whole()?).unwrap_or(0)))
}
