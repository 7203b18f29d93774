//! What a history may ask of a list, and what the answer must be.
//!
//! The order of JSON values is the one of `nuage_model::compare`; everything else is written
//! anew here, to find mistakes in the real thing rather than to share them.

use std::cmp::Ordering;

use nuage_model::{compare, same};
use serde_json::{Map, Value};

/// An object as shown: with its identifier and timestamp.
pub(super) type Shown = Map<String, Value>;

/// An operator of a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Test {
    Eq,
    Not,
    Gt,
    Min,
    Lt,
    Max,
    In,
    Exclude,
    Like,
    Has,
    Contains,
    ContainsAny,
}

/// One filter: `in_a.b=1,2`.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) test: Test,
    pub(super) field: String,
    /// An array for those operators that take many.
    pub(super) value: Value,
}

/// A question to a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub(super) filters: Vec<Filter>,
    pub(super) since: Option<i64>,
    pub(super) before: Option<i64>,
    /// Descending or not, and by what.
    pub(super) sort: Vec<(bool, String)>,
    pub(super) limit: Option<usize>,
    pub(super) fields: Option<Vec<String>>,
}

impl Ask {
    /// Names and values of the query string, not encoded.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let mut query = Vec::new();
        for filter in &self.filters {
            query.push((filter.name(), filter.text()));
        }
        if let Some(since) = self.since {
            query.push(("_since".to_owned(), format!("\"{since}\"")));
        }
        if let Some(before) = self.before {
            query.push(("_before".to_owned(), before.to_string()));
        }
        if !self.sort.is_empty() {
            let sign = |down: bool| if down { "-" } else { "" };
            let keys: Vec<_> =
                self.sort.iter().map(|(down, field)| format!("{}{field}", sign(*down))).collect();
            query.push(("_sort".to_owned(), keys.join(",")));
        }
        if let Some(limit) = self.limit {
            query.push(("_limit".to_owned(), limit.to_string()));
        }
        if let Some(fields) = &self.fields {
            query.push(("_fields".to_owned(), fields.join(",")));
        }
        query
    }

    /// Whether tombstones are listed too.
    pub(super) fn shows_tombstones(&self) -> bool {
        let bounded = self.since.is_some() || self.before.is_some();
        bounded || self.filters.iter().any(|filter| filter.field == "last_modified")
    }

    /// The time that all of the list must be newer than.
    pub(super) fn newer_than(&self) -> Option<i64> {
        let is_one = |filter: &&Filter| filter.test == Test::Gt && filter.field == "last_modified";
        let filters = self.filters.iter().filter(is_one).filter_map(|filter| filter.value.as_i64());
        self.since.into_iter().chain(filters).max()
    }

    /// Whether an object is in the list.
    pub(super) fn matches(&self, object: &Shown) -> bool {
        let time = object["last_modified"].as_i64().unwrap_or(0);
        self.since.is_none_or(|since| time > since)
            && self.before.is_none_or(|before| time < before)
            && self.filters.iter().all(|filter| filter.holds(object))
    }

    /// Which of two objects comes first.
    pub(super) fn order(&self, a: &Shown, b: &Shown) -> Ordering {
        for (down, field) in &self.sort {
            let order = compare(reach(a, field), reach(b, field));
            if order.is_ne() {
                return if *down { order.reverse() } else { order };
            }
        }
        compare(reach(b, "last_modified"), reach(a, "last_modified"))
    }

    /// What is left of an object by the choice of fields.
    pub(super) fn select(&self, object: &Shown) -> Shown {
        let Some(fields) = &self.fields else { return object.clone() };
        let mut selected = Map::new();
        for field in fields.iter().map(String::as_str).chain(["id", "last_modified", "deleted"]) {
            project(&mut selected, object, field);
        }
        selected
    }
}

impl Test {
    fn prefix(self) -> &'static str {
        match self {
            Self::Eq => "",
            Self::Not => "not_",
            Self::Gt => "gt_",
            Self::Min => "min_",
            Self::Lt => "lt_",
            Self::Max => "max_",
            Self::In => "in_",
            Self::Exclude => "exclude_",
            Self::Like => "like_",
            Self::Has => "has_",
            Self::Contains => "contains_",
            Self::ContainsAny => "contains_any_",
        }
    }
}

impl Filter {
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.test.prefix(), self.field)
    }

    // Plain words go without quotes, unless they would be read as something else.
    fn text(&self) -> String {
        let word = |value: &Value| match value {
            Value::String(text) if plain(text) => text.clone(),
            other => other.to_string(),
        };
        match (&self.test, &self.value) {
            (Test::In | Test::Exclude, Value::Array(values)) => {
                values.iter().map(word).collect::<Vec<_>>().join(",")
            }
            (_, value) => word(value),
        }
    }

    fn holds(&self, object: &Shown) -> bool {
        let value = reach(object, &self.field);
        let order = || compare(value, Some(&self.value));
        let items = || self.value.as_array().into_iter().flatten();
        let within = |item: &Value| {
            let array = value.and_then(Value::as_array);
            array.is_some_and(|array| array.iter().any(|member| same(member, item)))
        };
        match self.test {
            Test::Eq => value.is_some_and(|value| same(value, &self.value)),
            Test::Not => !value.is_some_and(|value| same(value, &self.value)),
            Test::Gt => order().is_gt(),
            Test::Min => order().is_ge(),
            Test::Lt => order().is_lt(),
            Test::Max => order().is_le(),
            Test::In => value.is_some_and(|value| items().any(|item| same(value, item))),
            Test::Exclude => !value.is_some_and(|value| items().any(|item| same(value, item))),
            Test::Like => {
                let (value, pattern) = (value.and_then(Value::as_str), self.value.as_str());
                value.is_some_and(|text| like(text, pattern.unwrap_or("")))
            }
            Test::Has => value.is_some() == (self.value == Value::Bool(true)),
            Test::Contains if self.value.is_array() => {
                value.is_some_and(Value::is_array) && items().all(within)
            }
            Test::Contains => within(&self.value),
            Test::ContainsAny => items().any(within),
        }
    }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && serde_json::from_str::<Value>(text).is_err() && !text.contains(',')
}

// The slow and obvious way: the first star may stand for every length.
fn like(text: &str, pattern: &str) -> bool {
    fn walk(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| walk(&text[skipped..], rest)),
            Some((wanted, rest)) => text.first() == Some(wanted) && walk(&text[1..], rest),
        }
    }
    let pattern = match pattern.contains('*') {
        true => pattern.to_lowercase(),
        false => format!("*{}*", pattern.to_lowercase()),
    };
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    walk(&chars(&text.to_lowercase()), &chars(&pattern))
}

fn reach<'a>(object: &'a Shown, field: &str) -> Option<&'a Value> {
    let mut steps = field.split('.');
    let mut value = object.get(steps.next()?)?;
    for step in steps {
        value = value.as_object()?.get(step)?;
    }
    Some(value)
}

// Copies a field. The objects on the way to it are kept even if it is not in them.
fn project(into: &mut Shown, from: &Shown, field: &str) {
    let (first, rest) = match field.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (field, None),
    };
    match (from.get(first), rest) {
        (Some(Value::Object(inner)), Some(rest)) => {
            let kept = into.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(kept) = kept {
                project(kept, inner, rest);
            }
        }
        (Some(value), None) => {
            into.insert(first.to_owned(), value.clone());
        }
        (_, _) => {}
    }
}
