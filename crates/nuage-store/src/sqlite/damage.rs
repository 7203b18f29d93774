//! A damaged file: noticed when a page of it is met that is not what it must be.
//!
//! SQLite says the same of a disk that cannot be read for a moment. So whatever is met is logged,
//! the whole file is looked through once, and only what is found then counts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nuage_model::StoreError;
use rusqlite::Connection;

use crate::sqlite::errors::Fault;
use crate::sqlite::open::{self, Way};

/// After a look that found nothing, the next one comes no sooner.
const LOOK: Duration = Duration::from_secs(60);

const SOUND: u8 = 0;
const LOOKING: u8 = 1;
const DAMAGED: u8 = 2;

/// What is known of the file.
pub(super) struct Damage {
    path: PathBuf,
    state: AtomicU8,
    looked: Mutex<Option<Instant>>,
}

impl Damage {
    /// Nothing yet.
    pub(super) fn of(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, state: AtomicU8::new(SOUND), looked: Mutex::new(None) })
    }

    /// Takes note of a fault, if it tells of damage.
    pub(super) fn note(self: &Arc<Self>, fault: &Fault) {
        if !fault.is_damage() || !self.begins() {
            return;
        }
        tracing::error!(
            fault = %fault,
            "a page of the data is not what it must be: the file is looked through"
        );
        let me = Arc::clone(self);
        let looking = std::thread::Builder::new().name("store-check".to_owned());
        if looking.spawn(move || me.look()).is_err() {
            self.state.store(SOUND, Ordering::SeqCst);
        }
    }

    /// Fails once the file was found to be damaged.
    pub(super) fn expect_none(&self) -> Result<(), StoreError> {
        match self.state.load(Ordering::SeqCst) {
            DAMAGED => Err(StoreError::Corrupt("pages of the file are damaged".to_owned())),
            _ => Ok(()),
        }
    }

    fn begins(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return false;
        }
        let begun = self.state.compare_exchange(SOUND, LOOKING, Ordering::SeqCst, Ordering::SeqCst);
        if begun.is_ok() {
            *looked = Some(Instant::now());
        }
        begun.is_ok()
    }

    fn look(&self) {
        let found = open::reader(&self.path, Way::Shared).and_then(|connection| first(&connection));
        let found = match found {
            Err(fault) if !fault.is_damage() => {
                tracing::error!(fault = %fault, "the file could not be looked through");
                None
            }
            Err(fault) => Some(fault.to_string()),
            Ok(found) => found,
        };
        let state = if found.is_some() { DAMAGED } else { SOUND };
        self.state.store(state, Ordering::SeqCst);
        match found {
            Some(found) => tracing::error!(
                found,
                "the data is damaged: `nuage check` tells how far. Restore a backup, or save what \
                 can be read with `nuage export --salvage`"
            ),
            None => tracing::warn!("no damage was found: the disk may have failed for a moment"),
        }
    }
}

fn first(connection: &Connection) -> Result<Option<String>, Fault> {
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(Some(said).filter(|said| said != "ok"))
}
