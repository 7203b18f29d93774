//! Whether a store can write, found out by writing: at most once a second, however many ask.

use std::future::Future;
use std::time::Duration;

use nuage_model::{ApplyError, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer holds for others.
const AGE_MAX: Duration = Duration::from_secs(1);

type Beat = Result<(), StoreError>;

/// What came of the last try.
#[derive(Default)]
pub(crate) struct Pulse {
    last: Mutex<Option<(Instant, Beat)>>,
}

impl Pulse {
    /// What came of a try that is young enough, or of this one. Others wait for it meanwhile; if
    /// whoever asked leaves, the next one tries.
    pub(crate) async fn beat<T>(
        &self,
        write: impl Future<Output = Result<T, ApplyError>> + Send,
    ) -> Beat {
        let mut last = self.last.lock().await;
        if let Some((at, beat)) = &*last
            && at.elapsed() < AGE_MAX
        {
            return beat.clone();
        }
        let beat = match write.await {
            Ok(_) => Ok(()),
            Err(ApplyError::Store(error)) => Err(error),
            Err(ApplyError::Conflict) => Err(StoreError::Unavailable("it is busy".to_owned())),
        };
        *last = Some((Instant::now(), beat.clone()));
        beat
    }
}
