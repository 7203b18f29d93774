//! Lists and counts, read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use futures_util::future::{try_join, try_join3};
use nuage_model::copy::{Cell, Table};
use nuage_model::{
    CollectionPath, Direction, Head, Pace, Page, Principal, Query, Record, Scope, Signature, States,
};

use crate::cells::{self, Cells, Source, record_of};
use crate::list::position::{Seen, page, position};
use crate::list::{AccessPath, InOrder, PlannedQuery, Shape, Signatures, Times, TopN};
use crate::reads::{Columns, Condition, Found, Reads, Scan, Together};
use crate::records::sequence;
use crate::rules::{CollectionRow, StoredRow};
use crate::schema::{Index, Range};

/// Records of a page that is read along with the row of its collection, where that is far away.
const AHEAD: usize = 1_000;
/// Rows that are read in one go where an unknown part of them is shown.
const CHUNK_ROWS: usize = 500;
/// Bytes of records that are looked at between two pauses.
const BREATH_BYTES: usize = 16 * 1024;
/// Identifiers that are looked up in one go.
const CHUNK_IDS: usize = 500;
/// Rows that are counted in one go.
const CHUNK_COUNTED: usize = 4_000;
/// Somebody whose scope has more signatures may see much of the collection, and a page is probably
/// among the first rows.
const SIGNATURES_FEW: usize = 1_000;
/// Rows of which it is looked up whether somebody may see them, in the first go.
const CHUNK_TRIED: usize = 256;
/// The same where few are wanted.
const CHUNK_TRIED_MIN: usize = 16;
/// A page of so few records is looked for among the first rows where somebody has more signatures
/// than so many.
const PAGE_SMALL: usize = 8;
const SIGNATURES_LEAST: usize = 64;
/// So many rows, and people in their signatures, are looked at before all signatures of somebody
/// are: some ten milliseconds.
const LOOKUPS_TRIED: usize = 16_384;
/// The same of a page that is quick.
const LOOKUPS_TRIED_QUICKLY: usize = 1_000;
/// Up to so many principals of somebody are looked up in a signature one by one; of more, it is
/// compared who is in it.
const FEW_PEOPLE: usize = 3;
/// Signatures whose numbers are looked up in one go.
pub(super) const CHUNK_SIGNATURES: usize = 4_096;

/// The places of columns of records.
const TIMESTAMP: usize = 4;
const SIGNATURE: usize = 5;
const DEAD: usize = 7;

/// Records that a quick page may have.
const QUICK_PAGE: i64 = 1_000;
/// Bytes of records that may be copied for one, shown or not.
const QUICK_BYTES: usize = 256 * 1024;
/// Rows that may be passed over for one.
const QUICK_ROWS: i64 = 2_000;

/// One page, of one moment; none if it is not quick but has to be.
pub(crate) async fn list<R: Reads>(
    reads: &R,
    query: &Query,
    pace: Pace,
) -> Result<Option<Page>, R::Fault> {
    let is_small = query.limit <= PAGE_SMALL;
    let mut known = match R::IS_FAR {
        true => reads.begin(known(reads, query)).await?,
        false => {
            let sequence = reads.begin(sequence(reads, &query.collection)).await?;
            // A poll of somebody who sees all, and that finds nothing new, ends here.
            let is_over = |one| query.scope == Scope::All && is_empty(query, one);
            let (signatures, are_all) = match sequence.as_ref().is_none_or(is_over) {
                true => (None, true),
                false => {
                    let most = if is_small { SIGNATURES_LEAST } else { SIGNATURES_FEW };
                    signatures(reads, query, most).await?
                }
            };
            Known { sequence, signatures, are_all, ahead: None }
        }
    };
    let Some(sequence) = known.sequence.take() else {
        return Ok(Some(Page { head: None, records: Vec::new(), more: false }));
    };
    let page = |rows, at| self::page(query, &sequence, at, rows);
    if is_empty(query, &sequence) {
        let at = position(reads, query, &sequence, known.seen(), pace).await?;
        return Ok(at.map(|at| page((Vec::new(), false), at)));
    }
    if !known.are_all {
        let mut rows = None;
        if is_small && !R::IS_FAR {
            rows = try_rows(reads, query, &sequence, CHUNK_TRIED, pace).await?;
            if rows.is_none() {
                (known.signatures, known.are_all) =
                    signatures(reads, query, SIGNATURES_FEW).await?;
            }
        }
        if rows.is_none() && !known.are_all {
            rows = try_rows(reads, query, &sequence, lookups(pace), pace).await?;
        }
        if let Some(rows) = rows {
            let at = position(reads, query, &sequence, known.seen(), pace).await?;
            return Ok(at.map(|at| page(rows, at)));
        }
        if !known.are_all {
            if pace == Pace::Quick {
                return Ok(None);
            }
            known.signatures = signatures(reads, query, usize::MAX).await?.0;
        }
    }
    let asked = PlannedQuery::new(query, &sequence, known.signatures);
    let seen = Seen { signatures: asked.signatures.as_ref(), are_all: true };
    let (rows, at) = try_join(
        walk(reads, &asked, known.ahead, pace),
        position(reads, query, &sequence, seen, pace),
    )
    .await?;
    Ok(rows.zip(at).map(|(rows, at)| page(rows, at)))
}

