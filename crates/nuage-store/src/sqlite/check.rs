//! Everything that is wrong in the file, looked for by the rules of [`crate::integrity`].

use std::collections::BTreeSet;

use nuage_model::Finding;
use nuage_model::copy::Table;
use rusqlite::{Connection, Row};

use crate::integrity::{
    FINDINGS_MAX, Hashes, RULES, Sums, Words, in_words, signature_rules, wrong_members,
    wrong_texts, wrong_view,
};
use crate::schema::under_collection;
use crate::sqlite::errors::Fault;
use crate::sqlite::salvage;

const SIGNATURE_RULES: &[&str] = signature_rules!("hex(", ")");
const WORDS: Words =
    Words { named: "named_", place: &["number"], is_group: "GLOB '/buckets/?*/groups/?*'" };
/// What is wrong with the numbers of a table that lies under collections.
const NUMBERED: &str = "
    SELECT 'TABLE of number ' || t.number || ' (' || t.rows ||
        ') lie in a collection that does not exist'
    FROM (SELECT number, count(*) AS rows FROM TABLE GROUP BY number) t
    WHERE NOT EXISTS (SELECT 1 FROM collections WHERE number = t.number)
        AND NOT EXISTS (SELECT 1 FROM dropped WHERE number = t.number)";
const DROPPED: &str = "
    SELECT 'collection ' || c.bucket || '/' || c.collection || ' has the number ' || number ||
        ', which was dropped: what lies under it is being removed'
    FROM dropped JOIN collections c USING (number)";
const RECORDS: &str = "
    SELECT c.bucket, c.collection, r.id, r.permissions, r.body
    FROM records r NOT INDEXED CROSS JOIN collections c ON c.number = r.number";
const SIGNATURES: &str = "
    SELECT s.bucket, s.collection, s.signature, p.principal
    FROM named_signatures s LEFT JOIN signature_principals p
    ON p.number = s.number AND p.signature = s.signature
    ORDER BY s.bucket, s.collection, s.signature";
const RESIDENTS: &str = "
    SELECT s.bucket, s.collection, s.signature, s.digest, r.id, coalesce(r.timestamp, r.seq)
    FROM named_signatures s LEFT JOIN records r INDEXED BY records_signature
    ON r.number = s.number AND r.signature = s.signature AND NOT r.dead
    ORDER BY s.bucket, s.collection, s.signature";
const VIEWS: &str = "SELECT bucket, person, name, groups FROM views";
const GROUPS: &str = "
    SELECT bucket, id, body FROM named_records WHERE collection = '_groups' AND NOT dead";
const MEMBERS: &str = "SELECT member FROM named_members WHERE bucket = ?1 AND grp = ?2";

/// All findings, in one snapshot, which ends with the connection. What cannot be read for damage is
/// a finding, with how much of each collection can be.
pub(super) fn check(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    connection.execute_batch("BEGIN")?;
    let mut findings = Vec::new();
    let mut is_damaged = false;
    type Part = fn(&Connection, &mut Vec<Finding>) -> Result<(), Fault>;
    let parts: [Part; 7] = [integrity, rules, texts, hashes, sums, views, groups];
    for part in parts {
        match part(connection, &mut findings) {
            Err(fault) if fault.is_damage() => is_damaged = true,
            done => done?,
        }
    }
    if is_damaged {
        if findings.is_empty() {
            findings.push(Finding("the file is damaged: it cannot be read in full".to_owned()));
        }
        findings.extend(salvage::extent(connection)?);
    }
    Ok(findings)
}

// What one question each finds.
fn rules(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut unreadable = None;
    let lying = Table::ALL.into_iter().filter(|table| under_collection(*table) > 0);
    let numbered = lying.map(|table| NUMBERED.replace("TABLE", table.name()));
    let rules = RULES.iter().chain(SIGNATURE_RULES).map(|rule| in_words(rule, &WORDS));
    for rule in rules.chain(numbered).chain([DROPPED.to_owned()]) {
        match ask(connection, &rule, findings) {
            Err(fault) if fault.is_damage() => unreadable = Some(fault),
            asked => asked?,
        }
    }
    unreadable.map_or(Ok(()), Err)
}

fn ask(connection: &Connection, rule: &str, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(rule)?;
    let mut rows = statement.query([])?;
    let mut told = 0;
    while told < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        findings.push(Finding(row.get(0)?));
        told += 1;
    }
    Ok(())
}

// The file itself, as SQLite sees it. Some damage ends the thorough look before it says a word, and
// not the quick one.
fn integrity(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    match look_through(connection, "PRAGMA integrity_check(100)", findings) {
        Err(fault) if fault.is_damage() && findings.is_empty() => {
            look_through(connection, "PRAGMA quick_check(100)", findings)?;
            Err(fault)
        }
        looked => looked,
    }
}

fn look_through(
    connection: &Connection,
    sql: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        let lines = said.lines().filter(|line| *line != "ok" && !line.starts_with("***"));
        findings.extend(lines.map(|line| Finding(format!("the file is damaged: {line}"))));
    }
    Ok(())
}

// Bodies and permissions must be JSON objects.
fn texts(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(RECORDS)?;
    let mut rows = statement.query([])?;
    let mut told = 0;
    while told < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        let name = [text(row, 0)?, text(row, 1)?, text(row, 2)?];
        // Bytes that are no text are no JSON either.
        let (permissions, body) = (row.get_ref(3)?.as_str().ok(), row.get_ref(4)?.as_str().ok());
        if let Some(finding) = wrong_texts(name, permissions, body) {
            findings.push(finding);
            told += 1;
        }
    }
    Ok(())
}

// Each signature must name exactly the principals that are listed under it.
fn hashes(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut hashes = Hashes::default();
    let mut statement = connection.prepare(SIGNATURES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let principal: Option<String> = row.get(3)?;
        hashes.next((row.get(0)?, row.get(1)?, row.get(2)?), principal.as_deref());
    }
    hashes.end();
    findings.append(&mut hashes.findings);
    Ok(())
}

// Each signature must keep the sum of the digests of its live records.
fn sums(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut sums = Sums::default();
    let mut statement = connection.prepare(RESIDENTS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?;
        let record = match id {
            Some(id) => Some((id, row.get(5)?)),
            None => None,
        };
        sums.next((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?, record);
    }
    sums.end();
    findings.append(&mut sums.findings);
    Ok(())
}

// The groups of a view must be a list.
fn views(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(VIEWS)?;
    let mut rows = statement.query([])?;
    let mut told = 0;
    while told < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        let name = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let groups = row.get_ref(3)?.as_str().ok();
        if let Some(finding) = wrong_view(text(row, 0)?, text(row, 1)?, name, groups) {
            findings.push(finding);
            told += 1;
        }
    }
    Ok(())
}

// Members must be those that the group's own record lists, where it does.
fn groups(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(GROUPS)?;
    let mut rows = statement.query([])?;
    let mut told = 0;
    while told < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        let (bucket, group) = (text(row, 0)?, text(row, 1)?);
        let mut members = connection.prepare_cached(MEMBERS)?;
        let members = members.query_map([bucket, group], |row| row.get(0))?;
        let members = members.collect::<rusqlite::Result<BTreeSet<String>>>()?;
        let body = row.get_ref(2)?.as_str().unwrap_or_default();
        if let Some(finding) = wrong_members(bucket, group, body, &members) {
            findings.push(finding);
            told += 1;
        }
    }
    Ok(())
}

fn text<'r>(row: &'r Row<'_>, index: usize) -> Result<&'r str, Fault> {
    Ok(row.get_ref(index)?.as_str().map_err(rusqlite::Error::from)?)
}
