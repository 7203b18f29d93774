//! Whoever waits is woken, whatever happened between a page and the wait.

use std::sync::Arc;
use std::time::Duration;

use nuage_model::{Bodies, Principal, Record};
use nuage_testkit::random::Random;
use tokio::sync::watch;

use crate::feed::hub::Subscription;
use crate::feed::hub::tests::{ONCE_MS, Yard, group, put_at, records, seed, within};

const WATCHERS: usize = 24;
const ROUNDS: usize = 2_000;

/// Follows the record of one person, which a group may read, as a door would: reads, waits, and
/// often stops waiting in the middle.
struct Watcher {
    yard: Arc<Yard>,
    number: usize,
    random: Random,
    subscription: Subscription,
    seen: watch::Sender<i64>,
}

fn person(number: usize) -> String {
    format!("account:{number}")
}

impl Watcher {
    async fn follow(mut self) {
        loop {
            self.page().await;
            let patience = match self.random.below(3) {
                0 => Duration::from_micros(self.random.below(300) as u64),
                _ => Duration::from_secs(3_600),
            };
            // Nothing is read again because of the patience of this loop: that is not what is tried.
            while tokio::time::timeout(patience, self.subscription.woken()).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    }

    // As a page of a feed: rights and records of about one moment, never older than its begin.
    async fn page(&mut self) {
        self.subscription.begin_page();
        let (head, named) = self.yard.standing(&records()).await;
        let me = Principal::from(person(self.number));
        let groups = self.yard.store.groups_of(std::slice::from_ref(&me), 100).await.unwrap();
        let mut principals = vec![me];
        principals.extend(groups.iter().map(|group| group.principal()));
        let own = records().record(person(self.number));
        let shared = records().record("shared");
        let found = self.yard.store.get(&[own, shared], Bodies::All).await.unwrap();
        let is_member = principals.len() > 1;
        let shown = found.iter().enumerate().filter(|(at, _)| *at == 0 || is_member);
        let value = shown.filter_map(|(_, record)| record.as_ref().map(value)).max();
        if self.random.chance(30) {
            // Time for others between the reading of a page and what it says of interests.
            tokio::time::sleep(Duration::from_micros(self.random.below(500) as u64)).await;
        }
        let principals = principals.into_iter().collect();
        let (principals, buckets) = (Arc::new(principals), [records().bucket].into());
        let interest = crate::Interest { whole: false, principals, buckets, named };
        self.subscription.set_interest(&interest, head);
        self.seen.send_replace(value.unwrap_or_default());
    }
}

fn value(record: &Record) -> i64 {
    let digits: String = record.body().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    let seed = seed();
    let mut random = Random::new(seed);
    let yard = Yard::new(ONCE_MS).await;
    let (mut tasks, mut seen) = (Vec::new(), Vec::new());
    for number in 0..WATCHERS {
        let (sender, receiver) = watch::channel(0);
        let watcher = Watcher {
            yard: Arc::clone(&yard),
            number,
            random: Random::new(random.number()),
            subscription: yard.hub.subscribe(&records()),
            seen: sender,
        };
        tasks.push(tokio::spawn(watcher.follow()));
        seen.push(receiver);
    }
    let mut member = 0;
    yard.write(group("b", "g", &[&person(member)])).await;
    for round in 1..=ROUNDS as i64 {
        let body = format!("{{\"n\":{round}}}");
        let number = random.below(WATCHERS);
        let (concerned, writes) = match random.below(4) {
            // Somebody joins the group that may read what is shared, and another one leaves it.
            0 => {
                member = number;
                yard.write(group("b", "g", &[&person(number)])).await;
                let readers = ["/buckets/b/groups/g"];
                (number, put_at(records().record("shared"), &body, &readers))
            }
            1 => {
                let readers = ["/buckets/b/groups/g"];
                (member, put_at(records().record("shared"), &body, &readers))
            }
            _ => {
                let id = person(number);
                (number, put_at(records().record(id.as_str()), &body, &[&id]))
            }
        };
        yard.write(vec![writes]).await;
        if random.chance(50) {
            let told = seen[concerned].wait_for(|value| *value >= round);
            within(&format!("round {round} of seed {seed}"), told).await.unwrap();
        }
    }
    for task in tasks {
        task.abort();
        within("the end of a watcher", task).await.unwrap_err();
    }
    assert_eq!(yard.hub.statistics().subscriptions, 0);
}
