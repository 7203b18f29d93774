//! Everything that can be wrong in the data, looked for and told in sentences.
//!
//! Each rule is one question to the tables, whose every answer is a finding; what SQL cannot
//! decide (hashes, JSON) is decided row by row. At most [`FINDINGS_MAX`] are told of each rule.

use std::collections::BTreeSet;

use nuage_model::{Finding, Permissions, Principal, Readers, Signature};
use rusqlite::Connection;
use serde_json::Value;

use crate::sqlite::errors::Fault;

/// Findings told of one rule; a broken file can break a rule in every row.
const FINDINGS_MAX: usize = 100;

/// Each query gives one sentence a row.
const RULES: &[&str] = &[
    // Counters and positions of a collection.
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' counts ' || c.live ||
        ' live records and ' || c.tombstones || ' tombstones, but has ' ||
        coalesce(r.live, 0) || ' and ' || coalesce(r.tombstones, 0)
     FROM collections c LEFT JOIN (
        SELECT bucket, collection, sum(dead = 0) AS live, sum(dead = 1) AS tombstones
        FROM records GROUP BY bucket, collection) r
     ON r.bucket = c.bucket AND r.collection = c.collection
     WHERE c.live <> coalesce(r.live, 0) OR c.tombstones <> coalesce(r.tombstones, 0)",
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' counts ' || c.chosen ||
        ' records with a time of their own, but has ' || coalesce(r.chosen, 0)
     FROM collections c LEFT JOIN (
        SELECT bucket, collection, count(timestamp) AS chosen
        FROM records GROUP BY bucket, collection) r
     ON r.bucket = c.bucket AND r.collection = c.collection
     WHERE c.chosen <> coalesce(r.chosen, 0)",
    "SELECT 'record ' || r.bucket || '/' || r.collection || '/' || r.id || ' is at position ' ||
        r.seq || ', beyond the head ' || c.seq || ' of its collection'
     FROM records r JOIN collections c ON c.bucket = r.bucket AND c.collection = r.collection
     WHERE r.seq > c.seq",
    "SELECT 'record ' || r.bucket || '/' || r.collection || '/' || r.id || ' shows the time ' ||
        coalesce(r.timestamp, r.seq) || ', beyond the time of its collection, ' ||
        coalesce(c.timestamp, c.seq)
     FROM records r JOIN collections c ON c.bucket = r.bucket AND c.collection = r.collection
     WHERE coalesce(r.timestamp, r.seq) > coalesce(c.timestamp, c.seq)",
    "SELECT 'collection ' || bucket || '/' || collection || ' shows the time ' || timestamp ||
        ', which is not before its position ' || seq
     FROM collections WHERE timestamp >= seq",
    "SELECT 'collection ' || bucket || '/' || collection || ' has its horizon at ' || gc_seq ||
        ', beyond its head ' || seq
     FROM collections WHERE gc_seq > seq",
    "SELECT 'records of ' || bucket || '/' || collection || ' share the position ' || seq
     FROM records GROUP BY bucket, collection, seq HAVING count(*) > 1",
    "SELECT 'records of ' || bucket || '/' || collection || ' share the time ' ||
        coalesce(timestamp, seq)
     FROM records GROUP BY bucket, collection, coalesce(timestamp, seq) HAVING count(*) > 1",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' shows the time ' ||
        timestamp || ', which is not before its position ' || seq
     FROM records WHERE timestamp >= seq",
    // Orphans.
    "SELECT 'records of ' || r.bucket || '/' || r.collection || ' (' || count(*) ||
        ') lie in a collection that does not exist'
     FROM records r LEFT JOIN collections c
     ON c.bucket = r.bucket AND c.collection = r.collection AND c.dropped = 0
     WHERE c.seq IS NULL GROUP BY r.bucket, r.collection",
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' has ' || (c.live + c.tombstones)
        || ' records, but the bucket has no such collection'
     FROM collections c LEFT JOIN records r
     ON r.bucket = c.bucket AND r.collection = '_collections' AND r.id = c.collection
        AND r.dead = 0
     WHERE c.dropped = 0 AND c.live + c.tombstones > 0 AND c.bucket <> ''
        AND substr(c.collection, 1, 1) <> '_' AND r.id IS NULL",
    "SELECT 'bucket ' || c.bucket || ' does not exist, but its collection ' || c.collection ||
        ' has ' || (c.live + c.tombstones) || ' records'
     FROM collections c LEFT JOIN records r
     ON r.bucket = '' AND r.collection = '_buckets' AND r.id = c.bucket AND r.dead = 0
     WHERE c.dropped = 0 AND c.live + c.tombstones > 0 AND c.bucket <> '' AND r.id IS NULL",
    // Signatures.
    "SELECT 'signature ' || hex(s.signature) || ' of ' || s.bucket || '/' || s.collection ||
        ' counts ' || s.live || ' live records, but ' || coalesce(r.live, 0) || ' have it'
     FROM signatures s LEFT JOIN (
        SELECT bucket, collection, signature, sum(dead = 0) AS live
        FROM records GROUP BY bucket, collection, signature) r
     ON r.bucket = s.bucket AND r.collection = s.collection AND r.signature = s.signature
     WHERE s.live <> coalesce(r.live, 0)",
    "SELECT 'record ' || r.bucket || '/' || r.collection || '/' || r.id ||
        ' has the unknown signature ' || hex(r.signature)
     FROM records r LEFT JOIN signatures s
     ON s.bucket = r.bucket AND s.collection = r.collection AND s.signature = r.signature
     WHERE s.live IS NULL",
    "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' had the unknown signature ' || hex(g.signature) || ' until position ' || g.seq
     FROM gone g LEFT JOIN signatures s
     ON s.bucket = g.bucket AND s.collection = g.collection AND s.signature = g.signature
     WHERE s.live IS NULL",
    "SELECT 'principal ' || p.principal || ' is listed under the unknown signature ' ||
        hex(p.signature) || ' of ' || p.bucket || '/' || p.collection
     FROM signature_principals p LEFT JOIN signatures s
     ON s.bucket = p.bucket AND s.collection = p.collection AND s.signature = p.signature
     WHERE s.live IS NULL",
    "SELECT 'principal ' || p.principal || ' may read records of ' || p.bucket || '/' ||
        p.collection || ', but the directory does not say so'
     FROM signature_principals p LEFT JOIN directory_collections d
     ON d.principal = p.principal AND d.bucket = p.bucket AND d.collection = p.collection
     WHERE d.principal IS NULL GROUP BY p.principal, p.bucket, p.collection",
    // Residencies.
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' is at position ' || seq ||
        ', but entered its signature later, at ' || entered
     FROM records WHERE entered > seq OR (dead = 1 AND entered = seq)",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' left a signature at ' ||
        seq || ' that it entered no earlier, at ' || entered
     FROM gone WHERE entered >= seq",
    "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' left a signature at ' || g.seq || ', after it had entered the next at ' || r.entered
     FROM gone g JOIN records r
     ON r.bucket = g.bucket AND r.collection = g.collection AND r.id = g.id
     WHERE g.seq > r.entered",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id ||
        ' had two signatures at position ' || entered
     FROM (SELECT bucket, collection, id, entered,
            lag(seq) OVER (PARTITION BY bucket, collection, id ORDER BY seq) AS previous
        FROM gone)
     WHERE previous > entered",
    "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' left a signature at ' || g.seq || ', which is not within the horizon ' ||
        coalesce(c.gc_seq, 'of any collection') || ' and the head'
     FROM gone g LEFT JOIN collections c
     ON c.bucket = g.bucket AND c.collection = g.collection AND c.dropped = 0
     WHERE c.seq IS NULL OR g.seq <= c.gc_seq OR g.seq > c.seq",
    // Members.
    "SELECT 'group ' || m.bucket || '/' || m.grp || ' has the member ' || m.member ||
        ', but the directory does not say so'
     FROM members m LEFT JOIN directory_groups d ON d.member = m.member AND d.bucket = m.bucket
     WHERE d.member IS NULL",
    "SELECT 'group ' || m.bucket || '/' || m.grp || ' does not exist, but has ' || count(*) ||
        ' members'
     FROM members m LEFT JOIN records r
     ON r.bucket = m.bucket AND r.collection = '_groups' AND r.id = m.grp AND r.dead = 0
     WHERE r.id IS NULL GROUP BY m.bucket, m.grp",
];

