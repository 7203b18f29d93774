//! What decides about a page: who the caller counts as, what bucket and collection let them do, and
//! where the collection stands, all in the moment of one header.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashSet;
use nuage_model::{
    BucketId, CollectionStats, GroupPath, Head, Kind, Principal, Record, RecordPath, Seq, Snapshot,
    SnapshotHeader,
};

use crate::access::Right;
use crate::authorize::{group_places, groups_above, may_create_directly, reaches};
use crate::engine::Parent;
use crate::feed::epoch::name_of_epoch;
use crate::feed::mutants::{self, Mutant};
use crate::feed::names::Names;
use crate::feed::token::{Base, Token};
use crate::feed::view::{Scope, View};
use crate::groups::{Ask, as_whom};
use crate::named::{Counted, Remembered};
use crate::{Caller, Engine, EngineError, FeedQuery, Interest, Settings};

/// Buckets whose groups a watcher of a collection is woken by. Where a view depends on those of more, it is
/// by groups of any bucket.
const BUCKETS_MAX: usize = 256;

/// What holds in the moment of a header.
pub(super) struct Present {
    pub(super) base: Base,
    pub(super) standing: CollectionStats,
    /// All that the caller counts as, of what the view depends on.
    pub(super) counts_as: Arc<HashSet<Principal>>,
    /// The buckets of the groups that it depends on.
    pub(super) buckets: Arc<[BucketId]>,
    pub(super) named: Names,
    /// Whether all of the collection may be read.
    pub(super) is_whole: bool,
    /// Whether the caller is refused where nothing is visible.
    pub(super) is_refusable: bool,
    /// Whether the collection or its bucket is not there, which the caller may not know.
    pub(super) is_missing: bool,
}

impl Present {
    pub(super) fn head(&self) -> Seq {
        self.standing.head.seq
    }

    pub(super) fn view(&self, query: &FeedQuery) -> View {
        let scope = match self.is_whole {
            true => Scope::Whole,
            false => Scope::With(self.named.counted().to_vec()),
        };
        View::of(query.user.as_ref(), scope, &self.named)
    }

    /// Whether the way from there to here can be told.
    pub(super) fn can_go_on(&self, token: &Token) -> bool {
        let floor = match &token.place.run {
            Some(run) if mutants::is(Mutant::CursorInsteadOfFloor) => run.phase.position(),
            _ => token.place.at,
        };
        floor >= self.standing.horizon || mutants::is(Mutant::NoHorizonCheck)
    }
}

/// A caller who is being judged.
struct Judging<'a> {
    settings: &'a Settings,
    caller: Caller,
    /// What there is above the records, nearest first.
    above: Vec<(RecordPath, Arc<Parent>)>,
    /// The furthest that there is not.
    missing: Option<RecordPath>,
}

impl Judging<'_> {
    fn sees_whole(&self) -> bool {
        reaches(self.settings, &self.caller, Kind::Record, Right::Read, &self.above).is_some()
    }

    fn groups_above(&self) -> BTreeSet<GroupPath> {
        groups_above(self.settings, Kind::Record, &self.above)
    }

    fn count<'g>(&mut self, groups: impl IntoIterator<Item = &'g GroupPath>) {
        for group in groups {
            self.caller.note(group.principal(), true);
        }
    }

    fn present(
        self,
        header: &SnapshotHeader,
        counted: Option<&Counted>,
        mut buckets: Arc<[BucketId]>,
    ) -> Result<Present, EngineError> {
        let whole = self.sees_whole();
        let mut counts_as: HashSet<Principal> = self.caller.base().into_iter().collect();
        if let Some(counted) = counted {
            counts_as.extend(counted.groups().iter().map(GroupPath::principal));
            buckets = match counted.buckets() {
                many if many.len() > BUCKETS_MAX => [Interest::any_bucket()].into(),
                few => few,
            };
        }
        let named = counted.filter(|_| !whole).map(Names::of);
        let is_missing = self.missing.is_some();
        if let Some(missing) = self.missing.filter(|_| whole) {
            return Err(EngineError::UnknownParent(missing));
        }
        let may_create =
            may_create_directly(self.settings, &self.caller, Kind::Record, &self.above).is_some();
        let nowhere = CollectionStats {
            incarnation: [0; 8],
            head: Head { seq: Seq(0), timestamp: Seq(0).into(), live: 0 },
            horizon: Seq(0),
            tombstones: 0,
            gone: 0,
            names: 0,
            named: 0,
        };
        let standing = header.standing.unwrap_or(nowhere);
        let epoch = name_of_epoch(header);
        Ok(Present {
            base: Base { epoch, incarnation: standing.incarnation },
            standing,
            counts_as: Arc::new(counts_as),
            buckets,
            named: named.unwrap_or_default(),
            is_whole: whole,
            is_refusable: !whole && !may_create,
            is_missing,
        })
    }
}

