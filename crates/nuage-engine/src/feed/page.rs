//! One page of a feed: whether to go on or to begin afresh, and what the page says.
//!
//! Everything that decides is read in one snapshot: who the caller counts as, what the bucket
//! and the collection let them do, where the collection stands. Source: `docs/feed.md`.

use std::sync::Arc;

use nuage_model::{Batch, MembershipQuery, Principal, Snapshot, SnapshotRequest, StoreError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::feed::epoch::is_from_the_future;
use crate::feed::mutants::{self, Carried, Mutant};
use crate::feed::names::Names;
use crate::feed::present::{Present, above};
use crate::feed::run::{Standing, Walker, sees_any};
use crate::feed::token::{Owner, Place, Token, ViewName};
use crate::feed::view::{Key, Scope, View};
use crate::{
    Caller, Crowded, Engine, EngineError, FeedPage, FeedQuery, Follow, Interest, Requester,
};

/// How often a page is begun because the data went back.
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
    /// know; [`EngineError::TooManyInnerGroups`].
    pub async fn feed(
        self: &Arc<Self>,
        query: &FeedQuery,
        token: Option<&str>,
    ) -> Result<FeedPage, EngineError> {
        self.page_after(query, token, true).await
    }

    /// The same where there is likely to be something to tell.
    pub(super) async fn feed_news(
        self: &Arc<Self>,
        query: &FeedQuery,
        token: Option<&str>,
    ) -> Result<FeedPage, EngineError> {
        self.page_after(query, token, false).await
    }

    async fn page_after(
        self: &Arc<Self>,
        query: &FeedQuery,
        token: Option<&str>,
        may_rest: bool,
    ) -> Result<FeedPage, EngineError> {
        let person = Caller::new(query.user.clone()).author();
        let owner = Owner { person: &person, collection: &query.collection };
        let brought = token.and_then(|token| self.feeds().tokens.open(token, &owner));
        if let Some(Some(token)) = brought.as_ref().filter(|_| may_rest)
            && let Some(page) = self.page_at_rest(query, token, &owner).await?
        {
            return Ok(page);
        }
        self.page_in_turn(query, brought, person).await
    }

    // Reads it where a store may keep its thread: some read of SQLite takes milliseconds.
    async fn page_in_turn(
        self: &Arc<Self>,
        query: &FeedQuery,
        brought: Brought,
        person: Principal,
    ) -> Result<FeedPage, EngineError> {
        let (engine, query) = (Arc::clone(self), query.clone());
        let requester = Requester::Person(person.clone());
        let (runtime, mutant) = (Handle::current(), Carried::along());
        // Whoever waits for the page holds one end: a page that nobody waits for is given up.
        let (waiting, left) = oneshot::channel::<()>();
        let read = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    page = mutant.into(engine.page_of_feed(&query, brought, &person)) => page,
                    _ = left => Err(Crowded::Requester.into()),
                }
            })
        };
        let page = self.feeds().turns.run(&requester, read).await;
        drop(waiting);
        page?
    }

    async fn page_of_feed(
        self: &Arc<Self>,
        query: &FeedQuery,
        brought: Brought,
        person: &Principal,
    ) -> Result<FeedPage, EngineError> {
        let owner = Owner { person, collection: &query.collection };
        let is_known = brought.is_some();
        let token = brought.flatten();
        let ask = SnapshotRequest {
            paths: above(query),
            ..SnapshotRequest::of(query.collection.clone())
        };
        for _ in 0..ROUNDS_MAX {
            let remembered = self.named().remembered(&query.collection);
            let ask = SnapshotRequest { buckets: remembered.buckets(), ..ask.clone() };
            let (opening, mut snapshot) = self.store().snapshot(&ask).await?;
            let mut present = self.present(query, (remembered, &opening), &mut *snapshot).await?;
            let token = token.as_ref().filter(|token| token.base == present.base);
            if token.is_some_and(|token| is_from_the_future(token, present.head())) {
                drop(snapshot);
                self.leave_epoch(&ask, present.base.epoch).await?;
                continue;
            }
            let token = token.filter(|token| present.can_go_on(token));
            let has_names = |view: &ViewName| matches!(view, ViewName::Few(_) | ViewName::Many(_));
            // Who sees the whole needs names only for what a token says.
            if present.is_whole && token.is_some_and(|it| it.place.views().any(has_names)) {
                let collection = Some(query.collection.clone());
                let ask = MembershipQuery { collection, ..MembershipQuery::default() };
                present.named = Names::of_all(snapshot.memberships(&ask).await?.names.into());
            }
            let view = Arc::new(present.view(query));
            // Who brings no token and may see nothing is refused in the same time whether the
            // collection is there or not.
            if present.is_missing || !is_known && present.is_refusable {
                let sees_any = sees_any(&mut *snapshot, &view).await?;
                if present.is_missing || !sees_any {
                    return Err(EngineError::Forbidden);
                }
            }
            let from = self.from(query, token, &present, &view, &mut *snapshot).await?;
            let start = Start { from, is_known, held: token.is_some_and(|token| token.holds) };
            let told = self.tell(query, present, view, start, snapshot).await?;
            return self.finish(query, told, &owner).await;
        }
        let why = "a device knows more than the data, however often that went back".to_owned();
        Err(StoreError::Unavailable(why).into())
    }

    /// A feed that goes on after this token or from the beginning.
    pub fn follow(self: &Arc<Self>, query: FeedQuery, token: Option<String>) -> Follow {
        Follow::new(Arc::clone(self), query, token)
    }

    // Where the device stands, if the way from there can be told.
    async fn from(
        &self,
        query: &FeedQuery,
        token: Option<&Token>,
        present: &Present,
        view: &Arc<View>,
        snapshot: &mut dyn Snapshot,
    ) -> Result<Option<Standing>, StoreError> {
        let Some(token @ Token { place, .. }) = token else { return Ok(None) };
        let mut views: Vec<(&ViewName, Arc<View>)> = Vec::new();
        for name in place.views() {
            if views.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let scope = match name {
                ViewName::Nothing => Scope::Nothing,
                ViewName::Whole => Scope::Whole,
                ViewName::Few(ordinals) => Scope::With(present.named.of_ordinals(ordinals)),
                ViewName::Many(hash) => match self.kept(query, token, *hash, snapshot).await? {
                    Some(groups) => Scope::With(present.named.of_groups(&groups)),
                    None if mutants::is(Mutant::LostViewIsEmpty) => Scope::With(Vec::new()),
                    None => return Ok(None),
                },
            };
            let known = match scope == view.scope {
                true => Arc::clone(view),
                false => Arc::new(View::of(query.user.as_ref(), scope, &present.named)),
            };
            views.push((name, known));
        }
        let view = |name: &ViewName| {
            let known = views.iter().find(|(known, _)| *known == name);
            Arc::clone(&known.expect("each view of the place was looked up").1)
        };
        Ok(Some(place.map(view)))
    }

    // The groups of a view of many.
    async fn kept(
        &self,
        query: &FeedQuery,
        token: &Token,
        hash: [u8; 16],
        snapshot: &mut dyn Snapshot,
    ) -> Result<Option<Arc<[Principal]>>, StoreError> {
        let views = &self.feeds().views;
        let person = Caller::new(query.user.clone()).author();
        let key = key_of(query, token, &person, hash);
        if let Some(groups) = views.remembered(&key) {
            return Ok(Some(groups));
        }
        let groups: Option<Arc<[Principal]>> = snapshot.view(&person, hash).await?.map(Arc::from);
        if let Some(groups) = &groups {
            views.learn(key, Arc::clone(groups));
        }
        Ok(groups)
    }

    // Goes on as far as one page goes.
    async fn tell(
        &self,
        query: &FeedQuery,
        present: Present,
        view: Arc<View>,
        start: Start,
        snapshot: Box<dyn Snapshot + '_>,
    ) -> Result<Told, EngineError> {
        let Start { from, is_known, held } = start;
        let reset = from.is_none();
        let place = from.unwrap_or_else(|| {
            let nothing = Arc::new(View::of(None, Scope::Nothing, &present.named));
            let (may, sure) = (Arc::clone(&nothing), nothing);
            Place { at: present.head(), may, sure, run: None }
        });
        let continues = place.run.is_some();
        let is_under_way = continues || place.may.scope != view.scope;
        let limits = &self.settings().limits;
        let limit = query.limit.clamp(1, limits.feed_page.max(1));
        let mut walker = Walker::new(
            snapshot,
            present.named,
            (query.user.clone(), Arc::clone(&view)),
            (present.standing.head.seq, present.standing.rows()),
            (limit, self.settings().feed.page_bytes),
        );
        let place = walker.page(place).await?;
        let entries = walker.entries();
        let is_at_rest = place.run.is_none();
        let is_idle = is_at_rest && entries.is_empty() && !is_under_way;
        let holds = match view.is_whole() {
            true => true,
            false if is_at_rest && !is_idle => sees_any(&mut *walker.snapshot, &view).await?,
            false => held,
        };
        let sum = match view.whose().filter(|_| is_at_rest && query.sum) {
            Some(whose) => Some(walker.snapshot.sum(whose).await?),
            None => None,
        };
        let nothing = is_at_rest && !holds && entries.is_empty() && present.is_refusable;
        // Whoever brings a token of their own may have something to forget.
        if nothing && !(reset && is_known) {
            return Err(EngineError::Forbidden);
        }
        let (place, keep) = named_views(&place, &walker.named);
        let interest = Interest {
            whole: view.is_whole(),
            principals: present.counts_as,
            buckets: present.buckets,
            named: present.standing.named,
        };
        Ok(Told {
            token: Token { base: present.base, holds, place },
            keep,
            page: FeedPage {
                reset,
                entries,
                more: !is_at_rest,
                continues,
                token: String::new(),
                head: present.standing.head.seq,
                sum,
                interest,
            },
        })
    }

    /// Keeps what the token speaks of, and seals it.
    pub(super) async fn finish(
        self: &Arc<Self>,
        query: &FeedQuery,
        told: Told,
        owner: &Owner<'_>,
    ) -> Result<FeedPage, EngineError> {
        let Told { token, keep, page } = told;
        #[cfg(feature = "mutants")]
        let (former, keep) = former(&token, &page.interest, keep);
        let (views, now) = (&self.feeds().views, self.now());
        let mut kept = Vec::new();
        let mut writes = Vec::new();
        for (hash, groups) in keep {
            let key = key_of(query, &token, owner.person, hash);
            if let Some(write) = views.to_keep(&key, &groups, now) {
                writes.push(write);
                kept.push((key, groups));
            }
        }
        if !writes.is_empty() {
            let batch = Batch::new(now, writes);
            self.store().apply(batch).await.map_err(|error| match error {
                nuage_model::ApplyError::Store(error) => error,
                nuage_model::ApplyError::Conflict => {
                    StoreError::Unavailable("a view could not be kept".to_owned())
                }
            })?;
            kept.into_iter().for_each(|(key, groups)| views.kept(key, groups, now));
        }
        let sealed = self.feeds().tokens.seal(&token, owner);
        #[cfg(feature = "mutants")]
        let sealed = match former {
            Some(view) => self.feeds().tokens.seal_former(&token, &view, owner),
            None => sealed,
        };
        Ok(FeedPage { token: sealed, ..page })
    }
}

