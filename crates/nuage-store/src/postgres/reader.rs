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

/// Something that can be read with one connection, also a second time.
pub(super) trait Read: Sync {
    /// What is read.
    type Answer: Send;

    /// Reads it.
    fn read(&self, reader: &Reader<'_>)
    -> impl Future<Output = Result<Self::Answer, Fault>> + Send;
}

/// A connection on loan.
pub(super) struct Reader<'p> {
    pool: &'p Pool,
    client: Option<Lent>,
    /// Rows are on their way, perhaps many.
    owes_rows: AtomicBool,
    /// A transaction was begun.
    at_moment: AtomicBool,
}

impl Pool {
    /// Reads with one of the connections, in at most this time.
    pub(super) async fn read<R: Read>(
        &self,
        read: &R,
        within: Duration,
    ) -> Result<R::Answer, Fault> {
        Ok(self.begin_to_read(read, within).await?.1)
    }

    /// The same, and keeps the connection for what is asked next.
    pub(super) async fn begin_to_read<R: Read>(
        &self,
        read: &R,
        within: Duration,
    ) -> Result<(Reader<'_>, R::Answer), Fault> {
        let mut is_first = true;
        loop {
            let reader = Reader {
                pool: self,
                client: Some(self.get().await?),
                owes_rows: AtomicBool::new(false),
                at_moment: AtomicBool::new(false),
            };
            let reading = tokio::time::timeout(within, read.read(&reader));
            let fault = match self.servers().heard(reading).await {
                Some(Ok(Ok(answer))) => return Ok((reader, answer)),
                Some(Ok(Err(fault))) => fault,
                Some(Err(_)) => {
                    reader.stop();
                    return Err(StoreError::TooSlow.into());
                }
                None => Fault::Silent,
            };
            if !fault.spoils_connection() {
                return Err(fault);
            }
            reader.discard();
            if !is_first {
                return Err(fault);
            }
            self.forget_idle();
            is_first = false;
        }
    }
}

impl Reader<'_> {
    /// Shows each row to `visit` as it arrives, until there are no more or it has seen enough.
    pub(super) async fn each(
        &self,
        sql: &'static str,
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
    pub(super) async fn begin<T>(
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
