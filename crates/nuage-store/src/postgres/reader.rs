//! A connection on loan to one read, or to several of one moment.
//!
//! A read may be asked again: if its connection turns out to be broken, as all are after the
//! server was restarted, it gets a new one once. A read that takes too long is stopped at the
//! server as well. A connection goes back to the pool only in a state in which the next statement
//! would be answered at once.

use std::future::Future;
use std::ops::{ControlFlow, Deref};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::future::try_join;
use futures_util::{FutureExt, StreamExt};
use nuage_model::StoreError;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::postgres::errors::Fault;
use crate::postgres::pool::{Lent, Pool};

/// How long the server is asked to stop a statement.
const CANCEL: Duration = Duration::from_secs(5);
/// Bytes of rows after which other tasks get their turn: parsing them takes about 2 ms.
const BREATH_BYTES: usize = 256 * 1024;
/// Bytes of rows that nobody wants any more, and that are read to keep the connection.
const DRAIN_BYTES: usize = 1024 * 1024;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const END: &str = "COMMIT";

/// A connection on loan.
pub(super) struct Reader<'p> {
    pool: &'p Pool,
    client: Option<Lent>,
    /// Rows are on their way, perhaps many.
    owes_rows: AtomicBool,
    /// A transaction was begun.
    at_moment: AtomicBool,
}

/// Reads with one of the connections of a pool, in at most this time; a second time with another one
/// if that turns out to be broken. Gives the connection along, for what is asked next.
///
/// What is asked is a future of a reader. It is not a closure, since the compiler cannot tell yet
/// that the future of an async closure may be sent.
macro_rules! read {
    ($pool:expr, $within:expr, |$reader:ident| $asked:expr) => {{
        let mut tries = $crate::postgres::reader::Tries::new(&$pool, $within);
        loop {
            let lent = match tries.lend().await {
                Ok(lent) => lent,
                Err(fault) => break Err(fault),
            };
            let heard = {
                let $reader = &lent;
                tries.hear($asked).await
            };
            if let Some(answer) = tries.settle(lent, heard).transpose() {
                break answer;
            }
        }
    }};
}
pub(super) use read;

/// How often something was read in vain.
pub(super) struct Tries<'p> {
    pool: &'p Pool,
    within: Duration,
    is_first: bool,
}

/// An answer, unless there was none in time.
type Heard<T> = Option<Result<T, Fault>>;

impl<'p> Tries<'p> {
    pub(super) fn new(pool: &'p Pool, within: Duration) -> Self {
        Self { pool, within, is_first: true }
    }

    /// A connection to read with.
    pub(super) async fn lend(&self) -> Result<Reader<'p>, Fault> {
        Ok(Reader {
            pool: self.pool,
            client: Some(self.pool.get().await?),
            owes_rows: AtomicBool::new(false),
            at_moment: AtomicBool::new(false),
        })
    }

    /// Waits for an answer as long as there is time.
    pub(super) async fn hear<T>(&self, asked: impl Future<Output = Result<T, Fault>>) -> Heard<T> {
        let asked = tokio::time::timeout(self.within, asked);
        match self.pool.servers().heard(asked).await {
            Some(heard) => heard.ok(),
            None => Some(Err(Fault::Silent)),
        }
    }

    /// What was heard; none if it is worth another try.
    pub(super) fn settle<T>(
        &mut self,
        reader: Reader<'p>,
        heard: Heard<T>,
    ) -> Result<Option<(Reader<'p>, T)>, Fault> {
        let fault = match heard {
            Some(Ok(answer)) => return Ok(Some((reader, answer))),
            Some(Err(fault)) => fault,
            None => {
                reader.stop();
                return Err(StoreError::TooSlow.into());
            }
        };
        if !fault.spoils_connection() {
            return Err(fault);
        }
        reader.discard();
        if !self.is_first {
            return Err(fault);
        }
        self.pool.forget_idle();
        self.is_first = false;
        Ok(None)
    }
}

impl Reader<'_> {
    /// Shows each row to `visit` as it arrives, until there are no more or it has seen enough.
    pub(super) async fn each(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        visit: &mut (dyn FnMut(&Row) -> Result<ControlFlow<()>, Fault> + Send),
    ) -> Result<(), Fault> {
        let statement = self.prepare_cached(sql).await?;
        let rows = self.query_raw(&statement, params.iter().copied()).await?;
        let mut rows = pin!(rows);
        self.owes_rows.store(true, Ordering::Relaxed);
        let (mut breath, mut drained) = (0, 0);
        let mut is_done = false;
        while let Some(row) = rows.next().await {
            // An error is the end of the rows.
            let row = row.inspect_err(|_| self.owes_rows.store(false, Ordering::Relaxed))?;
            let bytes = row.raw_size_bytes();
            if is_done {
                drained += bytes;
                if drained > DRAIN_BYTES {
                    return Ok(());
                }
                continue;
            }
            is_done = visit(&row)?.is_break();
            breath += bytes;
            if breath > BREATH_BYTES {
                breath = 0;
                tokio::task::yield_now().await;
            }
        }
        self.owes_rows.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// From now on, until it is dropped, all statements see the same moment. It begins in one round
    /// trip with what is asked first.
    pub(super) async fn begin_with<T>(
        &self,
        first: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        self.at_moment.store(true, Ordering::Relaxed);
        // The first of the two is sent first.
        let begin = async { Ok(self.batch_execute(BEGIN).await?) };
        let ((), first) = try_join(begin, first).await?;
        Ok(first)
    }

    /// Closes the connection, for it is of no use.
    pub(super) fn discard(mut self) {
        if let Some(client) = self.client.take() {
            drop(client.take());
        }
    }

    /// Stops the statement that takes too long. The connection is not used again, since nobody knows
    /// whether the order to stop arrives before the end of the statement.
    pub(super) fn stop(mut self) {
        let Some(client) = self.client.take() else { return };
        let client = client.take();
        let (token, tls) = (client.cancel_token(), self.pool.servers().tls());
        tokio::spawn(async move {
            // Whether it was stopped shows nowhere but in the load of the server.
            let _ = tokio::time::timeout(CANCEL, token.cancel_query(tls)).await;
            drop(client);
        });
    }
}

impl Deref for Reader<'_> {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.client.as_deref().expect("only what takes the reader itself takes its connection")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if self.owes_rows.load(Ordering::Relaxed) {
            drop(client.take());
        } else if self.at_moment.load(Ordering::Relaxed) {
            // Polled once it is sent. Nobody waits for the answer: nothing was written, and who
            // gets the connection next comes after it.
            let _ = client.batch_execute(END).now_or_never();
        }
    }
}
