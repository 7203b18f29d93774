//! Telling other processes which collections changed, and whether something did of buckets,
//! collections, groups or accounts; and hearing it from them.
//!
//! A hint says "look again", not what is true, and may be lost: whoever caches also looks again
//! after the trust period, and whoever waits for changes compares heads. Hints are sent after the
//! commit, from a connection of their own, a few milliseconds' worth together: a notification
//! inside the transaction that writes would make all commits of the server wait for each other.

mod news;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::poll_fn;
use nuage_model::{CollectionPath, Hint, Kind, Listener};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client};

use crate::postgres::connect::Target;
use crate::postgres::errors::Fault;
use crate::postgres::hints::news::News;

/// How long hints are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(20);
/// How long to wait before the connection is made again; and how long at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Hints that wait to be heard; what comes beyond means that anything may have changed. Each has
/// 8 kB at most.
const HEARD_MAX: usize = 256;
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

// A notification is a commit of its own, and nobody minds if it is lost with the server.
const LISTEN: &str = "SET synchronous_commit = off; LISTEN nuage";
const TELL: &str = "SELECT pg_notify('nuage', $1)";

/// What is told and heard.
pub(super) struct Hints {
    /// By which a process knows its own hints.
    process: String,
    heard: AtomicU64,
    flushes: AtomicU64,
    /// What the others are not told yet.
    news: Mutex<News>,
    to_tell: Notify,
    listener: Mutex<Option<Listener>>,
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
            flushes: AtomicU64::new(0),
            news: Mutex::default(),
            to_tell: Notify::new(),
            listener: Mutex::default(),
            begun: Instant::now(),
            trust_ms: trust_ms.max(1),
            stop: watch::Sender::new(false),
        }
    }

    /// Tells the other processes, soon, that these collections changed, and perhaps rights.
    pub(super) fn tell<'c>(
        &self,
        rights: bool,
        collections: impl Iterator<Item = &'c CollectionPath>,
    ) {
        let mut news = self.news();
        news.rights |= rights;
        // The others are built in: what they hold is rights, or nothing that anybody waits for.
        let of_applications = collections.filter(|path| path.kind() == Kind::Record);
        of_applications.for_each(|path| news.add(path));
        if !news.is_empty() {
            drop(news);
            self.to_tell.notify_one();
        }
    }

    /// Tells the other processes, soon, that everything was removed here.
    pub(super) fn tell_everything(&self) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.news().join(&News { rights: true, everything: true, ..News::default() });
        self.to_tell.notify_one();
    }

    /// Who is called with what the others tell.
    pub(super) fn listen(&self, listener: Listener) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// Moves with each hint about rights, and with each trust period that passes.
    pub(super) fn moves(&self) -> u64 {
        let periods = self.begun.elapsed().as_millis() / u128::from(self.trust_ms);
        let periods = u64::try_from(periods).unwrap_or(u64::MAX);
        self.heard.load(Ordering::SeqCst).wrapping_add(periods)
    }

    /// How often everything was removed here.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Ends [`Hints::run`].
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Listens and tells until it is stopped, over a connection that is made anew when it breaks.
    pub(super) async fn run(self: Arc<Self>, target: Target) {
        let mut stop = self.stop.subscribe();
        let mut pause = PAUSE_MIN;
        let mut missed = false;
        loop {
            let begun = Instant::now();
            tokio::select! {
                ended = self.converse(&target, missed) => {
                    if let Err(fault) = ended {
                        let error = nuage_model::StoreError::from(fault);
                        tracing::warn!(error = %error, "the connection for hints broke");
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
            // What is said meanwhile is not heard.
            missed = true;
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

    // `missed`: whether something may have been said since the start that was not heard.
    async fn converse(&self, target: &Target, missed: bool) -> Result<(), Fault> {
        let servers = target.servers().with(|config| {
            config.application_name("nuage listener");
        });
        let (client, mut connection) =
            servers.open().await.map_err(|refusals| target.explain(&refusals))?;
        let turned = servers.turned();
        let (heard, mut hints) = mpsc::channel(HEARD_MAX);
        let overflow = Arc::new(AtomicBool::new(false));
        let overflown = Arc::clone(&overflow);
        // The connection moves only while it is polled.
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notification(hint)) => {
                        if !note(&heard, &overflown, hint.payload()) {
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
        target.lineage().check(&client).await?;
        within(client.batch_execute(LISTEN)).await?;
        // Whoever listens already does so from now on.
        self.hear(News { rights: missed, everything: true, ..News::default() });
        tokio::select! {
            () = self.hear_all(&mut hints, &overflow) => driver.ended().await,
            told = self.tell_all(&client) => told,
            () = turned => {
                let why = "it is to a server that is left alone".to_owned();
                Err(nuage_model::StoreError::Unavailable(why).into())
            }
        }
    }

    // Until the connection ends.
    async fn hear_all(&self, hints: &mut mpsc::Receiver<String>, overflow: &AtomicBool) {
        while let Some(text) = hints.recv().await {
            if overflow.swap(false, Ordering::SeqCst) {
                self.hear(News { rights: true, everything: true, ..News::default() });
            }
            if let Some(news) = News::of_text(&text, &self.process) {
                self.hear(news);
            }
        }
    }

    fn hear(&self, news: News) {
        if news.rights {
            self.heard.fetch_add(1, Ordering::SeqCst);
        }
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listener) = listener {
            news.into_hints().for_each(|hint: Hint| listener(hint));
        }
    }

    // Until the connection breaks.
    async fn tell_all(&self, client: &Client) -> Result<(), Fault> {
        loop {
            self.to_tell.notified().await;
            tokio::time::sleep(COLLECT).await;
            let mut telling = Telling { hints: self, news: std::mem::take(&mut *self.news()) };
            if telling.news.is_empty() {
                continue;
            }
            let text = telling.news.to_text(&self.process);
            within(client.query_typed(TELL, &[(&text, Type::TEXT)])).await?;
            telling.news = News::default();
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a hint until it is heard, or notes that there were more than are kept. Says whether
/// anybody listens.
fn note(heard: &mpsc::Sender<String>, overflow: &AtomicBool, text: &str) -> bool {
    match heard.try_send(text.to_owned()) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            overflow.store(true, Ordering::SeqCst);
            true
        }
        Err(TrySendError::Closed(_)) => false,
    }
}

/// What is being told. It is told again on the next connection if this one breaks.
struct Telling<'h> {
    hints: &'h Hints,
    news: News,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.news.is_empty() {
            self.hints.news().join(&self.news);
            self.hints.to_tell.notify_one();
        }
    }
}

async fn within<T>(
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
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

#[cfg(test)]
mod tests;
