//! Fair turns for work that takes longer than a millisecond or two.
//!
//! Such work holds up everybody where requests are answered, and whoever asks for much of it would
//! be served before all others. So it waits for a turn: there are few places, one queue for each
//! requester, and the queues are served round robin. Nobody has all places, however much they ask
//! for, unless there is only one.
//!
//! How to use it:
//!
//! - What computes: `turns.run(&requester, move || …).await?`. It runs on a thread of its own kind,
//!   of a lower priority than those that answer. It is not begun when nobody waits for it any more,
//!   and may ask [`is_wanted`] on its way.
//! - What waits for a store, as the page of a list or of a snapshot: `let turn =
//!   turns.wait(&requester).await?;`, ask the store, drop the turn. [`Turns`] of its own for it, by
//!   [`Turns::new`], keep such waiting from taking the places of what computes.
//! - What takes long is cut into slices of some milliseconds, with a turn for each: going back into
//!   the queue lets the others pass.
//!
//! [`Crowded`] is the answer when too much waits already. A door words it as 503 with
//! `Retry-After`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};

use foldhash::HashMap;
use nuage_model::{Limits, Principal};
use tokio::sync::oneshot;

/// Added to the niceness of threads that work: the system gives what answers twice as much. More
/// would starve them where other programs are busy.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 3;
/// Schemas may refer to themselves for as deep as a body is nested.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// Leading bits of an IPv6 address that are one household or machine: all others are its to choose.
const IPV6_NETWORK_BITS: u32 = 64;

/// For whom work is done, and in whose queue it waits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Requester {
    /// Somebody who is known.
    Person(Principal),
    /// Anybody from an address, see [`Requester::at`].
    Address(IpAddr),
}

impl Requester {
    /// Somebody who is not known, by address. For IPv6 that is the network, of 64 bits.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (u128::BITS - IPV6_NETWORK_BITS);
                std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        })
    }
}

/// Too much waits already; the requester should come back later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Crowded {
    /// Work of this requester.
    #[error("too much work of this requester waits")]
    Requester,
    /// Work of everybody.
    #[error("too much work waits")]
    Everybody,
}

/// How many may have their turn, and wait for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// Turns at a time.
    pub turns: usize,
    /// Requests of one requester that wait.
    pub waiting_own: usize,
    /// Requests that wait.
    pub waiting: usize,
}

/// Turns, served round robin by requester.
pub struct Turns {
    line: Arc<Line>,
    threads: OnceLock<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
}

/// The right to work, until it is dropped.
#[must_use]
pub struct Turn {
    line: Arc<Line>,
    requester: Requester,
}

struct Line {
    places: Places,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    working: HashMap<Requester, usize>,
    working_count: usize,
    waiting: HashMap<Requester, VecDeque<oneshot::Sender<Turn>>>,
    waiting_count: usize,
    /// Those with a queue, in the order in which they are next.
    order: VecDeque<Requester>,
}

impl Turns {
    /// Turns with so many places.
    pub fn new(places: Places) -> Self {
        let line = Line { places, state: Mutex::default() };
        Self { line: Arc::new(line), threads: OnceLock::new() }
    }

    /// For what computes: a place for each processor but one, which answers, and two at least, for
    /// one requester cannot have both.
    pub(crate) fn of_this_machine(limits: &Limits) -> Self {
        let turns =
            std::thread::available_parallelism().map_or(2, |cores| (cores.get() - 1).max(2));
        Self::new(Places {
            turns,
            waiting_own: limits.waiting_work_own,
            waiting: limits.waiting_work,
        })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// [`Crowded`] if too much waits already.
    pub async fn wait(&self, requester: &Requester) -> Result<Turn, Crowded> {
        let turn = self.line.enter(requester)?;
        self.line.serve();
        // Whoever has most waiting is put off when others find no place.
        turn.await.map_err(|_| Crowded::Requester)
    }

    /// Does something when it is its turn, elsewhere than where requests are answered. A panic in
    /// it comes to the caller.
    ///
    /// # Errors
    ///
    /// [`Crowded`] if too much waits already.
    pub async fn run<T: Send + 'static>(
        &self,
        requester: &Requester,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Crowded> {
        Ok(self.work(self.wait(requester).await?, work).await)
    }

    /// The same for what must be done once it was begun: waits however much waits already.
    pub async fn finish<T: Send + 'static>(
        &self,
        requester: &Requester,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let turn = loop {
            let turn = self.line.queue(requester);
            self.line.serve();
            if let Ok(turn) = turn.await {
                break turn;
            }
        };
        self.work(turn, work).await
    }

    async fn work<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let left = Left::default();
        let seen = Arc::clone(&left.0);
        let job = move || {
            if !seen.load(Ordering::Relaxed) {
                REQUESTER_LEFT.set(Some(seen));
                let result = catch_unwind(AssertUnwindSafe(work));
                REQUESTER_LEFT.set(None);
                // The next one may begin before this one's answer is made.
                drop(turn);
                let _ = reply.send(result);
            }
        };
        let threads = self.threads.get_or_init(|| start_threads(self.line.places.turns));
        let _ = threads.send(Box::new(job));
        match answer.await.expect("a thread answers as long as somebody waits") {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }
}