// The records of a page, and whether others follow; none if it is not quick but has to be.
async fn walk<R: Reads>(
    reads: &R,
    asked: &PlannedQuery<'_>,
    ahead: Option<Found<Record>>,
    pace: Pace,
) -> Result<Option<(Vec<Record>, bool)>, R::Fault> {
    let query = asked.query;
    if asked.is_empty() {
        return Ok(Some((Vec::new(), false)));
    }
    let way = asked.way();
    if pace == Pace::Quick && !is_quick(asked, way) {
        return Ok(None);
    }
    let columns = if asked.wants_bodies() { Columns::RECORD } else { Columns::SLIM };
    let is_in_order = asked.shape.by_time.is_some() && way != AccessPath::Ids;
    let rows = match is_in_order && asked.is_exact() {
        true => query.limit.saturating_add(1),
        false => CHUNK_ROWS,
    };
    let mut walk = Walk::new(reads, asked, columns, rows);
    walk.bytes = if is_in_order { query.limit_bytes } else { nuage_model::PAGE_BYTES };
    walk.ahead = ahead.filter(|_| way == AccessPath::Positions);
    let mut budget = Budget::of(pace);
    let page = if is_in_order {
        let mut kept = InOrder::new(query.limit, query.limit_bytes);
        walk.run(&mut |record| {
            budget.spend(&record)?;
            if asked.shows(&record) { kept.push(record) } else { ControlFlow::Continue(()) }
        })
        .await?;
        kept.finish()
    } else {
        let mut kept = TopN::new(query);
        walk.run(&mut |record| {
            budget.spend(&record)?;
            if asked.shows(&record) {
                kept.push(record);
            }
            ControlFlow::Continue(())
        })
        .await?;
        kept.finish()
    };
    Ok((!budget.is_over).then_some(page))
}

/// How much is looked at of what somebody may see, before all signatures of theirs are.
pub(super) fn lookups(pace: Pace) -> usize {
    if pace == Pace::Quick { LOOKUPS_TRIED_QUICKLY } else { LOOKUPS_TRIED }
}

/// What is known of a list before any record is looked at.
struct Known {
    sequence: Option<CollectionRow>,
    signatures: Option<Signatures>,
    /// Whether these are all of them.
    are_all: bool,
    /// The first rows.
    ahead: Option<Found<Record>>,
}

impl Known {
    fn seen(&self) -> Seen<'_> {
        Seen { signatures: self.signatures.as_ref(), are_all: self.are_all }
    }
}

async fn known<R: Reads>(reads: &R, query: &Query) -> Result<Known, R::Fault> {
    let known = try_join3(
        sequence(reads, &query.collection),
        signatures(reads, query, SIGNATURES_FEW),
        first_rows(reads, query),
    );
    let (sequence, (signatures, are_all), ahead) = known.await?;
    Ok(Known { sequence, signatures, are_all, ahead })
}

// Whether nothing can match, whoever asks.
fn is_empty(query: &Query, sequence: &CollectionRow) -> bool {
    PlannedQuery::new(query, sequence, None).is_empty()
}

