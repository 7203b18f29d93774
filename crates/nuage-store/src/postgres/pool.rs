//! Connections: a bounded number, made when needed, each with its prepared statements.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool as Deadpool, RecyclingMethod, Runtime,
};
use nuage_model::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::connect::Target;
use crate::postgres::errors::{Fault, chain};

/// How long a connection is waited for before the database is told to be busy.
const WAIT: Duration = Duration::from_secs(5);
/// Age at which statements are prepared anew. The server keeps the plan of a statement for as
/// long; one that it made for a nearly empty table reads all of a table that has grown since.
const PLANS_AGE_MAX: Duration = Duration::from_secs(10);

/// The connections of a process for one purpose.
pub(super) struct Pool {
    connections: Deadpool,
    tls: MakeRustlsConnect,
    /// Half of the connections, at least one: the others are left to short reads.
    slots: Semaphore,
    planned: Mutex<Instant>,
}

impl Pool {
    /// A pool of at most so many connections. Connects to nothing yet.
    pub(super) fn new(target: &Target, connections: usize) -> Result<Self, StoreError> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(target.config.clone(), target.tls.clone(), config);
        let pool = Deadpool::builder(manager)
            .max_size(connections.max(1))
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build();
        Ok(Self {
            connections: pool.map_err(|error| StoreError::Unavailable(chain(&error)))?,
            tls: target.tls.clone(),
            slots: Semaphore::new((connections / 2).max(1)),
            planned: Mutex::new(Instant::now()),
        })
    }

    /// A connection, for as long as it is held. Statements go through
    /// [`deadpool_postgres::ClientWrapper::prepare_cached`].
    pub(super) async fn get(&self) -> Result<Object, Fault> {
        if self.connections.is_closed() {
            return Err(StoreError::Closed.into());
        }
        self.plan_anew();
        self.connections.get().await.map_err(|error| match error {
            deadpool_postgres::PoolError::Backend(error) => Fault::Postgres(error),
            deadpool_postgres::PoolError::Closed => Fault::Store(StoreError::Closed),
            other => Fault::Store(StoreError::Unavailable(chain(&other))),
        })
    }

    /// The right to a long read; the wait for it counts as part of the read.
    pub(super) async fn slot(&self, within: Duration) -> Result<SemaphorePermit<'_>, Fault> {
        match tokio::time::timeout(within, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::TooSlow.into()),
        }
    }

    /// How the connections are encrypted.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Closes the connections that nobody holds: one of them was found broken, and the others
    /// were made to the same server.
    pub(super) fn forget_idle(&self) {
        self.connections.retain(|_, _| false);
    }

    /// Ends all connections; later calls fail with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.connections.close();
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
