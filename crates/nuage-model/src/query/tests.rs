use serde_json::json;

use super::*;

#[test]
fn long_arrays_hold_the_same_as_short_ones() {
    let long: Vec<Value> = (0..5_000).map(|n| json!((n * 7_919) % 5_000)).collect();
    let holds = |test: Test| test.holds(Some(&Value::from(long.clone())));
    let wanted: Vec<Value> = (0..100).map(|n| json!(f64::from(n * 50))).collect();
    assert!(holds(Test::Contains(wanted.clone())));
    let with_missing: Vec<Value> = wanted.iter().cloned().chain([json!("0")]).collect();
    assert!(!holds(Test::Contains(with_missing.clone())));
    assert!(holds(Test::ContainsAny(with_missing)));
    let missing: Vec<Value> = (0..100).map(|n| json!(n.to_string())).collect();
    assert!(!holds(Test::ContainsAny(missing)));
    assert!(holds(Test::Contains(Vec::new())));
}

#[test]
fn many_wanted_items_and_a_long_array_do_not_multiply() {
    let array: Vec<Value> = (0..500_000).map(Value::from).collect();
    let wanted: Vec<Value> = (0..10_000).map(|n| json!(-n - 1)).collect();
    // One by one these would be five thousand million comparisons.
    assert!(!Test::ContainsAny(wanted).holds(Some(&Value::from(array))));
}