/// How many match, and the head of the collection; none if it is not quick but has to be.
pub(crate) async fn count<R: Reads>(
    reads: &R,
    query: &Query,
    pace: Pace,
) -> Result<Option<(Option<Head>, u64)>, R::Fault> {
    let query = match query.after {
        None => Cow::Borrowed(query),
        Some(_) => Cow::Owned(Query { after: None, ..query.clone() }),
    };
    let query: &Query = &query;
    let most = if pace == Pace::Quick { SIGNATURES_FEW } else { usize::MAX };
    let known = try_join(sequence(reads, &query.collection), signatures(reads, query, most));
    // One row is of one moment by itself.
    let is_one = query.scope == Scope::All && query.filters.is_empty();
    let known = if is_one { known.await } else { reads.begin(known).await };
    let (sequence, (signatures, are_all)) = known?;
    let Some(sequence) = sequence else { return Ok(Some((None, 0))) };
    if !are_all {
        return Ok(None);
    }
    let seen = Seen { signatures: signatures.as_ref(), are_all };
    let Some(at) = position(reads, query, &sequence, seen, pace).await? else { return Ok(None) };
    let head = sequence.head().map(|head| Head { timestamp: at, ..head });
    let signatures = match signatures {
        Some(signatures) if is_counted(query) => {
            Some(with_numbers(reads, &query.collection, signatures).await?)
        }
        other => other,
    };
    let asked = PlannedQuery::new(query, &sequence, signatures);
    if asked.is_empty() {
        return Ok(Some((head, 0)));
    }
    if let Some(counted) = asked.counted() {
        return Ok(Some((head, counted)));
    }
    let is_short = asked.way() == AccessPath::Ids || asked.rows_between() <= QUICK_ROWS;
    if pace == Pace::Quick && (asked.shape.filters_bodies || !is_short) {
        return Ok(None);
    }
    let columns = match (asked.shape.filters_bodies, asked.reads_permissions()) {
        (true, _) => Columns::RECORD,
        (false, true) => Columns::SLIM,
        (false, false) => Columns::TRACE,
    };
    let chunk = if columns == Columns::TRACE { CHUNK_COUNTED } else { CHUNK_ROWS };
    let mut walk = Walk::new(reads, &asked, columns, chunk);
    let (mut counted, mut budget) = (0, Budget::of(pace));
    walk.run(&mut |record| {
        budget.spend(&record)?;
        counted += u64::from(asked.shows(&record));
        ControlFlow::Continue(())
    })
    .await?;
    Ok((!budget.is_over).then_some((head, counted)))
}

/// Whether counters tell how many match.
pub(crate) fn is_counted(query: &Query) -> bool {
    let has_counter = match query.scope {
        Scope::All => true,
        Scope::Readers(_) => query.states == States::Live,
        Scope::Holders(..) => false,
    };
    query.filters.is_empty() && has_counter
}

/// Whether a page is found soon, as far as the question tells: along an index, and not too many
/// records.
pub(crate) fn looks_quick(query: &Query) -> bool {
    let is_short = query.limit <= AHEAD && !matches!(query.scope, Scope::Holders(..));
    is_short && is_plain(&Shape::of(query))
}

fn is_plain(shape: &Shape<'_>) -> bool {
    shape.by_time.is_some() && shape.is_exact && shape.ids.is_none()
}

/// Whether a page is found in a moment.
fn is_quick(asked: &PlannedQuery<'_>, way: AccessPath) -> bool {
    if way == AccessPath::Ids {
        let reads_bodies = asked.shape.filters_bodies || !asked.sorts_by_name();
        return !reads_bodies;
    }
    if asked.shape.by_time.is_none() || !asked.shape.is_exact {
        return false;
    }
    let mut passed_over = 0;
    if asked.query.states == States::Live {
        passed_over += asked.sequence.tombstones.min(asked.rows_between());
    }
    let sees_all = asked.signatures.is_none();
    match way {
        AccessPath::Ids => {}
        AccessPath::Signatures => passed_over += asked.probes(),
        AccessPath::Positions if sees_all => {}
        AccessPath::Positions => passed_over += asked.rows_between(),
        AccessPath::Times if sees_all => passed_over += asked.sequence.chosen,
        AccessPath::Times => passed_over += asked.sequence.rows(),
    }
    if asked.reads_permissions() {
        passed_over += asked.sequence.rows();
    }
    let shown = i64::try_from(asked.query.limit).unwrap_or(i64::MAX).min(asked.rows_between());
    shown <= QUICK_PAGE && passed_over <= QUICK_ROWS
}

/// Bytes that may be copied.
struct Budget {
    left: usize,
    is_over: bool,
}

