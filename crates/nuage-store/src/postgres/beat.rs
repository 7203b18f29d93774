//! Whether the database can write: a transaction that leaves a note in its log and nothing else.
//!
//! It touches no row, so that nobody's lock is in its way.

use std::time::Duration;

use nuage_model::{ApplyError, StoreError};

use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;

const NOTE: &str = "SELECT pg_logical_emit_message(true, 'nuage', ''); COMMIT";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Commits something.
pub(super) async fn beat(pool: &Pool, begin: &str) -> Result<(), ApplyError> {
    let mut is_first = true;
    loop {
        let client = pool.get().await.map_err(StoreError::from)?;
        let sql = format!("{begin}; {NOTE}");
        let beat = tokio::time::timeout(PATIENCE, client.batch_execute(&sql));
        let fault = match pool.servers().heard(beat).await {
            Some(Ok(Ok(()))) => return Ok(()),
            Some(Ok(Err(error))) => Fault::from(error),
            Some(Err(_)) | None => Fault::Silent,
        };
        // Whatever it was, a transaction may be left open.
        drop(client.take());
        if !is_first || !fault.spoils_connection() {
            return Err(StoreError::from(fault).into());
        }
        pool.forget_idle();
        is_first = false;
    }
}
