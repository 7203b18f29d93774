//! Connections: a bounded number, made when needed, each with its prepared statements.
//!
//! They are closed when nobody needed them for a while, but for one, which is made at the start.
//!
//! The server may have fewer than are wanted. Then whoever needs one waits for one that is there, as
//! long as a request may, and the pool wants fewer for a while. A pool that has none at all gets one
//! of the other's.

#[cfg(test)]
mod tests;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    ClientWrapper, Connect, Manager, ManagerConfig, Object, Pool as Deadpool, PoolError, QueueMode,
    RecyclingMethod, Runtime,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nuage_model::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::postgres::connect::Target;
use crate::postgres::errors::{Fault, chain, has_none_left};
use crate::postgres::servers::Servers;

/// How long a connection is waited for before the database is told to be busy.
const WAIT: Duration = Duration::from_secs(5);
/// Age at which statements are prepared anew. The server keeps the plan of a statement for as
/// long; one that it made for a nearly empty table reads all of a table that has grown since.
const PLANS_AGE_MAX: Duration = Duration::from_secs(10);

/// How long to wait before asking a server again that had no connection left, at first and at the
/// most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// After this long, one connection more is tried again.
const GROW: Duration = Duration::from_secs(10);
/// A connection that nobody used for so long is closed, but for so many.
const IDLE: Duration = Duration::from_secs(10);
const FLOOR: usize = 1;
/// How often a lack of connections is told.
const TELL: Duration = Duration::from_secs(600);
/// How often it is told which of several servers said what.
const TELL_REFUSALS: Duration = Duration::from_secs(10);

/// The connections of a process for one purpose.
pub(super) struct Pool {
    connections: Deadpool,
    /// As many as the server seems to have for us; the first to wait is the first to get one.
    turns: Arc<Semaphore>,
    most: usize,
    lack: Mutex<Lack>,
    /// The pool for the other purpose, once it is known.
    other: OnceLock<Weak<Pool>>,
    servers: Servers,
    /// Of the servers, when connections were last forgotten.
    turn: AtomicU64,
    /// Half of the connections, at least one: the others are left to short reads.
    slots: Semaphore,
    planned: Mutex<Instant>,
}

/// Connections that the server did not have.
#[derive(Default)]
struct Lack {
    /// How many fewer are wanted.
    withheld: usize,
    changed: Option<Instant>,
    told: Option<Instant>,
}

/// A connection on loan.
pub(super) struct Lent {
    object: Option<Object>,
    _turn: OwnedSemaphorePermit,
    servers: Servers,
    /// Of the servers, when it was lent.
    since: u64,
}

const IS_HELD: &str = "only what takes the loan itself takes its connection";

impl Lent {
    /// Takes it out of the pool, for good.
    pub(super) fn take(mut self) -> ClientWrapper {
        Object::take(self.object.take().expect(IS_HELD))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // It may be to a server that is left alone by now.
        if self.servers.turn() != self.since
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

/// How the pool makes a connection.
struct Connecting {
    target: Target,
    told: Mutex<Option<Instant>>,
}

impl Connect for Connecting {
    fn connect(&self, _: &tokio_postgres::Config) -> BoxFuture<'_, Connected> {
        Box::pin(async {
            let mut refusals = match self.target.servers().open().await {
                Ok((client, connection)) => {
                    let driver = tokio::spawn(connection.map(drop));
                    self.target.lineage().check(&client).await?;
                    return Ok((client, driver));
                }
                Err(refusals) => refusals,
            };
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.len() > 1 && told.is_none_or(|told| told.elapsed() >= TELL_REFUSALS) {
                *told = Some(Instant::now());
                tracing::warn!("{}", self.target.explain(&refusals));
            }
            // Whoever has no room is the one that would let us in.
            let full = refusals.iter().position(|(_, error)| has_none_left(error));
            Err(refusals.swap_remove(full.unwrap_or(0)).1)
        })
    }
}

type Connected = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Deref for Lent {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.object.as_ref().expect(IS_HELD)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Object {
        self.object.as_mut().expect(IS_HELD)
    }
}

impl Pool {
    /// A pool of at most so many connections. Connects to nothing yet.
    pub(super) fn new(target: &Target, connections: usize) -> Result<Self, StoreError> {
        let most = connections.max(1);
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let connect = Connecting { target: target.clone(), told: Mutex::default() };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), connect, config);
        let pool = Deadpool::builder(manager)
            .max_size(most)
            // The one that was used last, so that others get old and are given back.
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(WAIT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build();
        Ok(Self {
            connections: pool.map_err(|error| StoreError::Unavailable(chain(&error)))?,
            turns: Arc::new(Semaphore::new(most)),
            most,
            lack: Mutex::new(Lack::default()),
            other: OnceLock::new(),
            turn: AtomicU64::new(target.servers().turn()),
            servers: target.servers().clone(),
            slots: Semaphore::new((connections / 2).max(1)),
            planned: Mutex::new(Instant::now()),
        })
    }

