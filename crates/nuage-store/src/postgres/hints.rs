//! Telling other processes that something changed of buckets, collections, groups or accounts,
//! and hearing it from them.
//!
//! A hint says "look again", not what is true, and may be lost: whoever caches also looks again
//! after the trust period. Hints are sent after the commit, from a connection of their own, a few
//! milliseconds' worth together: a notification inside the transaction that writes would make
//! all commits of the server wait for each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::poll_fn;
use tokio::sync::{Notify, mpsc, watch};
use tokio_postgres::AsyncMessage;

use crate::postgres::connect::Target;
use crate::postgres::errors::Fault;

/// How long hints are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(20);
/// How long to wait before the connection is made again; and how long at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const LISTEN: &str = "LISTEN nuage";

/// What is told and heard.
pub(super) struct Hints {
    /// By which a process knows its own hints.
    process: String,
    heard: AtomicU64,
    to_tell: Notify,
    begun: Instant,
    trust_ms: u64,
    stop: watch::Sender<bool>,
}

impl Hints {
    /// Nothing heard yet.
    pub(super) fn new(trust_ms: u64) -> Self {
        Self {
            process: format!("{:016x}", RandomState::new().hash_one(Instant::now())),
            heard: AtomicU64::new(0),
            to_tell: Notify::new(),
            begun: Instant::now(),
            trust_ms: trust_ms.max(1),
            stop: watch::Sender::new(false),
        }
    }

    /// Tells the other processes, soon.
    pub(super) fn tell(&self) {
        self.to_tell.notify_one();
    }

    /// Moves with each hint, and with each trust period that passes.
    pub(super) fn moves(&self) -> u64 {
        let periods = self.begun.elapsed().as_millis() / u128::from(self.trust_ms);
        let periods = u64::try_from(periods).unwrap_or(u64::MAX);
        self.heard.load(Ordering::SeqCst).wrapping_add(periods)
    }

    /// Ends [`Hints::run`].
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Listens and tells until it is stopped, over a connection that is made anew when it breaks.
    pub(super) async fn run(self: Arc<Self>, target: Target) {
        let mut stop = self.stop.subscribe();
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            tokio::select! {
                ended = self.converse(&target) => {
                    if let Err(fault) = ended {
                        let error = nuage_model::StoreError::from(fault);
                        tracing::warn!(error = %error, "the connection for hints broke");
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
            // What was said meanwhile was not heard.
            self.heard.fetch_add(1, Ordering::SeqCst);
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn converse(&self, target: &Target) -> Result<(), Fault> {
        let mut config = target.config.clone();
        config.application_name("nuage listener");
        let (client, mut connection) = config.connect(target.tls.clone()).await?;
        let (heard, mut hints) = mpsc::unbounded_channel();
        // The connection moves only while it is polled.
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notification(hint)) => {
                        if heard.send(hint.payload().to_owned()).is_err() {
                            break;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => return Err(Fault::from(error)),
                }
            }
            Ok(())
        });
        let driver = Guarded(driver);
        within(client.batch_execute(LISTEN)).await?;
        let tell = format!("NOTIFY nuage, '{}'", self.process);
        loop {
            tokio::select! {
                hint = hints.recv() => match hint {
                    Some(from) if from != self.process => {
                        self.heard.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(_) => {}
                    None => return driver.ended().await,
                },
                () = self.to_tell.notified() => {
                    tokio::time::sleep(COLLECT).await;
                    let told = within(client.batch_execute(&tell)).await;
                    if told.is_err() {
                        // Others did not hear it: it is told on the next connection.
                        self.to_tell.notify_one();
                    }
                    told?;
                }
            }
        }
    }
}

async fn within(
    asked: impl Future<Output = Result<(), tokio_postgres::Error>>,
) -> Result<(), Fault> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let why = "the server does not answer".to_owned();
            Err(nuage_model::StoreError::Unavailable(why).into())
        }
    }
}

/// A task that ends with whoever holds it.
struct Guarded(tokio::task::JoinHandle<Result<(), Fault>>);

impl Guarded {
    async fn ended(mut self) -> Result<(), Fault> {
        match (&mut self.0).await {
            Ok(ended) => ended,
            Err(error) => {
                let why = format!("the task of a connection stopped: {error}");
                Err(nuage_model::StoreError::Unavailable(why).into())
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}