/// The token that somebody brought: `None` if it is none of theirs, nothing in it if it says nothing
/// any more.
type Brought = Option<Option<Token>>;

/// What a page starts from.
struct Start {
    /// `None`: begin afresh.
    from: Option<Standing>,
    /// Whether the caller brought a token of theirs.
    is_known: bool,
    /// Whether the device had anything when it was last at rest.
    held: bool,
}

/// The groups of views, by their hashes.
pub(super) type Kept = Vec<([u8; 16], Vec<Principal>)>;

/// What a page says, and the token that is to be sealed for it.
pub(super) struct Told {
    pub(super) page: FeedPage,
    pub(super) token: Token,
    /// The groups of its views of many.
    pub(super) keep: Kept,
}

fn key_of(query: &FeedQuery, token: &Token, person: &Principal, hash: [u8; 16]) -> Key {
    let (bucket, incarnation) = (query.collection.bucket.clone(), token.base.incarnation);
    Key { bucket, incarnation, person: person.clone(), hash }
}

// The place as a token has it, and what must be kept for that.
fn named_views(place: &Standing, named: &Names) -> (Place<ViewName>, Kept) {
    let mut keep = Kept::new();
    let place = place.map(|view| {
        let (name, groups) = view.name(named);
        keep_once(&mut keep, &name, groups);
        name
    });
    (place, keep)
}

