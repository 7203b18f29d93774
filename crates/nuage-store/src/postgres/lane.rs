//! A lane: one task that writes to its share of the buckets, in groups.
//!
//! It takes what waits in its queue, in turn by person, and applies it in one transaction, so that
//! many writers of one collection wait for one commit. Batches do not see each other's failures: a
//! failed guard turns down its batch alone, and when anything else fails the group is rolled back
//! and each batch is tried by itself. The lane waits for nobody: what is heavy, and what somebody
//! else has locked, is set aside.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nuage_model::{ApplyError, Batch, CollectionPath, Outcome, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::postgres::aside::{Aside, Reason};
use crate::postgres::group::{Failed, Tools, Writer};
use crate::rules::{Plan, is_wide};
use crate::waiting::{Waiting, is_heavy, person, weight};

/// Batches in one transaction.
pub(super) const GROUP_BATCHES_MAX: usize = 256;
/// Batches that are taken from the queue before any is applied.
const WAITING_MAX: usize = 1_024;
/// How long a lane waits for a lock: longer than the transactions of other processes take.
const LOCK: Duration = Duration::from_millis(500);
/// When batches are tried one by one, the rest is given up after so many failures in a row.
const FAILURES_MAX: usize = 3;

/// What a batch comes to.
pub(super) type Answer = Result<Vec<Outcome>, ApplyError>;

/// A batch to apply.
pub(super) struct Task {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Answer>,
    /// When it was asked for.
    pub(super) begun: Instant,
}

impl Task {
    /// Tells what came of it. Whoever asked may have stopped waiting; it is written nevertheless.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }

    /// The collections that it locks, in order.
    pub(super) fn places(&self) -> Vec<CollectionPath> {
        Plan::of([&self.batch]).collections.into_keys().collect()
    }
}

/// What may be asked of a lane.
pub(super) enum Job {
    /// To apply a batch.
    Apply(Task),
    /// To finish what came before and end.
    Close(oneshot::Sender<()>),
}

/// What a lane works with.
pub(super) struct Lane {
    writer: Writer,
    aside: Arc<Aside>,
    waiting: Waiting<Task>,
    closing: Option<oneshot::Sender<()>>,
}

impl Lane {
    /// A lane that sets aside there what it does not wait for.
    pub(super) fn new(tools: &Tools, aside: Arc<Aside>) -> Self {
        let writer = Writer::new(tools, LOCK);
        Self { writer, aside, waiting: Waiting::default(), closing: None }
    }

    /// Works until it is asked to close, or nobody is left to ask.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while AssertUnwindSafe(self.work(&mut jobs)).catch_unwind().await.is_err() {
            tracing::error!("a writer failed in a way that nobody expected, and goes on");
            self.writer.forget();
        }
        if let Some(reply) = self.closing {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(());
        }
    }

    async fn work(&mut self, jobs: &mut mpsc::Receiver<Job>) {
        loop {
            if self.waiting.is_empty() && self.closing.is_none() {
                match jobs.recv().await {
                    Some(job) => self.take(job),
                    None => return,
                }
            }
            while self.waiting.len() < WAITING_MAX
                && let Ok(job) = jobs.try_recv()
            {
                self.take(job);
            }
            let group = self.waiting.group(GROUP_BATCHES_MAX, |_, _| true);
            if group.is_empty() && self.closing.is_some() {
                return;
            }
            let group = self.without_held(group);
            if !group.is_empty() {
                self.settle(group).await;
            }
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Close(reply) => self.closing = Some(reply),
            Job::Apply(task) => {
                let weight = weight(&task.batch);
                match is_heavy(weight) || is_wide(&task.batch) {
                    true => self.aside.add(task, Reason::Heavy),
                    false => self.waiting.push(person(&task.batch), weight, task),
                }
            }
        }
    }

    // What would wait for those that are set aside is set aside too.
    fn without_held(&self, group: Vec<Task>) -> Vec<Task> {
        if self.aside.holds_nothing() {
            return group;
        }
        let (held, free): (Vec<Task>, Vec<Task>) =
            group.into_iter().partition(|task| self.aside.holds(&task.places()));
        held.into_iter().for_each(|task| self.aside.add(task, Reason::Locked(None)));
        free
    }

    // Applies the tasks and answers them.
    async fn settle(&mut self, tasks: Vec<Task>) {
        let failed = match self.writer.apply(&tasks).await {
            Ok(answers) => {
                return tasks.into_iter().zip(answers).for_each(|(task, got)| task.answer(got));
            }
            Err(failed) => failed,
        };
        match failed {
            Failed::Surely(fault) if fault.is_locked() => {
                let free = self.set_aside(tasks).await;
                self.settle_singly(free).await;
            }
            Failed::Surely(_) if tasks.len() > 1 => self.settle_singly(tasks).await,
            failed => {
                let error = failed.error();
                tasks.into_iter().for_each(|task| task.answer(Err(error.clone().into())));
            }
        }
    }

    // Those of which it is seen that somebody has locked their collections; gives the others.
    async fn set_aside(&mut self, tasks: Vec<Task>) -> Vec<Task> {
        let places: Vec<Vec<CollectionPath>> = tasks.iter().map(Task::places).collect();
        let mut all: Vec<&CollectionPath> = places.iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        // If that cannot be found out, each is tried.
        let locked = self.writer.locked(&all).await.unwrap_or_default();
        let mut free = Vec::new();
        for (task, places) in tasks.into_iter().zip(&places) {
            let held: Vec<_> = places.iter().filter(|path| locked.contains(*path)).collect();
            match held.is_empty() {
                true => free.push(task),
                false => {
                    let held = held.into_iter().cloned().collect();
                    self.aside.add(task, Reason::Locked(Some(held)));
                }
            }
        }
        free
    }

    async fn settle_singly(&mut self, tasks: Vec<Task>) {
        let mut failures = 0;
        let mut tasks = tasks.into_iter();
        while let Some(task) = tasks.next() {
            // One before it may have been set aside.
            let Some(task) = self.without_held(vec![task]).pop() else { continue };
            let task = [task];
            let applied = self.writer.apply(&task).await;
            let [task] = task;
            let answer = match applied {
                Ok(mut answers) => answers.pop().unwrap_or(Ok(Vec::new())),
                Err(Failed::Surely(fault)) if fault.is_locked() => {
                    self.aside.add(task, Reason::Locked(None));
                    continue;
                }
                Err(failed) => Err(failed.error().into()),
            };
            let has_failed = matches!(answer, Err(ApplyError::Store(_)));
            failures = if has_failed { failures + 1 } else { 0 };
            task.answer(answer);
            if failures == FAILURES_MAX {
                let why = "the writer gave up before this batch".to_owned();
                let error = StoreError::Unavailable(why);
                return tasks.for_each(|task| task.answer(Err(error.clone().into())));
            }
        }
    }
}
