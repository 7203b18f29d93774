//! A lane: one task that writes to its share of the buckets, in groups.
//!
//! It takes what waits in its queue and applies it in one transaction of two round trips, so that
//! many writers of one collection wait for one commit. Batches do not see each other's failures:
//! a failed guard turns down its batch alone, and when anything else fails the group is rolled
//! back and each batch is tried by itself. What other processes were in the way of is tried
//! again. Once a commit was sent and no answer came, nobody knows whether it happened: that is
//! told as unavailable, and nothing is tried again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use foldhash::HashSet;
use futures_util::FutureExt;
use nuage_model::{
    ApplyError, Batch, CollectionPath, Guard, Kind, Outcome, Signature, StoreError, Write,
};
use tokio::sync::{mpsc, oneshot};

use crate::postgres::errors::Fault;
use crate::postgres::hints::Hints;
use crate::postgres::needs::Needs;
use crate::postgres::overlay::{Effects, Overlay};
use crate::postgres::pool::Pool;
use crate::postgres::{read, write};
use crate::rules::{Ledger, Transaction};

/// Batches in one transaction.
const GROUP_BATCHES_MAX: usize = 256;
/// Writes after which no further batch joins a group.
const GROUP_WRITES_MAX: usize = 2_048;
/// How often a transaction is begun anew because others were in the way.
const ATTEMPTS_MAX: u32 = 10;
/// When batches are tried one by one, the rest is given up after so many failures in a row.
const FAILURES_MAX: usize = 3;
/// Signatures remembered as known, beyond which all are forgotten.
const KNOWN_MAX: usize = 65_536;

const TRY_TO_WRITE: &str = "UPDATE meta SET value = value WHERE key = 'store'";

/// What a batch comes to.
pub(super) type Answer = Result<Vec<Outcome>, ApplyError>;

/// What may be asked of a lane.
pub(super) enum Job {
    /// To apply a batch, or without one to show that it can write.
    Apply(Option<Batch>, oneshot::Sender<Answer>),
    /// To finish what came before and end.
    Close(oneshot::Sender<()>),
}

type Task = (Option<Batch>, oneshot::Sender<Answer>);

/// What a lane works with.
pub(super) struct Lane {
    pool: Arc<Pool>,
    hints: Arc<Hints>,
    begin: &'static str,
    /// Signatures whose principals are in the tables, by the incarnation of their collection.
    known: HashSet<(CollectionPath, [u8; 8], Signature)>,
}

/// Why a group was not applied, as far as is known.
enum Failed {
    /// Nothing was written.
    Surely(Fault),
    /// The commit was sent.
    Perhaps(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Surely(fault)
    }
}

impl Lane {
    /// A lane that begins its transactions with these words.
    pub(super) fn new(pool: Arc<Pool>, hints: Arc<Hints>, begin: &'static str) -> Self {
        Self { pool, hints, begin, known: HashSet::default() }
    }

