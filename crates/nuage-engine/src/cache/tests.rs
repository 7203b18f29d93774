use super::{Bounded, Cache, ENTRY_BYTES, Weigh};

impl Weigh for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

const ROOM: usize = 1 << 20;

fn held(cache: &Bounded<u32, Vec<u8>>) -> usize {
    let all = cache.young.values().chain(cache.old.values());
    all.map(|(value, _)| value.len() + ENTRY_BYTES).sum()
}

#[test]
fn what_is_kept_never_takes_more_than_its_room() {
    let mut cache = Bounded::new(ROOM);
    for size in [1, 1_000, ROOM / 16 - ENTRY_BYTES] {
        for key in 0..20_000 {
            cache.insert(key, vec![0; size]);
            if key % 97 == 0 {
                assert!(held(&cache) <= ROOM, "{} bytes", held(&cache));
            }
        }
        assert!(held(&cache) > ROOM / 4, "it keeps something");
    }
    cache.insert(1, vec![0; ROOM / 2]);
    assert!(cache.get(&1).is_none(), "one large value takes the place of no others");
    for key in 0..20_000 {
        cache.remove(&key);
    }
    assert_eq!((held(&cache), cache.young_bytes), (0, 0));
}

#[test]
fn what_is_used_stays_while_somebody_fills_it() {
    let cache = Cache::new(ROOM);
    let Err(age) = cache.get(&u32::MAX, 0) else { panic!("it is empty") };
    cache.put(&age, u32::MAX, vec![7; 100]);
    for key in 0..20_000 {
        cache.put(&age, key, vec![0; 1_000]);
        assert!(cache.get(&u32::MAX, 0).is_ok(), "gone after {key} others");
    }
    assert!(cache.get(&0, 0).is_err());
}

#[test]
fn what_changed_while_it_was_read_is_not_kept() {
    let cache = Cache::new(ROOM);
    let Err(age) = cache.get(&1, 0) else { panic!("it is empty") };
    cache.forget_one(&2);
    cache.put(&age, 1, vec![1]);
    let Err(age) = cache.get(&1, 0) else { panic!("it was read before the change") };
    cache.put(&age, 1, vec![1]);
    assert!(cache.get(&1, 0).is_ok());
    assert!(cache.get(&1, 1).is_err(), "another process wrote");
}
