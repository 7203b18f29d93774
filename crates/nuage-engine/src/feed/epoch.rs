//! A store that went back: an older copy took its place, or a failover lost what was acknowledged.
//!
//! A token shows it that says more than the store knows. Other devices may have been told of what
//! is gone as well, and positions soon pass those that they know: so a new epoch begins, in which
//! everybody begins afresh.

use std::sync::Arc;

use nuage_model::{ApplyError, Batch, Seq, SnapshotHeader, SnapshotRequest, StoreError, Write};
use sha2::{Digest, Sha256};

use crate::Engine;
use crate::feed::token::Token;

/// Whether a token of this life of the collection tells of positions that the store, whose head
/// this is, has not reached. A store only goes forward, and whoever asks after an acknowledgement
/// sees what was acknowledged.
pub(super) fn is_from_the_future(token: &Token, head: Seq) -> bool {
    token.place.latest() > head
}

/// The epoch, as tokens name it.
pub(super) fn name_of_epoch(opening: &SnapshotHeader) -> [u8; 8] {
    let mut name = [0; 8];
    name.copy_from_slice(&Sha256::digest(&opening.epoch)[..8]);
    name
}

impl Engine {
    /// Begins another epoch than this one, unless that was done already: many devices come at the
    /// same time.
    pub(super) async fn leave_epoch(
        self: &Arc<Self>,
        ask: &SnapshotRequest,
        epoch: [u8; 8],
    ) -> Result<(), StoreError> {
        let _alone = self.feeds().leaving.lock().await;
        let (opening, moment) = self.store().snapshot(ask).await?;
        drop(moment);
        if name_of_epoch(&opening) != epoch {
            return Ok(());
        }
        tracing::warn!(
            "a device knows more than the data: the data went back, as after a restore or a \
             failover that lost writes, so all devices begin afresh"
        );
        let writes = vec![Write::Renew { epoch: self.new_id().replace('-', "") }];
        let batch = Batch::new(self.now(), writes);
        self.apply(batch, Vec::new(), Vec::new()).await.map_err(|error| match error {
            ApplyError::Store(error) => error,
            ApplyError::Conflict => {
                StoreError::Unavailable("a batch without guards was refused".to_owned())
            }
        })?;
        Ok(())
    }
}
