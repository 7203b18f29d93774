use serde_json::json;

use super::*;

#[test]
fn numbers_are_in_one_order_however_large() {
    let ascending = [
        json!(-1.0e300),
        json!(i64::MIN),
        json!(-1.5),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(1),
        json!(9_007_199_254_740_992.0),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_994.0),
        json!(u64::MAX),
        json!(1.0e300),
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(compare(Some(a), Some(b)), i.cmp(&j), "{a} {b}");
        }
    }
    assert!(same(&json!(1), &json!(1.0)));
    assert!(same(&json!(9_007_199_254_740_992_u64), &json!(9_007_199_254_740_992.0)));
}
