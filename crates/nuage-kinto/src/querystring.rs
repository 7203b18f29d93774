//! What a request asks for in its query string (fact sheet, sections 7 and 8).
//!
//! The same rules hold for `GET`, `HEAD` and `DELETE` of every list. Names and values are text
//! until here; from here on they are filters, sorts and sizes that stores understand. It does
//! not look into page tokens, nor at what the caller may see.

mod filters;

use std::borrow::Cow;

use nuage_model::{Direction, Field, Filter, Limits, Seq, Sort, States, Test, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use crate::error::{Error, Invalid, Location};

/// What is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listing {
    /// Buckets, collections, groups, records or accounts: any field may be asked for.
    Objects,
    /// The history of a bucket.
    History,
    /// What the caller has permissions on.
    Permissions,
}

const HISTORY_FIELDS: &[&str] = &[
    "id",
    "last_modified",
    "deleted",
    "date",
    "user_id",
    "uri",
    "action",
    "resource_name",
    "target",
    "bucket_id",
    "collection_id",
    "group_id",
    "record_id",
];

const PERMISSIONS_FIELDS: &[&str] = &[
    "id",
    "last_modified",
    "deleted",
    "uri",
    "resource_name",
    "permissions",
    "bucket_id",
    "collection_id",
    "group_id",
    "record_id",
];

impl Listing {
    fn knows(self, name: &str) -> bool {
        let fields = match self {
            Self::Objects => return true,
            Self::History => HISTORY_FIELDS,
            Self::Permissions => PERMISSIONS_FIELDS,
        };
        let root = name.split_once('.').map_or(name, |(root, _)| root);
        fields.contains(&root)
    }

    /// Whether this field is known to hold text, so that `1` means the text "1".
    fn holds_text(self, name: &str) -> bool {
        let plain = ["date", "uri", "action", "resource_name"];
        self != Self::Objects && (name.ends_with("_id") || plain.contains(&name))
    }

    /// The key that makes the order complete.
    fn last_key(self) -> Field {
        match self {
            Self::Objects | Self::History => Field::Timestamp,
            Self::Permissions => Field::Body(vec!["uri".to_owned()]),
        }
    }
}

/// By what a query string is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// What is listed.
    pub(crate) listing: Listing,
    /// Bounds on numbers of conditions, values and keys.
    pub(crate) limits: &'a Limits,
    /// The present time: filters may not look further ahead than a day.
    pub(crate) now: Timestamp,
    /// Page size unless less is asked for.
    pub(crate) paginate_by: Option<usize>,
}

/// What is asked of a list.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ListParams {
    /// All must hold.
    pub(crate) filters: Vec<Filter>,
    /// Complete order, first key first.
    pub(crate) sort: Vec<Sort>,
    /// Fields to show; all if none are named.
    pub(crate) fields: Option<Vec<String>>,
    /// Size of a page.
    pub(crate) page_records: usize,
    /// Whether that is less than the most that the server gives.
    pub(crate) limited: bool,
    /// Where the previous page ended, as we wrote it.
    pub(crate) token: Option<String>,
    /// Tombstones are shown when there is any filter on the time.
    pub(crate) states: States,
    /// Only what changed later is asked for, and this is the only filter: when the collection
    /// has not changed since, the answer is empty.
    pub(crate) since: Option<Timestamp>,
    /// The old name of `_before` was used; the answer carries an alert.
    pub(crate) to_used: bool,
    pairs: Vec<(String, String)>,
}

impl ListParams {
    /// Asks as if no object had this member.
    pub(crate) fn hide(&mut self, name: &str) {
        let is_hidden = |field: &Field| matches!(field, Field::Body(path) if path.first().is_some_and(|first| first == name));
        self.sort.retain(|sort| !is_hidden(&sort.field));
        for filter in self.filters.iter_mut().filter(|filter| is_hidden(&filter.field)) {
            // What holds without a value holds for all, and what does not for none.
            let holds = filter.test.holds(None);
            let test = if holds { Test::Exclude(Vec::new()) } else { Test::In(Vec::new()) };
            *filter = Filter { field: Field::Id, test };
        }
    }

    /// The query string of the next page.
    pub(crate) fn next_query(&self, token: &str) -> String {
        let mut query = String::new();
        for (name, value) in self.pairs.iter().filter(|(name, _)| !is_of_page(name)) {
            push_pair(&mut query, name, value);
        }
        push_pair(&mut query, "_limit", &self.page_records.to_string());
        push_pair(&mut query, "_token", token);
        query
    }
}

/// What is asked of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ObjectParams {
    /// Fields to show; all if none are named.
    pub(crate) fields: Option<Vec<String>>,
    /// The time that a deletion should be given.
    pub(crate) last_modified: Option<Timestamp>,
}

/// Whether the query string of an object is one of a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ObjectUse {
    /// To be shown.
    Read,
    /// To be deleted.
    Delete,
}

