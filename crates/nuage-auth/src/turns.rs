//! Whose password is hashed next: a bounded queue with fair turns.
//!
//! Hashing is slow on purpose, so that a few connections could keep everybody else from logging
//! in. Turns go to one network after the other. Every second one goes, if somebody of these waits,
//! to credentials that were right before and to people who log in from where they did before.
//! Of one network those go first, then credentials that waited before without being looked at (a
//! person comes back with the same password, who guesses has the next one), then names at which
//! nobody failed from there. A full queue puts off whoever has most in it.
//!
//! Who guessed too often waits here as well, for the time that [`Throttle`] says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::cache::Digest;
use crate::throttle::{Key, Network, Recent, Suspect, Throttle};

/// Time since some moment, by a clock that never goes back.
pub(crate) type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Time between two looks of who may go on and has no turn: others may have gone before, and made
/// it wait.
const PAUSE: Duration = Duration::from_millis(500);

/// Credentials and networks that are remembered.
const REMEMBERED_MAX: usize = 8_192;

/// Who asks for a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) network: Network,
    pub(crate) purpose: Purpose,
}

/// What for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To hash a new password.
    Set,
    /// To verify these credentials again, which were right before.
    Confirm,
    /// To verify these credentials.
    Verify(Suspect, Digest),
}

/// How soon one comes to one's turn, of those from one network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    Known,
    Returning,
    Fresh,
    Failed,
}

/// The queue, and what it is ordered by.
pub(crate) struct Turns {
    line: Arc<Mutex<Line>>,
    clock: Clock,
    patience: Duration,
}

/// The right to hash once. It ends when it is dropped.
pub(crate) struct Turn {
    back: Option<(Arc<Mutex<Line>>, Clock)>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((line, clock)) = self.back.take() {
            let mut locked = lock(&line);
            locked.running -= 1;
            locked.go_on(&line, &clock);
        }
    }
}

/// There was no turn in time, or no room to wait for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Crowded {
    /// When to come back.
    pub(crate) after: Duration,
}

struct Line {
    waiting: Vec<Waiting>,
    waiting_max: usize,
    running: usize,
    parallel: usize,
    arrivals: u64,
    turns: u64,
    /// The number of the last turn of a network.
    served: HashMap<Key, u64>,
    returning: Recent<Digest>,
    throttle: Throttle,
}

struct Waiting {
    number: u64,
    asker: Asker,
    rank: Rank,
    give: oneshot::Sender<Turn>,
}

/// A place in the queue, given up when nobody waits for it any more.
struct Place<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.locked().waiting.retain(|waiting| waiting.number != self.number);
    }
}

impl Turns {
    /// So many turns at a time, so many that wait for theirs, and how long.
    pub(crate) fn new(
        throttle: Throttle,
        clock: Clock,
        parallel: usize,
        waiting_max: usize,
        patience: Duration,
    ) -> Self {
        let line = Line {
            waiting: Vec::new(),
            waiting_max,
            running: 0,
            parallel,
            arrivals: 0,
            turns: 0,
            served: HashMap::new(),
            returning: Recent::new(REMEMBERED_MAX),
            throttle,
        };
        Self { line: Arc::new(Mutex::new(line)), clock, patience }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, asker: Asker) -> Result<Turn, Crowded> {
        let deadline = Instant::now() + self.patience;
        let (number, mut given) = self.locked().arrive(asker)?;
        let place = Place { turns: self, number };
        loop {
            let wait = self.look(&asker);
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = if wait.is_zero() { PAUSE } else { wait };
            tokio::select! {
                biased;
                turn = &mut given => match turn {
                    Ok(turn) => return Ok(turn),
                    // The room was needed for others.
                    Err(_) => return Err(Crowded { after: wait }),
                },
                () = sleep(pause.min(left)) => {}
            }
            if Instant::now() >= deadline {
                drop(place);
                if let Ok(turn) = given.try_recv() {
                    return Ok(turn);
                }
                let now = (self.clock)();
                let mut line = self.locked();
                if let Purpose::Verify(_, digest) = asker.purpose {
                    line.returning.put(digest, now);
                }
                return Err(Crowded { after: line.due(&asker).saturating_sub(now) });
            }
        }
    }

    /// Counts a wrong password.
    pub(crate) fn failed(&self, suspect: &Suspect) {
        let now = (self.clock)();
        self.locked().throttle.failed(suspect, now);
    }