impl Budget {
    fn of(pace: Pace) -> Self {
        let left = if pace == Pace::Quick { QUICK_BYTES } else { usize::MAX };
        Self { left, is_over: false }
    }

    fn spend(&mut self, record: &Record) -> ControlFlow<()> {
        match self.left.checked_sub(Query::cost(record)) {
            Some(left) => {
                self.left = left;
                ControlFlow::Continue(())
            }
            None => {
                self.is_over = true;
                ControlFlow::Break(())
            }
        }
    }
}

// Signatures of the scope, unless it lets see all; and whether these are all of them, for no more
// than so many are looked at.
pub(super) async fn signatures<R: Reads>(
    reads: &R,
    query: &Query,
    most: usize,
) -> Result<(Option<Signatures>, bool), R::Fault> {
    let (Scope::Readers(who) | Scope::Holders(_, who)) = &query.scope else {
        return Ok((None, true));
    };
    let range = |who: &Principal| {
        let mut key = cells::collection(&query.collection);
        key.push(cells::text(who.as_str()));
        Range::of(Index::Key(Table::SignaturePrincipals), key)
    };
    let columns = Columns::of(Table::SignaturePrincipals, 3, 4);
    let scan = Scan { columns, ..Scan::of(who.iter().map(range).collect(), most) };
    let signature = |row: &dyn Source| Ok((Signature(Cells::from(columns, row, 3).bytes()?), 0));
    let found = reads.scan(scan, signature).await?;
    Ok((Some(found.rows.into_iter().collect()), found.is_all))
}

// The same signatures, with the number of live records that have each.
async fn with_numbers<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    mut signatures: Signatures,
) -> Result<Signatures, R::Fault> {
    let all: Vec<Signature> = signatures.keys().copied().collect();
    for some in all.chunks(CHUNK_SIGNATURES) {
        let keys: Vec<_> = some.iter().map(|one| cells::signature_of(path, *one)).collect();
        let columns = Columns::of(Table::Signatures, 3, 4);
        let live = |row: &dyn Source| Cells::from(columns, row, 3).whole();
        let found = reads.get(&keys, columns, usize::MAX, live).await?;
        for (one, live) in some.iter().zip(found) {
            signatures.extend(live.map(|live| (*one, live)));
        }
    }
    Ok(signatures)
}

// The first rows of a usual page, whatever they are.
async fn first_rows<R: Reads>(reads: &R, query: &Query) -> Result<Option<Found<Record>>, R::Fault> {
    let shape = Shape::of(query);
    if query.scope != Scope::All || !is_plain(&shape) || query.limit > AHEAD {
        return Ok(None);
    }
    let columns = if query.bodies { Columns::RECORD } else { Columns::SLIM };
    let direction = shape.by_time.unwrap_or(Direction::Ascending);
    let rows = query.limit.saturating_add(1);
    let mut scan =
        along(&query.collection, Index::RecordsSeq, shape.times, direction, columns, rows);
    scan.bytes = query.limit_bytes;
    reads.scan(scan, |row: &dyn Source| record_of(row, columns)).await.map(Some)
}

pub(super) fn along<'q>(
    path: &CollectionPath,
    index: Index,
    times: Times,
    direction: Direction,
    columns: Columns,
    limit: usize,
) -> Scan<'q> {
    let range = Range::of(index, cells::collection(path)).between(times.low, times.high);
    let descending = direction == Direction::Descending;
    Scan { descending, columns, ..Scan::of(vec![range], limit) }
}

/// Gets each record in turn; may stop the walk.
type Visit<'v> = dyn FnMut(Record) -> ControlFlow<()> + Send + 'v;

/// How much was looked at since the last pause.
#[derive(Default)]
struct Breath(usize);

impl Breath {
    async fn take<R: Reads>(&mut self, reads: &R, record: &Record) -> Result<(), R::Fault> {
        self.0 += Query::cost(record);
        if self.0 < BREATH_BYTES {
            return Ok(());
        }
        self.0 = 0;
        reads.pause().await
    }
}

/// A walk through a collection.
struct Walk<'w, R> {
    reads: &'w R,
    asked: &'w PlannedQuery<'w>,
    columns: Columns,
    /// Rows that are read in one go.
    rows: usize,
    /// Bytes that are read in one go.
    bytes: usize,
    /// What was read already, of the way along the positions.
    ahead: Option<Found<Record>>,
}

