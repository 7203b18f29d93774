//! The statements that read and write rows of the tables, made from their descriptions: one for
//! each kind of work, over arrays.
//!
//! What the planner must be told is told here, once:
//!
//! - A row is looked up by its key with comparisons that no other index than that of the key can
//!   serve: where the statistics say that a collection has hardly any rows, every index that begins
//!   with bucket and collection is as good to the planner, and it may walk the whole of one that
//!   has many.
//! - Rows to be changed or removed are looked up one by one, and named by where they lie: in a join
//!   the planner could take any index.
//! - Nothing is written where a guess was wrong, see [`super::guess`].

use std::fmt::Write as _;
use std::sync::LazyLock;

use nuage_model::copy::{Column, Form, Table};

use crate::postgres::cells::names;
use crate::reads::{Columns, Condition, SMALL_BYTES, Scan, Together, order};
use crate::schema::{Index, Only, Range, counters, is_group, passed_on, slim};

/// Nothing is written where a guess was wrong.
const IF_FIT: &str = "current_setting('nuage.fit', true) IS DISTINCT FROM 'no'";

/// What is done with rows of one table.
pub(super) struct Statements {
    /// Reads rows by keys: the number of the key, and the columns that are not large.
    pub(super) get: String,
    /// The same, and locks them against changes.
    pub(super) get_to_change: String,
    /// The same, and locks them against being removed.
    pub(super) get_to_keep: String,
    /// Makes or replaces rows.
    pub(super) put: String,
    /// Adds to counters of rows, and makes those that are missing.
    pub(super) add: String,
    /// Removes rows by keys.
    pub(super) delete: String,
    /// Takes from rows, by keys, what others may get.
    pub(super) free: String,
}

/// By the numbers of the tables.
static STATEMENTS: LazyLock<[Statements; Table::ALL.len()]> =
    LazyLock::new(|| Table::ALL.map(Statements::of));

impl Statements {
    /// Those of a table.
    pub(super) fn for_table(table: Table) -> &'static Self {
        &STATEMENTS[table as usize]
    }

    fn of(table: Table) -> Self {
        let (name, columns, key) = (table.name(), table.columns(), table.key());
        let keys = unnested(key, 1);
        let to_get = |lookup: String| {
            format!(
                "SELECT k.n, r.* FROM {keys} WITH ORDINALITY AS k ({}, n)
                CROSS JOIN LATERAL ({lookup}) r",
                names(key)
            )
        };
        let locked = |lock: &str| to_get(format!("{} {lock}", exact(table, &names(slim(table)))));
        let insert = format!(
            "INSERT INTO {name} ({}) SELECT * FROM {} WHERE {IF_FIT} ON CONFLICT",
            names(columns),
            unnested(columns, 1)
        );
        let conflict = |set: Vec<String>| match set.is_empty() {
            true => format!("{insert} DO NOTHING"),
            false => format!("{insert} ({}) DO UPDATE SET {}", names(key), set.join(", ")),
        };
        let replaced = columns[key.len()..].iter();
        let replaced = replaced.map(|column| format!("{0} = excluded.{0}", column.name)).collect();
        let added = counters(table).iter().map(|(at, counter)| {
            let column = columns[*at].name;
            let [old, more] = [name, "excluded"].map(|of| format!("{of}.{column}"));
            format!("{column} = {}", counter.sql(&old, &more, "greatest"))
        });
        let these = format!(
            "WHERE {first} = ANY ($1) AND {IF_FIT} AND ctid = ANY (ARRAY(SELECT r.place
            FROM {keys} AS k ({}) CROSS JOIN LATERAL ({}) r))",
            names(key),
            exact(table, "ctid AS place"),
            first = key[0].name
        );
        let free = passed_on(table).map(|at| columns[at].name);
        let free = free.map(|column| format!("UPDATE {name} SET {column} = NULL {these}"));
        Self {
            get: to_get(lookup(table, &names(slim(table)))),
            get_to_change: locked("FOR UPDATE"),
            get_to_keep: locked("FOR SHARE"),
            put: conflict(replaced),
            add: conflict(added.collect()),
            delete: format!("DELETE FROM {name} {these}"),
            free: free.unwrap_or_default(),
        }
    }
}

