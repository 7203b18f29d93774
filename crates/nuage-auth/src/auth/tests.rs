#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuage_engine::{Engine, World};
use nuage_model::{
    Admin, ApplyError, Batch, Bodies, CollectionPath, GroupPath, Head, Listener, MembershipQuery,
    Memberships, Moment, Outcome, Pace, Page, Pending, Principal, Query, ReaderFilter, Readers,
    Record, RecordPath, Seq, SnapshotHeader, SnapshotRequest, State, Store, StoreError, Timestamp,
    Total,
};

use crate::turns::Clock;
use crate::{Auth, AuthError, Policy, PolicyKind, Settings, hash_password_blocking};

/// Accounts in memory, changed as another process would. Nothing else is asked of it here.
#[derive(Default)]
struct Accounts {
    records: Mutex<HashMap<RecordPath, Record>>,
    generation: AtomicU64,
    reads: AtomicU64,
}

impl Accounts {
    fn change(&self, id: &str, seq: i64, state: State) {
        let signature = Readers::new([].into()).signature();
        let (seq, entered) = (Seq(seq), Seq(seq));
        let record = Record { id: id.into(), seq, chosen: None, signature, entered, state };
        self.records.lock().unwrap().insert(RecordPath::account(id), record);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn set(&self, id: &str, seq: i64, body: String) {
        self.change(id, seq, State::Live { body, permissions: "{}".to_owned() });
    }

    fn set_password(&self, id: &str, seq: i64, password: &str) {
        self.set(id, seq, format!("{{\"password\":\"{}\"}}", hash_password_blocking(password)));
    }
}

fn closed<T: Send>() -> Pending<'static, Result<T, StoreError>> {
    Box::pin(async { Err(StoreError::Closed) })
}

impl Store for Accounts {
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        _: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let records = self.records.lock().unwrap();
        let found = paths.iter().map(|path| records.get(path).cloned()).collect();
        Box::pin(async { Ok(found) })
    }

    fn foreign_writes(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn heads<'a>(
        &'a self,
        _: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        closed()
    }

    fn list_at<'a>(
        &'a self,
        _: &'a Query,
        _: Pace,
    ) -> Pending<'a, Result<Option<Page>, StoreError>> {
        closed()
    }

    fn count_at<'a>(
        &'a self,
        _: &'a Query,
        _: Pace,
    ) -> Pending<'a, Result<Option<Total>, StoreError>> {
        closed()
    }

    fn memberships<'a>(
        &'a self,
        _: &'a MembershipQuery,
        _: Pace,
    ) -> Pending<'a, Result<Option<Memberships>, StoreError>> {
        closed()
    }

    fn standing<'a>(
        &'a self,
        _: &'a SnapshotRequest,
    ) -> Pending<'a, Result<SnapshotHeader, StoreError>> {
        closed()
    }

    fn groups_of<'a>(
        &'a self,
        _: &'a [Principal],
        _: usize,
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        closed()
    }

    fn collections<'a>(
        &'a self,
        _: ReaderFilter<'a>,
        _: Option<&'a CollectionPath>,
        _: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        closed()
    }

    fn snapshot<'a>(
        &'a self,
        _: &'a SnapshotRequest,
    ) -> Pending<'a, Result<Moment<'a>, StoreError>> {
        closed()
    }

    fn note<'a>(&'a self, _: &'a str) -> Pending<'a, Result<Option<String>, StoreError>> {
        closed()
    }

    fn listen(&self, _: Listener) {}

    fn apply(&self, _: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        Box::pin(async { Err(ApplyError::Store(StoreError::Closed)) })
    }

    fn admin(&self) -> &dyn Admin {
        unreachable!("nobody operates these accounts")
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}

/// Two clocks, accounts, and the policies over them.
struct House {
    /// The time of day, which may be set.
    day_ms: Arc<AtomicI64>,
    now_ms: Arc<AtomicU64>,
    accounts: Arc<Accounts>,
    auth: Auth,
}

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn house(policies: &[(&str, PolicyKind)]) -> House {
    house_that_waits(policies, 300)
}

