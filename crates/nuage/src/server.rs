//! The running server: puts the rooms together, serves, and goes down in order.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};
use nuage_auth::Auth;
use nuage_engine::{Engine, World};
use nuage_http::ServeOptions;
use nuage_kinto::Kinto;
use nuage_model::{ReaderFilter, Timestamp};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::config::{Config, Place, Settings};
use crate::data;
use crate::failure::{Exit, Failure};
use crate::greeting::Greeting;
use crate::logs;
use crate::serving::{Holder, Lease};

/// What is given up on a full disk, so that deletions go on: as much as the write-ahead log of a
/// SQLite file usually is, which is moved into the file then.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// The present time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The clock of this machine, and what it has that is random.
pub(crate) fn world() -> World {
    World { clock: Box::new(now), random: Box::new(|| Uuid::new_v4().as_u128()) }
}

/// Serves until it is told to stop.
pub(crate) async fn serve(config: &Config, mut settings: Settings) -> Result<()> {
    let begun = Instant::now();
    let log = logs::begin_server(config);
    let signals = Signals::listen()?;
    let listener = bind(&settings.listen).await?;
    let address = listener.local_addr()?;

    let mut notes = config.notes.clone();
    if settings.kinto.features.flush {
        let sentence = "kinto.flush is on: anybody who reaches the server may delete everything.";
        notes.push(sentence.to_owned());
    }
    let patience_ms = settings.engine.limits.password_ms;
    if settings.auth.throttling.guess_wait_s.saturating_mul(1_000) >= patience_ms {
        notes.push(format!(
            "auth.guess_wait_s is not less than limits.password_ms, {patience_ms} ms: where others \
             guess, the right password has to be sent again and again."
        ));
    }
    let place = settings.storage.place.clone();
    let _lock = match &place {
        Place::Files(files) => {
            data::make_folder(files)?;
            Some(data::lock(files)?)
        }
        // Many processes may serve one database.
        Place::Server(_) => None,
    };
    let mut existed = matches!(&place, Place::Files(files) if files.database.is_file());
    settings.storage.options.reserve_bytes = RESERVE_BYTES;
    let store = data::open_or_make(&settings.storage).await?;
    let lease = Lease::take(Holder::Servers, &place, &store).await?;
    if matches!(place, Place::Server(_)) {
        existed = !store.collections(ReaderFilter::All, None, 1).await?.is_empty();
    }
    let secrets = data::secrets(&settings, store.as_ref()).await?;
    notes.extend_from_slice(&secrets.notes);
    settings.take_secrets(secrets);
    if let Place::Files(files) = &place {
        notes.extend(data::exposed(files));
    }

    let limits = settings.engine.limits.clone();
    let engine = Engine::new(Arc::clone(&store), settings.engine.clone(), world());
    let housekeeping = tokio::spawn(Arc::clone(&engine).run_compaction());
    let auth = Auth::new(Arc::clone(&engine), settings.auth.clone());
    let auth = auth.map_err(|error| Failure::new(Exit::Configuration, error.to_string()))?;
    let kinto = Kinto::new(engine, Arc::new(auth), settings.kinto.clone());

    let greeting = Greeting { address, settings: &settings, notes: &notes, existed };
    greeting.show(begun.elapsed(), &log);
    log.settle();
    let options = ServeOptions {
        limits,
        drain_ms: settings.drain_ms,
        trusted_proxies: settings.trusted_proxies,
    };
    nuage_http::serve(listener, kinto, options, signals.first()).await;
    housekeeping.abort();
    if let Some(lease) = lease {
        lease.end().await;
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(listen: &str) -> Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| {
        let sentence = match error.kind() {
            ErrorKind::AddrInUse => {
                format!(
                    "{listen} is in use. Try another port: nuage serve --listen {}",
                    next(listen)
                )
            }
            ErrorKind::PermissionDenied => {
                format!("{listen} may not be used: ports below 1024 need privileges.")
            }
            ErrorKind::AddrNotAvailable => format!("{listen} is not an address of this machine."),
            _ => format!("{listen} cannot be listened on: {error}."),
        };
        let exit = match error.kind() {
            ErrorKind::InvalidInput => Exit::Configuration,
            _ => Exit::Address,
        };
        anyhow!(Failure::new(exit, sentence))
    })
}

/// The same address with the next port.
fn next(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(mut address) => {
            address.set_port(address.port().checked_add(1).unwrap_or(8888));
            address.to_string()
        }
        Err(_) => "127.0.0.1:8889".to_owned(),
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Completes at the first signal. A second one ends the process at once.
    async fn first(mut self) {
        self.next().await;
        tracing::info!("stopping: requests under way may finish; a second signal ends them");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(Exit::Failed as i32);
        });
    }
}