/// Makes a table, unless it is there.
pub(super) fn create(table: Table) -> String {
    let column = |column: &Column| {
        let collation = if column.form == Form::Text { " COLLATE \"C\"" } else { "" };
        let present = if column.form == Form::WholeOrNothing { "" } else { " NOT NULL" };
        format!("{} {}{collation}{present}", column.name, sql_type(column))
    };
    let name = table.name();
    let columns = table.columns().iter().map(column).collect::<Vec<_>>().join(", ");
    // What is counted changes in its place, where there is room.
    let room = if counters(table).is_empty() { "" } else { " WITH (fillfactor = 50)" };
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY ({})){room};",
        names(table.key())
    );
    for index in Index::of(table) {
        let Some(own) = index.name() else { continue };
        let unique = if index.is_unique() { "UNIQUE " } else { "" };
        let only = match index.only() {
            None => String::new(),
            Some(Only::Present(at)) => format!(" WHERE {} IS NOT NULL", table.columns()[at].name),
            Some(Only::Set(at)) => format!(" WHERE {}", table.columns()[at].name),
            Some(Only::Group(at)) => format!(" WHERE {}", is_group(table.columns()[at].name)),
        };
        let columns = names(&first(index, usize::MAX));
        let _ =
            write!(sql, "CREATE {unique}INDEX IF NOT EXISTS {own} ON {name} ({columns}){only};");
    }
    sql
}

/// The type of a column, of one value.
fn sql_type(column: &Column) -> &'static str {
    match column.form {
        Form::Text => "text",
        Form::Bytes => "bytea",
        Form::Whole | Form::WholeOrNothing => "bigint",
        Form::Flag => "boolean",
    }
}

/// Arrays of these columns as rows; their parameters are numbered from here on.
pub(super) fn unnested(columns: &[Column], from: usize) -> String {
    let columns = columns.iter().enumerate();
    let arrays = columns.map(|(at, column)| format!("${}::{}[]", from + at, sql_type(column)));
    format!("unnest({})", arrays.collect::<Vec<_>>().join(", "))
}

/// The row whose key is that of `k`, or none.
///
/// Nothing but the key can give the first row from there on; then it is seen whether it is the one.
/// The first column is not compared twice: beside that, PostgreSQL would begin where its rows begin.
pub(super) fn lookup(table: Table, columns: &str) -> String {
    lookup_by(table, columns, |at| format!("k.{}", table.key()[at].name))
}

// The same, where the cells of the key are called so.
fn lookup_by(table: Table, columns: &str, cell: impl Fn(usize) -> String) -> String {
    let (name, key) = (table.name(), table.key());
    let (first, rest) = (key[0].name, &key[1..]);
    let cells = (1..key.len()).map(&cell).collect::<Vec<_>>().join(", ");
    let same = key.iter().enumerate();
    let same = same.map(|(at, column)| format!("{} = {}", column.name, cell(at)));
    format!(
        "SELECT {columns} FROM (SELECT {all} FROM {name} WHERE {first} = {first_cell}
            AND ({rest}) >= ({cells}) ORDER BY {key} LIMIT 1) AS first_from_there WHERE {same}",
        rest = names(rest),
        key = names(key),
        all = names(table.columns()),
        first_cell = cell(0),
        same = same.collect::<Vec<_>>().join(" AND "),
    )
}

/// The columns, in a list.
fn list(columns: Columns) -> String {
    let names = names(columns.columns());
    match columns.columns().last().filter(|_| columns.small) {
        None => names,
        // How much it takes where it is stored is known without reading it.
        Some(last) => {
            let (rest, last) = (names.trim_end_matches(last.name), last.name);
            format!(
                "{rest}CASE WHEN pg_column_size({last}) > {SMALL_BYTES} THEN '' ELSE {last} END
                    AS {last}"
            )
        }
    }
}