// Whoever asks waits so many milliseconds for a turn to hash.
fn house_that_waits(policies: &[(&str, PolicyKind)], password_ms: u64) -> House {
    let day_ms = Arc::new(AtomicI64::new(1_700_000_000_000));
    let now_ms = Arc::new(AtomicU64::new(0));
    let accounts = Arc::new(Accounts::default());
    let day = Arc::clone(&day_ms);
    let world = World {
        clock: Box::new(move || Timestamp(day.load(Ordering::SeqCst))),
        random: Box::new(|| 0x9f6a_3cbb_6e5a_4d4c_9c9d_9a2b_7a4f_0001),
    };
    let store: Arc<dyn Store> = Arc::clone(&accounts) as Arc<dyn Store>;
    let mut engine = nuage_engine::Settings::default();
    engine.limits.password_ms = password_ms;
    let engine = Engine::new(store, engine, world);
    let policies =
        policies.iter().map(|(name, kind)| Policy { name: (*name).to_owned(), kind: *kind });
    let settings = Settings { policies: policies.collect(), ..Settings::default() };
    let told = Arc::clone(&now_ms);
    let clock: Clock = Arc::new(move || Duration::from_millis(told.load(Ordering::SeqCst)));
    House { day_ms, now_ms, accounts, auth: Auth::with_clock(engine, settings, clock).unwrap() }
}

impl House {
    async fn ask(&self, credentials: &str) -> Result<Option<String>, u64> {
        self.ask_from(PEER, credentials).await
    }

    async fn ask_from(&self, peer: IpAddr, credentials: &str) -> Result<Option<String>, u64> {
        let header = format!("Basic {}", STANDARD.encode(credentials));
        match self.auth.identify(Some(header.as_bytes()), peer).await {
            Ok(person) => Ok(person.map(|person| person.to_string())),
            Err(AuthError::TooManyAttempts { retry_after_s }) => Err(retry_after_s),
            Err(AuthError::Store(error)) => panic!("{error}"),
        }
    }

    fn pass(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn verifications(&self) -> usize {
        self.auth.verified.load(Ordering::SeqCst)
    }
}

const ACCOUNT: (&str, PolicyKind) = ("account", PolicyKind::Accounts);
const BASIC: (&str, PolicyKind) = ("basicauth", PolicyKind::Basic);

fn person(name: &str) -> Result<Option<String>, u64> {
    Ok(Some(name.to_owned()))
}

#[tokio::test]
async fn without_credentials_it_is_anybody() {
    let house = house(&[ACCOUNT, BASIC]);
    assert_eq!(house.auth.identify(None, PEER).await.unwrap(), None);
    for other in [&b""[..], b"Bearer abc", b"Basic ???", b"Basic \xff"] {
        assert_eq!(house.auth.identify(Some(other), PEER).await.unwrap(), None);
    }
    assert_eq!(house.ask(":secret").await, Ok(None));
    assert_eq!(house.verifications(), 0);
}

#[tokio::test]
async fn any_pair_is_somebody_where_asked_so() {
    let house = house(&[BASIC]);
    let mat = "basicauth:8a931a10fc88ab2f6d1cc02a07d3a81b5d4768f6f13e85c5d8d4180419acb1b4";
    for _ in 0..2 {
        assert_eq!(house.ask("mat:secret").await, person(mat));
        house.pass(100);
    }
    assert_ne!(house.ask("mat:other").await, person(mat));
    assert_eq!(house.accounts.reads.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn accounts_come_first_and_others_fall_through() {
    let house = house(&[("people", PolicyKind::Accounts), ("any", PolicyKind::Basic)]);
    house.accounts.set_password("mat", 5, "right");
    assert_eq!(house.ask("mat:right").await, person("people:mat"));
    let fallen = house.ask("mat:secret").await;
    let name = "any:8a931a10fc88ab2f6d1cc02a07d3a81b5d4768f6f13e85c5d8d4180419acb1b4";
    assert_eq!(fallen, person(name));
    assert_eq!(house.auth.account_person("mat").map(|p| p.to_string()), Some("people:mat".into()));
}

#[tokio::test]
async fn verified_passwords_are_not_hashed_again() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "right");
    for _ in 0..10 {
        assert_eq!(house.ask("alice:right").await, person("account:alice"));
        house.pass(29);
    }
    assert_eq!(house.verifications(), 1);
    assert_eq!(house.accounts.reads.load(Ordering::SeqCst), 1);
    house.pass(1);
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    assert_eq!(house.verifications(), 2);
}

#[tokio::test]
async fn a_changed_or_deleted_account_is_verified_anew() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "first");
    house.accounts.set_password("bob", 6, "his");
    assert_eq!(house.ask("alice:first").await, person("account:alice"));
    assert_eq!(house.ask("bob:his").await, person("account:bob"));
    assert_eq!(house.verifications(), 2);

    house.accounts.set_password("alice", 7, "second");
    assert_eq!(house.ask("alice:first").await, Ok(None));
    assert_eq!(house.ask("alice:second").await, person("account:alice"));
    assert_eq!(house.verifications(), 4);
    // One read tells that Bob's did not change.
    let reads = house.accounts.reads.load(Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(house.ask("bob:his").await, person("account:bob"));
    }
    assert_eq!(house.accounts.reads.load(Ordering::SeqCst), reads + 1);
    assert_eq!(house.verifications(), 4);

    house.accounts.change("alice", 8, State::Tombstone);
    assert_eq!(house.ask("alice:second").await, Ok(None));
}

