#![allow(clippy::unwrap_used)]

use super::*;

fn held(cache: &Cache<usize, usize>) -> (usize, usize) {
    let inner = cache.0.read().unwrap();
    assert_eq!(inner.bytes, inner.entries.values().map(|(_, bytes)| bytes).sum::<usize>());
    (inner.entries.len(), inner.bytes)
}

#[test]
fn a_cache_has_a_bound_in_bytes() {
    let cache = Cache::new();
    let Err(age) = cache.get(&0, 0) else { panic!("it is empty") };
    for n in 0..200_000 {
        cache.put(&age, n, n, n % 1_000);
        assert!(cache.get(&n, 0).is_ok());
        if n % 1_000 == 0 {
            assert!(held(&cache).1 <= BYTES_MAX);
        }
    }
    cache.put(&age, 0, 0, 8 << 20);
    cache.put(&age, 0, 0, 1);
    cache.put(&age, 1, 1, BYTES_MAX);
    assert!(cache.get(&1, 0).is_err(), "it is larger than all that may be kept");
}

#[test]
fn what_is_forgotten_takes_nothing() {
    let cache = Cache::new();
    let Err(age) = cache.get(&0, 0) else { panic!("it is empty") };
    for n in 0..10 {
        cache.put(&age, n, n, 1_000);
    }
    cache.forget_one(&3);
    cache.forget(|key| *key > 4);
    assert_eq!(held(&cache).0, 4);
    assert!(cache.get(&0, 1).is_err());
    assert_eq!(held(&cache), (0, 0));
}
