//! A connection inside one transaction that only reads, lent to a page of a feed until it is
//! dropped.

use std::time::Duration;

use nuage_model::{SnapshotHeader, SnapshotRequest, StoreError};
use tokio::sync::SemaphorePermit;

use crate::feed::{self, Hold, Moment};
use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use crate::postgres::reader::{Reader, read};

/// A moment that begins now.
pub(super) async fn snapshot<'a>(
    pool: &'a Pool,
    ask: &SnapshotRequest,
    within: Duration,
) -> Result<(SnapshotHeader, Moment<Held<'a>>), Fault> {
    let slot = pool.slot(within).await?;
    let (reader, opening) = read!(pool, within, |reader| feed::open(reader, ask))?;
    let held = Held { reader: Some(reader), _slot: slot, within };
    Ok((opening, Moment::new(held, ask.collection.clone())))
}

/// What a moment is read with.
pub(super) struct Held<'p> {
    /// Until the connection is of no more use. It goes back before its slot does, since fields
    /// are dropped in this order.
    reader: Option<Reader<'p>>,
    _slot: SemaphorePermit<'p>,
    /// The time that each question may take.
    within: Duration,
}

impl<'p> Hold for Held<'p> {
    type Reads = Reader<'p>;

    fn reads(&self) -> Result<&Reader<'p>, StoreError> {
        self.reader.as_ref().ok_or_else(|| {
            StoreError::Unavailable("the connection of this moment was given up".to_owned())
        })
    }

    async fn within<T: Send>(
        &self,
        asked: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Option<Result<T, Fault>> {
        tokio::time::timeout(self.within, asked).await.ok()
    }

    fn settle<T>(&mut self, answer: Option<Result<T, Fault>>) -> Result<T, StoreError> {
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(fault)) => {
                if fault.spoils_connection() {
                    self.reader.take().into_iter().for_each(Reader::discard);
                }
                Err(fault.into())
            }
            None => {
                self.reader.take().into_iter().for_each(Reader::stop);
                Err(StoreError::TooSlow)
            }
        }
    }
}