/// Reads the query string of a list.
pub(crate) fn parse(raw: Option<&str>, rules: &Rules<'_>) -> Result<ListParams, Error> {
    let page_records = rules.limits.page_records.min(rules.paginate_by.unwrap_or(usize::MAX));
    let mut params = ListParams {
        filters: Vec::new(),
        sort: Vec::new(),
        fields: None,
        page_records: page_records.max(1),
        limited: rules.paginate_by.is_some(),
        token: None,
        states: States::Live,
        since: None,
        to_used: false,
        pairs: Vec::new(),
    };
    let raw = raw.unwrap_or_default();
    if !raw.is_empty() {
        let pairs = decode(raw)?;
        let named = group(&pairs, rules.limits)?;
        check_scalars(&named)?;
        for (name, values) in &named {
            read_parameter(&mut params, name, values, rules)?;
        }
        if params.filters.len() > rules.limits.filter_terms {
            return Err(too_many("filters", rules.limits.filter_terms));
        }
        if params.filters.iter().any(|f| f.field == Field::Timestamp) {
            params.states = States::Both;
        }
        params.since = filters::only_since(&params.filters);
        params.pairs = pairs;
    }
    let last_key = rules.listing.last_key();
    if !params.sort.iter().any(|sort| sort.field == last_key) {
        params.sort.push(Sort { field: last_key, direction: Direction::Descending });
    }
    Ok(params)
}

/// Reads the query string of an object.
pub(crate) fn parse_object(
    raw: Option<&str>,
    used: ObjectUse,
    limits: &Limits,
) -> Result<ObjectParams, Error> {
    let mut params = ObjectParams::default();
    let raw = raw.unwrap_or_default();
    if raw.is_empty() {
        return Ok(params);
    }
    let pairs = decode(raw)?;
    for (name, values) in group(&pairs, limits)? {
        match (name, used) {
            ("_fields", _) => params.fields = read_fields(&values, Listing::Objects, limits)?,
            ("last_modified", ObjectUse::Delete) => {
                params.last_modified = Some(deletion_time(&values)?);
            }
            _ => {}
        }
    }
    Ok(params)
}

/// Reads the query string of an explanation: about whom.
pub(crate) fn parse_explain(raw: Option<&str>, limits: &Limits) -> Result<String, Error> {
    let pairs = decode(raw.unwrap_or_default())?;
    let mut principal = None;
    for (name, values) in group(&pairs, limits)? {
        match (name, values.as_slice()) {
            ("principal", [""]) => return Err(invalid(name, "Whom to explain it for is missing")),
            ("principal", [one]) => principal = Some((*one).to_owned()),
            ("principal", _) => return Err(invalid(name, "Only one principal can be explained")),
            _ => return Err(invalid(name, "Unknown parameter")),
        }
    }
    principal.ok_or_else(|| invalid("principal", "Required"))
}

fn deletion_time(values: &[&str]) -> Result<Timestamp, Error> {
    let number = match values {
        [value] => filters::integer(value).ok().flatten(),
        _ => None,
    };
    match number {
        Some(number) if number <= Seq::CHOSEN_MAX => Ok(Timestamp(number)),
        _ => Err(invalid("last_modified", "Invalid value for last_modified")),
    }
}

/// The name by which clients know a field.
pub(crate) fn field_name(field: &Field) -> Cow<'_, str> {
    match field {
        Field::Id => "id".into(),
        Field::Timestamp => "last_modified".into(),
        Field::Deleted => "deleted".into(),
        Field::Body(path) => path.join(".").into(),
    }
}

fn field(name: &str) -> Field {
    match name {
        "id" => Field::Id,
        "last_modified" => Field::Timestamp,
        "deleted" => Field::Deleted,
        _ => Field::Body(name.split('.').map(str::to_owned).collect()),
    }
}

fn read_parameter(
    params: &mut ListParams,
    name: &str,
    values: &[&str],
    rules: &Rules<'_>,
) -> Result<(), Error> {
    if name.contains('\0') || values.iter().any(|v| v.contains('\0')) {
        return Err(invalid(name, "Invalid character 0x00"));
    }
    match name {
        "_sort" => params.sort = read_sort(values, rules)?,
        "_fields" => params.fields = read_fields(values, rules.listing, rules.limits)?,
        "_limit" => {
            // The scalar was checked; nothing, null and zero count as unset.
            let asked = filters::integer(values[0]).ok().flatten().unwrap_or(0);
            let asked = usize::try_from(asked).unwrap_or(usize::MAX);
            if asked > 0 {
                params.page_records = params.page_records.min(asked);
                params.limited = true;
            }
        }
        "_token" => match values {
            [""] => {}
            [token] => params.token = Some((*token).to_owned()),
            _ => return Err(crate::token::invalid()),
        },
        "_since" | "_before" | "_to" => {
            params.to_used |= name == "_to";
            let filter = filters::bound(name, values[0], rules.now)?;
            if rules.listing != Listing::Permissions {
                params.filters.push(filter);
            }
        }
        _ if name.starts_with('_') => {}
        _ => {
            let filter = filters::filter(name, values, rules)?;
            let timeless = rules.listing == Listing::Permissions;
            if !(timeless && filter.field == Field::Timestamp) {
                params.filters.push(filter);
            }
        }
    }
    Ok(())
}