/// The row with one key; its parameters are the cells of the key.
pub(super) fn point(columns: Columns) -> String {
    lookup_by(columns.table, &list(columns), |at| format!("${}", at + 1))
}

/// The rows with some keys: the number of the key and the columns. Its parameters are arrays of the
/// cells of the keys; where it is bounded, then the number of bytes that may be read of the last
/// column, and after the number comes whether the row fits.
pub(super) fn lookups(columns: Columns, is_bounded: bool) -> String {
    let key = columns.table.key();
    let found = format!(
        "FROM {} WITH ORDINALITY AS k ({}, n) CROSS JOIN LATERAL ({}) AS r",
        unnested(key, 1),
        names(key),
        lookup(columns.table, &list(columns))
    );
    let Some(last) = columns.columns().last().map(|last| last.name).filter(|_| is_bounded) else {
        return format!("SELECT k.n, r.* {found}");
    };
    let rest = names(&columns.columns()[..columns.columns().len() - 1]);
    let fits = format!("filled <= ${} OR filled = bytes", key.len() + 1);
    format!(
        "SELECT n, {fits}, {rest}, CASE WHEN {fits} THEN {last} ELSE '' END
        FROM (SELECT k.n, r.*, octet_length(r.{last}) AS bytes,
            sum(octet_length(r.{last})) OVER (ORDER BY k.n ROWS UNBOUNDED PRECEDING) AS filled
            {found}) AS found"
    )
}

/// The columns that a scan is given for a range: those of the prefix and of each bound.
pub(super) fn given(like: &Range) -> Vec<Column> {
    let table = like.index.table();
    let mut given = first(like.index, like.prefix.len());
    let order = order(like.index, like.prefix.len()).iter();
    let order: Vec<Column> = order.map(|at| table.columns()[*at]).collect();
    given.extend(&order[..like.after.len()]);
    let bounds = usize::from(like.low.is_some()) + usize::from(like.high.is_some());
    given.extend(std::iter::repeat_n(order[0], bounds));
    given
}

/// Whether the rows of a scan are fetched once it is known which they are: then they come in any
/// order.
pub(super) fn is_fetched(scan: &Scan<'_>) -> bool {
    let is_wide = scan.columns.columns().len() > slim(scan.columns.table).len() - scan.columns.from;
    is_wide && scan.together == Together::Merged && scan.ranges.len() > 1
}