    /// Works until it is asked to close, or nobody is left to ask.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while AssertUnwindSafe(self.work(&mut jobs)).catch_unwind().await.is_err() {
            tracing::error!("a writer failed in a way that nobody expected, and goes on");
            self.known.clear();
        }
    }

    async fn work(&mut self, jobs: &mut mpsc::Receiver<Job>) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => match jobs.recv().await {
                    Some(job) => job,
                    None => return,
                },
            };
            match job {
                Job::Close(reply) => {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(());
                    return;
                }
                Job::Apply(batch, reply) => {
                    let mut group = vec![(batch, reply)];
                    next = gather(&mut group, jobs);
                    self.settle(group).await;
                }
            }
        }
    }

    // Applies the tasks and answers them.
    async fn settle(&mut self, tasks: Vec<Task>) {
        match self.attempts(&tasks).await {
            Ok(answers) => {
                for ((_, reply), answer) in tasks.into_iter().zip(answers) {
                    // Whoever asked may have stopped waiting; it is written nevertheless.
                    let _ = reply.send(answer);
                }
            }
            Err(Failed::Surely(_)) if tasks.len() > 1 => self.settle_singly(tasks).await,
            Err(Failed::Surely(fault) | Failed::Perhaps(fault)) => {
                let error = StoreError::from(fault);
                for (_, reply) in tasks {
                    let _ = reply.send(Err(error.clone().into()));
                }
            }
        }
    }

    async fn settle_singly(&mut self, tasks: Vec<Task>) {
        let mut failures = 0;
        for task in tasks {
            let task = [task];
            let result = match self.attempts(&task).await {
                Ok(mut answers) => answers.pop().unwrap_or(Ok(Vec::new())),
                Err(Failed::Surely(fault) | Failed::Perhaps(fault)) => {
                    Err(StoreError::from(fault).into())
                }
            };
            let has_failed = matches!(result, Err(ApplyError::Store(_)));
            failures = if has_failed { failures + 1 } else { 0 };
            let [(_, reply)] = task;
            let _ = reply.send(result);
            if failures == FAILURES_MAX {
                break; // The other senders are dropped, which reads as unavailable.
            }
        }
    }

    async fn attempts(&mut self, tasks: &[Task]) -> Result<Vec<Answer>, Failed> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failed = match self.attempt(tasks).await {
                Ok(answers) => return Ok(answers),
                Err(failed) => failed,
            };
            let (fault, again) = match &failed {
                Failed::Surely(fault) if fault.is_collision() => (fault, attempt < ATTEMPTS_MAX),
                // A connection that was broken before: another may work.
                Failed::Surely(fault) => (fault, fault.spoils_connection() && attempt < 2),
                Failed::Perhaps(fault) => (fault, false),
            };
            if !again {
                tracing::error!(error = ?fault, batches = tasks.len(), "could not write");
                return Err(failed);
            }
            if fault.is_collision() {
                tracing::debug!(error = ?fault, "others were in the way");
                tokio::time::sleep(pause(attempt)).await;
            }
        }
    }

    // One transaction, whatever happens in it.
    async fn attempt(&mut self, tasks: &[Task]) -> Result<Vec<Answer>, Failed> {
        let client = self.pool.get().await?;
        let tried = self.transact(&client, tasks).await;
        match &tried {
            Err(Failed::Perhaps(fault) | Failed::Surely(fault)) if fault.spoils_connection() => {
                drop(Object::take(client));
            }
            // After a failed commit there is nothing left to roll back, and no harm in it.
            Err(_) if client.batch_execute("ROLLBACK").await.is_err() => {
                drop(Object::take(client));
            }
            _ => {}
        }
        tried
    }

    async fn transact(&mut self, client: &Object, tasks: &[Task]) -> Result<Vec<Answer>, Failed> {
        let batches = || tasks.iter().filter_map(|(batch, _)| batch.as_ref());
        let needs = Needs::of(batches());
        let guards: Vec<&Guard> = batches().flat_map(|batch| &batch.guards).collect();
        let overlay = read::begin(client, self.begin, &needs, &guards).await?;
        let mut ledger = Ledger::default();
        let mut transaction = Transaction::new(overlay, &mut ledger);
        let mut answers = Vec::with_capacity(tasks.len());
        for (batch, _) in tasks {
            answers.push(match batch {
                None => {
                    client.batch_execute(TRY_TO_WRITE).await.map_err(Fault::from)?;
                    Ok(Vec::new())
                }
                Some(batch) if !transaction.guards_hold(&batch.guards)? => {
                    Err(ApplyError::Conflict)
                }
                Some(batch) => Ok(transaction.write(batch)?),
            });
        }
        let (overlay, _) = transaction.finish()?;
        let (effects, learned) = self.effects(overlay);
        write::commit(client, &effects).await.map_err(|fault| match fault {
            fault if fault.spoils_connection() => Failed::Perhaps(fault),
            fault => Failed::Surely(fault),
        })?;
        if self.known.len() + learned.len() > KNOWN_MAX {
            self.known.clear();
        }
        self.known.extend(learned);
        let applied = tasks.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        if applied.filter_map(|((batch, _), _)| batch.as_ref()).any(changes_rights) {
            self.hints.tell();
        }
        Ok(answers)
    }

    // What is to be written, without the principals of signatures that are known; and which
    // signatures will be known then.
    fn effects(&self, overlay: Overlay) -> (Effects, Vec<(CollectionPath, [u8; 8], Signature)>) {
        let mut learned = Vec::new();
        let incarnations: Vec<_> = overlay
            .registered()
            .map(|(path, signature)| (path.clone(), *signature, overlay.incarnation(path)))
            .collect();
        let mut effects = overlay.into_effects();
        for (path, signature, incarnation) in incarnations {
            let known = incarnation.map(|incarnation| (path.clone(), incarnation, signature));
            match known {
                Some(known) if self.known.contains(&known) => {
                    effects.principals.remove(&(path, signature));
                }
                Some(known) => learned.push(known),
                None => {}
            }
        }
        (effects, learned)
    }
}

// Adds to a group what waits and may join it; gives what came but may not.
fn gather(group: &mut Vec<Task>, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
    let size = |batch: &Option<Batch>| batch.as_ref().map_or(1, |batch| batch.writes.len());
    let is_wide = |batch: &Option<Batch>| batch.as_ref().is_some_and(Needs::is_wide);
    let mut writes: usize = group.iter().map(|(batch, _)| size(batch)).sum();
    if group.iter().any(|(batch, _)| is_wide(batch)) {
        return None;
    }
    while group.len() < GROUP_BATCHES_MAX && writes < GROUP_WRITES_MAX {
        match jobs.try_recv() {
            Ok(Job::Apply(batch, reply)) if !is_wide(&batch) => {
                writes += size(&batch);
                group.push((batch, reply));
            }
            Ok(other) => return Some(other),
            Err(_) => break,
        }
    }
    None
}

// Longer with each attempt, and never the same for two who were in each other's way.
fn pause(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let most_us = 1_000_u64 << attempt.min(7);
    Duration::from_micros(RandomState::new().hash_one(attempt) % most_us)
}

/// Whether other processes may have to forget something of whom is allowed what.
fn changes_rights(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| match write {
        Write::Put { path, .. } | Write::Delete { path, .. } | Write::Erase { path } => {
            matches!(path.kind(), Kind::Bucket | Kind::Collection | Kind::Group | Kind::Account)
        }
        Write::DropBucket { .. } | Write::SetMembers { .. } | Write::Flush => true,
        Write::Touch { .. } | Write::DropCollection { .. } => false,
    })
}
