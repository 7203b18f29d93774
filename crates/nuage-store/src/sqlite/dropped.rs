//! What lies under collections that were dropped is removed behind, a slice at a time: a drop gives
//! a collection another number, and notes the old one in `dropped`.
//!
//! Nothing that has such a number is ever read again, so that it does not matter when it goes. What
//! the directory says for it goes along, unless it is true of what is there now.

use nuage_model::copy::Table;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::schema::{Index, under_collection};
use crate::sqlite::errors::Fault;
use crate::sqlite::tables::{GROUPS, names_of};

/// Rows of a slice at the most. Each leaves up to six indexes: some milliseconds of work, for which
/// whoever writes meanwhile waits.
pub(super) const SLICE_ROWS: usize = 128;
/// Bytes of texts in a slice, and one row more: each page of a large one is looked at.
const SLICE_BYTES: i64 = 1024 * 1024;

/// Never what is there: it may be noted by mistake.
const NEXT: &str = "
    SELECT number, bucket, collection, looked_at FROM dropped
    WHERE number NOT IN (SELECT number FROM collections) ORDER BY number LIMIT 1";
const DONE: &str = "DELETE FROM dropped WHERE number = ?1";
/// In the order of their positions, in which they lie beside each other.
const RECORDS: &str = "
    SELECT rowid, octet_length(permissions) + octet_length(body)
    FROM records INDEXED BY records_seq WHERE number = ?1 ORDER BY seq LIMIT ?2";
/// What the directory says for collections of a name, or for groups of a bucket, from a name on; and
/// whether it is true of what is there now.
const DIRECTORY: [[&str; 2]; 2] = [
    [
        "SELECT principal, EXISTS (SELECT 1 FROM signature_principals p
            WHERE p.principal = d.principal AND p.number =
                (SELECT number FROM collections WHERE bucket = ?1 AND collection = ?2))
        FROM directory_collections d INDEXED BY directory_collections_bucket
        WHERE bucket = ?1 AND collection = ?2 AND principal > ?3 ORDER BY principal LIMIT ?4",
        "DELETE FROM directory_collections
        WHERE principal = ?3 AND bucket = ?1 AND collection = ?2",
    ],
    [
        "SELECT member, EXISTS (SELECT 1 FROM members m WHERE m.member = d.member AND m.number =
            (SELECT number FROM collections WHERE bucket = ?1 AND collection = ?2))
        FROM directory_groups d INDEXED BY directory_groups_bucket
        WHERE bucket = ?1 AND member > ?3 ORDER BY member LIMIT ?4",
        "DELETE FROM directory_groups WHERE member = ?3 AND bucket = ?1 AND ?2 = '_groups'",
    ],
];
/// How it begins what is kept of how far that came: among principals, then among members.
const PRINCIPALS: char = 'p';
const MEMBERS: char = 'm';
const LOOKED_AT: &str = "UPDATE dropped SET looked_at = ?2 WHERE number = ?1";