impl Engine {
    fn judging(
        &self,
        query: &FeedQuery,
        header: &SnapshotHeader,
    ) -> Result<Judging<'_>, EngineError> {
        let caller = Caller::new(query.user.clone());
        let (mut above, mut missing) = (Vec::with_capacity(2), None);
        for (path, record) in self::above(query).into_iter().zip(&header.records) {
            match record.clone().filter(Record::is_live) {
                Some(record) => above.push((path, Arc::new(Parent::new(record)?))),
                None => missing = Some(path),
            }
        }
        Ok(Judging { settings: self.settings(), caller, above, missing })
    }

    /// Judges the caller in the moment of the snapshot.
    pub(super) async fn present(
        &self,
        query: &FeedQuery,
        (remembered, header): (Remembered, &SnapshotHeader),
        snapshot: &mut dyn Snapshot,
    ) -> Result<Present, EngineError> {
        let mut judging = self.judging(query, header)?;
        let mut buckets: Arc<[BucketId]> = Arc::default();
        let mut counted = None;
        if !judging.sees_whole() {
            let groups = judging.groups_above();
            let mut ask = Ask::moment(snapshot);
            let collection = &query.collection;
            let inner_max = self.settings().limits.inner_groups;
            let named = (remembered, header);
            let caller = &judging.caller;
            let found =
                self.named().counted(&mut ask, named, collection, groups, caller, inner_max);
            match found.await {
                Ok(found) => {
                    judging.count(found.groups());
                    counted = Some(found);
                }
                // Who sees the whole does not depend on what single records name, nor on other places.
                Err(error @ EngineError::TooManyInnerGroups(_)) => {
                    for groups in group_places(self.settings(), Kind::Record, &judging.above) {
                        match as_whom(&mut ask, groups, &judging.caller, inner_max).await {
                            Err(EngineError::TooManyInnerGroups(_)) => {}
                            found => judging.count(&found?),
                        }
                    }
                    if !judging.sees_whole() {
                        return Err(error);
                    }
                    buckets = [Interest::any_bucket()].into();
                }
                Err(error) => return Err(error),
            }
        }
        judging.present(header, counted.as_ref(), buckets)
    }

    /// The same, if what is remembered of groups is still so in the moment of the header, and
    /// nothing else must be asked.
    pub(super) fn present_as_remembered(
        &self,
        query: &FeedQuery,
        (remembered, header): (&Remembered, &SnapshotHeader),
    ) -> Result<Option<Present>, EngineError> {
        let mut judging = self.judging(query, header)?;
        let mut counted = None;
        if !judging.sees_whole() {
            let (named, collection) = (self.named(), &query.collection);
            let above = judging.groups_above().into_iter().collect();
            let known = named.recalled((remembered, header), collection, above, &judging.caller);
            let Some(known) = known else { return Ok(None) };
            judging.count(known.groups());
            counted = Some(known);
        }
        judging.present(header, counted.as_ref(), Arc::default()).map(Some)
    }
}

/// The records that rights come from, nearest first.
pub(super) fn above(query: &FeedQuery) -> Vec<RecordPath> {
    std::iter::successors(query.collection.owner(), |path| path.collection.owner()).collect()
}