const RECORDS: &str = "SELECT bucket, collection, id, permissions, body, signature FROM records";
const SIGNATURES: &str = "
    SELECT s.bucket, s.collection, s.signature, p.principal
    FROM signatures s LEFT JOIN signature_principals p
    ON p.bucket = s.bucket AND p.collection = s.collection AND p.signature = s.signature
    ORDER BY s.bucket, s.collection, s.signature";
const GROUPS: &str = "
    SELECT bucket, id, body FROM records WHERE collection = '_groups' AND dead = 0";
const MEMBERS: &str = "SELECT member FROM members WHERE bucket = ?1 AND grp = ?2";

/// All findings, in one snapshot.
pub(super) fn check(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    integrity(connection, &mut findings)?;
    for rule in RULES {
        let mut statement = connection.prepare(rule)?;
        let mut rows = statement.query([])?;
        let mut told = 0;
        while let Some(row) = rows.next()? {
            findings.push(Finding(row.get(0)?));
            told += 1;
            if told == FINDINGS_MAX {
                break;
            }
        }
    }
    texts(connection, &mut findings)?;
    hashes(connection, &mut findings)?;
    groups(connection, &mut findings)?;
    Ok(findings)
}

// The file itself, as SQLite sees it.
fn integrity(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            findings.push(Finding(format!("the file is damaged: {said}")));
        }
    }
    Ok(())
}

