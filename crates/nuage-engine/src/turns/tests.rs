#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;

fn person(name: &str) -> Requester {
    Requester::Person(name.into())
}

fn turns(turns: usize, waiting_own: usize, waiting: usize) -> Arc<Turns> {
    Arc::new(Turns::new(Places { turns, waiting_own, waiting }))
}

/// Lets tasks that can go on do so.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn queues_are_served_in_turns() {
    let turns = turns(1, 100, 100);
    let held = turns.wait(&person("first")).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for name in ["greedy", "greedy", "greedy", "greedy", "modest", "greedy", "shy"] {
        let (turns, served) = (Arc::clone(&turns), Arc::clone(&served));
        tasks.push(tokio::spawn(async move {
            let turn = turns.wait(&person(name)).await.unwrap();
            served.lock().unwrap().push(name);
            drop(turn);
        }));
        settle().await;
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    let expected = ["greedy", "modest", "shy", "greedy", "greedy", "greedy", "greedy"];
    assert_eq!(*served.lock().unwrap(), expected);
}

#[tokio::test]
async fn nobody_has_all_places() {
    let turns = turns(3, 10, 10);
    let first = turns.wait(&person("greedy")).await.unwrap();
    let _second = turns.wait(&person("greedy")).await.unwrap();
    let greedy = person("greedy");
    let mut third = Box::pin(turns.wait(&greedy));
    assert!(futures_poll(&mut third).await.is_none(), "a place is left");
    let _other = turns.wait(&person("modest")).await.unwrap();
    drop(first);
    assert!(third.await.is_ok());
}

/// One look at a future.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::time::timeout(Duration::from_millis(20), future).await.ok()
}

#[tokio::test]
async fn what_waits_is_bounded_and_who_left_does_not_count() {
    let turns = turns(1, 2, 3);
    let held = turns.wait(&person("a")).await.unwrap();
    let wait = |name: &str| {
        let (turns, who) = (Arc::clone(&turns), person(name));
        tokio::spawn(async move { turns.wait(&who).await.map(drop) })
    };
    let first = wait("a");
    settle().await;
    let second = wait("a");
    settle().await;
    assert_eq!(turns.wait(&person("a")).await.err(), Some(Crowded::Requester));
    let other = wait("b");
    settle().await;
    // Nothing is free: what came last of whoever has most waiting is put off.
    let late = wait("c");
    settle().await;
    assert_eq!(second.await.unwrap(), Err(Crowded::Requester));
    assert_eq!(turns.wait(&person("d")).await.err(), Some(Crowded::Everybody));
    assert_eq!(turns.wait(&person("a")).await.err(), Some(Crowded::Everybody));
    first.abort();
    settle().await;
    let last = wait("d");
    settle().await;
    drop(held);
    for task in [other, late, last] {
        task.await.unwrap().unwrap();
    }
    let state = turns.line.state();
    assert_eq!((state.waiting_count, state.working_count), (0, 0));
    assert!(state.waiting.is_empty() && state.order.is_empty() && state.working.is_empty());
}

#[tokio::test]
async fn work_nobody_waits_for_is_not_begun_and_can_stop() {
    let turns = turns(1, 10, 10);
    let begun = Arc::new(AtomicUsize::new(0));
    let (count, who) = (Arc::clone(&begun), person("a"));
    let (started, is_started) = oneshot::channel();
    let first = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            let work = move || {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = started.send(());
                while is_wanted() {
                    std::thread::yield_now();
                }
            };
            turns.run(&who, work).await
        }
    });
    is_started.await.unwrap();
    let count = Arc::clone(&begun);
    let second = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            let work = move || count.fetch_add(1, Ordering::Relaxed);
            turns.run(&person("b"), work).await
        }
    });
    settle().await;
    second.abort();
    first.abort();
    assert_eq!(turns.run(&person("c"), || 7).await, Ok(7));
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_panic_reaches_the_caller_and_the_thread_goes_on() {
    let turns = turns(1, 10, 10);
    let other = Arc::clone(&turns);
    let failed = tokio::spawn(async move {
        let _ = other.run(&person("a"), || resume_unwind(Box::new("broken"))).await;
    });
    let panic = failed.await.unwrap_err().into_panic();
    assert_eq!(*panic.downcast::<&str>().unwrap(), "broken");
    assert_eq!(turns.run(&person("a"), || 1).await, Ok(1));
}

#[test]
fn addresses_of_one_network_are_one_requester() {
    let at = |text: &str| Requester::at(text.parse().unwrap());
    assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
}
