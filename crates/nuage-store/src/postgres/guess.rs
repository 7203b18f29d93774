//! Applying a group in a single round trip, on a guess of what its transaction would read.
//!
//! What this process last saw of the rows is taken for what they are. The database compares, once
//! the rows of `collections` are locked, and writes nothing if anything differs: then the group
//! is read and applied as usual. A wrong guess costs a round trip and can do no harm.

use std::sync::{Mutex, MutexGuard, PoisonError};

use deadpool_postgres::Object;
use foldhash::HashMap;
use nuage_model::{Batch, CollectionPath, RecordPath, Seq, Signature, Write};
use tokio_postgres::types::ToSql;

use crate::postgres::errors::Fault;
use crate::postgres::needs::Needs;
use crate::postgres::overlay::{Effects, Overlay, Row};
use crate::postgres::read::{LOCK, Names, collection_names};
use crate::postgres::rows::one_record;
use crate::postgres::write::Steps;
use crate::rules::Sequence;

/// Seen that are remembered; beyond, all are forgotten.
const ROWS_MAX: usize = 65_536;
/// Collections that are remembered, likewise.
const SEQUENCES_MAX: usize = 4_096;
/// For how many groups nothing is guessed of a collection that another process writes to.
const DOUBT: u32 = 32;

/// Says whether everything is as guessed, and keeps the answer for the statements that write.
const FIT: &str = concat!(
    "
    SELECT set_config('nuage.fit', CASE WHEN NOT EXISTS (
        SELECT 1 FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
            $6::bytea[], $7::bigint[], $8::boolean[])
            AS k (bucket, collection, id, seq, timestamp, signature, entered, dead)
        LEFT JOIN LATERAL (",
    one_record!("seq, timestamp, signature, entered, dead", "k.bucket", "k.collection", "k.id"),
    ") r ON true
        WHERE r.seq IS DISTINCT FROM k.seq OR k.dead IS NOT NULL
            AND (r.timestamp, r.signature, r.entered, r.dead)
            IS DISTINCT FROM (k.timestamp, k.signature, k.entered, k.dead)
    ) AND NOT EXISTS (
        SELECT 1 FROM unnest($9::text[], $10::text[], $11::bytea[], $12::bigint[], $13::bigint[],
            $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[])
            AS k (bucket, collection, incarnation, seq, timestamp, gc_seq, live, tombstones,
                chosen, gone)
        LEFT JOIN LATERAL (SELECT * FROM collections
            WHERE bucket = k.bucket AND collection = k.collection AND NOT dropped LIMIT 1) c
            ON true
        WHERE (c.incarnation, c.seq, c.timestamp, c.gc_seq, c.live, c.tombstones, c.chosen, c.gone)
            IS DISTINCT FROM
            (k.incarnation, k.seq, k.timestamp, k.gc_seq, k.live, k.tombstones, k.chosen, k.gone)
    ) THEN 'yes' ELSE 'no' END, true)"
);

/// Rows of `records` as this process last saw them, without their texts.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<RecordPath, Option<Row>>>);

impl Seen {
    /// Remembers what was read or written.
    pub(super) fn learn(&self, rows: impl IntoIterator<Item = (RecordPath, Option<Row>)>) {
        let mut known = self.lock();
        if known.len() > ROWS_MAX {
            known.clear();
        }
        known.extend(rows);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordPath, Option<Row>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seen of `collections` as a lane last saw them.
#[derive(Default)]
pub(super) struct Sequences {
    known: HashMap<CollectionPath, Sequence>,
    doubts: HashMap<CollectionPath, u32>,
}

impl Sequences {
    /// Remembers what was read or written.
    pub(super) fn learn(
        &mut self,
        sequences: impl IntoIterator<Item = (CollectionPath, Sequence)>,
    ) {
        if self.known.len() > SEQUENCES_MAX {
            self.known.clear();
            self.doubts.clear();
        }
        self.known.extend(sequences);
    }

    /// Takes note that a guess was wrong.
    pub(super) fn doubt(&mut self, needs: &Needs) {
        for path in needs.collections.keys() {
            self.known.remove(path);
            self.doubts.insert(path.clone(), DOUBT);
        }
    }

    /// Forgets everything, because nobody knows what was committed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn get(&mut self, path: &CollectionPath) -> Option<&Sequence> {
        if let Some(doubt) = self.doubts.get_mut(path) {
            *doubt -= 1;
            if *doubt > 0 {
                return None;
            }
            self.doubts.remove(path);
        }
        self.known.get(path).filter(|sequence| !sequence.dropped)
    }
}

/// What a transaction is taken to find.
pub(super) struct Guess {
    sequences: Vec<(CollectionPath, Sequence)>,
    records: Vec<(RecordPath, Expected)>,
}

/// What is expected of a row of `records`.
#[derive(Clone, Copy)]
enum Expected {
    /// It is not there.
    Missing,
    /// It is at this position; nothing else of it matters.
    At(Seq),
    /// It is this. Positions alone do not tell rows from each other: after everything was removed,
    /// another record may get the same one.
    Same(Row),
}

impl Expected {
    fn seq(self) -> Option<i64> {
        match self {
            Self::Missing => None,
            Self::At(seq) => Some(seq.0),
            Self::Same(row) => Some(row.seq.0),
        }
    }