    /// A connection, for as long as it is held. Statements go through
    /// [`deadpool_postgres::ClientWrapper::prepare_cached`].
    pub(super) async fn get(&self) -> Result<Lent, Fault> {
        self.plan_anew();
        let turn = self.servers.turn();
        if self.turn.swap(turn, Ordering::Relaxed) != turn {
            self.forget_idle();
        }
        let deadline = tokio::time::Instant::now() + WAIT;
        let mut pause = PAUSE_MIN;
        // Of the other pool: nobody there takes what was given up for us.
        let mut ceded: Option<(Arc<Self>, OwnedSemaphorePermit)> = None;
        loop {
            if self.connections.is_closed() {
                return Err(StoreError::Closed.into());
            }
            self.grow();
            let turn = match Arc::clone(&self.turns).try_acquire_owned() {
                Ok(turn) => turn,
                Err(TryAcquireError::Closed) => return Err(StoreError::Closed.into()),
                Err(TryAcquireError::NoPermits) => {
                    // Whoever has ours may wait for the one that was ceded to us.
                    drop(ceded.take());
                    let turn = timeout_at(deadline, Arc::clone(&self.turns).acquire_owned()).await;
                    turn.map_err(|_| no_connection())?.map_err(|_| StoreError::Closed)?
                }
            };
            let fault = match self.connections.get().await {
                Ok(object) => {
                    if let Some((pool, turn)) = ceded {
                        pool.withhold(turn);
                    }
                    let servers = self.servers.clone();
                    return Ok(Lent {
                        object: Some(object),
                        _turn: turn,
                        since: servers.turn(),
                        servers,
                    });
                }
                Err(PoolError::Backend(error)) if has_none_left(&error) => Fault::from(error),
                Err(PoolError::Backend(error)) => return Err(error.into()),
                Err(PoolError::Closed) => return Err(StoreError::Closed.into()),
                Err(other) => return Err(StoreError::Unavailable(chain(&other)).into()),
            };
            self.tell(&fault);
            drop(ceded.take());
            if self.connections.status().size > 0 {
                self.withhold(turn);
            } else {
                drop(turn);
                ceded = timeout_at(deadline, self.borrow_turn()).await.ok().flatten();
            }
            if tokio::time::Instant::now() + pause >= deadline {
                return Err(fault);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Opens the connection that is kept whatever happens, if the server has one.
    pub(super) async fn begin(&self) {
        // Without it, the first request waits for one.
        let _ = self.get().await;
    }

    /// Gives connections back that nobody needed for a while, as long as the pool is there. Other
    /// processes may need them.
    pub(super) async fn give_back(pool: Weak<Self>) {
        loop {
            tokio::time::sleep(IDLE / 4).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut more = pool.connections.status().size.saturating_sub(FLOOR);
            pool.connections.retain(|_, metrics| {
                let is_idle = more > 0 && metrics.last_used() >= IDLE;
                more -= usize::from(is_idle);
                !is_idle
            });
        }
    }

    /// Makes two pools on one server help each other out.
    pub(super) fn pair(one: &Arc<Self>, two: &Arc<Self>) {
        // Each has one partner, from the start.
        let _ = one.other.set(Arc::downgrade(two));
        let _ = two.other.set(Arc::downgrade(one));
    }

    // Makes the other pool give up a connection, and keeps its turn.
    async fn borrow_turn(&self) -> Option<(Arc<Self>, OwnedSemaphorePermit)> {
        let other = self.other.get()?.upgrade()?;
        let turn = Arc::clone(&other.turns).acquire_owned().await.ok()?;
        let mut is_first = true;
        other.connections.retain(|_, _| !std::mem::take(&mut is_first));
        Some((other, turn))
    }

    // Wants one connection fewer from now on, but one at least.
    fn withhold(&self, turn: OwnedSemaphorePermit) {
        let mut lack = self.lack();
        lack.changed = Some(Instant::now());
        if lack.withheld + 1 < self.most {
            lack.withheld += 1;
            turn.forget();
        }
    }

    // Wants one more again, after a while.
    fn grow(&self) {
        let mut lack = self.lack();
        if lack.withheld > 0 && lack.changed.is_none_or(|changed| changed.elapsed() >= GROW) {
            lack.withheld -= 1;
            lack.changed = Some(Instant::now());
            self.turns.add_permits(1);
        }
    }

    fn tell(&self, fault: &Fault) {
        let mut lack = self.lack();
        if lack.told.is_none_or(|told| told.elapsed() >= TELL) {
            lack.told = Some(Instant::now());
            tracing::warn!(
                error = ?fault,
                wanted = self.most,
                "the database has fewer connections than wanted, and requests wait for those that \
                 there are: raise its max_connections, or lower storage.connections and \
                 storage.writers"
            );
        }
    }

    fn lack(&self) -> MutexGuard<'_, Lack> {
        self.lack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to a long read; the wait for it counts as part of the read.
    pub(super) async fn slot(&self, within: Duration) -> Result<SemaphorePermit<'_>, Fault> {
        match tokio::time::timeout(within, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::TooSlow.into()),
        }
    }

    /// Where the connections lead to.
    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Closes the connections that nobody holds: one of them was found broken, and the others
    /// were made to the same server.
    pub(super) fn forget_idle(&self) {
        self.connections.retain(|_, _| false);
    }

    /// Ends all connections; later calls fail with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.connections.close();
        self.turns.close();
        self.slots.close();
    }

    fn plan_anew(&self) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if planned.elapsed() >= PLANS_AGE_MAX {
            *planned = Instant::now();
            self.connections.manager().statement_caches.clear();
        }
    }
}

fn no_connection() -> StoreError {
    StoreError::Unavailable("no connection to the database became free in time".to_owned())
}