thread_local! {
    static REQUESTER_LEFT: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Asked by work in [`Turns::run`]: whether somebody still waits for it.
pub fn is_wanted() -> bool {
    REQUESTER_LEFT
        .with_borrow(|left| left.as_ref().is_none_or(|left| !left.load(Ordering::Relaxed)))
}

/// Says so when it is dropped.
#[derive(Default)]
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads that work, until nobody can give them work any more.
fn start_threads(count: usize) -> mpsc::Sender<Box<dyn FnOnce() + Send>> {
    let (sender, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..count.max(1) {
        let receiver = Arc::clone(&receiver);
        let work = move || {
            give_way();
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = next else { return };
                job();
            }
        };
        let thread = std::thread::Builder::new().name("nuage-turns".to_owned());
        let started = thread.stack_size(STACK_BYTES).spawn(work);
        started.expect("the system starts a thread");
    }
    sender
}

/// Lets other threads go before this one: on Linux, where threads have priorities of their own.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICENESS);
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, requester: &Requester) -> Result<oneshot::Receiver<Turn>, Crowded> {
        let mut state = self.state();
        if state.waiting_count >= self.places.waiting {
            state.forget_left();
        }
        if state.waiting_count >= self.places.waiting && !state.put_off_longest(requester) {
            return Err(Crowded::Everybody);
        }
        let own = state.waiting.get(requester).map_or(0, VecDeque::len);
        if own >= self.places.waiting_own {
            state.forget_left();
            let own = state.waiting.get(requester).map_or(0, VecDeque::len);
            if own >= self.places.waiting_own {
                return Err(Crowded::Requester);
            }
        }
        drop(state);
        Ok(self.queue(requester))
    }

    fn queue(&self, requester: &Requester) -> oneshot::Receiver<Turn> {
        let mut state = self.state();
        let (sender, receiver) = oneshot::channel();
        if !state.waiting.contains_key(requester) {
            state.order.push_back(requester.clone());
        }
        state.waiting.entry(requester.clone()).or_default().push_back(sender);
        state.waiting_count += 1;
        receiver
    }

    /// Gives the turns that are free.
    fn serve(self: &Arc<Self>) {
        // Given outside the lock: a turn that nobody takes any more is dropped, and comes back here.
        while let Some((sender, requester)) = self.next() {
            let _ = sender.send(Turn { line: Arc::clone(self), requester });
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Turn>, Requester)> {
        let mut state = self.state();
        if state.working_count >= self.places.turns {
            return None;
        }
        let own_max = self.places.turns.saturating_sub(1).max(1);
        for _ in 0..state.order.len() {
            let requester = state.order.pop_front()?;
            if state.working.get(&requester).is_some_and(|working| *working >= own_max) {
                state.order.push_back(requester);
                continue;
            }
            if let Some(sender) = state.take_first(&requester) {
                *state.working.entry(requester.clone()).or_default() += 1;
                state.working_count += 1;
                return Some((sender, requester));
            }
        }
        None
    }
}

impl State {
    /// Makes room for somebody by putting off what came last of whoever has most waiting. False if
    /// nobody has clearly more than the one who comes.
    fn put_off_longest(&mut self, newcomer: &Requester) -> bool {
        let own = self.waiting.get(newcomer).map_or(0, VecDeque::len);
        let longest = self.waiting.values_mut().max_by_key(|queue| queue.len());
        match longest {
            Some(queue) if queue.len() > own + 1 => {
                queue.pop_back();
                self.waiting_count -= 1;
                true
            }
            _ => false,
        }
    }

    /// The first in a queue that still waits. Whoever has others waiting goes to the end of the
    /// order, who must have been taken out of it.
    fn take_first(&mut self, requester: &Requester) -> Option<oneshot::Sender<Turn>> {
        let queue = self.waiting.get_mut(requester)?;
        let mut first = None;
        while first.is_none()
            && let Some(sender) = queue.pop_front()
        {
            self.waiting_count -= 1;
            first = Some(sender).filter(|sender| !sender.is_closed());
        }
        if queue.is_empty() {
            self.waiting.remove(requester);
        } else {
            self.order.push_back(requester.clone());
        }
        first
    }

    fn forget_left(&mut self) {
        self.waiting.retain(|_, queue| {
            queue.retain(|sender| !sender.is_closed());
            !queue.is_empty()
        });
        self.order.retain(|requester| self.waiting.contains_key(requester));
        self.waiting_count = self.waiting.values().map(VecDeque::len).sum();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.working_count -= 1;
        if let Some(working) = state.working.get_mut(&self.requester) {
            *working -= 1;
            if *working == 0 {
                state.working.remove(&self.requester);
            }
        }
        drop(state);
        self.line.serve();
    }
}

#[cfg(test)]
mod tests;
