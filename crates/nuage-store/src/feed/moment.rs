//! A moment of a database, for one page of a feed.

use std::future::Future;

use nuage_model::{
    Checksum, CollectionPath, FeedRow, MembershipQuery, Memberships, Pace, Pending, Principal,
    ReaderFilter, Record, RecordId, ResidentsQuery, Seq, Signature, SignatureCount, Snapshot,
    StoreError, Timestamp,
};

use crate::feed;
use crate::memberships::memberships;
use crate::reads::Reads;

/// What a moment is read with, until it is dropped.
pub(crate) trait Hold: Send + Sync {
    /// How it is read.
    type Reads: Reads;

    /// With what, as long as it is of use.
    fn reads(&self) -> Result<&Self::Reads, StoreError>;

    /// The answer to a question, in the time that it has; none if that is not enough.
    fn within<T: Send>(
        &self,
        asked: impl Future<Output = Answer<T, Self::Reads>> + Send,
    ) -> impl Future<Output = Option<Answer<T, Self::Reads>>> + Send;

    /// The same answer; what it is read with may be of no more use.
    fn settle<T>(&mut self, answer: Option<Answer<T, Self::Reads>>) -> Result<T, StoreError>;
}

type Answer<T, R> = Result<T, <R as Reads>::Fault>;

/// A moment of one collection.
pub(crate) struct Moment<H> {
    hold: H,
    path: CollectionPath,
}

impl<H> Moment<H> {
    pub(crate) fn new(hold: H, path: CollectionPath) -> Self {
        Self { hold, path }
    }
}

// What is asked of the moment, as the port wants it.
macro_rules! ask {
    ($moment:expr, $question:ident($($argument:expr),*)) => {
        Box::pin(async move {
            let moment = $moment;
            let asked = feed::$question(moment.hold.reads()?, &moment.path, $($argument),*);
            let answer = moment.hold.within(asked).await;
            moment.hold.settle(answer)
        })
    };
}

impl<H: Hold> Snapshot for Moment<H> {
    fn signatures<'a>(
        &'a mut self,
        whose: ReaderFilter<'a>,
        after: Option<Signature>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<SignatureCount>, StoreError>> {
        ask!(self, counted(whose, after, limit))
    }

    fn signatures_of<'a>(
        &'a mut self,
        principals: &'a [Principal],
        limit: usize,
    ) -> Pending<'a, Result<Vec<Signature>, StoreError>> {
        ask!(self, signatures_of(principals, limit))
    }

    fn memberships<'a>(
        &'a mut self,
        query: &'a MembershipQuery,
    ) -> Pending<'a, Result<Memberships, StoreError>> {
        Box::pin(async move {
            let asked = memberships(self.hold.reads()?, query, Pace::Patient);
            let answer = self.hold.within(asked).await;
            Ok(self.hold.settle(answer)?.unwrap_or_default())
        })
    }

    fn principals_of<'a>(
        &'a mut self,
        signatures: &'a [Signature],
    ) -> Pending<'a, Result<Vec<Vec<Principal>>, StoreError>> {
        ask!(self, principals_of(signatures))
    }

    fn residents<'a>(
        &'a mut self,
        residents: &'a ResidentsQuery,
    ) -> Pending<'a, Result<Vec<FeedRow>, StoreError>> {
        ask!(self, residents(residents))
    }

    fn tail(&mut self, after: Seq, limit: usize) -> Pending<'_, Result<Vec<FeedRow>, StoreError>> {
        ask!(self, tail(after, limit))
    }

    fn tail_of<'a>(
        &'a mut self,
        live: &'a [Signature],
        ended: &'a [Signature],
        after: Seq,
        limit: usize,
    ) -> Pending<'a, Result<Vec<FeedRow>, StoreError>> {
        ask!(self, tail_of(live, ended, after, limit))
    }

    fn records<'a>(
        &'a mut self,
        ids: &'a [RecordId],
        bytes_max: usize,
    ) -> Pending<'a, Result<Vec<Record>, StoreError>> {
        ask!(self, records(ids, bytes_max))
    }

    fn sum<'a>(&'a mut self, whose: ReaderFilter<'a>) -> Pending<'a, Result<Checksum, StoreError>> {
        ask!(self, sum(whose))
    }

    fn view<'a>(
        &'a mut self,
        person: &'a Principal,
        name: [u8; 16],
    ) -> Pending<'a, Result<Option<Vec<Principal>>, StoreError>> {
        ask!(self, view(person, name))
    }

    fn compaction_target(
        &mut self,
        before: Timestamp,
        keep: u64,
        limit: usize,
    ) -> Pending<'_, Result<Option<Seq>, StoreError>> {
        ask!(self, compaction_target(before, keep, limit))
    }
}
