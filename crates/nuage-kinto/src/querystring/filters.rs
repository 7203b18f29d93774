//! One condition of a list: operator, field and value (fact sheet, sections 7.1 and 7.2).
//!
//! Values are JSON where they parse as JSON, and strings where they do not. What the tests mean
//! is the model's business.

use nuage_model::{Field, Filter, Test, Timestamp};
use serde_json::Value;

use super::{Listing, Rules, field, invalid, too_many};
use crate::error::Error;
use crate::json;

/// The latest time that may be asked for: no position is greater. However far ahead of the clock
/// it is, a server told it once (before its clock was set right, before it was restored), and what
/// a server told, it accepts.
const TIME_MAX: i64 = (1 << 53) - 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
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

const PREFIXES: &[(&str, Operator)] = &[
    ("eq_", Operator::Eq),
    ("not_", Operator::Not),
    ("gt_", Operator::Gt),
    ("min_", Operator::Min),
    ("lt_", Operator::Lt),
    ("max_", Operator::Max),
    ("in_", Operator::In),
    ("exclude_", Operator::Exclude),
    ("like_", Operator::Like),
    ("has_", Operator::Has),
    ("contains_any_", Operator::ContainsAny),
    ("contains_", Operator::Contains),
];

/// Reads one condition.
pub(super) fn filter(name: &str, values: &[&str], rules: &Rules<'_>) -> Result<Filter, Error> {
    let (operator, target) = operator(name);
    if rules.listing != Listing::Objects && !rules.listing.knows(target) {
        return Err(invalid(name, &format!("Unknown filter field '{name}'")));
    }
    let field = field(target);
    let is_text = operator != Operator::Has && rules.listing.holds_text(target);
    let reader = Reader { name, rules, field: &field, operator, is_text };
    let test = match operator {
        Operator::In | Operator::Exclude => {
            let list = reader.list(values)?;
            if operator == Operator::In { Test::In(list) } else { Test::Exclude(list) }
        }
        _ => reader.test(reader.value(values)?)?,
    };
    Ok(Filter { field, test })
}

/// Reads `_since`, `_before` or `_to`.
pub(super) fn bound(name: &str, value: &str) -> Result<Filter, Error> {
    // Null is before every number.
    let value = match integer(value) {
        Ok(None) if value == "null" => Value::Null,
        Ok(Some(number)) if number <= TIME_MAX => number.into(),
        _ => return Err(invalid_value(name)),
    };
    let test = if name == "_since" { Test::Gt(value) } else { Test::Lt(value) };
    Ok(Filter { field: Field::Timestamp, test })
}

/// The time after which changes are asked for, if that is the only condition.
pub(super) fn only_since(filters: &[Filter]) -> Option<Timestamp> {
    match filters {
        [Filter { field: Field::Timestamp, test: Test::Gt(since) }] => {
            since.as_i64().map(Timestamp)
        }
        _ => None,
    }
}

/// An integer, which may stand between quotes, as in an ETag, also in one that a proxy weakened;
/// fractions are cut off. Nothing for nothing and for null.
pub(super) fn integer(text: &str) -> Result<Option<i64>, ()> {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    let quoted = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let text = quoted.unwrap_or(text);
    if text.is_empty() || (quoted.is_none() && text == "null") {
        return Ok(None);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Some(number));
    }
    match text.parse::<f64>() {
        // The conversion stops at the greatest integer.
        Ok(number) if number.is_finite() => Ok(Some(number.trunc() as i64)),
        _ => Err(()),
    }
}

/// Whether the value is one that `id` can be compared with.
pub(super) fn may_be_id(text: &str) -> bool {
    !json::check(text, 1).is_ok_and(|()| !text.trim().starts_with(['"', 'n']))
}

fn operator(name: &str) -> (Operator, &str) {
    for (prefix, operator) in PREFIXES {
        if let Some(target) = name.strip_prefix(prefix)
            && !target.is_empty()
        {
            return (*operator, target);
        }
    }
    (Operator::Eq, name)
}

