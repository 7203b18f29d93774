//! A lane: one task that writes to its share of the buckets, in groups.
//!
//! It takes what waits in its queue and applies it in one transaction, so that many writers of one
//! collection wait for one commit. The transaction takes one round trip where this process knows
//! what it will find, else two. Batches do not see each other's failures: a failed guard turns down
//! its batch alone, and when anything else fails the group is rolled back and each batch is tried
//! by itself. What other processes were in the way of is tried again. Once a commit was sent and
//! no answer came, nobody knows whether it happened: that is told as unavailable, and nothing is
//! tried again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use foldhash::{HashMap, HashSet};
use futures_util::FutureExt;
use nuage_model::{
    ApplyError, Batch, CollectionPath, Guard, Kind, Outcome, Signature, StoreError, Write,
};
use tokio::sync::{mpsc, oneshot};

use crate::postgres::errors::Fault;
use crate::postgres::guess::{self, Seen, Sequences};
use crate::postgres::hints::Hints;
use crate::postgres::needs::Needs;
use crate::postgres::overlay::{Effects, Overlay, Stage};
use crate::postgres::pool::Pool;
use crate::postgres::{read, write};
use crate::rules::{Ledger, Transaction};

/// Batches in one transaction.
const GROUP_BATCHES_MAX: usize = 256;
/// Writes after which no further batch joins a group.
const GROUP_WRITES_MAX: usize = 2_048;
/// How often a transaction is begun anew because others were in the way.
const ATTEMPTS_MAX: u32 = 10;
/// How long a transaction may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(20);
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
    seen: Arc<Seen>,
    sequences: Sequences,
    known: Known,
}

/// Signatures whose principals are in the tables. Another process may remove them when the horizon
/// of their collection moves: what is known holds for the stage that it was learned in. It may
/// also empty the store and make a collection that looks like the old one: they are trusted no
/// longer than anything else that is remembered.
#[derive(Default)]
struct Known {
    moves: u64,
    signatures: HashMap<CollectionPath, (Stage, HashSet<Signature>)>,
    count: usize,
}

impl Known {
    /// Forgets all if another process may have removed something.
    fn trust(&mut self, moves: u64) {
        if self.moves != moves {
            *self = Self { moves, ..Self::default() };
        }
    }

    fn has(&self, path: &CollectionPath, stage: Stage, signature: Signature) -> bool {
        let known = self.signatures.get(path).filter(|(known, _)| *known == stage);
        known.is_some_and(|(_, signatures)| signatures.contains(&signature))
    }

    fn learn(&mut self, learned: Vec<Learned>) {
        if self.count + learned.len() > KNOWN_MAX {
            *self = Self { moves: self.moves, ..Self::default() };
        }
        for (path, stage, signature) in learned {
            let known = self.signatures.entry(path).or_insert_with(|| (stage, HashSet::default()));
            if known.0 != stage {
                *known = (stage, HashSet::default());
            }
            self.count += usize::from(known.1.insert(signature));
        }
    }

    fn forget(&mut self, path: &CollectionPath) {
        self.signatures.remove(path);
    }
}

/// A signature that will be known once its group is committed.
type Learned = (CollectionPath, Stage, Signature);

/// What a group comes to: an answer for each batch, and what is to be written.
struct Decided {
    answers: Vec<Answer>,
    effects: Effects,
    learned: Vec<Learned>,
}

/// Why a group was not applied, as far as is known.
enum Failed {
    /// Nothing was written.
    Surely(Fault),
    /// Nothing was written, and the connection was broken or could not be made: another may work.
    Broken(Fault),
    /// The commit was sent.
    Perhaps(Fault),
}

impl Failed {
    fn fault(self) -> Fault {
        let (Self::Surely(fault) | Self::Broken(fault) | Self::Perhaps(fault)) = self;
        fault
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        if fault.spoils_connection() { Self::Broken(fault) } else { Self::Surely(fault) }
    }
}

impl Lane {
    /// A lane that begins its transactions with these words.
    pub(super) fn new(
        pool: Arc<Pool>,
        hints: Arc<Hints>,
        seen: Arc<Seen>,
        begin: &'static str,
    ) -> Self {
        let (sequences, known) = (Sequences::default(), Known::default());
        Self { pool, hints, begin, seen, sequences, known }
    }