// Bodies and permissions must be JSON objects.
fn texts(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(RECORDS)?;
    let mut rows = statement.query([])?;
    let mut told = 0;
    while let Some(row) = rows.next()?
        && told < FINDINGS_MAX
    {
        let (permissions, body) = (row.get_ref(3)?, row.get_ref(4)?);
        let is_object = body
            .as_str()
            .is_ok_and(|text| matches!(serde_json::from_str(text), Ok(Value::Object(_))));
        let is_permissions =
            permissions.as_str().is_ok_and(|text| Permissions::from_text(text).is_ok());
        let wrong = match (is_object, is_permissions) {
            (true, true) => continue,
            (false, _) => "a body that is not a JSON object",
            (true, false) => "permissions that cannot be read",
        };
        let (bucket, collection): (String, String) = (row.get(0)?, row.get(1)?);
        let id: String = row.get(2)?;
        findings.push(Finding(format!("record {bucket}/{collection}/{id} has {wrong}")));
        told += 1;
    }
    Ok(())
}

// Each signature must name exactly the principals that are listed under it.
fn hashes(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    type Key = (String, String, [u8; 16]);
    let mut told = 0;
    let mut tell = |key: &Key, principals: BTreeSet<Principal>| {
        let (bucket, collection, signature) = key;
        if Readers::new(principals).signature() != Signature(*signature) && told < FINDINGS_MAX {
            let hex: String = signature.iter().map(|byte| format!("{byte:02X}")).collect();
            findings.push(Finding(format!(
                "signature {hex} of {bucket}/{collection} does not name the principals that are \
                 listed under it"
            )));
            told += 1;
        }
    };
    let mut statement = connection.prepare(SIGNATURES)?;
    let mut rows = statement.query([])?;
    let mut current: Option<(Key, BTreeSet<Principal>)> = None;
    while let Some(row) = rows.next()? {
        let key: Key = (row.get(0)?, row.get(1)?, row.get(2)?);
        let principal: Option<String> = row.get(3)?;
        if let Some((known, principals)) = &mut current
            && *known == key
        {
            principals.extend(principal.map(Principal::from));
            continue;
        }
        let begun = (key, principal.map(Principal::from).into_iter().collect());
        if let Some((key, principals)) = current.replace(begun) {
            tell(&key, principals);
        }
    }
    if let Some((key, principals)) = current {
        tell(&key, principals);
    }
    Ok(())
}

// Members must be those that the group's own record lists, where it does.
fn groups(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(GROUPS)?;
    let mut rows = statement.query([])?;
    let mut told = 0;
    while let Some(row) = rows.next()?
        && told < FINDINGS_MAX
    {
        let (bucket, group): (String, String) = (row.get(0)?, row.get(1)?);
        let body = row.get_ref(2)?.as_str().unwrap_or_default();
        let Ok(Value::Object(body)) = serde_json::from_str(body) else { continue };
        let Some(Value::Array(listed)) = body.get("members") else { continue };
        let listed: BTreeSet<String> =
            listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut members = connection.prepare_cached(MEMBERS)?;
        let members = members.query_map([&bucket, &group], |row| row.get(0))?;
        if listed != members.collect::<rusqlite::Result<BTreeSet<String>>>()? {
            findings.push(Finding(format!(
                "group {bucket}/{group} lists other members than are kept for it"
            )));
            told += 1;
        }
    }
    Ok(())
}