    /// Notes that somebody is who they say, and where they are.
    pub(crate) fn succeeded(&self, suspect: &Suspect) {
        let now = (self.clock)();
        self.locked().throttle.succeeded(suspect, now);
    }

    /// Gives the turns that may be given, and says how long this one has to wait at least.
    fn look(&self, asker: &Asker) -> Duration {
        let mut line = self.locked();
        if line.due(asker) <= (self.clock)() {
            line.go_on(&self.line, &self.clock);
        }
        line.due(asker).saturating_sub((self.clock)())
    }

    fn locked(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    // Nothing is ever half written.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    fn arrive(&mut self, asker: Asker) -> Result<(u64, oneshot::Receiver<Turn>), Crowded> {
        let rank = self.rank(&asker);
        if self.waiting.len() >= self.waiting_max {
            self.make_room(&asker, rank)?;
        }
        let (give, given) = oneshot::channel();
        self.arrivals += 1;
        self.waiting.push(Waiting { number: self.arrivals, asker, rank, give });
        Ok((self.arrivals, given))
    }

    fn rank(&self, asker: &Asker) -> Rank {
        match &asker.purpose {
            Purpose::Confirm => Rank::Known,
            Purpose::Verify(suspect, _) if self.throttle.knows(suspect) => Rank::Known,
            Purpose::Verify(_, digest) if self.returning.contains(digest) => Rank::Returning,
            Purpose::Verify(suspect, _) if !self.throttle.is_fresh(suspect) => Rank::Failed,
            Purpose::Verify(..) | Purpose::Set => Rank::Fresh,
        }
    }

    fn due(&self, asker: &Asker) -> Duration {
        match &asker.purpose {
            Purpose::Verify(suspect, _) => self.throttle.due(suspect),
            Purpose::Set | Purpose::Confirm => Duration::ZERO,
        }
    }

    /// Puts off the last of those that have most in the queue, if that is not who comes.
    fn make_room(&mut self, asker: &Asker, rank: Rank) -> Result<(), Crowded> {
        let mut counts: HashMap<Key, usize> = HashMap::new();
        *counts.entry(asker.network.key).or_default() += 1;
        for waiting in &self.waiting {
            *counts.entry(waiting.asker.network.key).or_default() += 1;
        }
        let place = |(_, waiting): &(usize, &Waiting)| {
            (counts[&waiting.asker.network.key], waiting.rank, waiting.number)
        };
        let last = self.waiting.iter().enumerate().max_by_key(place);
        let Some((at, place)) = last.map(|last| (last.0, place(&last))) else {
            return Err(Crowded { after: Duration::ZERO });
        };
        if (counts[&asker.network.key], rank, u64::MAX) > place {
            return Err(Crowded { after: Duration::ZERO });
        }
        self.waiting.swap_remove(at);
        Ok(())
    }

    /// Gives turns for as long as there are any, and somebody who may have one.
    fn go_on(&mut self, line: &Arc<Mutex<Self>>, clock: &Clock) {
        while self.running < self.parallel && !self.waiting.is_empty() {
            let now = clock();
            let Some(at) = self.next(now) else { return };
            let Waiting { asker, give, .. } = self.waiting.swap_remove(at);
            self.turns += 1;
            if self.served.len() >= REMEMBERED_MAX {
                self.served.clear();
            }
            self.served.insert(asker.network.key, self.turns);
            if let Purpose::Verify(suspect, _) = &asker.purpose {
                self.throttle.begin(suspect, now);
            }
            let turn = Turn { back: Some((Arc::clone(line), Arc::clone(clock))) };
            match give.send(turn) {
                Ok(()) => self.running += 1,
                // It has not begun, and must not end.
                Err(mut unwanted) => unwanted.back = None,
            }
        }
    }

    fn next(&self, now: Duration) -> Option<usize> {
        let ready = self.waiting.iter().enumerate().filter(|(_, w)| self.due(&w.asker) <= now);
        let place = |(_, waiting): &(usize, &Waiting)| {
            // Every second turn is theirs.
            let favoured = self.turns.is_multiple_of(2) && waiting.rank == Rank::Known;
            let served = self.served.get(&waiting.asker.network.key).copied().unwrap_or(0);
            (!favoured, served, waiting.rank, waiting.number)
        };
        ready.min_by_key(place).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests;
