//! The tables of a file, changed behind the store's back by the same SQL as those of a database.

use nuage_model::copy::{Column, Table};

/// Tables whose rows have a number in the place of what names their collection, and how many columns
/// that is.
const NUMBERED: [(Table, usize); 7] = [
    (Table::Records, 2),
    (Table::Gone, 2),
    (Table::Signatures, 2),
    (Table::SignaturePrincipals, 2),
    (Table::Marks, 2),
    (Table::Names, 2),
    (Table::Members, 1),
];

/// What has the columns of a table's description on every database.
pub fn readable(table: &str) -> String {
    let is_numbered = NUMBERED.iter().any(|(numbered, _)| numbered.name() == table);
    if is_numbered { format!("named_{table}") } else { table.to_owned() }
}

/// Statements after which the views `named_…` of a file can be written to through one connection, as
/// those of PostgreSQL can. What is put into a collection that does not exist has the number -1.
pub fn writable_views() -> String {
    NUMBERED.into_iter().map(|(table, under)| triggers(table, under)).collect()
}

fn triggers(table: Table, under: usize) -> String {
    let name = table.name();
    let list = |columns: &[Column], of: &str| {
        let columns = columns.iter().map(|column| format!("{of}{}", column.name));
        columns.collect::<Vec<_>>().join(", ")
    };
    let rest = &table.columns()[under..];
    let is_old = format!(
        "number = OLD.number AND ({}) = ({})",
        list(&table.key()[under..], ""),
        list(&table.key()[under..], "OLD.")
    );
    let collection = if under == 1 { "'_groups'" } else { "NEW.collection" };
    let number = format!(
        "coalesce((SELECT c.number FROM collections c
            WHERE c.bucket = NEW.bucket AND c.collection = {collection}), -1)"
    );
    let trigger = |verb: &str, what: String| {
        format!(
            "CREATE TEMP TRIGGER {verb}_{name} INSTEAD OF {verb} ON named_{name} BEGIN {what}; END;"
        )
    };
    let (names, values) = (list(rest, ""), list(rest, "NEW."));
    [
        trigger(
            "INSERT",
            format!("INSERT INTO {name} (number, {names}) VALUES ({number}, {values})"),
        ),
        trigger(
            "UPDATE",
            format!("UPDATE {name} SET (number, {names}) = ({number}, {values}) WHERE {is_old}"),
        ),
        trigger("DELETE", format!("DELETE FROM {name} WHERE {is_old}")),
    ]
    .concat()
}
