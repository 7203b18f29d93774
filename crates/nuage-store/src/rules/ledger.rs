//! What a writer keeps in memory of the collections it writes to: their rows, which signatures they
//! know, and the rows of the records of buckets and collections, which all guards speak of. Counted
//! here, written back once for each group of batches.
//!
//! It is right as long as nobody else writes; whoever sees a foreign write or rolls back must
//! [`CollectionCache::forget`].

use foldhash::{HashMap, HashSet};

use nuage_model::{
    BucketId, CollectionPath, DIGEST_MODULUS, Head, Kind, Readers, RecordId, RecordPath, Signature,
    Timestamp, digest,
};

use nuage_model::copy::{Cell, Row, Table};

use crate::cells;
use crate::rules::{CollectionRow, StoredRow};
use crate::schema::{Generation, Rows, Was};

/// Collections kept between two groups.
const ENTRIES_MAX: usize = 4_096;
/// Signatures kept of each.
const SIGNATURES_MAX: usize = 1_024;
/// Records of buckets and collections kept.
const PARENTS_MAX: usize = 4_096;

/// The collections the writer knows.
#[derive(Default)]
pub(crate) struct CollectionCache {
    entries: HashMap<CollectionPath, Entry>,
    /// Rows of the records of buckets and collections, as they are.
    parents: HashMap<RecordPath, Option<StoredRow>>,
    touched: Vec<CollectionPath>,
    dropped_buckets: Vec<BucketId>,
    flushed: bool,
}

/// What is known of one collection.
#[derive(Default)]
pub(crate) struct Entry {
    /// Its row; `None` if there is none.
    pub(crate) sequence: Option<CollectionRow>,
    /// The row is in the tables, if not as it is here.
    is_stored: bool,
    dirty: bool,
    signatures: HashSet<Signature>,
    residents: HashMap<Signature, SignatureDelta>,
}

/// What comes to what has a signature.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SignatureDelta {
    /// So many more live records.
    pub(crate) live: i64,
    /// Added to the sum of their digests, modulo 2^48.
    pub(crate) digest: u64,
    /// So many more records, tombstones and ended residencies.
    pub(crate) held: i64,
    /// The greatest time that one of them came to show; 0 for none.
    pub(crate) top: i64,
}

impl SignatureDelta {
    /// Both together.
    pub(crate) fn add(&mut self, more: Self) {
        self.live += more.live;
        self.digest = (self.digest + more.digest) % DIGEST_MODULUS;
        self.held += more.held;
        self.top = self.top.max(more.top);
    }

    /// What is added to the row of a signature.
    fn to_row(self, key: Vec<Cell>) -> Row {
        let digest = i64::try_from(self.digest).expect("less than 2^48");
        let cells = [self.live, digest, self.held, self.top].map(Cell::Whole);
        Row(key.into_iter().chain(cells).collect())
    }
}

/// What a group of writes did to the heads, in order of the fields.
#[derive(Default)]
pub(crate) struct Changes {
    /// Everything was removed.
    pub(crate) all: bool,
    /// These buckets were dropped.
    pub(crate) buckets: Vec<BucketId>,
    /// These collections have this head, or none, in the end.
    pub(crate) heads: Vec<(CollectionPath, Option<Head>)>,
}

impl Entry {
    /// A live record has this signature from now on, and shows this time.
    pub(crate) fn enter(&mut self, signature: Signature, id: &RecordId, shown: Timestamp) {
        let digest = digest(id, shown);
        let more = SignatureDelta { live: 1, digest, ..SignatureDelta::default() };
        self.residents.entry(signature).or_default().add(more);
    }

    /// A live record had this signature until now, and showed this time.
    pub(crate) fn leave(&mut self, signature: Signature, id: &RecordId, shown: Timestamp) {
        let digest = DIGEST_MODULUS - digest(id, shown);
        let less = SignatureDelta { live: -1, digest, ..SignatureDelta::default() };
        self.residents.entry(signature).or_default().add(less);
    }

    /// So many more records, tombstones and ended residencies have this signature.
    pub(crate) fn hold(&mut self, signature: Signature, more: i64) {
        let more = SignatureDelta { held: more, ..SignatureDelta::default() };
        self.residents.entry(signature).or_default().add(more);
    }

    /// A record or a tombstone that has this signature shows this time from now on.
    pub(crate) fn show(&mut self, signature: Signature, shown: Timestamp) {
        let more = SignatureDelta { top: shown.0, ..SignatureDelta::default() };
        self.residents.entry(signature).or_default().add(more);
    }

    /// The greatest time that came to be shown since the last time that all was written back.
    pub(crate) fn counted_top(&self, signature: Signature) -> i64 {
        self.residents.get(&signature).map_or(0, |more| more.top)
    }

    /// The greatest time is in the row of the signature now.
    pub(crate) fn forget_top(&mut self, signature: Signature) {
        if let Some(more) = self.residents.get_mut(&signature) {
            more.top = 0;
        }
    }

    /// Forgets the signatures, whose rows were removed.
    pub(crate) fn forget_signatures(&mut self) {
        self.signatures.clear();
        self.residents.clear();
    }
}

