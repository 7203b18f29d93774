//! The servers of a URL, of which one is the primary; and how one that is silent is left alone.
//!
//! A machine that vanished or froze answers nothing and refuses nothing. So each server has a bounded
//! time to let us in, the next one is tried beside it after a moment, and whoever waits long for an
//! answer asks whether the server still takes connections. If not, everybody who waits for it gives
//! up, and its connections are forgotten.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a server is tried alone before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long a server may take to let us in, where the URL sets no bound.
const LET_IN: Duration = Duration::from_secs(20);
/// What the driver gets more than its own bound for the first step.
const MARGIN: Duration = Duration::from_millis(250);
/// How long an answer is waited for before the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(2);
/// How long it may take to say so.
const SIGN: Duration = Duration::from_secs(4);

/// A connection that somebody must drive.
pub(super) type Link =
    (Client, Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>);

/// What each of the servers said that were tried in vain, with its number.
pub(super) type Refusals = Vec<(usize, Error)>;

/// The servers of a URL.
#[derive(Clone)]
pub(super) struct Servers {
    each: Arc<[Config]>,
    tls: MakeRustlsConnect,
    state: Arc<State>,
}

/// What everybody learns who connects to them.
struct State {
    /// The one that let us in last.
    last: AtomicUsize,
    /// Moves when connections made before are of no more use.
    turns: watch::Sender<u64>,
    /// When it was last asked whether the server is there, and whether it was.
    asked: Mutex<Option<(Instant, bool)>>,
}

impl Servers {
    /// The servers of a configuration.
    pub(super) fn of(config: &Config, tls: MakeRustlsConnect) -> Self {
        let each = (0..config.get_hosts().len()).map(|number| alone(config, number)).collect();
        let state = State {
            last: AtomicUsize::new(0),
            turns: watch::Sender::new(0),
            asked: Mutex::default(),
        };
        Self { each, tls, state: Arc::new(state) }
    }

    /// The same servers, asked in another way.
    pub(super) fn with(&self, change: impl Fn(&mut Config)) -> Self {
        let mut each = self.each.to_vec();
        each.iter_mut().for_each(change);
        Self { each: each.into(), ..self.clone() }
    }

    /// Each of them.
    pub(super) fn each(&self) -> &[Config] {
        &self.each
    }

    /// How their connections are encrypted.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// A number that moves when connections made before are of no more use.
    pub(super) fn turn(&self) -> u64 {
        *self.state.turns.borrow()
    }

    /// Waits until that number moves.
    pub(super) async fn turned(&self) {
        // The sender is held here.
        let _ = self.state.turns.subscribe().changed().await;
    }

    /// A connection to the first that lets us in, beginning with the one that did last.
    pub(super) async fn open(&self) -> Result<Link, Refusals> {
        let count = self.each.len();
        let first = match self.each[0].get_load_balance_hosts() {
            LoadBalanceHosts::Random => random(count),
            _ => self.state.last.load(Ordering::Relaxed),
        };
        let mut next: VecDeque<usize> = (0..count).map(|n| (first + n) % count).collect();
        let mut trying = FuturesUnordered::new();
        let mut refusals = Vec::new();
        loop {
            match next.pop_front() {
                Some(number) => trying.push(self.try_one(number)),
                None if trying.is_empty() => return Err(refusals),
                None => {}
            }
            let head_start = async {
                match next.is_empty() {
                    true => std::future::pending().await,
                    false => sleep(HEAD_START).await,
                }
            };
            tokio::select! {
                Some((number, tried)) = trying.next() => match tried {
                    Ok(link) => {
                        self.settle_on(number);
                        return Ok(link);
                    }
                    Err(error) => refusals.push((number, error)),
                },
                () = head_start => {}
            }
        }
    }

    async fn try_one(&self, number: usize) -> (usize, Result<Link, Error>) {
        let config = &self.each[number];
        let within = config.get_connect_timeout().map_or(LET_IN, |bound| *bound + MARGIN);
        let tried = timeout(within, config.connect(self.tls())).await;
        (number, tried.unwrap_or_else(|_| Err(Error::__private_api_timeout())))
    }

    // Where there is one primary, connections to another server are to a former one.
    fn settle_on(&self, number: usize) {
        let last = self.state.last.swap(number, Ordering::Relaxed);
        let one = self.each[number].get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        if last != number && one {
            self.turn_away();
        }
    }

    fn turn_away(&self) {
        self.state.turns.send_modify(|turn| *turn = turn.wrapping_add(1));
    }

    /// An answer, unless the server turns out to be silent to everybody.
    pub(super) async fn heard<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut turned = self.state.turns.subscribe();
        let mut answer = pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Some(answer),
                _ = turned.changed() => return None,
                there = async {
                    sleep(SILENCE).await;
                    self.is_there().await
                } => if !there {
                    return None;
                },
            }
        }
    }

    // Asked once for all who wonder at the same time.
    async fn is_there(&self) -> bool {
        let begun = Instant::now();
        let mut asked = self.state.asked.lock().await;
        if let Some((at, there)) = *asked
            && at >= begun
        {
            return there;
        }
        let at = Instant::now();
        let number = self.state.last.load(Ordering::Relaxed);
        let there = match timeout(SIGN, self.each[number].connect(self.tls())).await {
            Ok(Ok(_)) => true,
            // Who refuses in words is there; but a former primary is not what we look for.
            Ok(Err(error)) => error.as_db_error().is_some(),
            Err(_) => false,
        };
        *asked = Some((at, there));
        if !there {
            tracing::warn!(
                server = name(&self.each[number]),
                "the database is silent: what was asked of it is given up"
            );
            let next = (number + 1) % self.each.len();
            self.state.last.store(next, Ordering::Relaxed);
            self.turn_away();
        }
        there
    }
}

fn random(below: usize) -> usize {
    let below = below as u64;
    usize::try_from(RandomState::new().hash_one(below) % below).unwrap_or(0)
}

/// What a configuration says, for one of its hosts.
fn alone(config: &Config, number: usize) -> Config {
    let mut one = Config::new();
    match &config.get_hosts()[number] {
        Host::Tcp(host) => one.host(host),
        Host::Unix(path) => one.host_path(path),
    };
    if let Some(address) = config.get_hostaddrs().get(number) {
        one.hostaddr(*address);
    }
    if let Some(port) = config.get_ports().get(number).or(config.get_ports().first()) {
        one.port(*port);
    }
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(bound) = config.get_connect_timeout() {
        one.connect_timeout(*bound);
    }
    if let Some(bound) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*bound);
    }
    one.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    one.target_session_attrs(config.get_target_session_attrs());
    one.channel_binding(config.get_channel_binding());
    one.load_balance_hosts(config.get_load_balance_hosts());
    one
}

/// Host and port of a server, as in a URL.
pub(super) fn name(config: &Config) -> String {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(Host::Unix(path)) if port == 5432 => path.display().to_string(),
        Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
        Some(Host::Tcp(host)) if port == 5432 => host.clone(),
        Some(Host::Tcp(host)) if host.contains(':') => format!("[{host}]:{port}"),
        Some(Host::Tcp(host)) => format!("{host}:{port}"),
        None => String::new(),
    }
}