    fn row(&self) -> Option<&Row> {
        match self {
            Self::Same(row) => Some(row),
            Self::Missing | Self::At(_) => None,
        }
    }
}

/// The rows that these batches would probably find, if they are of the kind that is guessed for.
pub(super) fn guess<'a>(
    needs: &Needs,
    batches: impl Iterator<Item = &'a Batch>,
    rows: &Seen,
    sequences: &mut Sequences,
) -> Option<(Guess, Overlay)> {
    let is_plain = !needs.all
        && needs.buckets.is_empty()
        && needs.groups.is_empty()
        && needs.times.is_empty()
        && needs.parents.is_empty()
        && !needs.collections.is_empty();
    if !is_plain {
        return None;
    }
    let mut overlay = Overlay::default();
    let mut guess = Guess { sequences: Vec::new(), records: Vec::new() };
    for path in needs.collections.keys() {
        let sequence = sequences.get(path)?.clone();
        overlay.add_sequence(path.clone(), sequence.clone());
        guess.sequences.push((path.clone(), sequence));
    }
    let mut guarded: HashMap<&RecordPath, Option<Seq>> = HashMap::default();
    let mut written: HashMap<&RecordPath, ()> = HashMap::default();
    for batch in batches {
        for guard in &batch.guards {
            guarded.entry(&guard.path).or_insert(guard.live_at);
        }
        for write in &batch.writes {
            match write {
                Write::Put { path, .. } | Write::Delete { path, .. } => {
                    written.insert(path, ());
                }
                Write::Touch { .. } => {}
                _ => return None,
            }
        }
    }
    let known = rows.lock();
    for path in &needs.records {
        let live_at = guarded.get(path).copied();
        let expected = match (known.get(path), live_at) {
            (Some(row), _) if written.contains_key(path) => {
                row.map_or(Expected::Missing, Expected::Same)
            }
            // Nothing was read of it, so probably it is new.
            (None, None | Some(None)) => Expected::Missing,
            // Only where it is matters, as nobody writes to it.
            (_, Some(live_at)) if !written.contains_key(path) => {
                live_at.map_or(Expected::Missing, Expected::At)
            }
            _ => return None,
        };
        match expected {
            Expected::Missing => {}
            Expected::At(seq) => overlay.add_record(path.clone(), standing_at(seq)),
            Expected::Same(row) => overlay.add_record(path.clone(), row),
        }
        guess.records.push((path.clone(), expected));
    }
    Some((guess, overlay))
}

fn standing_at(seq: Seq) -> Row {
    Row { seq, chosen: None, signature: Signature([0; 16]), entered: Seq(0), dead: false }
}

/// Writes the effects and commits, unless the guess is wrong: then nothing is written. One round
/// trip.
pub(super) async fn commit(
    client: &Object,
    begin: &str,
    guess: &Guess,
    effects: &Effects,
) -> Result<bool, Fault> {
    let lock = client.prepare_cached(LOCK).await?;
    let fit = client.prepare_cached(FIT).await?;
    let steps = Steps::of(client, effects).await?;
    let paths: Vec<&CollectionPath> = guess.sequences.iter().map(|(path, _)| path).collect();
    let (buckets, collections) = collection_names(&paths);
    let names = Names::of(guess.records.iter().map(|(path, _)| path));
    let expected = || guess.records.iter().map(|(_, expected)| expected);
    let positions: Vec<Option<i64>> = expected().map(|one| one.seq()).collect();
    let rows = || expected().map(Expected::row);
    let times: Vec<Option<i64>> = rows().map(|row| row?.chosen).collect();
    let signatures: Vec<Option<&[u8]>> = rows().map(|row| Some(&row?.signature.0[..])).collect();
    let entered: Vec<Option<i64>> = rows().map(|row| Some(row?.entered.0)).collect();
    let dead: Vec<Option<bool>> = rows().map(|row| Some(row?.dead)).collect();
    let of = |value: fn(&Sequence) -> i64| -> Vec<i64> {
        guess.sequences.iter().map(|(_, sequence)| value(sequence)).collect()
    };
    let incarnations: Vec<&[u8]> =
        guess.sequences.iter().map(|(_, sequence)| &sequence.incarnation[..]).collect();
    let shown: Vec<Option<i64>> =
        guess.sequences.iter().map(|(_, sequence)| sequence.shown()).collect();
    let (seq, gc_seq) = (of(|one| one.seq.0), of(|one| one.gc_seq.0));
    let (live, tombstones) = (of(|one| one.live), of(|one| one.tombstones));
    let (chosen, gone) = (of(|one| one.chosen), of(|one| one.gone));
    let lock_parameters: [&(dyn ToSql + Sync); 2] = [&buckets, &collections];
    let fit_parameters: [&(dyn ToSql + Sync); 18] = [
        &names.buckets,
        &names.collections,
        &names.ids,
        &positions,
        &times,
        &signatures,
        &entered,
        &dead,
        &buckets,
        &collections,
        &incarnations,
        &seq,
        &shown,
        &gc_seq,
        &live,
        &tombstones,
        &chosen,
        &gone,
    ];
    // Joined futures send in their order, without waiting for each other's answers.
    let (begun, locked, fits, written) = tokio::join!(
        client.batch_execute(begin),
        client.execute(&lock, &lock_parameters),
        client.query_one(&fit, &fit_parameters),
        steps.run(),
    );
    begun?;
    locked?;
    let fits: String = fits?.try_get(0)?;
    written?;
    Ok(fits == "yes")
}
