//! What the writer keeps in memory of the collections it writes to: their rows and which
//! signatures they know. Counted here, written back once for each group of batches.
//!
//! It is right as long as nobody else writes; whoever sees a foreign write or rolls back must
//! [`Ledger::forget`].

use foldhash::{HashMap, HashSet};

use nuage_model::{BucketId, CollectionPath, Readers, Signature};
use rusqlite::{Connection, params};

use crate::sqlite::errors::Fault;
use crate::sqlite::heads::Changes;
use crate::sqlite::sequence::Sequence;

/// Collections kept between two groups.
const ENTRIES_MAX: usize = 4_096;
/// Signatures kept of each.
const SIGNATURES_MAX: usize = 1_024;

const REGISTER: &str = "
    INSERT OR IGNORE INTO signatures (bucket, collection, signature, live)
    VALUES (?1, ?2, ?3, 0)";
const REGISTER_PRINCIPAL: &str = "
    INSERT OR IGNORE INTO signature_principals (bucket, collection, principal, signature)
    VALUES (?1, ?2, ?3, ?4)";
const LIST_COLLECTION: &str = "
    INSERT OR IGNORE INTO directory_collections (principal, bucket, collection)
    VALUES (?1, ?2, ?3)";
const COUNT: &str = "
    UPDATE signatures SET live = live + ?4
    WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";

/// The collections the writer knows.
#[derive(Default)]
pub(super) struct Ledger {
    entries: HashMap<CollectionPath, Entry>,
    touched: Vec<CollectionPath>,
    dropped_buckets: Vec<BucketId>,
    flushed: bool,
}

/// What is known of one collection.
#[derive(Default)]
pub(super) struct Entry {
    /// Its row; `None` if there is none.
    pub(super) sequence: Option<Sequence>,
    dirty: bool,
    signatures: HashSet<Signature>,
    live_by_signature: HashMap<Signature, i64>,
}

impl Entry {
    /// Adds to the number of live records with a signature.
    pub(super) fn count(&mut self, signature: Signature, more: i64) {
        *self.live_by_signature.entry(signature).or_default() += more;
    }

    /// Forgets the signatures, whose rows were removed.
    pub(super) fn forget_signatures(&mut self) {
        self.signatures.clear();
        self.live_by_signature.clear();
    }
}

impl Ledger {
    /// What is known of a collection; reads its row if need be.
    pub(super) fn entry(
        &mut self,
        connection: &Connection,
        path: &CollectionPath,
    ) -> Result<&mut Entry, Fault> {
        if !self.entries.contains_key(path) {
            let sequence = Sequence::read(connection, path)?;
            self.entries.insert(path.clone(), Entry { sequence, ..Entry::default() });
        }
        Ok(self.entries.entry(path.clone()).or_default())
    }

    /// The same, to change it.
    pub(super) fn change(
        &mut self,
        connection: &Connection,
        path: &CollectionPath,
    ) -> Result<&mut Entry, Fault> {
        if !self.entry(connection, path)?.dirty {
            self.touched.push(path.clone());
        }
        let entry = self.entry(connection, path)?;
        entry.dirty = true;
        Ok(entry)
    }

    /// Makes the signature known in the collection, with its principals.
    pub(super) fn register(
        &mut self,
        connection: &Connection,
        path: &CollectionPath,
        readers: &Readers,
    ) -> Result<(), Fault> {
        let signature = readers.signature();
        let entry = self.entry(connection, path)?;
        if entry.signatures.contains(&signature) {
            return Ok(());
        }
        if entry.signatures.len() >= SIGNATURES_MAX {
            entry.signatures.clear();
        }
        entry.signatures.insert(signature);
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let mut register = connection.prepare_cached(REGISTER)?;
        if register.execute(params![bucket, name, signature.0])? == 0 {
            return Ok(());
        }
        for principal in readers.principals() {
            let principal = principal.as_str();
            let mut add = connection.prepare_cached(REGISTER_PRINCIPAL)?;
            add.execute(params![bucket, name, principal, signature.0])?;
            let mut list = connection.prepare_cached(LIST_COLLECTION)?;
            list.execute(params![principal, bucket, name])?;
        }
        Ok(())
    }

    /// Writes what changed into the tables.
    pub(super) fn write_back(&mut self, connection: &Connection) -> Result<(), Fault> {
        for path in &self.touched {
            let Some(entry) = self.entries.get_mut(path) else { continue };
            if !std::mem::take(&mut entry.dirty) {
                continue;
            }
            if let Some(sequence) = &entry.sequence {
                sequence.write(connection, path)?;
            }
            let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
            for (signature, more) in entry.live_by_signature.drain().filter(|(_, n)| *n != 0) {
                let mut count = connection.prepare_cached(COUNT)?;
                count.execute(params![bucket, name, signature.0, more])?;
            }
        }
        Ok(())
    }

    /// Takes note that a bucket was dropped; its rows must have been written back before.
    pub(super) fn forget_bucket(&mut self, bucket: &BucketId) {
        self.entries.retain(|path, _| path.bucket != *bucket);
        self.dropped_buckets.push(bucket.clone());
    }

    /// Takes note that everything was removed.
    pub(super) fn forget_flushed(&mut self) {
        self.forget();
        self.flushed = true;
    }

    /// What the group does to the heads, once it is written back.
    pub(super) fn take_changes(&mut self) -> Changes {
        let entries = &self.entries;
        let head = |path: CollectionPath| {
            let sequence = entries.get(&path).and_then(|entry| entry.sequence.as_ref());
            let head = sequence.and_then(Sequence::head);
            (path, head)
        };
        let changes = Changes {
            all: std::mem::take(&mut self.flushed),
            buckets: std::mem::take(&mut self.dropped_buckets),
            heads: self.touched.drain(..).map(head).collect(),
        };
        if self.entries.len() > ENTRIES_MAX {
            self.entries.clear();
        }
        changes
    }

    /// Forgets everything, what was not written back included.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
