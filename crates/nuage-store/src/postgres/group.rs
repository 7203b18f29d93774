//! A group of batches, applied in one transaction.
//!
//! The transaction takes one round trip where this process knows what it will find, else two. What
//! other processes were in the way of is tried again, but for locks: whoever asked decides how long
//! to wait for them. Once a commit was sent and no answer came, nobody knows whether it happened:
//! that is told as unavailable, and nothing is tried again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use foldhash::HashSet;
use nuage_model::copy::Table;
use nuage_model::{ApplyError, Batch, CollectionPath, Guard, Kind, Put, StoreError, Write};

use crate::postgres::errors::Fault;
use crate::postgres::guess::{self, CollectionRows};
use crate::postgres::hints::Hints;
use crate::postgres::lane::{Answer, Task};
use crate::postgres::lineage::Lineage;
use crate::postgres::pool::Pool;
use crate::postgres::write_set::{Effects, Known, Named, WriteSet};
use crate::postgres::{read, write};
use crate::rules::{CollectionCache, CollectionRow, Plan, Transaction};
use crate::schema::Generation;

/// How often a transaction is begun anew because others were in the way.
const ATTEMPTS_MAX: u32 = 10;
/// How often a transaction reads at the most: each time it is found out what else is needed, and that
/// is a signature, whom it names, and which of these are counted.
const READS_MAX: usize = 8;
/// How long a transaction may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which of these collections nobody has locked.
const FREE: &str = "
    SELECT k.n FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (bucket, collection, n)
    CROSS JOIN LATERAL (SELECT 1 FROM collections
        WHERE bucket = k.bucket AND collection = k.collection FOR UPDATE SKIP LOCKED) c";
/// Which of them there are.
const THERE: &str = "
    SELECT k.n FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (bucket, collection, n)
    CROSS JOIN LATERAL (SELECT 1 FROM collections
        WHERE bucket = k.bucket AND collection = k.collection OFFSET 0) c";

/// Applies groups, one after the other.
pub(super) struct Writer {
    pool: Arc<Pool>,
    hints: Arc<Hints>,
    begin: String,
    lineage: Arc<Lineage>,
    sequences: CollectionRows,
    known: Known,
}

/// What writers are made of.
#[derive(Clone)]
pub(super) struct Tools {
    /// Where their connections come from.
    pub(super) pool: Arc<Pool>,
    pub(super) hints: Arc<Hints>,
    /// How transactions begin.
    pub(super) begin: &'static str,
    pub(super) lineage: Arc<Lineage>,
}

/// What a group comes to: an answer for each batch, and what is to be written.
struct Decided {
    answers: Vec<Answer>,
    effects: Effects,
    learned: Vec<(Named, Generation)>,
}

/// Why a group was not applied, as far as is known.
pub(super) enum Failed {
    /// Nothing was written.
    Surely(Fault),
    /// Nothing was written, and the connection was broken or could not be made: another may work.
    Broken(Fault),
    /// The commit was sent.
    Perhaps(Fault),
}

impl Failed {
    /// The same for who waits.
    pub(super) fn error(self) -> StoreError {
        match self {
            Self::Surely(fault) | Self::Broken(fault) => fault.into(),
            Self::Perhaps(fault) => StoreError::Unknown(StoreError::from(fault).to_string()),
        }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        if fault.spoils_connection() { Self::Broken(fault) } else { Self::Surely(fault) }
    }
}

impl Writer {
    /// One that waits for each lock so long at most.
    pub(super) fn new(tools: &Tools, lock: Duration) -> Self {
        let Tools { pool, hints, begin, lineage } = tools.clone();
        let begin = format!("{begin}; SET LOCAL lock_timeout = {}", lock.as_millis());
        let (sequences, known) = (CollectionRows::default(), Known::default());
        Self { pool, hints, begin, lineage, sequences, known }
    }

    /// Forgets what it knows, after it stopped anywhere.
    pub(super) fn forget(&mut self) {
        self.known = Known::default();
        self.sequences.forget();
    }

