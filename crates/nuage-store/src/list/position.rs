//! The time that a list shows as its own: that of the collection to whoever sees all of it, and to
//! others the greatest that what they see shows, or has shown until it was forgotten by age.
//!
//! So it tells of nothing that is hidden: without it, the same numbers would be given.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::copy::Table;
use nuage_model::{
    CollectionPath, Direction, Head, Pace, Page, Principal, Query, Record, Scope, Signature,
    Timestamp,
};

use crate::cells::{self, Cells, Source};
use crate::list::read::{CHUNK_SIGNATURES, along, lookups, sees, signatures};
use crate::list::{Signatures, Times};
use crate::reads::{Columns, Reads};
use crate::rules::{CollectionRow, StoredRow, TOP};
use crate::schema::Index;

/// Of somebody with more signatures the newest records are looked at first.
const SIGNATURES_FEW: usize = 64;
/// Rows in the first go.
const ROWS: usize = 16;
/// So many times that were chosen may come before one that was not.
const CHOSEN_MAX: usize = 100;

/// What is known of the signatures that somebody sees.
pub(crate) struct Seen<'s> {
    pub(crate) signatures: Option<&'s Signatures>,
    /// Whether these are all of them.
    pub(crate) are_all: bool,
}

/// The time of a list for those whom a query speaks of; none if it is not quick but has to be.
pub(crate) async fn position<R: Reads>(
    reads: &R,
    query: &Query,
    sequence: &CollectionRow,
    seen: Seen<'_>,
    pace: Pace,
) -> Result<Option<Timestamp>, R::Fault> {
    let (Scope::Readers(who) | Scope::Holders(_, who)) = &query.scope else {
        return Ok(Some(sequence.timestamp));
    };
    let path = &query.collection;
    let few = seen.signatures.filter(|known| seen.are_all && known.len() <= SIGNATURES_FEW);
    if few.is_none()
        && let Some(newest) = newest(reads, path, sequence, who, &seen, lookups(pace)).await?
    {
        return Ok(Some(newest));
    }
    let all = match seen.signatures.filter(|_| seen.are_all) {
        Some(known) => known.keys().copied().collect(),
        None if pace == Pace::Quick => return Ok(None),
        None => {
            let all = signatures(reads, query, usize::MAX).await?.0.unwrap_or_default();
            all.into_keys().collect::<Vec<_>>()
        }
    };
    let mut top = sequence.first();
    let columns = Columns::of(Table::Signatures, TOP, TOP + 1);
    for some in all.chunks(CHUNK_SIGNATURES) {
        let keys: Vec<_> = some.iter().map(|one| cells::signature_of(path, *one)).collect();
        let of = |row: &dyn Source| Cells::from(columns, row, TOP).whole();
        let found = reads.get(&keys, columns, usize::MAX, of).await?;
        top = found.into_iter().flatten().map(Timestamp).fold(top, Timestamp::max);
    }
    Ok(Some(top))
}

/// A page, with this time. One that is empty, and was asked for what is newer than some time, does
/// not say more than that: who joins a group sees more, and was told nothing of it.
pub(crate) fn page(
    query: &Query,
    sequence: &CollectionRow,
    at: Timestamp,
    (records, more): (Vec<Record>, bool),
) -> Page {
    let is_later = query.after.is_some() || !records.is_empty() || more;
    let is_new = query.scope == Scope::All || is_later;
    let since = query.since().filter(|since| !is_new && *since >= sequence.first());
    let timestamp = since.map_or(at, |since| at.min(since));
    Page { head: sequence.head().map(|head| Head { timestamp, ..head }), records, more }
}

// The same by the newest records, where one is found soon that nothing forgotten can have been after.
async fn newest<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    sequence: &CollectionRow,
    who: &[Principal],
    seen: &Seen<'_>,
    mut lookups: usize,
) -> Result<Option<Timestamp>, R::Fault> {
    let people: BTreeSet<&str> = who.iter().map(Principal::as_str).collect();
    let mut known: BTreeMap<Signature, bool> = BTreeMap::new();
    let (mut top, mut chosen) = (sequence.first(), 0);
    let mut rows = ROWS;
    let mut times = Times { low: sequence.gc_seq.0.saturating_add(1), high: i64::MAX };
    while lookups > 0 && times.low <= times.high {
        let scan = along(
            path,
            Index::RecordsSeq,
            times,
            Direction::Descending,
            Columns::TRACE,
            rows.min(lookups),
        );
        let found = reads.scan(scan, |row: &dyn Source| StoredRow::of_columns(row)).await?;
        lookups = lookups.saturating_sub(found.rows.len());
        if !seen.are_all {
            let new: BTreeSet<Signature> = found.rows.iter().map(|row| row.signature).collect();
            let new: Vec<_> = new.into_iter().filter(|one| !known.contains_key(one)).collect();
            known.extend(sees(reads, path, &people, &new, &mut lookups).await?);
        }
        for row in &found.rows {
            times.high = row.seq.0.saturating_sub(1);
            let is_seen = match seen.signatures.filter(|_| seen.are_all) {
                Some(all) => all.contains_key(&row.signature),
                None => match known.get(&row.signature) {
                    Some(is_seen) => *is_seen,
                    None => return Ok(None),
                },
            };
            if !is_seen {
                continue;
            }
            top = top.max(row.shown());
            chosen += 1;
            if row.chosen.is_none() {
                return Ok(Some(top));
            }
            if chosen > CHOSEN_MAX {
                return Ok(None);
            }
        }
        if found.is_all {
            break;
        }
        rows *= 4;
    }
    // Nothing was forgotten yet, and everything was looked at.
    let is_all = sequence.gc_seq.0 == 0 && lookups > 0;
    Ok(is_all.then_some(top))
}
