//! What a lane does not wait for: batches that take long, and those whose rows somebody else has
//! locked, such as an open session of `psql` or a process that hangs.
//!
//! A few tasks apply them over connections of the pool for reads. At most one of them waits for a
//! collection, so that one that is locked keeps only its own writers waiting.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use futures_util::FutureExt;
use nuage_model::{CollectionPath, StoreError};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::postgres::group::{Failed, Tools, Writer};
use crate::postgres::lane::{GROUP_BATCHES_MAX, Task};
use crate::waiting::{Waiting, is_heavy, person, weight};

/// How long each try waits for a lock: long enough to keep a place among many who want it. What it
/// holds meanwhile is held for others.
const LOCK: Duration = Duration::from_secs(3);
/// How long a batch waits for locks in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something is set aside.
pub(super) enum Reason {
    /// It takes long.
    Heavy,
    /// Somebody has locked these of its collections; without them, any of its rows.
    Locked(Option<Vec<CollectionPath>>),
}

/// Batches that are set aside.
pub(super) struct Aside {
    state: Mutex<State>,
    come: Notify,
    done: Notify,
    most: usize,
}

#[derive(Default)]
struct State {
    waiting: Waiting<Held>,
    /// How many that are set aside wait for each collection.
    held: HashMap<CollectionPath, usize>,
    /// Collections that are being written to.
    at_work: HashSet<CollectionPath>,
    working: usize,
    is_closed: bool,
}

/// A batch that is set aside.
struct Held {
    task: Task,
    places: Vec<CollectionPath>,
    locked: Vec<CollectionPath>,
    is_light: bool,
}

impl Aside {
    /// Nothing is set aside yet, and no more than so many batches at a time ever are.
    pub(super) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), come: Notify::new(), done: Notify::new(), most }
    }

    /// Sets a batch aside.
    pub(super) fn add(&self, task: Task, reason: Reason) {
        let places = task.places();
        let locked = match reason {
            Reason::Heavy => Vec::new(),
            Reason::Locked(Some(locked)) => locked,
            Reason::Locked(None) => places.clone(),
        };
        let mut state = self.state();
        if state.waiting.len() >= self.most || state.is_closed {
            let why = "too many writes wait for the database".to_owned();
            return task.answer(Err(StoreError::Unavailable(why).into()));
        }
        for path in &locked {
            *state.held.entry(path.clone()).or_default() += 1;
        }
        let weight = weight(&task.batch);
        let is_light = !is_heavy(weight) && !locked.is_empty();
        let held = Held { places, locked, is_light, task };
        state.waiting.push(person(&held.task.batch), weight, held);
        drop(state);
        self.come.notify_one();
    }

    /// Whether nothing that is set aside waits for anything.
    pub(super) fn holds_nothing(&self) -> bool {
        let state = self.state();
        state.held.is_empty() && state.at_work.is_empty()
    }

    /// Whether any of these collections is waited for or written to by what is set aside.
    pub(super) fn holds(&self, places: &[CollectionPath]) -> bool {
        let state = self.state();
        places.iter().any(|path| state.held.contains_key(path) || state.at_work.contains(path))
    }

    /// Applies what is set aside, one group after the other, until it is closed.
    pub(super) async fn run(self: Arc<Self>, tools: Tools) {
        let mut writer = Writer::new(&tools, LOCK);
        loop {
            let come = self.come.notified();
            let Some(group) = self.next() else {
                if self.is_done() {
                    self.come.notify_one();
                    return;
                }
                come.await;
                continue;
            };
            // Others may be free to go on as well.
            self.come.notify_one();
            let _end = End { aside: &self, places: places_of(&group), locked: locked_of(&group) };
            let settled = AssertUnwindSafe(settle(&mut writer, group)).catch_unwind().await;
            if settled.is_err() {
                tracing::error!("a writer failed in a way that nobody expected, and goes on");
                writer.forget();
            }
        }
    }

    /// Takes nothing more, and waits until the rest is done.
    pub(super) async fn close(&self, within: Duration) -> bool {
        self.state().is_closed = true;
        self.come.notify_one();
        let done = async {
            while !self.is_done() {
                self.done.notified().await;
            }
        };
        timeout(within, done).await.is_ok()
    }

    fn is_done(&self) -> bool {
        let state = self.state();
        state.is_closed && state.waiting.is_empty() && state.working == 0
    }

    // One that touches nothing which is at work, and light ones that touch no more than it does.
    fn next(&self) -> Option<Vec<Held>> {
        let mut state = self.state();
        let State { waiting, at_work, working, .. } = &mut *state;
        let group = waiting.group(GROUP_BATCHES_MAX, |group, held| match group.first() {
            None => held.places.iter().all(|path| !at_work.contains(path)),
            Some(first) => {
                let first: &Held = first;
                let inside = |path| first.places.binary_search(path).is_ok();
                first.is_light && held.is_light && held.places.iter().all(inside)
            }
        });
        if group.is_empty() {
            return None;
        }
        *working += 1;
        at_work.extend(places_of(&group));
        Some(group)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn places_of(group: &[Held]) -> Vec<CollectionPath> {
    group.iter().flat_map(|held| held.places.iter().cloned()).collect()
}

fn locked_of(group: &[Held]) -> Vec<CollectionPath> {
    group.iter().flat_map(|held| held.locked.iter().cloned()).collect()
}

/// The end of a group, however it comes.
struct End<'a> {
    aside: &'a Aside,
    places: Vec<CollectionPath>,
    locked: Vec<CollectionPath>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.aside.state();
        state.working -= 1;
        for path in &self.places {
            state.at_work.remove(path);
        }
        for path in &self.locked {
            if let Some(count) = state.held.get_mut(path) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(path);
                }
            }
        }
        drop(state);
        self.aside.come.notify_one();
        self.aside.done.notify_one();
    }
}

// Applies them together as long as only locks are in the way; one by one if anything else fails.
async fn settle(writer: &mut Writer, group: Vec<Held>) {
    let mut tasks: Vec<Task> = group.into_iter().map(|held| held.task).collect();
    while !tasks.is_empty() {
        let failed = match writer.apply(&tasks).await {
            Ok(answers) => {
                return tasks.into_iter().zip(answers).for_each(|(task, got)| task.answer(got));
            }
            Err(failed) => failed,
        };
        match failed {
            Failed::Surely(fault) if fault.is_locked() => {
                let is_late = |task: &Task| task.begun.elapsed() >= PATIENCE;
                let (late, rest): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(is_late);
                give_up(late);
                tasks = rest;
            }
            Failed::Surely(_) if tasks.len() > 1 => return settle_singly(writer, tasks).await,
            failed => {
                let error = failed.error();
                return tasks.into_iter().for_each(|task| task.answer(Err(error.clone().into())));
            }
        }
    }
}

async fn settle_singly(writer: &mut Writer, tasks: Vec<Task>) {
    for task in tasks {
        let task = [task];
        let applied = writer.apply(&task).await;
        let [task] = task;
        task.answer(match applied {
            Ok(mut answers) => answers.pop().unwrap_or(Ok(Vec::new())),
            Err(failed) => Err(failed.error().into()),
        });
    }
}

fn give_up(late: Vec<Task>) {
    if late.is_empty() {
        return;
    }
    let why = "somebody else keeps a lock in the database on what is to be written";
    tracing::error!(batches = late.len(), "{why}");
    let error = StoreError::Unavailable(why.to_owned());
    late.into_iter().for_each(|task| task.answer(Err(error.clone().into())));
}