    /// Works until it is asked to close, or nobody is left to ask.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while AssertUnwindSafe(self.work(&mut jobs)).catch_unwind().await.is_err() {
            tracing::error!("a writer failed in a way that nobody expected, and goes on");
            self.known = Known::default();
            self.sequences.forget();
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
            Err(failed) => {
                let error = StoreError::from(failed.fault());
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
                Err(failed) => Err(StoreError::from(failed.fault()).into()),
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
                Failed::Surely(fault) => (fault, fault.is_collision() && attempt < ATTEMPTS_MAX),
                Failed::Broken(fault) => (fault, attempt < 2),
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
        let client = self.pool.get().await.map_err(Failed::Broken)?;
        let pool = Arc::clone(&self.pool);
        let transacting = tokio::time::timeout(PATIENCE, self.transact(&client, tasks));
        let tried = match pool.servers().heard(transacting).await {
            Some(Ok(tried)) => tried,
            Some(Err(_)) => {
                let why = "the database did not answer in time".to_owned();
                Err(Failed::Perhaps(StoreError::Unavailable(why).into()))
            }
            None => Err(Failed::Perhaps(Fault::Silent)),
        };
        let is_usable = match &tried {
            Ok(_) => true,
            // After a failed commit there is nothing left to roll back, and no harm in it.
            Err(Failed::Surely(_)) => {
                let rolled_back = tokio::time::timeout(PATIENCE, client.batch_execute("ROLLBACK"));
                matches!(rolled_back.await, Ok(Ok(())))
            }
            Err(Failed::Broken(_) | Failed::Perhaps(_)) => {
                self.sequences.forget();
                false
            }
        };
        if !is_usable {
            drop(client.take());
        }
        tried
    }

    async fn transact(&mut self, client: &Object, tasks: &[Task]) -> Result<Vec<Answer>, Failed> {
        let batches = || tasks.iter().filter_map(|(batch, _)| batch.as_ref());
        if tasks.iter().any(|(batch, _)| batch.is_none()) {
            client.batch_execute(TRY_TO_WRITE).await.map_err(Fault::from)?;
        }
        let needs = Needs::of(batches());
        if let Some((guess, overlay)) =
            guess::guess(&needs, batches(), &self.seen, &mut self.sequences)
        {
            let decided = self.decide(overlay, tasks)?;
            // A guard that fails may do so only by what was guessed, and times that become free
            // are not worth a guess.
            let is_sure =
                decided.answers.iter().all(Answer::is_ok) && decided.effects.freed.is_empty();
            if is_sure {
                let fits = guess::commit(client, self.begin, &guess, &decided.effects).await;
                if fits.map_err(at_commit)? {
                    return Ok(self.done(tasks, decided));
                }
                self.sequences.doubt(&needs);
            }
        }
        let guards: Vec<&Guard> = batches().flat_map(|batch| &batch.guards).collect();
        let overlay = read::begin(client, self.begin, &needs, &guards).await?;
        let decided = self.decide(overlay, tasks)?;
        write::commit(client, &decided.effects).await.map_err(at_commit)?;
        Ok(self.done(tasks, decided))
    }

    fn decide(&mut self, overlay: Overlay, tasks: &[Task]) -> Result<Decided, Fault> {
        let mut ledger = Ledger::default();
        let mut transaction = Transaction::new(overlay, &mut ledger);
        let mut answers = Vec::with_capacity(tasks.len());
        for (batch, _) in tasks {
            answers.push(match batch {
                None => Ok(Vec::new()),
                Some(batch) if !transaction.guards_hold(&batch.guards)? => {
                    Err(ApplyError::Conflict)
                }
                Some(batch) => Ok(transaction.write(batch)?),
            });
        }
        let (overlay, _) = transaction.finish()?;
        let (effects, learned) = self.effects(overlay);
        Ok(Decided { answers, effects, learned })
    }

    // Takes note of what was committed.
    fn done(&mut self, tasks: &[Task], decided: Decided) -> Vec<Answer> {
        let Decided { answers, effects, learned } = decided;
        effects.begun.iter().for_each(|path| self.known.forget(path));
        self.known.learn(learned);
        let applied = tasks.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let rights = applied.filter_map(|((batch, _), _)| batch.as_ref()).any(changes_rights);
        if effects.flush {
            self.hints.tell_everything();
        }
        self.hints.tell(rights, effects.sequences.keys());
        self.sequences.learn(effects.sequences);
        let erased = effects.erased.into_iter().map(|path| (path, None));
        let written = effects.written.into_iter().map(|(path, one)| (path, Some(one.row)));
        self.seen.learn(written.chain(erased));
        answers
    }

    // What is to be written, without the principals of signatures that are known; and which
    // signatures will be known then.
    fn effects(&mut self, overlay: Overlay) -> (Effects, Vec<Learned>) {
        self.known.trust(self.hints.moves());
        let mut learned = Vec::new();
        let registered = overlay.registered();
        let mut effects = overlay.into_effects();
        for (path, signature, stage) in registered {
            let Some(stage) = stage else { continue };
            if self.known.has(&path, stage, signature) {
                effects.principals.remove(&(path, signature));
            } else {
                learned.push((path, stage, signature));
            }
        }
        (effects, learned)
    }
}

fn at_commit(fault: Fault) -> Failed {
    if fault.spoils_connection() { Failed::Perhaps(fault) } else { Failed::Surely(fault) }
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
        Write::DropBucket { .. } | Write::SetMembers { .. } | Write::Renew | Write::Flush => true,
        Write::Touch { .. }
        | Write::DropCollection { .. }
        | Write::Compact { .. }
        | Write::Merge { .. }
        | Write::KeepView { .. }
        | Write::ForgetViews { .. } => false,
    })
}