#[tokio::test]
async fn who_fell_through_is_asked_again_when_the_account_comes() {
    let house = house(&[ACCOUNT, BASIC]);
    let stranger = house.ask("alice:right").await;
    assert!(stranger.as_ref().is_ok_and(|p| p.as_ref().unwrap().starts_with("basicauth:")));
    // Known not to be an account's, also after a long time.
    house.pass(1000);
    assert_eq!(house.ask("alice:right").await, stranger);
    assert_eq!(house.verifications(), 1);
    house.accounts.set_password("alice", 5, "right");
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
}

#[tokio::test]
async fn unknown_people_cost_as_many_hashes_as_known_ones() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "right");
    house.accounts.set("odd", 6, "{\"password\":7}".to_owned());
    for (n, credentials) in ["alice:wrong", "nobody:wrong", "odd:wrong"].iter().enumerate() {
        assert_eq!(house.ask(credentials).await, Ok(None));
        assert_eq!(house.verifications(), n + 1);
    }
}

#[tokio::test]
async fn names_that_no_account_can_have_cost_nothing() {
    let house = house(&[ACCOUNT]);
    let name = "a".repeat(513);
    for n in 0..30 {
        assert_eq!(house.ask(&format!("{name}:{n}")).await, Ok(None));
    }
    assert_eq!(house.verifications(), 0);
    assert_eq!(house.accounts.reads.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn imported_accounts_log_in() {
    let house = house(&[ACCOUNT]);
    let hash = "$2b$05$nYUBrUcaQtJr50iBL4YRQuql.hwfoIAmwtu1AY.JWAsy19t197WoO";
    house.accounts.set("carol", 5, format!("{{\"password\":\"{hash}\"}}"));
    assert_eq!(house.ask("carol:p\u{e4}ssword").await, person("account:carol"));
    assert_eq!(house.ask("carol:password").await, Ok(None));
}

#[tokio::test]
async fn guessing_is_slowed_and_the_right_password_passes_all_the_same() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "right");
    for name in ["alice", "nobody"] {
        for guess in 0..10 {
            assert_eq!(house.ask(&format!("{name}:{guess}")).await, Ok(None));
        }
        // What was wrong is known to be wrong.
        let hashed = house.verifications();
        assert_eq!(house.ask(&format!("{name}:3")).await, Ok(None));
        // Whether there is such an account or not.
        assert_eq!(house.ask(&format!("{name}:10")).await, Err(1));
        assert_eq!(house.verifications(), hashed);
    }
    // The same name from elsewhere does not wait, and what it did is remembered.
    let home = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    assert_eq!(house.ask_from(home, "alice:right").await, person("account:alice"));
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    // Also when it has to be verified again.
    house.accounts.generation.fetch_add(1, Ordering::SeqCst);
    house.pass(31);
    assert_eq!(house.ask("alice:11").await, Ok(None));
    assert_eq!(house.ask("alice:12").await, Err(2));
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    // Which clears what failed there.
    assert_eq!(house.ask("alice:12").await, Ok(None));
}

