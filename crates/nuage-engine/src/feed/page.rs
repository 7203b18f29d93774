//! One page of a feed: whether to go on or to begin afresh, and what the page says.
//!
//! Everything that decides is read in one snapshot: who the caller counts as, what the bucket
//! and the collection let them do, where the collection stands. Source: `docs/feed.md`.

use std::sync::Arc;

use foldhash::HashSet;
use nuage_model::{
    Batch, CollectionStats, GroupPath, Kind, Principal, RecordPath, Seq, Snapshot, SnapshotHeader,
    SnapshotRequest, StoreError,
};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::access::Right;
use crate::authorize::{groups_above, may_create_directly, reaches};
use crate::engine::Parent;
use crate::feed::ViewName;
use crate::feed::epoch::{is_from_the_future, name_of_epoch};
use crate::feed::mutants::{self, Carried, Mutant};
use crate::feed::run::{Walker, sees_any};
use crate::feed::token::{Base, Cursor, Owner, Phase, Run, Token};
use crate::feed::view::View;
use crate::groups::{Ask, as_whom};
use crate::named::Remembered;
use crate::{
    Caller, Crowded, Engine, EngineError, Entry, FeedPage, FeedQuery, Follow, Interest, Requester,
};

/// How often a page is begun because something had to be looked up first.
const ROUNDS_MAX: usize = 8;

