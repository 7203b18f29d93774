//! The total order of JSON values by which lists are filtered and sorted.
//!
//! null < string < number < boolean < array < object < missing, as Kinto has it. Strings go by
//! code point, arrays and objects element by element. Numbers compare by value: `1` equals `1.0`.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Compares two values, either of which may be missing.
pub fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare_present(a, b),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}

/// Whether two values are the same: type-sensitive, but `1` is `1.0`.
pub fn same(a: &Value, b: &Value) -> bool {
    compare_present(a, b) == Ordering::Equal
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::String(_) => 1,
        Value::Number(_) => 2,
        Value::Bool(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

// Depth is bounded by the parser that made the values.
fn compare_present(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let unequal = a.iter().zip(b).map(|(a, b)| compare_present(a, b)).find(|o| o.is_ne());
            unequal.unwrap_or(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let unequal = a
                .iter()
                .zip(b)
                .map(|((ka, va), (kb, vb))| ka.cmp(kb).then_with(|| compare_present(va, vb)))
                .find(|o| o.is_ne());
            unequal.unwrap_or(a.len().cmp(&b.len()))
        }
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

// Exact also between integers and fractions: sorting needs an order without contradictions.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    let fraction = |number: &Number| number.as_f64().unwrap_or_default();
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_with_fraction(a, fraction(b)),
        (None, Some(b)) => compare_with_fraction(b, fraction(a)).reverse(),
        (None, None) => fraction(a).partial_cmp(&fraction(b)).unwrap_or(Ordering::Equal),
    }
}

fn compare_with_fraction(integer: i128, fraction: f64) -> Ordering {
    let floor = fraction.floor();
    let order = integer.cmp(&(floor as i128));
    order.then(if fraction > floor { Ordering::Less } else { Ordering::Equal })
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests;