#[tokio::test]
async fn who_comes_where_somebody_guesses_waits_and_passes() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "right");
    for guess in 0..12 {
        let _ = house.ask(&format!("alice:{guess}")).await;
        house.pass(2);
    }
    house.pass(6);
    let _ = house.ask("alice:12").await;
    // The right password has to wait like any other.
    assert!(house.ask("alice:right").await.is_err());
    house.pass(8);
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
}

#[tokio::test]
async fn guesses_at_names_that_do_not_exist_lock_nobody_out() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "right");
    house.accounts.set_password("bob", 6, "his");
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    let mut refused = 0;
    for n in 0..54 {
        refused += usize::from(house.ask(&format!("nobody{n}:guess")).await.is_err());
    }
    assert!(refused >= 3, "{refused}");
    // A first log-in waits a second, one from where the person is known does not.
    house.accounts.set_password("alice", 7, "new");
    assert_eq!(house.ask("alice:new").await, person("account:alice"));
    house.pass(1);
    assert_eq!(house.ask("bob:his").await, person("account:bob"));
}

#[tokio::test]
async fn the_time_of_day_may_be_set_back() {
    let house = house(&[ACCOUNT]);
    house.accounts.set_password("alice", 5, "right");
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    for guess in 0..10 {
        assert_eq!(house.ask(&format!("bob:{guess}")).await, Ok(None));
    }
    house.day_ms.fetch_sub(86_400_000, Ordering::SeqCst);
    assert_eq!(house.ask("bob:10").await, Err(1));
    house.pass(1);
    assert_eq!(house.ask("bob:10").await, Ok(None));
    // Nor is a password believed for a day longer.
    house.pass(30);
    let hashed = house.verifications();
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
    assert_eq!(house.verifications(), hashed + 1);
}

#[tokio::test]
async fn strangers_in_normal_use_count_for_nothing() {
    let house = house(&[ACCOUNT, BASIC]);
    for n in 0..60 {
        assert!(house.ask(&format!("token:{n}")).await.is_ok_and(|person| person.is_some()));
    }
    // But guessing at an account counts, and does not make another person of its owner.
    house.accounts.set_password("alice", 5, "right");
    for guess in 0..10 {
        assert!(house.ask(&format!("alice:{guess}")).await.is_ok_and(|person| person.is_some()));
    }
    assert_eq!(house.ask("alice:right").await, Err(1));
    house.pass(1);
    assert_eq!(house.ask("alice:right").await, person("account:alice"));
}

#[tokio::test]
async fn many_at_once_hash_once() {
    let house = Arc::new(house_that_waits(&[ACCOUNT], 30_000));
    house.accounts.set_password("alice", 5, "right");
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let house = Arc::clone(&house);
        asked.spawn(async move { house.ask("alice:right").await });
    }
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap(), person("account:alice"));
    }
    assert!(house.verifications() <= 4, "{}", house.verifications());
}

#[tokio::test]
async fn new_passwords_are_hashed() {
    let house = house(&[ACCOUNT]);
    let hash = house.auth.hash_password("right".to_owned(), PEER).await.unwrap();
    house.accounts.set("dave", 5, format!("{{\"password\":\"{hash}\"}}"));
    assert_eq!(house.ask("dave:right").await, person("account:dave"));
}
