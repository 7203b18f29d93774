//! Records by their paths, and the rows of collections.

use nuage_model::copy::Cell;
use nuage_model::{Bodies, CollectionPath, Head, Record, RecordPath};

use crate::cells::{self, Source};
use crate::reads::{Columns, Reads};
use crate::rules::CollectionRow;

/// The records at these paths, tombstones included.
pub(crate) async fn get<R: Reads>(
    reads: &R,
    paths: &[RecordPath],
    bodies: Bodies,
) -> Result<Vec<Option<Record>>, R::Fault> {
    let keys: Vec<Vec<Cell>> = paths.iter().map(cells::record).collect();
    let columns = match bodies {
        Bodies::All => Columns::RECORD,
        Bodies::Small => Columns::SMALL,
    };
    reads.get(&keys, columns, usize::MAX, |row: &dyn Source| cells::record_of(row, columns)).await
}

/// The row of a collection, if it is there.
pub(crate) async fn sequence<R: Reads>(
    reads: &R,
    path: &CollectionPath,
) -> Result<Option<CollectionRow>, R::Fault> {
    let sequence = sequences(reads, std::slice::from_ref(path)).await?.into_iter().flatten().next();
    Ok(sequence.filter(|sequence| !sequence.dropped))
}

/// The heads of these collections, in that order.
pub(crate) async fn heads<R: Reads>(
    reads: &R,
    paths: &[CollectionPath],
) -> Result<Vec<Option<Head>>, R::Fault> {
    let head = |sequence: Option<CollectionRow>| sequence.and_then(|sequence| sequence.head());
    Ok(sequences(reads, paths).await?.into_iter().map(head).collect())
}

/// The rows of these collections, dropped ones included.
pub(crate) async fn sequences<R: Reads>(
    reads: &R,
    paths: &[CollectionPath],
) -> Result<Vec<Option<CollectionRow>>, R::Fault> {
    let keys: Vec<Vec<Cell>> = paths.iter().map(cells::collection).collect();
    reads.get(&keys, Columns::SEQUENCE, usize::MAX, CollectionRow::of_columns).await
}
