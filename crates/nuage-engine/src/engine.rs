//! The engine: settings, caches, and what surrounds a commit.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use nuage_model::{
    ApplyError, Batch, Bodies, GroupPath, Guard, Kind, Pending, Permissions, Principal, Put,
    Record, RecordPath, State, Store, StoreError, Timestamp, Write,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::cache::{Age, Cache, Weigh};
use crate::compact::Housekeeping;
use crate::feed::{Feeds, Hub};
use crate::named::AllNamed;
use crate::record_cache::RecordCache;
use crate::validate::{ParentSchemas, Schemas};
use crate::{Caller, Conflict, FeedStatistics, Resolved, Session, Settings, Turns};

/// The doors to what is random and timed, handed in so that tests can hold them.
pub struct World {
    /// The present time.
    pub clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Random bits wherever a UUID of version 4 has them (RFC 9562, section 5.4).
    pub random: Box<dyn Fn() -> u128 + Send + Sync>,
}

impl World {
    fn new_id(&self) -> String {
        let bytes = (self.random)().to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// The only way to read, judge and change a record.
pub struct Engine {
    store: Arc<dyn Store>,
    settings: Settings,
    world: World,
    parents: Cache<RecordPath, Arc<Parent>>,
    records: RecordCache,
    memberships: Cache<(Principal, GroupPath), bool>,
    named: AllNamed,
    accounts_generation: AtomicU64,
    locks: Vec<Arc<Mutex<()>>>,
    lock_hasher: RandomState,
    pub(crate) schemas: Schemas,
    feeds: Feeds,
    turns: Turns,
    pub(crate) reads: Turns,
    name: String,
    housekeeping: Housekeeping,
}

/// The record of a bucket or a collection, with its permissions read.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) record: Record,
    pub(crate) permissions: Permissions,
    schemas: OnceLock<ParentSchemas>,
}

/// Room for buckets and collections that were read: some ten thousand usual ones.
const PARENTS_BYTES: usize = 32 * 1024 * 1024;
/// Room for who is in which group.
const MEMBERSHIPS_BYTES: usize = 32 * 1024 * 1024;

/// Records of one batch that are kept in the cache. What deletes thousands is not followed by more of
/// them.
const CACHED_MAX: usize = 500;

/// Locks that writers of one record queue at. Two records may share one, and one may be held while
/// somebody waits for a turn: so many, about a megabyte, that hardly anybody else meets it.
const LOCKS: usize = 16 * 1024;

impl Engine {
    /// An engine over a store.
    pub fn new(store: Arc<dyn Store>, settings: Settings, world: World) -> Arc<Self> {
        // Without a secret of the operator, tokens are good as long as this engine lives.
        let secret = match settings.feed.secret.is_empty() {
            true => world.new_id(),
            false => settings.feed.secret.clone(),
        };
        let name = world.new_id();
        let hub = Hub::new(Arc::clone(&store), settings.feed.look_ms);
        store.listen(hub.listener());
        Arc::new(Self {
            schemas: Schemas::new(&settings.limits),
            turns: Turns::of_this_machine(&settings.limits),
            reads: crate::list::turns(&settings.limits),
            store,
            settings,
            world,
            parents: Cache::new(PARENTS_BYTES),
            records: RecordCache::new(),
            memberships: Cache::new(MEMBERSHIPS_BYTES),
            named: AllNamed::default(),
            accounts_generation: AtomicU64::new(0),
            locks: (0..LOCKS).map(|_| Arc::default()).collect(),
            lock_hasher: RandomState::new(),
            feeds: Feeds::new(&secret, hub),
            name,
            housekeeping: Housekeeping::default(),
        })
    }

    /// By which leases know this engine.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What was forgotten in the background.
    pub fn housekeeping(&self) -> &Housekeeping {
        &self.housekeeping
    }

    /// What it keeps for feeds.
    pub(crate) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// Who waits for changes.
    pub(crate) fn hub(&self) -> &Hub {
        &self.feeds.hub
    }

