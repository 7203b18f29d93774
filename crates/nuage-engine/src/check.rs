//! What is wrong in a store as only the engine can know: whom permissions let read, and which
//! groups a name stands for.
//!
//! Lists and feeds go by what the store keeps of both, and never look at the permissions again. So
//! somebody sees too much or too little where they differ. All else is for the store to find.

use nuage_model::copy::{Cell, PageSize, Row, Table};
use nuage_model::{CollectionPath, Finding, Permissions, Principal, Readers, Store, StoreError};

use crate::access::readers;
use crate::feed::is_named;

/// Findings told of one table; broken data can be broken in every row.
const FINDINGS_MAX: usize = 100;

/// All findings, as of one moment.
///
/// # Errors
///
/// What the store could not read.
pub async fn check(store: &dyn Store) -> Result<Vec<Finding>, StoreError> {
    type Judge = fn(&Row) -> Option<Finding>;
    let judges: [(Table, Judge); 2] = [(Table::Records, wrong_readers), (Table::Views, wrong_name)];
    let mut dump = store.admin().dump().await?;
    let mut findings = Vec::new();
    for (table, judge) in judges {
        let told_max = findings.len() + FINDINGS_MAX;
        let mut after: Option<Vec<Cell>> = None;
        while findings.len() < told_max {
            let rows = dump.page(table, after.as_deref(), PageSize::USUAL).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key(table).to_vec());
            findings.extend(rows.iter().filter_map(judge));
        }
        findings.truncate(told_max);
    }
    Ok(findings)
}

fn wrong_readers(row: &Row) -> Option<Finding> {
    let table = Table::Records;
    if row.cell(table, "dead") != Some(&Cell::Whole(0)) {
        return None;
    }
    let text = |column| row.text(table, column);
    let (bucket, collection, id) = (text("bucket")?, text("collection")?, text("id")?);
    let path = CollectionPath::of_stored(bucket, collection).record(id);
    let permissions = Permissions::from_text(text("permissions")?).ok()?;
    let expected = Readers::new(readers(path.kind(), &permissions)).signature();
    (row.cell(table, "signature")? != &Cell::Bytes(expected.0.to_vec())).then(|| {
        Finding(format!(
            "record {bucket}/{collection}/{id} is listed for others than its permissions let read"
        ))
    })
}

fn wrong_name(row: &Row) -> Option<Finding> {
    let table = Table::Views;
    let (bucket, person) = (row.text(table, "bucket")?, row.text(table, "person")?);
    let Cell::Bytes(name) = row.cell(table, "name")? else { return None };
    let groups: Vec<String> = serde_json::from_str(row.text(table, "groups")?).ok()?;
    let groups: Vec<Principal> = groups.into_iter().map(Principal::from).collect();
    (!is_named(&groups, name)).then(|| {
        Finding(format!("a view of {person} in {bucket} has the name of other groups than it has"))
    })
}