impl CollectionCache {
    /// What is known of a collection; reads its row if need be.
    pub(crate) fn entry<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &CollectionPath,
    ) -> Result<&mut Entry, T::Fault> {
        if !self.entries.contains_key(path) {
            let row = tables.get(Table::Collections, &cells::collection(path))?;
            let sequence = row.as_ref().map(|row| CollectionRow::of_row(row)).transpose()?;
            let is_stored = sequence.is_some();
            self.entries.insert(path.clone(), Entry { sequence, is_stored, ..Entry::default() });
        }
        Ok(self.entries.entry(path.clone()).or_default())
    }

    /// The same, to change it.
    pub(crate) fn change<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &CollectionPath,
    ) -> Result<&mut Entry, T::Fault> {
        if !self.entry(tables, path)?.dirty {
            self.touched.push(path.clone());
        }
        let entry = self.entry(tables, path)?;
        entry.dirty = true;
        Ok(entry)
    }

    /// Makes the signature known in the collection, with its principals.
    pub(crate) fn register<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &CollectionPath,
        readers: &Readers,
    ) -> Result<(), T::Fault> {
        let signature = readers.signature();
        let entry = self.entry(tables, path)?;
        if entry.signatures.contains(&signature) {
            return Ok(());
        }
        if entry.signatures.len() >= SIGNATURES_MAX {
            entry.signatures.clear();
        }
        entry.signatures.insert(signature);
        let key = cells::signature_of(path, signature);
        let stage = entry.sequence.as_ref().map(|sequence| Generation {
            incarnation: sequence.incarnation,
            gc_seq: sequence.gc_seq.0,
        });
        if let Some(stage) = stage
            && tables.surely_has(Table::Signatures, &key, stage)?
        {
            return Ok(());
        }
        // Where it is not told for sure, it is asked before names are counted for it.
        let is_there =
            readers.groups().next().is_some() && tables.get(Table::Signatures, &key)?.is_some();
        if is_there {
            return Ok(());
        }
        tables.add(Table::Signatures, SignatureDelta::default().to_row(key))?;
        for principal in readers.principals() {
            let principal = || cells::text(principal.as_str());
            let [bucket, name] = [path.bucket.as_str().into(), path.stored_name()].map(cells::text);
            let row = vec![bucket.clone(), name.clone(), principal(), cells::signature(signature)];
            tables.put(Table::SignaturePrincipals, Row(row), Was::Unknown)?;
            let row = vec![principal(), bucket, name];
            tables.put(Table::DirectoryCollections, Row(row), Was::Unknown)?;
        }
        self.add_names(tables, path, readers.groups())
    }

    /// The row of a record, or that there is none. Where it is one of a bucket or a collection, it is
    /// read once.
    pub(crate) fn read_record<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &RecordPath,
    ) -> Result<Option<StoredRow>, T::Fault> {
        if let Some(known) = self.parents.get(path) {
            return Ok(*known);
        }
        let row = tables.get(Table::Records, &cells::record(path))?;
        let row = row.as_ref().map(StoredRow::of_row).transpose()?;
        if matches!(path.kind(), Kind::Bucket | Kind::Collection) {
            if self.parents.len() >= PARENTS_MAX {
                self.parents.clear();
            }
            self.parents.insert(path.clone(), row);
        }
        Ok(row)
    }

    /// Takes note that a record is written or removed.
    pub(crate) fn forget_record(&mut self, path: &RecordPath) {
        self.parents.remove(path);
    }

    /// Takes note that records are removed.
    pub(crate) fn forget_records(&mut self) {
        self.parents.clear();
    }

    /// Writes what changed into the tables.
    pub(crate) fn write_back<T: Rows>(&mut self, tables: &mut T) -> Result<(), T::Fault> {
        for path in &self.touched {
            let Some(entry) = self.entries.get_mut(path) else { continue };
            if !std::mem::take(&mut entry.dirty) {
                continue;
            }
            if let Some(sequence) = &entry.sequence {
                let was = if entry.is_stored { Was::Present } else { Was::Absent };
                tables.put(Table::Collections, sequence.to_row(path), was)?;
                entry.is_stored = true;
            }
            for (signature, more) in entry.residents.drain() {
                if more != SignatureDelta::default() {
                    let row = more.to_row(cells::signature_of(path, signature));
                    tables.add(Table::Signatures, row)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note that a bucket was dropped; its rows must have been written back before.
    pub(crate) fn forget_bucket(&mut self, bucket: &BucketId) {
        self.entries.retain(|path, _| path.bucket != *bucket);
        self.dropped_buckets.push(bucket.clone());
    }

    /// Takes note that everything was removed.
    pub(crate) fn forget_flushed(&mut self) {
        self.forget();
        self.flushed = true;
    }

    /// What the group does to the heads, once it is written back.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let entries = &self.entries;
        let head = |path: CollectionPath| {
            let sequence = entries.get(&path).and_then(|entry| entry.sequence.as_ref());
            let head = sequence.and_then(CollectionRow::head);
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
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