struct Reader<'a> {
    name: &'a str,
    rules: &'a Rules<'a>,
    field: &'a Field,
    operator: Operator,
    is_text: bool,
}

impl Reader<'_> {
    fn native(&self, text: &str) -> Result<Value, Error> {
        match json::check(text, self.rules.limits.json_depth) {
            Ok(()) => Ok(match serde_json::from_str(text) {
                Ok(Value::Number(_) | Value::Bool(_)) if self.is_text => text.into(),
                Ok(value) => value,
                Err(_) => text.into(),
            }),
            Err(json::JsonError::TooDeep { .. }) => Err(invalid_value(self.name)),
            Err(_) => Ok(text.into()),
        }
    }

    /// One value; a parameter given several times is a list.
    fn value(&self, values: &[&str]) -> Result<Value, Error> {
        match values {
            [value] => match self.native(value)? {
                // Identifiers are strings, also where they look like numbers.
                Value::Number(_) if *self.field == Field::Id && self.operator != Operator::Like => {
                    Ok((*value).into())
                }
                native => Ok(native),
            },
            _ => values.iter().map(|v| self.native(v)).collect(),
        }
    }

    fn list(&self, values: &[&str]) -> Result<Vec<Value>, Error> {
        let mut list = Vec::new();
        for item in values.iter().flat_map(|v| v.split(',')).filter(|item| !item.is_empty()) {
            let value = match self.field {
                Field::Timestamp => self.time(&self.native(item)?)?,
                _ => self.native(item)?,
            };
            if *self.field == Field::Id && !value.is_string() {
                return Err(invalid_value(self.name));
            }
            if list.len() == self.rules.limits.filter_values {
                return Err(too_many("values", self.rules.limits.filter_values));
            }
            list.push(value);
        }
        Ok(list)
    }

    fn test(&self, mut value: Value) -> Result<Test, Error> {
        if *self.field == Field::Timestamp {
            value = match self.operator {
                Operator::Eq
                | Operator::Not
                | Operator::Gt
                | Operator::Min
                | Operator::Lt
                | Operator::Max => self.time(&value)?,
                _ => return Err(invalid_value(self.name)),
            };
        }
        Ok(match self.operator {
            Operator::Not => Test::Not(value),
            Operator::Gt => Test::Gt(value),
            Operator::Min => Test::Min(value),
            Operator::Lt => Test::Lt(value),
            Operator::Max => Test::Max(value),
            Operator::Like => Test::Like(self.pattern(&value)?),
            Operator::Has => Test::Has(truthy(&value)),
            Operator::Contains => Test::Contains(self.items(value)?),
            Operator::ContainsAny => Test::ContainsAny(self.items(value)?),
            Operator::Eq | Operator::In | Operator::Exclude => Test::Eq(value),
        })
    }

    fn time(&self, value: &Value) -> Result<Value, Error> {
        let number = match value {
            Value::Number(number) => integer(&number.to_string()).ok().flatten(),
            Value::String(text) => integer(text).ok().flatten(),
            _ => None,
        };
        match number {
            Some(number) if (-TIME_MAX..=TIME_MAX).contains(&number) => Ok(number.into()),
            _ => Err(invalid_value(self.name)),
        }
    }

    fn pattern(&self, value: &Value) -> Result<String, Error> {
        let Value::String(text) = value else { return Err(invalid_value(self.name)) };
        let text = text.to_lowercase();
        Ok(if text.contains('*') { text } else { format!("*{text}*") })
    }

    fn items(&self, value: Value) -> Result<Vec<Value>, Error> {
        if *self.field == Field::Id {
            return Err(invalid(self.name, "Field 'id' is not an array"));
        }
        let items = match value {
            Value::Array(items) => items,
            value => vec![value],
        };
        if items.len() > self.rules.limits.filter_values {
            return Err(too_many("values", self.rules.limits.filter_values));
        }
        Ok(items)
    }
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn invalid_value(name: &str) -> Error {
    invalid(name, &format!("Invalid value for {name}"))
}