/// Notes the groups of a view that is named by their hash.
pub(super) fn keep_once(keep: &mut Kept, name: &ViewName, groups: Option<Vec<Principal>>) {
    if let (ViewName::Many(hash), Some(groups)) = (name, groups)
        && keep.iter().all(|(kept, _)| kept != hash)
    {
        keep.push((*hash, groups));
    }
}

// The view of a token at rest in the former format, if it is to have that: of all groups of the
// person. They are kept.
#[cfg(feature = "mutants")]
fn former(token: &Token, interest: &Interest, mut keep: Kept) -> (Option<ViewName>, Kept) {
    if token.place.run.is_some() || !mutants::is(Mutant::FormerTokens) {
        return (None, keep);
    }
    if interest.whole {
        return (Some(ViewName::Whole), keep);
    }
    let group = |who: &Principal| nuage_model::GroupPath::of_principal(who.as_str());
    let mut groups: Vec<_> = interest.principals.iter().filter_map(group).collect();
    if groups.is_empty() {
        return (Some(ViewName::Few(Vec::new())), keep);
    }
    groups.sort();
    let groups: Vec<Principal> = groups.iter().map(nuage_model::GroupPath::principal).collect();
    let hash = crate::feed::view::hash_of(&groups);
    keep.push((hash, groups));
    (Some(ViewName::Many(hash)), keep)
}