/// Rows along an index: the columns. Its parameters are what the columns of [`given`] are to be,
/// single values of one range and arrays otherwise, then those of the conditions, then the limit.
pub(super) fn scan(scan: &Scan<'_>, like: &Range) -> String {
    let (index, table) = (like.index, like.index.table());
    let name = |at: usize| table.columns()[at].name;
    let given = given(like);
    let is_one = scan.ranges.len() == 1;
    let mut number = 0;
    let mut next = || {
        number += 1;
        if is_one { format!("${number}") } else { format!("k.c{number}") }
    };
    let prefix: Vec<(&str, String)> =
        index.columns()[..like.prefix.len()].iter().map(|at| (name(*at), next())).collect();
    let order: Vec<&str> = order(index, like.prefix.len()).iter().map(|at| name(*at)).collect();
    let after: Vec<String> = like.after.iter().map(|_| next()).collect();
    let low = like.low.as_ref().map(|_| next());
    let high = like.high.as_ref().map(|_| next());
    let is_bounded = !after.is_empty() || low.is_some() || high.is_some();
    let mut wanted = Vec::new();
    let mut ordered = order.clone();
    // Where there may be several indexes that begin with the prefix, the last column of the prefix
    // takes part in the bound and in the order: no other index gives that.
    match prefix.split_last() {
        Some(((last, is), before)) if is_bounded && before.len() >= 2 => {
            wanted.extend(before.iter().map(|(column, is)| format!("{column} = {is}")));
            let from = match (scan.descending, after.as_slice(), &low, &high) {
                (true, _, _, Some(high)) => Some(("<=", vec![high.clone()])),
                (false, [], Some(low), _) => Some((">=", vec![low.clone()])),
                (false, [_, ..], _, _) => Some((">", after.clone())),
                _ => None,
            };
            let other = if scan.descending { ">=" } else { "<=" };
            match from {
                Some((comparison, bound)) => {
                    let columns = [&[*last][..], &order[..bound.len()]].concat().join(", ");
                    let bound = [vec![is.clone()], bound].concat().join(", ");
                    wanted.push(format!("({columns}) {comparison} ({bound})"));
                    wanted.push(format!("{last} {other} {is}"));
                }
                None => wanted.push(format!("{last} >= {is} AND {last} <= {is}")),
            }
            ordered.insert(0, *last);
        }
        Some(((last, is), before)) if !is_bounded && !before.is_empty() => {
            wanted.extend(before.iter().map(|(column, is)| format!("{column} = {is}")));
            wanted.push(format!("{last} >= {is} AND {last} <= {is}"));
            ordered.insert(0, *last);
        }
        _ => {
            wanted.extend(prefix.iter().map(|(column, is)| format!("{column} = {is}")));
            if !after.is_empty() {
                let columns = order[..after.len()].join(", ");
                wanted.push(format!("({columns}) > ({})", after.join(", ")));
            }
        }
    }
    wanted.extend(low.map(|low| format!("{} >= {low}", order[0])));
    wanted.extend(high.map(|high| format!("{} <= {high}", order[0])));
    match index.only() {
        None => {}
        Some(Only::Present(at)) => wanted.push(format!("{} IS NOT NULL", name(at))),
        Some(Only::Set(at)) => wanted.push(name(at).to_owned()),
        Some(Only::Group(at)) => wanted.push(is_group(name(at))),
    }
    let mut parameter = given.len();
    wanted.extend(case(scan, &mut parameter));
    let limit = parameter + 1;
    let direction = if scan.descending { " DESC" } else { "" };
    let sorted = |columns: &[&str], of: &str| {
        let columns = columns.iter().map(|column| format!("{of}{column}{direction}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    let wanted = match wanted.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", wanted.join(" AND ")),
    };
    let along = |columns: &str| {
        format!(
            "SELECT {columns} FROM {} {wanted} ORDER BY {} LIMIT ${limit}",
            table.name(),
            sorted(&ordered, "")
        )
    };
    let columns = list(scan.columns);
    if is_one {
        return along(&columns);
    }
    let aliases: Vec<String> = (1..=given.len()).map(|number| format!("c{number}")).collect();
    let ranges =
        format!("{} WITH ORDINALITY AS k ({}, n)", unnested(&given, 1), aliases.join(", "));
    match scan.together {
        Together::Chained => format!(
            "SELECT r.* FROM {ranges} CROSS JOIN LATERAL ({}) AS r ORDER BY k.n LIMIT ${limit}",
            along(&columns)
        ),
        Together::Merged if is_fetched(scan) => format!(
            "SELECT r.* FROM (SELECT k.c1, one.place FROM {ranges} CROSS JOIN LATERAL ({}) AS one
                ORDER BY {} LIMIT ${limit}) AS kept
            CROSS JOIN LATERAL (SELECT {columns} FROM {}
                WHERE {} = kept.c1 AND ctid = kept.place) AS r",
            along(&format!("ctid AS place, {}", order.join(", "))),
            sorted(&order, "one."),
            table.name(),
            given[0].name
        ),
        Together::Merged => {
            let same = order.iter().map(|column| format!("r.{column}"));
            let same = same.collect::<Vec<_>>().join(", ");
            let once =
                if index.is_key() { format!("DISTINCT ON ({same}) ") } else { String::new() };
            format!(
                "SELECT {once}r.* FROM {ranges} CROSS JOIN LATERAL ({}) AS r
                ORDER BY {} LIMIT ${limit}",
                along(&columns),
                sorted(&order, "r.")
            )
        }
    }
}