impl<'w, R: Reads> Walk<'w, R> {
    fn new(reads: &'w R, asked: &'w PlannedQuery<'w>, columns: Columns, rows: usize) -> Self {
        Self { reads, asked, columns, rows, bytes: nuage_model::PAGE_BYTES, ahead: None }
    }

    async fn run(&mut self, visit: &mut Visit<'_>) -> Result<(), R::Fault> {
        match self.asked.way() {
            AccessPath::Ids => self.by_ids(visit).await,
            AccessPath::Signatures => self.along_one_order(visit).await,
            AccessPath::Positions | AccessPath::Times => self.along_times(visit).await,
        }
    }

    fn direction(&self) -> Direction {
        self.asked.shape.by_time.unwrap_or(Direction::Ascending)
    }

    fn conditions(&self) -> Vec<Condition<'w>> {
        let live_only = self.asked.query.states == States::Live;
        live_only.then_some(Condition::Unset(DEAD)).into_iter().collect()
    }

    // Along the positions of each signature, where no record has a time of its own.
    async fn along_one_order(&self, visit: &mut Visit<'_>) -> Result<(), R::Fault> {
        let path = &self.asked.query.collection;
        let mut times = self.asked.shape.times;
        let mut breath = Breath::default();
        loop {
            let range = |one: &Signature| {
                let all = Range::of(Index::RecordsSignature, cells::signature_of(path, *one));
                all.between(times.low, times.high)
            };
            let signatures = self.asked.signatures.iter().flat_map(Signatures::keys);
            let scan = Scan {
                together: Together::Merged,
                descending: self.direction() == Direction::Descending,
                conditions: self.conditions(),
                columns: self.columns,
                bytes: self.bytes,
                ..Scan::of(signatures.map(range).collect(), self.rows)
            };
            let found = self.scan(scan).await?;
            let mut last = None;
            for record in found.rows {
                last = Some(record.timestamp().0);
                breath.take(self.reads, &record).await?;
                if visit(record).is_break() {
                    return Ok(());
                }
            }
            let Some(last) = last.filter(|_| !found.is_all) else { return Ok(()) };
            if !go_on(&mut times, self.direction(), last) {
                return Ok(());
            }
        }
    }

    // Along the positions, and the chosen times where there are any, merged.
    async fn along_times(&mut self, visit: &mut Visit<'_>) -> Result<(), R::Fault> {
        let path = &self.asked.query.collection;
        let (mut times, direction) = (self.asked.shape.times, self.direction());
        let has_chosen = self.asked.way() == AccessPath::Times;
        let mut ahead = self.ahead.take();
        let mut breath = Breath::default();
        loop {
            let scan = |index, more: Option<Condition<'w>>| {
                let mut scan = along(path, index, times, direction, self.columns, self.rows);
                scan.conditions = self.conditions();
                scan.conditions.extend(more);
                let seen = self.asked.signatures.as_ref();
                scan.conditions.extend(seen.map(|seen| Condition::Among(SIGNATURE, seen)));
                scan.bytes = self.bytes;
                scan
            };
            let mut chosen = Found::nothing();
            let plain = match (ahead.take(), has_chosen) {
                (Some(ahead), _) => ahead,
                (None, false) => self.scan(scan(Index::RecordsSeq, None)).await?,
                (None, true) => {
                    let plain = scan(Index::RecordsSeq, Some(Condition::Absent(TIMESTAMP)));
                    let times = scan(Index::RecordsTimestamp, None);
                    let both = try_join(self.scan(plain), self.scan(times)).await?;
                    chosen = both.1;
                    both.0
                }
            };
            let is_all = plain.is_all && chosen.is_all;
            let mut merged = Merged::new(plain, chosen, direction);
            let mut last = None;
            while let Some(record) = merged.next() {
                last = Some(record.timestamp().0);
                breath.take(self.reads, &record).await?;
                let is_passed = !record.is_live() && self.asked.query.states == States::Live;
                if !is_passed && visit(record).is_break() {
                    return Ok(());
                }
            }
            let Some(last) = last.filter(|_| !is_all) else { return Ok(()) };
            if !go_on(&mut times, direction, last) {
                return Ok(());
            }
        }
    }

    async fn scan(&self, scan: Scan<'_>) -> Result<Found<Record>, R::Fault> {
        self.reads.scan(scan, |row: &dyn Source| record_of(row, self.columns)).await
    }

    // The records that the query names, in no order.
    async fn by_ids(&self, visit: &mut Visit<'_>) -> Result<(), R::Fault> {
        let path = &self.asked.query.collection;
        let ids = self.asked.shape.ids.as_deref().unwrap_or_default().iter();
        let keys: Vec<Vec<Cell>> = ids.map(|id| cells::record(&path.record(*id))).collect();
        let mut left = keys.as_slice();
        let mut breath = Breath::default();
        while !left.is_empty() {
            let some = &left[..left.len().min(CHUNK_IDS)];
            let both = |row: &dyn Source| {
                let signature = Cells::from(self.columns, row, SIGNATURE).bytes()?;
                Ok((record_of(row, self.columns)?, Signature(signature)))
            };
            let found = self.reads.get(some, self.columns, self.bytes, both).await?;
            left = &left[found.len().clamp(1, left.len())..];
            for (record, signature) in found.into_iter().flatten() {
                breath.take(self.reads, &record).await?;
                let is_passed = !record.is_live() && self.asked.query.states == States::Live;
                let seen = self.asked.signatures.as_ref();
                let is_hidden = seen.is_some_and(|seen| !seen.contains_key(&signature));
                if !is_passed && !is_hidden && visit(record).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

// Narrows the times to what comes after this one; whether there is anything.
fn go_on(times: &mut Times, direction: Direction, last: i64) -> bool {
    match direction {
        Direction::Ascending => times.low = last.saturating_add(1),
        Direction::Descending => times.high = last.saturating_sub(1),
    }
    times.low <= times.high
}

/// Rows along the positions and along the chosen times, in one order, as far as both are known.
struct Merged {
    plain: VecDeque<Record>,
    chosen: VecDeque<Record>,
    /// Whether others follow, of each.
    cut: [bool; 2],
    direction: Direction,
}

impl Merged {
    fn new(plain: Found<Record>, chosen: Found<Record>, direction: Direction) -> Self {
        let cut = [!plain.is_all, !chosen.is_all];
        Self { plain: plain.rows.into(), chosen: chosen.rows.into(), cut, direction }
    }

    // The next one. Where one side ends that was cut, it is not known what comes next.
    fn next(&mut self) -> Option<Record> {
        let precedes = |one: &Record, other: &Record| {
            let order = one.timestamp().cmp(&other.timestamp());
            match self.direction {
                Direction::Ascending => order == Ordering::Less,
                Direction::Descending => order == Ordering::Greater,
            }
        };
        match (self.plain.front(), self.chosen.front()) {
            (Some(plain), Some(chosen)) if precedes(plain, chosen) => self.plain.pop_front(),
            (Some(_), Some(_)) => self.chosen.pop_front(),
            (Some(_), None) if !self.cut[1] => self.plain.pop_front(),
            (None, Some(_)) if !self.cut[0] => self.chosen.pop_front(),
            _ => None,
        }
    }
}

// A page for somebody who has many signatures, if it is among the first rows.
async fn try_rows<R: Reads>(
    reads: &R,
    query: &Query,
    sequence: &CollectionRow,
    mut lookups: usize,
    pace: Pace,
) -> Result<Option<(Vec<Record>, bool)>, R::Fault> {
    let asked = PlannedQuery::new(query, sequence, None);
    let Scope::Readers(who) = &query.scope else { return Ok(None) };
    let who: BTreeSet<&str> = who.iter().map(Principal::as_str).collect();
    if asked.is_empty() || !asked.can_be_tried() {
        return Ok(None);
    }
    let direction = asked.shape.by_time.unwrap_or(Direction::Ascending);
    let mut kept = InOrder::new(query.limit, query.limit_bytes);
    let mut known: BTreeMap<Signature, bool> = BTreeMap::new();
    let mut budget = Budget::of(pace);
    let mut times = asked.shape.times;
    let mut rows = query.limit.saturating_mul(4).clamp(CHUNK_TRIED_MIN, CHUNK_TRIED);
    while lookups > 0 {
        rows = rows.min(lookups);
        let path = &query.collection;
        let mut scan = along(path, Index::RecordsSeq, times, direction, Columns::TRACE, rows);
        if query.states == States::Live {
            scan.conditions.push(Condition::Unset(DEAD));
        }
        let each = |row: &dyn Source| {
            let old = StoredRow::of_columns(row)?;
            Ok((StoredRow::id_in_columns(row)?, old.seq, old.signature))
        };
        let found = reads.scan(scan, each).await?;
        lookups = lookups.saturating_sub(found.rows.len());
        let tried = found.rows;
        let new: BTreeSet<Signature> = tried.iter().map(|(.., one)| *one).collect();
        let new: Vec<Signature> = new.into_iter().filter(|one| !known.contains_key(one)).collect();
        known.extend(sees(reads, path, &who, &new, &mut lookups).await?);
        // What is not looked up is not known, and the page ends before it.
        let is_enough = new.iter().all(|one| known.contains_key(one));
        let tried: Vec<_> = tried.iter().take_while(|(.., one)| known.contains_key(one)).collect();
        let seen = tried.iter().filter(|(.., one)| known[one]);
        let seen = seen.take(query.limit.saturating_add(1));
        let keys: Vec<_> = seen.map(|(id, ..)| cells::record(&path.record(id.clone()))).collect();
        let columns = if asked.wants_bodies() { Columns::RECORD } else { Columns::SLIM };
        let mut left = keys.as_slice();
        while !left.is_empty() {
            let record = |row: &dyn Source| record_of(row, columns);
            let rows = reads.get(left, columns, query.limit_bytes, record).await?;
            left = &left[rows.len().clamp(1, left.len())..];
            for record in rows.into_iter().flatten() {
                if budget.spend(&record).is_break() {
                    return Ok(None);
                }
                if kept.push(record).is_break() {
                    return Ok(Some(kept.finish()));
                }
            }
        }
        if found.is_all && is_enough {
            return Ok(Some(kept.finish()));
        }
        let Some((_, last, _)) = tried.last().filter(|_| is_enough) else { return Ok(None) };
        if !go_on(&mut times, direction, last.0) {
            return Ok(Some(kept.finish()));
        }
        rows = rows.saturating_mul(2);
    }
    Ok(None)
}

// Of each of these signatures, whether one of these people is in it: as far as so many look-ups go.
pub(super) async fn sees<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    who: &BTreeSet<&str>,
    signatures: &[Signature],
    lookups: &mut usize,
) -> Result<BTreeMap<Signature, bool>, R::Fault> {
    let mut known = BTreeMap::new();
    // Few people are looked up in each signature, many are compared with who is in it.
    if who.len() <= FEW_PEOPLE {
        let some = &signatures[..signatures.len().min(*lookups / who.len().max(1))];
        *lookups = lookups.saturating_sub(some.len().saturating_mul(who.len()).max(1));
        let key = |one: &Signature, who: &&str| {
            let mut key = cells::collection(path);
            key.extend([cells::text(*who), cells::signature(*one)]);
            key
        };
        let keys = some.iter().flat_map(|one| who.iter().map(move |who| key(one, who)));
        let keys: Vec<Vec<Cell>> = keys.collect();
        let columns = Columns::of(Table::SignaturePrincipals, 3, 4);
        let found = reads.get(&keys, columns, usize::MAX, |_: &dyn Source| Ok(())).await?;
        let each = found.chunks(who.len().max(1)).map(|found| found.iter().any(Option::is_some));
        known.extend(some.iter().copied().zip(each));
        return Ok(known);
    }
    let range = |one: &Signature| {
        Range::of(Index::SignaturePrincipalsSignature, cells::signature_of(path, *one))
    };
    let columns = Columns::of(Table::SignaturePrincipals, 2, 4);
    let ranges = signatures.iter().map(range).collect();
    let pair = |row: &dyn Source| {
        let mut cells = Cells::from(columns, row, 2);
        let is_one = who.contains(cells.text()?);
        Ok((Signature(cells.bytes()?), is_one))
    };
    let found = reads.scan(Scan { columns, ..Scan::of(ranges, *lookups) }, pair).await?;
    *lookups = lookups.saturating_sub(found.rows.len().max(1));
    for (one, is_one) in &found.rows {
        *known.entry(*one).or_insert(false) |= is_one;
    }
    if found.is_all {
        // In the others there is nobody.
        for one in signatures {
            known.entry(*one).or_insert(false);
        }
    } else if let Some((last, _)) = found.rows.last() {
        // Perhaps not all who are in the last one were looked at.
        known.retain(|one, is_seen| one != last || *is_seen);
    }
    Ok(known)
}
