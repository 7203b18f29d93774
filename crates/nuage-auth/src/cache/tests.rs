use std::time::Duration;

use nuage_model::{Principal, RecordPath, Seq};

use crate::cache::{Cache, Digest, ENTRIES_MAX, Found, Judgement, SHARDS, Seen};

fn digest(n: u32) -> Digest {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn judgement(generation: u64) -> Judgement {
    let seen = Seen { path: RecordPath::account("alice"), live_at: Some(Seq(7)) };
    Judgement { person: Some(Principal::from("account:alice")), seen: Some(seen), generation }
}

#[test]
fn judgements_are_renewed_by_use() {
    let cache = Cache::new(30);
    cache.put(digest(1), judgement(5), ms(0));
    assert!(matches!(cache.get(&digest(1), 5, ms(29_999)), Found::Fresh(_)));
    assert!(matches!(cache.get(&digest(1), 5, ms(59_998)), Found::Fresh(_)));
    assert!(matches!(cache.get(&digest(1), 5, ms(89_998)), Found::Expired(_)));
    assert!(matches!(cache.get(&digest(2), 5, ms(0)), Found::Nothing));
}

#[test]
fn judgements_are_doubtful_when_accounts_change() {
    let cache = Cache::new(30);
    cache.put(digest(1), judgement(5), ms(0));
    assert!(matches!(cache.get(&digest(1), 6, ms(0)), Found::Doubtful(_)));
    cache.put(digest(2), Judgement { seen: None, ..judgement(5) }, ms(0));
    assert!(matches!(cache.get(&digest(2), 6, ms(0)), Found::Fresh(_)));
    cache.forget(&digest(1));
    assert!(matches!(cache.get(&digest(1), 5, ms(0)), Found::Nothing));
}

#[test]
fn it_stays_bounded_and_forgets_the_oldest_first() {
    let cache = Cache::new(30);
    let many = (SHARDS * ENTRIES_MAX * 3) as u32;
    for n in 0..many {
        cache.put(digest(n), judgement(0), ms(u64::from(n) / 100));
    }
    let kept: usize = cache.shards.iter().map(|s| s.lock().map_or(0, |s| s.len())).sum();
    assert!(kept <= SHARDS * ENTRIES_MAX && kept > SHARDS * ENTRIES_MAX / 2, "{kept}");
    assert!(matches!(cache.get(&digest(many - 1), 0, ms(0)), Found::Fresh(_)));
    assert!(matches!(cache.get(&digest(0), 0, ms(0)), Found::Nothing));
}