// What the planner thinks nothing of: where it believed that it leaves few rows, it would read the
// whole table rather than follow the index.
fn case(scan: &Scan<'_>, parameter: &mut usize) -> Option<String> {
    let name = |at: usize| scan.columns.table.columns()[at].name;
    let (mut cases, mut rest) = (String::new(), "true".to_owned());
    for condition in &scan.conditions {
        match condition {
            Condition::Unset(at) => {
                let _ = write!(cases, " WHEN {} THEN false", name(*at));
            }
            Condition::Absent(at) => {
                let _ = write!(cases, " WHEN {} IS NOT NULL THEN false", name(*at));
            }
            Condition::AtMost(at, _) => {
                *parameter += 1;
                let _ = write!(cases, " WHEN {} > ${parameter} THEN false", name(*at));
            }
            Condition::Among(at, _) => {
                *parameter += 1;
                rest = format!("{} = ANY (${parameter})", name(*at));
            }
        }
    }
    match cases.is_empty() && rest == "true" {
        true => None,
        false if cases.is_empty() => Some(format!("CASE WHEN true THEN {rest} END")),
        false => Some(format!("CASE{cases} ELSE {rest} END")),
    }
}

// The same for what is locked or changed: the form above would lock another row where this one is
// missing. The order makes the key the planner's choice among indexes of equal height.
fn exact(table: Table, columns: &str) -> String {
    equal_to(Index::Key(table), table.key().len(), "", columns, "LIMIT 1")
}

// Rows whose first columns in an index are those of `k`, the names of which end in `suffix` there.
fn equal_to(index: Index, count: usize, suffix: &str, columns: &str, rest: &str) -> String {
    let prefix = first(index, count);
    let Some((last, before)) = prefix.split_last() else { unreachable!("no prefix is empty") };
    let mut wanted = String::new();
    for column in before {
        let _ = write!(wanted, "{0} = k.{0}{suffix} AND ", column.name);
    }
    let (name, last) = (index.table().name(), last.name);
    let of_k = format!("k.{last}{suffix}");
    format!(
        "SELECT {columns} FROM {name} WHERE {wanted}{last} >= {of_k} AND {last} <= {of_k}
        ORDER BY {last} {rest}"
    )
}

/// The first columns of an index.
pub(super) fn first(index: Index, count: usize) -> Vec<Column> {
    let columns = index.columns().iter().take(count);
    columns.map(|at| index.table().columns()[*at]).collect()
}

/// Whether ranges are read by one statement.
pub(super) fn is_alike(one: &Range, other: &Range) -> bool {
    one.index == other.index
        && one.prefix.len() == other.prefix.len()
        && one.low.is_some() == other.low.is_some()
        && one.high.is_some() == other.high.is_some()
        && one.descending == other.descending
}

/// Reads ranges that are alike: the number of the range, and the columns that are not large. Its
/// parameters are the columns of the prefixes, the bounds that there are, and the limits.
pub(super) fn range(like: &Range) -> String {
    let (index, table) = (like.index, like.index.table());
    let prefix = first(index, like.prefix.len());
    let mut given = prefix.clone();
    let mut aliases = names(&prefix);
    let next = index.columns().get(prefix.len()).map(|at| table.columns()[*at]);
    let mut bounds = String::new();
    let all = [(&like.low, "low", ">="), (&like.high, "high", "<=")];
    for (bound, alias, comparison) in all {
        if let (Some(_), Some(next)) = (bound, next) {
            given.push(next);
            let _ = write!(aliases, ", {alias}");
            let _ = write!(bounds, " AND {} {comparison} k.{alias}", next.name);
        }
    }
    match index.only() {
        None => {}
        Some(Only::Present(at)) => {
            let _ = write!(bounds, " AND {} IS NOT NULL", table.columns()[at].name);
        }
        Some(Only::Set(at)) => {
            let _ = write!(bounds, " AND {}", table.columns()[at].name);
        }
        Some(Only::Group(at)) => {
            let _ = write!(bounds, " AND {}", is_group(table.columns()[at].name));
        }
    }
    // What is compared twice is ordered by, so that no other index gives the order.
    let is_bounded = like.low.is_some() || like.high.is_some();
    let equal = if is_bounded { prefix.len() } else { (prefix.len() - 1).max(1) };
    let mut wanted = Vec::new();
    for (at, column) in prefix.iter().enumerate() {
        wanted.push(match at < equal {
            true => format!("{0} = k.{0}", column.name),
            false => format!("{0} >= k.{0} AND {0} <= k.{0}", column.name),
        });
    }
    let direction = if like.descending { " DESC" } else { "" };
    let order = first(index, usize::MAX).split_off(equal);
    let order: Vec<_> = order.iter().map(|column| format!("{}{direction}", column.name)).collect();
    let order = order.join(", ");
    format!(
        "SELECT k.n, r.* FROM unnest({arrays}, ${limit}::bigint[]) WITH ORDINALITY
            AS k ({aliases}, most, n)
        CROSS JOIN LATERAL (SELECT {columns} FROM {table} WHERE {wanted}{bounds}
            ORDER BY {order} LIMIT k.most) r",
        arrays = unnested(&given, 1).trim_start_matches("unnest(").trim_end_matches(')'),
        limit = given.len() + 1,
        columns = names(slim(table)),
        table = table.name(),
        wanted = wanted.join(" AND "),
    )
}

