//! What a damaged file still gives: every record that can be read, into a new file, and how many of
//! each collection cannot.
//!
//! A table is a tree of pages, and a damaged page hides the rows below it. Rows are asked for in
//! order of their numbers; where that fails, from the next number on, until one answers again.
//! Records that an index names and that did not come are told by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nuage_model::{CollectionPath, Finding};
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::integrity::wrong_texts;
use crate::sqlite::errors::Fault;
use crate::sqlite::open::{self, Way};
use crate::{Lost, Options};

/// Names of lost records that are told for each collection.
const NAMES_MAX: usize = 1_000;
/// Rows of a page at the most, to guess how many there are when no tree tells its end.
const PAGE_ROWS_MAX: i64 = 200;

const RECORDS: &str = "
    SELECT rowid, number, id, seq, timestamp, signature, entered, dead, permissions, body
    FROM records NOT INDEXED WHERE rowid >= ?1 ORDER BY rowid";
const INSERT: &str = "
    INSERT OR IGNORE INTO records (rowid, number, id, seq, timestamp, signature, entered, dead,
        permissions, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
/// The last number, from the table or from an index of it.
const LAST: [&str; 3] = [
    "SELECT max(rowid) FROM records NOT INDEXED",
    "SELECT max(+rowid) FROM records INDEXED BY records_seq",
    "SELECT max(+rowid) FROM records INDEXED BY records_signature",
];
/// From both ends, since a damaged page ends a walk.
const NAMED: [&str; 2] = [
    "SELECT rowid, number, id FROM records INDEXED BY sqlite_autoindex_records_1
     ORDER BY number, id",
    "SELECT rowid, number, id FROM records INDEXED BY sqlite_autoindex_records_1
     ORDER BY number DESC, id DESC",
];
/// What collections are called, from the table and from an index of it.
const COLLECTIONS: [&str; 4] = [
    "SELECT number, bucket, collection FROM collections NOT INDEXED ORDER BY number",
    "SELECT number, bucket, collection FROM collections NOT INDEXED ORDER BY number DESC",
    "SELECT number, bucket, collection FROM collections INDEXED BY sqlite_autoindex_collections_1
     ORDER BY bucket, collection",
    "SELECT number, bucket, collection FROM collections INDEXED BY sqlite_autoindex_collections_1
     ORDER BY bucket DESC, collection DESC",
];
const DROPPED: [&str; 2] = [
    "SELECT number FROM dropped ORDER BY number",
    "SELECT number FROM dropped ORDER BY number DESC",
];
/// The bucket of collections whose names cannot be read. They are called by their numbers.
const NAMELESS: &str = "lost";
const COUNTED: [&str; 2] = [
    "SELECT live + tombstones, bucket, collection FROM collections ORDER BY bucket, collection",
    "SELECT live + tombstones, bucket, collection FROM collections
     ORDER BY bucket DESC, collection DESC",
];
/// Enough of a sequence for what is there to be listed.
const MAKE_SEQUENCE: &str = "
    INSERT OR IGNORE INTO collections (number, bucket, collection, incarnation, seq, timestamp, gc_seq, live,
        tombstones, chosen, gone, dropped, names, named, nested)
    SELECT ?1, ?2, ?3, zeroblob(8), max(seq), NULL, max(seq), sum(NOT dead), sum(dead),
        count(timestamp), 0, 0, 0, 0, 0
    FROM records WHERE number = ?1 HAVING count(*) > 0";
const HAS: &str = "SELECT EXISTS (SELECT 1 FROM records WHERE rowid = ?1)";

type Counts = BTreeMap<CollectionPath, u64>;
type Names = BTreeMap<CollectionPath, BTreeSet<String>>;

/// What the collections of a file are called, as far as that can be read.
struct Called {
    names: BTreeMap<i64, CollectionPath>,
    dropped: BTreeSet<i64>,
}

impl Called {
    fn of(connection: &Connection) -> Result<Self, Fault> {
        let (mut names, mut dropped) = (BTreeMap::new(), BTreeSet::new());
        each_of(connection, &COLLECTIONS, &mut |row| {
            names.insert(row.get(0)?, path_of(row)?);
            Ok(())
        })?;
        each_of(connection, &DROPPED, &mut |row| {
            dropped.insert(row.get(0)?);
            Ok(())
        })?;
        Ok(Self { names, dropped })
    }

    // None for what was dropped, and is only not removed yet.
    fn path(&self, number: i64) -> Option<CollectionPath> {
        let nameless = || CollectionPath::new(NAMELESS, number.to_string().as_str());
        match self.names.get(&number) {
            Some(path) => Some(path.clone()),
            None => (!self.dropped.contains(&number)).then(nameless),
        }
    }
}

/// Writes what can be read of one file to a new one; tells what cannot, by collection.
pub(super) fn salvage(path: &Path, to: &Path) -> Result<Vec<Lost>, Fault> {
    let way = match open::look(path) {
        Ok(way) => way,
        // A page that is needed to look may be damaged as well.
        Err(fault) if fault.is_damage() => Way::ReadOnly,
        Err(fault) => return Err(fault),
    };
    let source = open::reader(path, way)?;
    source.execute_batch("BEGIN")?;
    let target = open::writer(to, &Options::default())?;
    target.execute_batch("BEGIN")?;
    let called = Called::of(&source)?;
    let (mut read, mut lost) = (Counts::new(), Names::new());
    let mut numbers = BTreeMap::new();
    {
        let mut insert = target.prepare(INSERT)?;
        each_record(&source, &mut |row| {
            let number = row.get(1)?;
            let Some(path) = called.path(number) else { return Ok(()) };
            let id = row.get::<_, String>(2)?;
            let name = path.stored_name();
            let names = [path.bucket.as_str(), &name, id.as_str()];
            let (permissions, body) =
                (row.get_ref(8)?.as_str().ok(), row.get_ref(9)?.as_str().ok());
            let values = (0..10).map(|n| Ok(ToSqlOutput::Borrowed(row.get_ref(n)?)));
            let values = values.collect::<rusqlite::Result<Vec<_>>>()?;
            // A damaged row may be a second one of its name, or hold another kind of value.
            let is_whole = wrong_texts(names, permissions, body).is_none()
                && insert.execute(params_from_iter(values)).is_ok_and(|rows| rows == 1);
            match is_whole {
                true => {
                    *read.entry(path.clone()).or_default() += 1;
                    numbers.insert(number, path);
                }
                false => note(&mut lost, path, id),
            }
            Ok(())
        })?;
    }
    for (number, path) in &numbers {
        let names = (path.bucket.as_str(), path.stored_name());
        target.execute(MAKE_SEQUENCE, params![number, names.0, names.1])?;
    }
    let mut has = target.prepare(HAS)?;
    each_of(&source, &NAMED, &mut |row| {
        if let Some(path) = called.path(row.get(1)?)
            && !has.query_row([row.get::<_, i64>(0)?], |row| row.get::<_, bool>(0))?
        {
            note(&mut lost, path, row.get(2)?);
        }
        Ok(())
    })?;
    drop(has);
    target.execute_batch("COMMIT")?;
    Ok(losses(counted(&source)?, &read, lost))
}

/// How much of each collection can be read.
pub(super) fn extent(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    let called = Called::of(connection)?;
    let mut read = Counts::new();
    each_record(connection, &mut |row| {
        if let Some(path) = called.path(row.get(1)?) {
            *read.entry(path).or_default() += 1;
        }
        Ok(())
    })?;
    let losses = losses(counted(connection)?, &read, Names::new());
    let mut findings: Vec<_> = losses.iter().map(|lost| Finding(lost.to_string())).collect();
    findings.push(Finding(format!(
        "{} records and tombstones can be read: restore a backup, or save them with `nuage export \
         --salvage`",
        read.values().sum::<u64>()
    )));
    Ok(findings)
}

// What each collection should have, as far as that can be read.
fn counted(connection: &Connection) -> Result<Counts, Fault> {
    let mut counts = Counts::new();
    each_of(connection, &COUNTED, &mut |row| {
        counts.insert(path_of(row)?, row.get::<_, i64>(0)?.try_into().unwrap_or(0));
        Ok(())
    })?;
    Ok(counts)
}

fn losses(counted: Counts, read: &Counts, mut lost: Names) -> Vec<Lost> {
    let paths: BTreeSet<_> =
        counted.keys().chain(read.keys()).chain(lost.keys()).cloned().collect();
    let losses = paths.into_iter().filter_map(|collection| {
        let names = lost.remove(&collection).unwrap_or_default().into_iter().collect::<Vec<_>>();
        let read = read.get(&collection).copied().unwrap_or(0);
        let kept = counted.get(&collection).copied();
        let is_whole = names.is_empty() && kept.is_some_and(|kept| kept <= read);
        (!is_whole).then_some(Lost { collection, read, kept, names })
    });
    losses.collect()
}

fn note(lost: &mut Names, path: CollectionPath, id: String) {
    let names = lost.entry(path).or_default();
    if names.len() < NAMES_MAX {
        names.insert(id);
    }
}

// Shows each record that can be read, in order of the numbers of the rows.
fn each_record(
    connection: &Connection,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare(RECORDS)?;
    let (mut from, mut last) = (1, None);
    loop {
        let mut rows = statement.query([from])?;
        let fault = loop {
            match rows.next() {
                Ok(Some(row)) => {
                    visit(row)?;
                    from = row.get::<_, i64>(0)?.saturating_add(1);
                }
                Ok(None) => return Ok(()),
                Err(error) => break Fault::from(error),
            }
        };
        drop(rows);
        if !fault.is_damage() {
            return Err(fault);
        }
        let last = *last.get_or_insert_with(|| last_number(connection, from));
        if from >= last {
            return Ok(());
        }
        from += 1;
    }
}

fn last_number(connection: &Connection, from: i64) -> i64 {
    let known = LAST.iter().find_map(|sql| {
        connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).ok().flatten()
    });
    let pages = connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0));
    known.unwrap_or_else(|| from + pages.unwrap_or(0) * PAGE_ROWS_MAX)
}

// Shows the rows of each of these questions, up to a damaged page.
fn each_of(
    connection: &Connection,
    questions: &[&str],
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for sql in questions {
        let walk = || -> Result<(), Fault> {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row)?;
            }
            Ok(())
        };
        match { walk }() {
            Ok(()) => return Ok(()),
            Err(fault) if fault.is_damage() => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

// Bucket and collection are the second and the third column wherever there are such.
fn path_of(row: &Row<'_>) -> Result<CollectionPath, Fault> {
    let (bucket, collection): (String, String) = (row.get(1)?, row.get(2)?);
    Ok(CollectionPath::of_stored(bucket.as_str(), collection.as_str()))
}
