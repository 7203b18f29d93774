#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::Throttling;

/// Turns one at a time, by a clock that the test sets.
struct House {
    turns: Arc<Turns>,
    now_ms: Arc<AtomicU64>,
}

fn house(waiting_max: usize, patience: Duration) -> House {
    let now_ms = Arc::new(AtomicU64::new(1_000_000));
    let told = Arc::clone(&now_ms);
    let clock: Clock = Arc::new(move || Duration::from_millis(told.load(Ordering::SeqCst)));
    let throttle = Throttle::new(&Throttling::default());
    let turns = Arc::new(Turns::new(throttle, clock, 1, waiting_max, patience));
    House { turns, now_ms }
}

const LONG: Duration = Duration::from_secs(60);

fn network(last: u8) -> Network {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)).into()
}

fn guess(name: u8, from: u8, password: u8) -> Asker {
    let suspect = Suspect { name: [name; 16], network: network(from) };
    Asker { network: network(from), purpose: Purpose::Verify(suspect, [password; 32]) }
}

fn suspect_of(asker: &Asker) -> Suspect {
    match asker.purpose {
        Purpose::Verify(suspect, _) => suspect,
        _ => unreachable!("tests guess"),
    }
}

impl House {
    /// Lets these wait in order while a turn is taken, and says in which order they come to theirs.
    async fn order(&self, askers: &[Asker]) -> Vec<usize> {
        let first = self.turns.turn(guess(255, 255, 255)).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = tokio::task::JoinSet::new();
        for (n, asker) in askers.iter().copied().enumerate() {
            let (turns, order) = (Arc::clone(&self.turns), Arc::clone(&order));
            all.spawn(async move {
                let turn = turns.turn(asker).await.unwrap();
                order.lock().unwrap().push(n);
                drop(turn);
            });
            self.until_waiting(n + 1).await;
        }
        drop(first);
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
        let order = order.lock().unwrap();
        order.to_vec()
    }

    async fn until_waiting(&self, count: usize) {
        while self.turns.locked().waiting.len() != count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn networks_take_turns() {
    let house = house(100, LONG);
    let askers = [guess(1, 1, 1), guess(2, 1, 2), guess(3, 1, 3), guess(4, 2, 4), guess(5, 3, 5)];
    assert_eq!(house.order(&askers).await, [0, 3, 4, 1, 2]);
    // A network that had many turns comes after one that had none.
    let askers = [guess(1, 1, 1), guess(2, 1, 2), guess(6, 4, 6)];
    assert_eq!(house.order(&askers).await, [2, 0, 1]);
}

#[tokio::test]
async fn who_is_known_goes_first_at_every_second_turn() {
    let house = house(100, LONG);
    let known = guess(9, 1, 9);
    house.turns.succeeded(&suspect_of(&known));
    let askers = [guess(1, 1, 1), guess(2, 2, 2), guess(3, 3, 3), known, known, known];
    let order = house.order(&askers).await;
    let place = |n| order.iter().position(|m| *m == n).unwrap();
    assert!(place(3) <= 1 && place(4) <= 3 && place(5) <= 5, "{order:?}");
    assert!(place(0).min(place(1)).min(place(2)) <= 2, "{order:?}");
}

#[tokio::test]
async fn names_at_which_somebody_failed_come_last() {
    let house = house(100, LONG);
    for _ in 0..3 {
        house.turns.failed(&suspect_of(&guess(1, 1, 0)));
    }
    let set = Asker { network: network(1), purpose: Purpose::Set };
    let askers = [guess(1, 1, 1), guess(2, 1, 2), set];
    assert_eq!(house.order(&askers).await, [1, 2, 0]);
}

#[tokio::test]
async fn who_guessed_too_often_waits_and_comes_to_a_turn() {
    let house = house(100, Duration::from_millis(50));
    let asker = guess(1, 1, 1);
    for _ in 0..10 {
        house.turns.failed(&suspect_of(&asker));
    }
    let crowded = house.turns.turn(asker).await.map(drop).unwrap_err();
    assert_eq!(crowded.after, Duration::from_secs(1));
    assert!(house.turns.locked().waiting.is_empty());
    // Others do not wait for it.
    house.turns.turn(guess(2, 1, 2)).await.unwrap();
    house.now_ms.fetch_add(1_000, Ordering::SeqCst);
    house.turns.turn(asker).await.unwrap();
    // One look at a time, whatever it brought.
    assert!(house.turns.turn(guess(1, 1, 3)).await.is_err());
    // The same credentials come again: before the next guess, which was there first.
    house.now_ms.fetch_add(1_000, Ordering::SeqCst);
    let busy = house.turns.turn(guess(3, 3, 3)).await.unwrap();
    let first = tokio::spawn({
        let turns = Arc::clone(&house.turns);
        async move { turns.turn(guess(1, 1, 4)).await.map(drop) }
    });
    house.until_waiting(1).await;
    let again = tokio::spawn({
        let turns = Arc::clone(&house.turns);
        async move { turns.turn(guess(1, 1, 3)).await.map(drop) }
    });
    house.until_waiting(2).await;
    drop(busy);
    assert!(again.await.unwrap().is_ok());
    assert!(first.await.unwrap().is_err());
}

#[tokio::test]
async fn a_full_queue_puts_off_who_has_most_in_it() {
    let house = house(8, LONG);
    let _busy = house.turns.turn(guess(255, 255, 255)).await.unwrap();
    let mut many = tokio::task::JoinSet::new();
    for n in 0..8 {
        let turns = Arc::clone(&house.turns);
        many.spawn(async move { turns.turn(guess(n, 1, n)).await.map(drop) });
        house.until_waiting(usize::from(n) + 1).await;
    }
    assert!(house.turns.turn(guess(9, 1, 9)).await.is_err(), "its own network fills the queue");
    let turns = Arc::clone(&house.turns);
    let other = tokio::spawn(async move { turns.turn(guess(9, 2, 9)).await.map(drop) });
    let put_off = many.join_next().await.unwrap().unwrap();
    assert!(put_off.is_err());
    house.until_waiting(8).await;
    assert!(house.turns.locked().waiting.iter().any(|w| w.asker.network == network(2)));
    other.abort();
    assert!(other.await.unwrap_err().is_cancelled());
    house.until_waiting(7).await;
}

#[tokio::test]
async fn a_turn_that_nobody_takes_goes_to_the_next() {
    let house = house(8, LONG);
    let busy = house.turns.turn(guess(1, 1, 1)).await.unwrap();
    let mut left = Box::pin(house.turns.turn(guess(2, 2, 2)));
    assert!(tokio::time::timeout(Duration::from_millis(5), &mut left).await.is_err());
    // It is given the turn, and goes without having looked.
    drop(busy);
    assert_eq!(house.turns.locked().running, 1);
    drop(left);
    assert_eq!(house.turns.locked().running, 0);
    house.turns.turn(guess(3, 3, 3)).await.unwrap();
}