impl Engine {
    /// One page of a feed, after this token or from the beginning.
    ///
    /// A token that is not one of this caller's for this collection, or too old, is answered by
    /// a page that begins afresh.
    ///
    /// # Errors
    ///
    /// [`EngineError::Forbidden`] where the caller may see nothing of the collection and has
    /// nothing to forget; [`EngineError::UnknownParent`] where it is gone and the caller may
    /// know; [`EngineError::TooManyGroups`].
    pub async fn feed(
        self: &Arc<Self>,
        query: &FeedQuery,
        token: Option<&str>,
    ) -> Result<FeedPage, EngineError> {
        let person = Caller::new(query.user.clone()).author();
        let (engine, query) = (Arc::clone(self), query.clone());
        let token = token.map(str::to_owned);
        let (runtime, mutant) = (Handle::current(), Carried::along());
        // Whoever waits for the page holds one end: a page that nobody waits for is given up.
        let (waiting, left) = oneshot::channel::<()>();
        let read = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    page = mutant.into(engine.page_of_feed(&query, token.as_deref())) => page,
                    _ = left => Err(Crowded::Requester.into()),
                }
            })
        };
        let page = self.feeds().turns.run(&Requester::Person(person), read).await;
        drop(waiting);
        page?
    }

    // Reads where a store may keep its thread: some read of SQLite takes milliseconds.
    async fn page_of_feed(
        self: &Arc<Self>,
        query: &FeedQuery,
        token: Option<&str>,
    ) -> Result<FeedPage, EngineError> {
        let caller = Caller::new(query.user.clone());
        let person = caller.author();
        let owner = Owner { person: &person, collection: &query.collection };
        let token = token.and_then(|token| self.feeds().tokens.open(token, &owner));
        let ask = SnapshotRequest {
            paths: above(query),
            ..SnapshotRequest::of(query.collection.clone())
        };
        // Only views that a token speaks of and that are not the present ones are looked up.
        let mut lost = false;
        for _ in 0..ROUNDS_MAX {
            let remembered = self.named().remembered(&query.collection);
            let ask = SnapshotRequest { buckets: remembered.buckets(), ..ask.clone() };
            let (opening, mut snapshot) = self.store().snapshot(&ask).await?;
            let present = self.present(query, (remembered, &opening), &mut *snapshot).await?;
            // Who brings no token and may see nothing is refused in the same time whether the
            // collection is there or not.
            if present.is_missing || token.is_none() && present.is_refusable {
                let sees_any = sees_any(&mut *snapshot, &present.view).await?;
                if present.is_missing || !sees_any {
                    return Err(EngineError::Forbidden);
                }
            }
            let head = present.standing.head.seq;
            if token.as_ref().is_some_and(|token| is_from_the_future(token, present.base, head)) {
                drop(snapshot);
                self.leave_epoch(&ask, present.base.epoch).await?;
                continue;
            }
            let from = match self.from(&token, &present, &owner, lost) {
                Ok(from) => from,
                Err(name) => {
                    let bucket = &query.collection.bucket;
                    match snapshot.view(&person, name).await? {
                        Some(groups) => self.feeds().views.learn(bucket, &person, name, groups),
                        None => lost = true,
                    }
                    continue;
                }
            };
            let told = self.tell(query, present, from, snapshot).await?;
            return self.finish(query, told, &owner).await;
        }
        let why = "what was looked up for a feed was forgotten again each time".to_owned();
        Err(StoreError::Unavailable(why).into())
    }

    /// A feed that goes on after this token or from the beginning.
    pub fn follow(self: &Arc<Self>, query: FeedQuery, token: Option<String>) -> Follow {
        Follow::new(Arc::clone(self), query, token)
    }

    // Judges the caller, in the moment of the snapshot.
    async fn present(
        &self,
        query: &FeedQuery,
        (remembered, opening): (Remembered, &SnapshotHeader),
        snapshot: &mut dyn Snapshot,
    ) -> Result<Present, EngineError> {
        let mut caller = Caller::new(query.user.clone());
        let mut above = Vec::with_capacity(2);
        let mut missing: Option<RecordPath> = None;
        for (path, record) in self::above(query).into_iter().zip(&opening.records) {
            match record.clone().filter(nuage_model::Record::is_live) {
                Some(record) => above.push((path, Arc::new(Parent::new(record)?))),
                None => missing = Some(path),
            }
        }
        let settings = self.settings();
        let sees_whole = |caller: &Caller| {
            reaches(settings, caller, Kind::Record, Right::Read, &above).is_some()
        };
        let mut counted = None;
        if !sees_whole(&caller) {
            let groups = groups_above(settings, Kind::Record, &above);
            let mut ask = Ask::moment(snapshot);
            let collection = &query.collection;
            let inner_max = settings.limits.inner_groups;
            let named = (remembered, opening);
            let found = self.named().counted(
                &mut ask,
                named,
                collection,
                groups.clone(),
                &caller,
                inner_max,
            );
            match found.await {
                Ok(found) => {
                    for group in found.groups() {
                        caller.note(group.principal(), true);
                    }
                    counted = Some(found);
                }
                // Who sees the whole does not depend on what single records name.
                Err(error @ EngineError::TooManyInnerGroups(_)) => {
                    for group in as_whom(&mut ask, groups, &caller, inner_max).await? {
                        caller.note(group.principal(), true);
                    }
                    if !sees_whole(&caller) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let whole = sees_whole(&caller);
        let mut counts_as: HashSet<Principal> = caller.base().into_iter().collect();
        if let Some(counted) = &counted {
            counts_as.extend(counted.groups().iter().map(GroupPath::principal));
        }
        let groups: Vec<Principal> = match &counted {
            Some(counted) if !whole => counted.names().map(|one| one.group.principal()).collect(),
            _ => Vec::new(),
        };
        let is_missing = missing.is_some();
        if let Some(missing) = missing.filter(|_| whole) {
            return Err(EngineError::UnknownParent(missing));
        }
        let may_create = may_create_directly(settings, &caller, Kind::Record, &above).is_some();
        let mut hash = Sha256::new();
        for group in &groups {
            hash.update(group.as_str());
        }
        // They move when rights are taken and given back, and not otherwise.
        for record in &opening.records {
            let entered = record.as_ref().map_or(Seq(0), |record| record.entered);
            hash.update(entered.0.to_be_bytes());
        }
        let nowhere = CollectionStats {
            incarnation: [0; 8],
            head: nuage_model::Head { seq: Seq(0), timestamp: Seq(0).into(), live: 0 },
            horizon: Seq(0),
            tombstones: 0,
            gone: 0,
            names: 0,
            named: 0,
        };
        let standing = opening.standing.unwrap_or(nowhere);
        let epoch = name_of_epoch(opening);
        Ok(Present {
            base: Base { epoch, incarnation: standing.incarnation },
            standing,
            view: View::of(caller, whole, &groups),
            groups,
            counts_as: Arc::new(counts_as),
            rights: first_eight(&hash.finalize()),
            is_refusable: !whole && !may_create,
            is_missing,
        })
    }

    // Where the device stands, if the way from there can be told; the error names a view that
    // has to be looked up first.
    fn from(
        &self,
        token: &Option<Token>,
        present: &Present,
        owner: &Owner<'_>,
        lost: bool,
    ) -> Result<Start, [u8; 16]> {
        let afresh = Start { view: View::nothing(), token: None, is_known: token.is_some() };
        let Some(token) = token.clone().filter(|token| present.can_go_on(token)) else {
            return Ok(afresh);
        };
        let caller = || Caller::new(present.view.caller.user().cloned());
        let view = match token.view {
            ViewName::Nothing => View::nothing(),
            ViewName::Whole => View::of(caller(), true, &[]),
            name if name == present.view.name => {
                View::of(present.view.caller.clone(), false, &present.groups)
            }
            ViewName::Alone => View::of(caller(), false, &[]),
            ViewName::Groups(_) if lost => return Ok(afresh),
            ViewName::Groups(name) => {
                let bucket = &owner.collection.bucket;
                let groups = self.feeds().views.remembered(bucket, owner.person, name);
                let groups = groups.ok_or(name)?;
                let user = present.view.caller.user().cloned();
                View::of(Caller::new(user), false, &groups)
            }
        };
        Ok(Start { view, token: Some(token), is_known: true })
    }

    // Runs the phases as far as one page goes.
    async fn tell(
        &self,
        query: &FeedQuery,
        present: Present,
        from: Start,
        snapshot: Box<dyn Snapshot + '_>,
    ) -> Result<Told, EngineError> {
        let head = present.standing.head.seq;
        let reset = from.token.is_none();
        let continues = from.token.as_ref().is_some_and(|token| token.run.is_some());
        let (at, held, run) = match from.token {
            None => (head, false, None),
            Some(token) => (token.at, token.holds, token.run),
        };
        let is_under_way = run.is_some() || from.view.name != present.view.name;
        let run = run.unwrap_or_else(|| Run {
            view: present.view.name,
            begun: head,
            rights: present.rights,
            phase: match from.view.name == present.view.name {
                true => Phase::Tail(at),
                false if reset => Phase::Replay(Cursor::START),
                false => Phase::Retract(Cursor::START),
            },
        });
        let limits = &self.settings().limits;
        let limit = query.limit.clamp(1, limits.feed_page.max(1));
        let mut walker = Walker::new(
            snapshot,
            (&from.view, at),
            (&present.view, run.begun),
            present.standing.rows(),
            (limit, self.settings().feed.page_bytes),
        );
        let next = match run.phase {
            // Nothing happened since.
            Phase::Tail(cursor) if cursor >= head => None,
            phase => walker.go(phase).await?,
        };
        let next = match next {
            Some(Phase::Tail(cursor)) if cursor >= head => None,
            Some(phase) if walker.is_full() => walker.what_follows(phase).await?,
            next => next,
        };
        let is_at_rest = next.is_none();
        let is_idle = is_at_rest && walker.entries.is_empty() && !is_under_way;
        let holds = match present.view.name {
            ViewName::Whole => true,
            _ if is_at_rest && !is_idle => sees_any(&mut *walker.snapshot, walker.to).await?,
            _ => held,
        };
        let sum = match present.view.whose().filter(|_| is_at_rest && query.sum) {
            Some(whose) => Some(walker.snapshot.sum(whose).await?),
            None => None,
        };
        let entries = std::mem::take(&mut walker.entries);
        drop(walker);
        let nothing = is_at_rest && !holds && entries.is_empty() && present.is_refusable;
        // Whoever brings a token of their own may have something to forget.
        if nothing && !(reset && from.is_known) {
            return Err(EngineError::Forbidden);
        }
        let token = match next {
            None => {
                Token { base: present.base, at: head, view: present.view.name, holds, run: None }
            }
            Some(phase) => Token {
                base: present.base,
                at,
                view: from.view.name,
                holds,
                run: Some(Run { phase, ..run }),
            },
        };
        Ok(Told { present, reset, continues, entries, token, sum })
    }

    // Keeps what the token speaks of, and seals it.
    async fn finish(
        self: &Arc<Self>,
        query: &FeedQuery,
        told: Told,
        owner: &Owner<'_>,
    ) -> Result<FeedPage, EngineError> {
        let Told { present, reset, continues, entries, token, sum } = told;
        if let ViewName::Groups(name) = present.view.name {
            let (views, now) = (&self.feeds().views, self.now());
            let bucket = &query.collection.bucket;
            let write = views.to_keep(bucket, owner.person, name, &present.groups, now);
            if let Some(write) = write {
                let batch = Batch::new(now, vec![write.clone()]);
                self.store().apply(batch).await.map_err(|error| match error {
                    nuage_model::ApplyError::Store(error) => error,
                    nuage_model::ApplyError::Conflict => {
                        StoreError::Unavailable("a view could not be kept".to_owned())
                    }
                })?;
                views.kept(write, now);
            }
        }
        Ok(FeedPage {
            reset,
            entries,
            more: token.run.is_some(),
            continues,
            token: self.feeds().tokens.seal(&token, owner),
            head: present.standing.head.seq,
            sum,
            interest: Interest {
                whole: present.view.name == ViewName::Whole,
                principals: present.counts_as,
            },
        })
    }
}

/// What holds in the moment of a snapshot.
struct Present {
    base: Base,
    standing: CollectionStats,
    view: View,
    /// In order.
    groups: Vec<Principal>,
    /// All that the caller counts as, of what the view depends on.
    counts_as: Arc<HashSet<Principal>>,
    /// Names the state of everything that decides about the view.
    rights: [u8; 8],
    /// Whether the caller is refused where nothing is visible.
    is_refusable: bool,
    /// Whether the collection or its bucket is not there, which the caller may not know.
    is_missing: bool,
}

impl Present {
    // Whether the way from there to here can be told.
    fn can_go_on(&self, token: &Token) -> bool {
        let head = self.standing.head.seq;
        if token.base != self.base || token.at > head {
            return false;
        }
        let floor = match &token.run {
            Some(run) if mutants::is(Mutant::CursorInsteadOfFloor) => run.phase.position(),
            _ => token.at,
        };
        if floor < self.standing.horizon && !mutants::is(Mutant::NoHorizonCheck) {
            return false;
        }
        let Some(run) = &token.run else { return true };
        let same_view = run.view == self.view.name || mutants::is(Mutant::ViewChangeInRunIgnored);
        let same_rights = run.rights == self.rights
            || mutants::is(Mutant::NoMembershipCounter)
            || mutants::is(Mutant::ViewChangeInRunIgnored);
        same_view && same_rights && run.phase.position() <= head
    }
}

/// What a run starts from.
struct Start {
    view: View,
    /// `None`: begin afresh.
    token: Option<Token>,
    /// Whether the caller brought a token of theirs.
    is_known: bool,
}

/// What a page says.
struct Told {
    present: Present,
    reset: bool,
    /// Whether the token that was brought was of the middle of a run.
    continues: bool,
    entries: Vec<Entry>,
    token: Token,
    sum: Option<nuage_model::Checksum>,
}

// The records that rights come from, nearest first.
fn above(query: &FeedQuery) -> Vec<RecordPath> {
    std::iter::successors(query.collection.owner(), |path| path.collection.owner()).collect()
}

/// The beginning of a hash.
pub(super) fn first_eight(hash: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&hash[..8]);
    eight
}