// Those that have a type of their own are judged together, before the others.
fn check_scalars(named: &[(&str, Vec<&str>)]) -> Result<(), Error> {
    let mut wrong = Vec::new();
    for (name, values) in named {
        match *name {
            "_limit" | "_since" | "_before" | "_to" | "last_modified" => {
                let number = match values[..] {
                    [value] => filters::integer(value).map_err(|()| format!("\"{value}\"")),
                    _ => Err(format!("\"{values:?}\"")),
                };
                match number {
                    Err(shown) => wrong.push((*name, format!("{shown} is not a number"))),
                    Ok(Some(n)) if n < 0 => {
                        wrong.push((*name, format!("{n} is less than minimum value 0")));
                    }
                    Ok(Some(i64::MAX)) => {
                        let shown = values[0];
                        let what = format!("{shown} is greater than maximum value {}", i64::MAX);
                        wrong.push((*name, what));
                    }
                    Ok(_) => {}
                }
            }
            "id" => {
                if let Some(value) = values.iter().find(|v| !filters::may_be_id(v)) {
                    wrong.push((*name, format!("{value} is not a string: {{'id': ''}}")));
                }
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let named = |(name, what)| Invalid::named(Location::Querystring, name, what);
    Err(Error::invalid(wrong.into_iter().map(named).collect()))
}

fn read_sort(values: &[&str], rules: &Rules<'_>) -> Result<Vec<Sort>, Error> {
    let mut sort: Vec<Sort> = Vec::new();
    for item in values.iter().flat_map(|v| v.split(',')) {
        // A plus sign arrives as a space.
        let (direction, name) = match item.as_bytes().first() {
            Some(b'-') => (Direction::Descending, &item[1..]),
            Some(b'+' | b' ') => (Direction::Ascending, &item[1..]),
            _ => (Direction::Ascending, item),
        };
        if name.is_empty() || name.starts_with(['-', '+', ' ']) {
            continue;
        }
        if !rules.listing.knows(name) {
            let what = format!("Unknown sort field '{name}'");
            return Err(Error::invalid_one(Invalid::unnamed(Location::Querystring, what)));
        }
        let field = field(name);
        if sort.iter().any(|s| s.field == field) {
            continue;
        }
        if sort.len() == rules.limits.sort_terms {
            return Err(too_many("sort fields", rules.limits.sort_terms));
        }
        sort.push(Sort { field, direction });
    }
    Ok(sort)
}

fn read_fields(
    values: &[&str],
    listing: Listing,
    limits: &Limits,
) -> Result<Option<Vec<String>>, Error> {
    let names = values.iter().flat_map(|v| v.split(',')).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.len() > limits.filter_terms {
        return Err(too_many("fields", limits.filter_terms));
    }
    let unknown: Vec<&str> =
        names.iter().filter(|n| !listing.knows(n)).map(String::as_str).collect();
    if !unknown.is_empty() {
        let what = format!("Fields {} do not exist", unknown.join(","));
        return Err(invalid("_fields", &what));
    }
    Ok((!names.is_empty()).then_some(names))
}

/// Names and values of a query string.
pub(crate) fn decode(raw: &str) -> Result<Vec<(String, String)>, Error> {
    let mut pairs = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode_part(name), decode_part(value)) else {
            return Err(Error::bad_request(
                "The query string has an incorrect encoding. \
                 Please make sure that requests are encoded in UTF-8.",
            ));
        };
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn decode_part(part: &str) -> Option<String> {
    if !part.contains(['%', '+']) {
        return Some(part.to_owned());
    }
    let spaced = part.replace('+', " ");
    Some(percent_decode(spaced.as_bytes()).decode_utf8().ok()?.into_owned())
}

/// Whether the parameter says which page of a list, and differs from page to page.
fn is_of_page(name: &str) -> bool {
    matches!(name, "_limit" | "_token")
}

/// Values by name, in the order in which the names first appear.
fn group<'a>(
    pairs: &'a [(String, String)],
    limits: &Limits,
) -> Result<Vec<(&'a str, Vec<&'a str>)>, Error> {
    // Filters, and the parameters that are none. What the address of a next page adds does not
    // count: it must be taken whenever this one is.
    let pairs_max = limits.filter_terms + 32;
    if pairs.iter().filter(|(name, _)| !is_of_page(name)).count() > pairs_max {
        return Err(too_many("parameters", pairs_max));
    }
    let mut named: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in pairs {
        match named.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => named.push((name, vec![value])),
        }
    }
    Ok(named)
}

/// What forms leave as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn push_pair(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.extend(utf8_percent_encode(name, KEPT));
    query.push('=');
    query.extend(utf8_percent_encode(value, KEPT));
}

fn invalid(name: &str, description: &str) -> Error {
    Error::invalid_one(Invalid::named(Location::Querystring, name, description))
}

fn too_many(what: &str, max: usize) -> Error {
    let description = format!("Number of {what} is limited to {max}");
    Error::invalid_one(Invalid::unnamed(Location::Querystring, description))
}

#[cfg(test)]
mod tests;
