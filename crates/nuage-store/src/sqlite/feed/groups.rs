//! The groups that somebody is in, directly or through other groups, in any bucket.
//!
//! Each group is visited once, so that groups may contain each other. The walk stops as soon as
//! there are more than are wanted.

use std::collections::BTreeSet;

use nuage_model::{GroupPath, Principal, Seq};
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::places::GROUPS;

const POSITION: &str = "
    SELECT seq FROM records
    WHERE bucket = ?1 AND collection = '_groups' AND id = ?2 AND dead = 0";

/// At most one more than `groups_max` groups in order, with the position of each one's record, or
/// zero where there is none.
pub(super) fn closure(
    connection: &Connection,
    members: &[Principal],
    groups_max: usize,
    deadline: &Deadline,
) -> Result<Vec<(GroupPath, Seq)>, Fault> {
    let mut groups = BTreeSet::new();
    let mut waiting = members.to_vec();
    let mut statement = connection.prepare_cached(GROUPS)?;
    'all: while let Some(member) = waiting.pop() {
        let mut rows = statement.query([member.as_str()])?;
        while let Some(row) = rows.next()? {
            deadline.check()?;
            let bucket = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?.into();
            let group = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?.into();
            let path = GroupPath { bucket, group };
            if groups.contains(&path) {
                continue;
            }
            waiting.push(path.principal());
            groups.insert(path);
            if groups.len() > groups_max {
                break 'all;
            }
        }
    }
    let mut placed = Vec::with_capacity(groups.len());
    for path in groups {
        deadline.check()?;
        let seq = position(connection, &path)?;
        placed.push((path, seq));
    }
    Ok(placed)
}

fn position(connection: &Connection, path: &GroupPath) -> Result<Seq, Fault> {
    let mut statement = connection.prepare_cached(POSITION)?;
    let key = [path.bucket.as_str(), path.group.as_str()];
    let seq = statement.query_row(key, |row| row.get(0)).optional()?;
    Ok(Seq(seq.unwrap_or(0)))
}