/// Removes so many rows at the most, in a transaction that is open already. Whether there may be
/// others.
pub(super) fn remove_slice(connection: &Connection, rows: usize) -> Result<bool, Fault> {
    let mut left = rows;
    while left > 0 {
        let next = connection.prepare_cached(NEXT)?.query_row([], |row| {
            let names = [row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(Dropped { number: row.get(0)?, names })
        });
        let Some(dropped) = next.optional()? else { return Ok(false) };
        left = dropped.remove(connection, left)?;
    }
    Ok(true)
}

/// A number; what the collection was called, and up to where the directory was looked at for it.
struct Dropped {
    number: i64,
    names: [String; 3],
}

impl Dropped {
    // How many rows are left for others; none if there may be more of it.
    fn remove(&self, connection: &Connection, most: usize) -> Result<usize, Fault> {
        let mut left = most;
        for table in Table::ALL.into_iter().filter(|table| under_collection(*table) > 0) {
            left = left.saturating_sub(match table {
                Table::Records => self.remove_records(connection, left)?,
                _ => self.remove_rows(connection, table, left)?,
            });
            if left == 0 {
                return Ok(0);
            }
        }
        if self.look_at(connection, left)? {
            return Ok(0);
        }
        connection.prepare_cached(DONE)?.execute([self.number])?;
        Ok(left - 1)
    }

    // How many; all there may be if the bytes are over.
    fn remove_records(&self, connection: &Connection, most: usize) -> Result<usize, Fault> {
        let mut found = connection.prepare_cached(RECORDS)?;
        let found = found.query_map(params![self.number, limit(most)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        let mut delete = connection.prepare_cached("DELETE FROM records WHERE rowid = ?1")?;
        let mut bytes = 0;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        for (removed, (row, length)) in found.iter().enumerate() {
            if bytes >= SLICE_BYTES {
                debug_assert!(removed > 0, "a row is removed, however large");
                return Ok(most);
            }
            bytes += length;
            delete.execute([row])?;
        }
        Ok(found.len())
    }

    // How many.
    fn remove_rows(
        &self,
        connection: &Connection,
        table: Table,
        most: usize,
    ) -> Result<usize, Fault> {
        let (name, key) = (table.name(), names_of(Index::Key(table), usize::MAX));
        let found = format!("SELECT {} FROM {name} WHERE number = ?1 LIMIT ?2", key.join(", "));
        let is_key: Vec<String> = key.iter().map(|column| format!("{column} = ?")).collect();
        let delete = format!("DELETE FROM {name} WHERE {}", is_key.join(" AND "));
        let mut found = connection.prepare_cached(&found)?;
        let found = found.query_map(params![self.number, limit(most)], |row| {
            (0..key.len()).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>()
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut delete = connection.prepare_cached(&delete)?;
        for row in &found {
            delete.execute(params_from_iter(row))?;
        }
        Ok(found.len())
    }

    // Takes from the directory what is not true of the present collection of that name; whether there
    // may be more.
    fn look_at(&self, connection: &Connection, most: usize) -> Result<bool, Fault> {
        let [bucket, collection, looked_at] = &self.names;
        let (part, from) = match looked_at.strip_prefix(MEMBERS) {
            Some(from) => (1, from),
            None => (0, looked_at.strip_prefix(PRINCIPALS).unwrap_or_default()),
        };
        let [find, remove] = DIRECTORY[part];
        let mut found = connection.prepare_cached(find)?;
        let found = found.query_map(params![bucket, collection, from, limit(most)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut remove = connection.prepare_cached(remove)?;
        for (name, _) in found.iter().filter(|(_, is_true)| !is_true) {
            remove.execute(params![bucket, collection, name])?;
        }
        let next = match found.last().filter(|_| found.len() >= most) {
            Some((last, _)) => format!("{}{last}", [PRINCIPALS, MEMBERS][part]),
            None if part == 0 && collection == GROUPS => MEMBERS.to_string(),
            None => return Ok(false),
        };
        connection.prepare_cached(LOOKED_AT)?.execute(params![self.number, next])?;
        Ok(true)
    }
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::sqlite::open;

    #[test]
    fn many_that_are_empty_go_together() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("data");
        let connection = open::writer(&path, &Options::default()).expect("it opens");
        let note = "
            WITH RECURSIVE n (n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM n WHERE n < 1099)
            INSERT INTO dropped (number, bucket, collection, looked_at) SELECT n, 'b', 'c', '' FROM n";
        connection.execute(note, []).expect("it can be noted");
        let slices = (0..).find(|_| !remove_slice(&connection, SLICE_ROWS).expect("it removes"));
        assert_eq!(slices, Some(1_000 / SLICE_ROWS), "each took a row of a slice");
        let left = connection.query_row("SELECT count(*) FROM dropped", [], |row| row.get(0));
        assert_eq!(left, Ok(0_i64));
    }
}
