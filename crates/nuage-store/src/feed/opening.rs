//! The opening of a moment: all that decides who may see what of a collection.

use futures_util::future::try_join4;
use nuage_model::copy::STORE;
use nuage_model::{Bodies, CollectionStats, SnapshotHeader, SnapshotRequest, StoreError};

use crate::memberships::standings;
use crate::reads::Reads;
use crate::records::{self, sequence};
use crate::rules::CollectionRow;

/// Begins a moment, and reads what is asked first.
pub(crate) async fn open<R: Reads>(
    reads: &R,
    ask: &SnapshotRequest,
) -> Result<SnapshotHeader, R::Fault> {
    let first = try_join4(
        reads.note(STORE),
        sequence(reads, &ask.collection),
        // How long it takes must not tell how large they are.
        records::get(reads, &ask.paths, Bodies::Small),
        standings(reads, ask.buckets.clone()),
    );
    let (epoch, sequence, records, mut stand) = reads.begin(first).await?;
    let epoch =
        epoch.ok_or_else(|| StoreError::Corrupt("the data has lost its name".to_owned()))?;
    let groups = ask.buckets.iter().map(|bucket| stand.remove(bucket).unwrap_or_default());
    let groups = groups.collect();
    let standing = sequence.and_then(|sequence| standing(&sequence));
    Ok(SnapshotHeader { epoch, standing, groups, records })
}

fn standing(sequence: &CollectionRow) -> Option<CollectionStats> {
    Some(CollectionStats {
        incarnation: sequence.incarnation,
        head: sequence.head()?,
        horizon: sequence.gc_seq,
        tombstones: u64::try_from(sequence.tombstones).unwrap_or(0),
        gone: u64::try_from(sequence.gone).unwrap_or(0),
        names: u64::try_from(sequence.names).unwrap_or(0),
        named: sequence.named,
    })
}