    /// Records as they were last seen here.
    pub(crate) fn records(&self) -> &RecordCache {
        &self.records
    }

    /// What feeds are doing: for metrics and tests.
    pub fn feed_statistics(&self) -> FeedStatistics {
        self.hub().statistics()
    }

    /// How the operator wants it to behave.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What everything is kept in: for health checks and the command line.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where work waits that takes longer than a millisecond or two.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        (self.world.clock)()
    }

    /// A new identifier that says nothing: UUID version 4 as text.
    pub fn new_id(&self) -> String {
        self.world.new_id()
    }

    /// A new identifier for a record: UUID version 7 as text (RFC 9562, section 5.7). It begins with
    /// the present time, so what is made one after the other lies side by side in an index.
    pub fn new_record_id(&self) -> String {
        let time_ms = u64::try_from(self.now().0).unwrap_or(0);
        let [_, _, _, _, _, _, random @ ..] = (self.world.random)().to_be_bytes();
        uuid::Builder::from_unix_timestamp_millis(time_ms, &random).into_uuid().to_string()
    }

    /// Reads a record without judging: for who is asking, before anybody is.
    pub async fn peek(&self, path: &RecordPath) -> Result<Option<Record>, StoreError> {
        let found = self.store.get(std::slice::from_ref(path), Bodies::All).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Moves whenever an account may have changed, here or in another process.
    pub fn accounts_generation(&self) -> u64 {
        self.accounts_generation.load(Ordering::Acquire).wrapping_add(self.store.foreign_writes())
    }

    /// Whether somebody counts as a group, as far as it is remembered.
    pub(crate) fn remembered_membership(&self, who: &Principal, group: &GroupPath) -> Option<bool> {
        let key = (who.clone(), group.clone());
        self.memberships.get(&key, self.store.foreign_writes()).ok()
    }

    /// What is found out about memberships from now on may be remembered with this.
    pub(crate) fn age_of_memberships(&self) -> Age {
        self.memberships.age(self.store.foreign_writes())
    }

    /// Remembers whether somebody counts as a group.
    pub(crate) fn remember_membership(
        &self,
        age: &Age,
        who: &Principal,
        group: GroupPath,
        counts: bool,
    ) {
        self.memberships.put(age, (who.clone(), group), counts);
    }

    /// What is remembered of the groups that collections name.
    pub(crate) fn named(&self) -> &AllNamed {
        &self.named
    }

    /// The record of a bucket or a collection, if it is alive.
    pub(crate) async fn parent(
        &self,
        path: &RecordPath,
    ) -> Result<Option<Arc<Parent>>, StoreError> {
        let (found, _) = self.parents(std::slice::from_ref(path), Bodies::All).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// The records of buckets and collections that are alive, and whether all are as remembered.
    /// If one is not, all are read by one question: how many questions a refusal takes must not
    /// tell what is remembered, and so exists.
    pub(crate) async fn parents(
        &self,
        paths: &[RecordPath],
        bodies: Bodies,
    ) -> Result<(Vec<Option<Arc<Parent>>>, bool), StoreError> {
        let foreign_writes = self.store.foreign_writes();
        let mut known = Vec::with_capacity(paths.len());
        for path in paths {
            match self.parents.get(path, foreign_writes) {
                Ok(parent) => known.push(Some(parent)),
                Err(age) => return Ok((self.read_parents(paths, bodies, &age).await?, false)),
            }
        }
        Ok((known, true))
    }

    async fn read_parents(
        &self,
        paths: &[RecordPath],
        bodies: Bodies,
        age: &Age,
    ) -> Result<Vec<Option<Arc<Parent>>>, StoreError> {
        let found = self.store.get(paths, bodies).await?;
        let mut parents = Vec::with_capacity(paths.len());
        for (path, record) in paths.iter().zip(found) {
            let parent = Parent::of(record)?;
            // What is missing is looked for each time: whoever just made it in another process goes
            // on in this one.
            if let Some(parent) = parent.as_ref().filter(|parent| !parent.record.lacks_body()) {
                self.parents.put(age, path.clone(), Arc::clone(parent));
            }
            parents.push(parent);
        }
        Ok(parents)
    }

    /// The record of a bucket or a collection as it was last seen, without judging: for what it
    /// says about answers that were judged.
    pub async fn holder(&self, path: &RecordPath) -> Result<Option<Record>, StoreError> {
        Ok(self.parent(path).await?.map(|parent| parent.record.clone()))
    }

    /// Begins a unit of work of somebody; of a stranger, if there is no user. A first attempt at changing
    /// one record queues behind others that change it, and takes what is remembered for what there is;
    /// later attempts queue for all that was changed before they were refused, and read it.
    pub async fn session(
        self: &Arc<Self>,
        user: Option<Principal>,
        attempts: &Attempts,
    ) -> Session {
        let mut numbers = BTreeSet::new();
        for path in &attempts.paths {
            numbers.insert(self.lock_hasher.hash_one(path) as usize % LOCKS);
        }
        let mut locks = Vec::with_capacity(numbers.len());
        for number in numbers {
            locks.push(Arc::clone(&self.locks[number]).lock_owned().await);
        }
        Session::new(Arc::clone(self), Caller::new(user), locks, !attempts.reads)
    }

    /// Applies a batch and forgets what it changed, even if nobody waits for the answer any more.
    /// What the records became is remembered.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        batch: Batch,
        records: Vec<(RecordPath, Record)>,
        locks: Vec<OwnedMutexGuard<()>>,
    ) -> Result<Resolved, ApplyError> {
        debug_assert!(tells_of_members(&batch), "who is in a group changes with its record alone");
        let engine = Arc::clone(self);
        let work = async move {
            let changed: Vec<_> = batch.writes.iter().filter_map(Changed::of).collect();
            let news = engine.hub().news(&batch);
            let bodies = Resolved::bodies_of(&batch);
            let applied = engine.store.apply(batch).await;
            // Also after a failure: it may have been applied all the same.
            engine.forget(&changed);
            engine.hub().applied(news);
            let resolved = applied.map(|outcomes| Resolved::new(outcomes, bodies));
            if let Ok(resolved) = &resolved
                && records.len() <= CACHED_MAX
            {
                for (path, record) in records {
                    engine.records.insert(path, Arc::new(resolved.record(record)));
                }
            }
            drop(locks);
            resolved
        };
        Finish(Some(Box::pin(work))).await
    }

    /// Looks anew for a bucket or a collection when it is next needed.
    pub(crate) fn forget_parent(&self, path: &RecordPath) {
        self.parents.forget_one(path);
    }

    /// Forgets those buckets and collections that are not as a refused change took them to be:
    /// another process changed them, and its hint may still be on its way. Says whether there are
    /// any.
    pub(crate) async fn forget_changed(&self, parents: &[Guard]) -> Result<bool, StoreError> {
        if parents.is_empty() {
            return Ok(false);
        }
        let paths: Vec<RecordPath> = parents.iter().map(|guard| guard.path.clone()).collect();
        let found = self.store.get(&paths, Bodies::Small).await?;
        let mut any = false;
        for (guard, record) in parents.iter().zip(found) {
            if record.and_then(|record| record.meta().live_at()) != guard.live_at() {
                self.forget_parent(&guard.path);
                any = true;
            }
        }
        Ok(any)
    }

    fn forget(&self, changed: &[Changed]) {
        for changed in changed {
            match changed {
                Changed::Parent(path) => self.parents.forget_one(path),
                Changed::Account => {
                    self.accounts_generation.fetch_add(1, Ordering::AcqRel);
                }
                Changed::Groups => self.memberships.forget(),
                Changed::Everything { positions } => {
                    if *positions {
                        self.records.clear();
                    }
                    self.feeds.forget();
                    self.parents.forget();
                    self.memberships.forget();
                    self.accounts_generation.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }
}

impl Weigh for Arc<Parent> {
    fn bytes(&self) -> usize {
        // Schemas are kept once more, as they are checked.
        let State::Live { body, permissions, .. } = &self.record.state else { return 0 };
        2 * body.len() + 4 * permissions.len()
    }
}

impl Parent {
    pub(crate) fn new(record: Record) -> Result<Self, StoreError> {
        let permissions = read_permissions(&record)?;
        Ok(Self { record, permissions, schemas: OnceLock::new() })
    }

    /// What was found, if it is alive.
    pub(crate) fn of(found: Option<Record>) -> Result<Option<Arc<Self>>, StoreError> {
        let live = found.filter(Record::is_live);
        Ok(live.map(Self::new).transpose()?.map(Arc::new))
    }

    /// The JSON Schemas that it holds, read once.
    pub(crate) fn schemas(&self) -> &ParentSchemas {
        self.schemas.get_or_init(|| ParentSchemas::of(self.record.body()))
    }
}

/// A record's own permissions.
pub(crate) fn read_permissions(record: &Record) -> Result<Permissions, StoreError> {
    Permissions::from_text(&record.permissions())
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// What caches must forget after a write.
enum Changed {
    Parent(RecordPath),
    Account,
    Groups,
    Everything {
        /// Whether a record may get a position that it had before, with another content.
        positions: bool,
    },
}

impl Changed {
    fn of(write: &Write) -> Option<Self> {
        match write {
            Write::Put(Put { path, .. }) | Write::Delete { path, .. } | Write::Erase { path } => {
                match path.kind() {
                    Kind::Bucket | Kind::Collection => Some(Self::Parent(path.clone())),
                    Kind::Account => Some(Self::Account),
                    Kind::Group | Kind::Record | Kind::History => None,
                }
            }
            Write::SetMembers { .. } => Some(Self::Groups),
            Write::DropBucket { .. } => Some(Self::Everything { positions: false }),
            Write::Renew { .. } | Write::Flush { .. } => Some(Self::Everything { positions: true }),
            Write::Touch { .. }
            | Write::DropCollection { .. }
            | Write::Compact { .. }
            | Write::Mark { .. }
            | Write::KeepView { .. }
            | Write::ForgetViews { .. }
            | Write::Note { .. } => None,
        }
    }
}

// Whether the position of the groups of a bucket moves with each change of members there, by which it is
// known whether what is remembered of them is still so.
fn tells_of_members(batch: &Batch) -> bool {
    let has_record = |group: &GroupPath| {
        batch.writes.iter().any(|write| match write {
            Write::Put(Put { path, .. }) | Write::Delete { path, .. } => {
                path.kind() == Kind::Group
                    && path.id == group.group
                    && path.collection.bucket == group.bucket
            }
            _ => false,
        })
    };
    batch.writes.iter().all(|write| match write {
        Write::SetMembers { group, .. } => has_record(group),
        _ => true,
    })
}

/// Work that goes on by itself when whoever waits for it goes away.
struct Finish<T: Send + 'static>(Option<Pending<'static, T>>);

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<T> {
        let work = self.0.as_mut().expect("a finished future is not polled again");
        let result = work.as_mut().poll(cx);
        if result.is_ready() {
            self.0 = None;
        }
        result
    }
}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

/// The attempts at one change: how many, and what they queue for.
#[derive(Default, Debug)]
pub struct Attempts {
    count: usize,
    reads: bool,
    paths: Vec<RecordPath>,
}

impl Attempts {
    /// The first attempt at changing one record.
    pub fn at(path: RecordPath) -> Self {
        Self { paths: vec![path], ..Self::default() }
    }

    /// Another attempt, after a conflict; false when there were enough. One that read nothing does not
    /// count.
    pub fn again(&mut self, conflict: Conflict, attempts_max: usize) -> bool {
        self.count += usize::from(self.reads || !conflict.was_presumed);
        self.reads = true;
        self.paths.extend(conflict.paths);
        self.paths.sort();
        self.paths.dedup();
        self.count < attempts_max
    }
}
