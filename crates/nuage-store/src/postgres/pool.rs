//! Connections for reads: a bounded number, made when needed, each with its prepared statements.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool as Deadpool, RecyclingMethod, Runtime,
};
use nuage_model::StoreError;

use crate::postgres::connect::Target;
use crate::postgres::errors::{Fault, chain};

/// How long a read waits for a connection before it is told that the database is busy.
const WAIT: Duration = Duration::from_secs(5);

/// The connections of a process for reads.
pub(super) struct Pool(Deadpool);

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
        Ok(Self(pool.map_err(|error| StoreError::Unavailable(chain(&error)))?))
    }

    /// A connection, for as long as it is held. Statements go through
    /// [`deadpool_postgres::ClientWrapper::prepare_cached`].
    pub(super) async fn get(&self) -> Result<Object, Fault> {
        if self.0.is_closed() {
            return Err(StoreError::Closed.into());
        }
        self.0.get().await.map_err(|error| match error {
            deadpool_postgres::PoolError::Backend(error) => Fault::Postgres(error),
            deadpool_postgres::PoolError::Closed => Fault::Store(StoreError::Closed),
            other => Fault::Store(StoreError::Unavailable(chain(&other))),
        })
    }

    /// Ends all connections; later calls fail with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.0.close();
    }
}
