#![allow(clippy::unwrap_used)]

use super::*;

fn digest(n: usize) -> Digest {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

#[test]
fn what_is_kept_has_a_bound_in_bytes_and_the_oldest_goes_first() {
    let kept = Kept::new(100 * ENTRY_BYTES);
    let favourite = kept.entry(&digest(0));
    for n in 1..10_000 {
        kept.entry(&digest(n));
        kept.weigh(&digest(n), n % 7 * ENTRY_BYTES);
        assert!(Arc::ptr_eq(&favourite, &kept.entry(&digest(0))), "it is in use");
        let inner = kept.inner.lock().unwrap();
        assert!(inner.bytes <= 100 * ENTRY_BYTES);
        assert_eq!(inner.bytes, inner.entries.values().map(|entry| entry.bytes).sum::<usize>());
    }
    assert!(kept.inner.lock().unwrap().entries.len() > 10);
}

#[test]
fn what_is_larger_than_all_that_may_be_kept_is_not() {
    let kept = Kept::new(10 * ENTRY_BYTES);
    kept.entry(&digest(1));
    kept.weigh(&digest(1), 11 * ENTRY_BYTES);
    assert_eq!(kept.inner.lock().unwrap().entries.len(), 0);
    assert_eq!(kept.inner.lock().unwrap().bytes, 0);
}