/// Removes all rows whose first columns in an index are given.
pub(super) fn clear(index: Index, count: usize) -> String {
    let prefix = first(index, count);
    let wanted: Vec<String> =
        prefix.iter().map(|column| format!("t.{0} = k.{0}", column.name)).collect();
    format!(
        "DELETE FROM {} t USING {} AS k ({}) WHERE {IF_FIT} AND {}",
        index.table().name(),
        unnested(&prefix, 1),
        names(&prefix),
        wanted.join(" AND ")
    )
}

/// Removes rows whose first columns in an index are given, unless there are rows whose first
/// columns in others are; the values of those are given after them, in order.
pub(super) fn prune(index: Index, count: usize, unless: &[(Index, usize)]) -> String {
    let prefix = first(index, count);
    let mut given = prefix.clone();
    let mut aliases = names(&prefix);
    let mut needed = String::new();
    for (number, (other, count)) in unless.iter().enumerate() {
        let suffix = format!("_{number}");
        let columns = first(*other, *count);
        for column in &columns {
            let _ = write!(aliases, ", {}{suffix}", column.name);
        }
        let there = equal_to(*other, *count, &suffix, "1", "OFFSET 0");
        let _ = write!(needed, " AND NOT EXISTS ({there})");
        given.extend(columns);
    }
    format!(
        "DELETE FROM {name} WHERE {first} = ANY ($1) AND {IF_FIT} AND ctid = ANY (ARRAY(
            SELECT r.place FROM {} AS k ({aliases}) CROSS JOIN LATERAL ({}) r WHERE true{needed}))",
        unnested(&given, 1),
        equal_to(index, count, "", "ctid AS place", "OFFSET 0"),
        name = index.table().name(),
        first = prefix[0].name
    )
}

/// Says whether rows are as they are taken to be, for [`super::guess`]: for each table, first the
/// columns that are not large, then whether all of them are compared or only the position.
pub(super) fn fits(tables: &[Table]) -> String {
    let mut from = 1;
    let mut differences = Vec::new();
    for table in tables {
        let (columns, key) = (slim(*table), table.key());
        let rest = |alias: &str| {
            let rest = columns[key.len()..].iter();
            rest.map(|column| format!("{alias}.{}", column.name)).collect::<Vec<_>>().join(", ")
        };
        let arrays = unnested(columns, from);
        let arrays = arrays.trim_end_matches(')');
        let whole = from + columns.len();
        differences.push(format!(
            "EXISTS (SELECT 1 FROM {arrays}, ${whole}::boolean[]) AS k ({}, whole)
            LEFT JOIN LATERAL ({}) r ON true WHERE r.seq IS DISTINCT FROM k.seq
                OR k.whole AND ({}) IS DISTINCT FROM ({}))",
            names(columns),
            lookup(*table, &names(columns)),
            rest("r"),
            rest("k")
        ));
        from = whole + 1;
    }
    format!(
        "SELECT set_config('nuage.fit', CASE WHEN {} THEN 'no' ELSE 'yes' END, true)",
        differences.join(" OR ")
    )
}