    /// Applies the tasks and gives an answer for each.
    pub(super) async fn apply(&mut self, tasks: &[Task]) -> Result<Vec<Answer>, Failed> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failed = match self.attempt(tasks).await {
                Ok(answers) => return Ok(answers),
                Err(failed) => failed,
            };
            let (fault, again) = match &failed {
                Failed::Surely(fault) if fault.is_locked() => return Err(failed),
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

    /// Which of these collections somebody else has locked at the moment.
    pub(super) async fn locked(
        &self,
        collections: &[&CollectionPath],
    ) -> Result<HashSet<CollectionPath>, Fault> {
        let (buckets, names): (Vec<&str>, Vec<Cow<'_, str>>) =
            collections.iter().map(|path| (path.bucket.as_str(), path.stored_name())).unzip();
        let client = self.pool.get().await?;
        let find = async {
            let (free, there) =
                (client.prepare_cached(FREE).await?, client.prepare_cached(THERE).await?);
            let free = client.query(&free, &[&buckets, &names]).await?;
            let there = client.query(&there, &[&buckets, &names]).await?;
            let numbers = |rows: Vec<tokio_postgres::Row>| -> Result<HashSet<i64>, Fault> {
                Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
            };
            let (free, there) = (numbers(free)?, numbers(there)?);
            let locked =
                collections.iter().zip(1..).filter(|(_, n)| there.contains(n) && !free.contains(n));
            Ok(locked.map(|(path, _)| (*path).clone()).collect())
        };
        let found = self.pool.servers().heard(tokio::time::timeout(PATIENCE, find)).await;
        match found {
            Some(Ok(Ok(locked))) => Ok(locked),
            Some(Ok(Err(fault))) => Err(fault),
            // The answer may come later, for somebody else.
            Some(Err(_)) | None => {
                drop(client.take());
                Err(Fault::Silent)
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
        let batches = || tasks.iter().map(|task| &task.batch);
        let mut plan = Plan::of(batches());
        self.known.trust([self.hints.moves(), self.hints.flushes()]);
        let guessed = guess::guess(&plan, batches(), &mut self.sequences, &self.known);
        if let Some((guess, rows)) = guessed {
            let decided = decide(rows, tasks)?;
            let is_enough = decided.effects.missing.is_nothing();
            // A guard that fails may do so only by what was guessed.
            if is_enough && decided.answers.iter().all(Answer::is_ok) {
                let fits = guess::commit(client, &self.begin, &guess, &decided.effects).await;
                if fits.map_err(at_commit)? {
                    return Ok(self.done(tasks, decided));
                }
                self.sequences.backoff(&plan);
            }
            plan.read_missing(decided.effects.missing);
        }
        let guards: Vec<&Guard> = batches().flat_map(|batch| &batch.guards).collect();
        let mut begin = self.begin.as_str();
        for _ in 0..READS_MAX {
            let rows = read::begin(client, begin, &plan, &guards, &self.known).await?;
            let decided = decide(rows, tasks)?;
            if decided.effects.missing.is_nothing() {
                write::commit(client, &decided.effects).await.map_err(at_commit)?;
                return Ok(self.done(tasks, decided));
            }
            // What is locked stays so: the same is read again, and what turned out to be needed.
            plan.read_missing(decided.effects.missing);
            begin = "";
        }
        let why = "what is needed to decide a batch has no end".to_owned();
        Err(Fault::from(StoreError::Unavailable(why)).into())
    }

    // Takes note of what was committed.
    fn done(&mut self, tasks: &[Task], decided: Decided) -> Vec<Answer> {
        let Decided { answers, effects, learned } = decided;
        self.lineage.note_written(&effects);
        self.known.learn(learned, &effects.begun);
        let applied = tasks.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let rights = applied.map(|(task, _)| &task.batch).any(changes_rights);
        if effects.clear_all {
            self.hints.tell_everything();
        }
        // What was written was made from such rows.
        let sequences = effects.of(Table::Collections).filter_map(|(_, row)| row);
        let sequences = sequences.filter_map(|row| {
            Some((CollectionRow::path_of(row).ok()?, CollectionRow::of_row(row).ok()?))
        });
        let sequences: Vec<(CollectionPath, CollectionRow)> = sequences.collect();
        self.hints.tell(rights, sequences.iter().map(|(path, _)| path));
        self.sequences.learn(sequences);
        answers
    }
}

fn decide(rows: WriteSet<'_>, tasks: &[Task]) -> Result<Decided, Fault> {
    let mut ledger = CollectionCache::default();
    let mut transaction = Transaction::new(rows, &mut ledger);
    let mut answers = Vec::with_capacity(tasks.len());
    for Task { batch, .. } in tasks {
        answers.push(match transaction.guards_hold(batch)? {
            true => Ok(transaction.write(batch)?),
            false => Err(ApplyError::Conflict),
        });
    }
    let (rows, _) = transaction.finish()?;
    let (effects, learned) = rows.into_effects();
    Ok(Decided { answers, effects, learned })
}

fn at_commit(fault: Fault) -> Failed {
    if fault.spoils_connection() { Failed::Perhaps(fault) } else { Failed::Surely(fault) }
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
        Write::Put(Put { path, .. }) | Write::Delete { path, .. } | Write::Erase { path } => {
            matches!(path.kind(), Kind::Bucket | Kind::Collection | Kind::Group | Kind::Account)
        }
        Write::DropBucket { .. }
        | Write::SetMembers { .. }
        | Write::Renew { .. }
        | Write::Flush { .. } => true,
        Write::Touch { .. }
        | Write::DropCollection { .. }
        | Write::Compact { .. }
        | Write::Mark { .. }
        | Write::KeepView { .. }
        | Write::ForgetViews { .. }
        | Write::Note { .. } => false,
    })
}
