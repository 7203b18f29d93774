use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Throttling;
use crate::throttle::{ENTRIES_MAX, Suspect, Throttle};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn suspect(account: u8, address: IpAddr) -> Suspect {
    Suspect { account: [account; 16], address }
}

fn throttle() -> Throttle {
    Throttle::new(&Throttling::default())
}

#[test]
fn an_account_is_locked_for_longer_and_longer() {
    let throttle = throttle();
    let mut now_ms = 1_000_000;
    for n in 0..9 {
        // From many addresses.
        throttle.failed(&suspect(1, IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))), now_ms);
        assert_eq!(throttle.wait_s(&suspect(1, HERE), now_ms), None);
    }
    for expected_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        throttle.failed(&suspect(1, THERE), now_ms);
        assert_eq!(throttle.wait_s(&suspect(1, HERE), now_ms), Some(expected_s));
        assert_eq!(throttle.wait_s(&suspect(2, HERE), now_ms), None);
        now_ms += expected_s as i64 * 1000;
        assert_eq!(throttle.wait_s(&suspect(1, HERE), now_ms), None);
    }
    // Clock set back: the wait is bounded all the same.
    assert_eq!(throttle.wait_s(&suspect(1, HERE), 0), Some(900));
}

#[test]
fn a_success_clears_the_account_and_time_forgives() {
    let throttle = throttle();
    for _ in 0..12 {
        throttle.failed(&suspect(1, THERE), 0);
        throttle.failed(&suspect(2, THERE), 0);
    }
    throttle.succeeded(&suspect(1, HERE));
    throttle.failed(&suspect(1, THERE), 0);
    assert_eq!(throttle.wait_s(&suspect(1, HERE), 0), None);
    // Four seconds of lock, then one failure in 90 s is forgiven.
    throttle.failed(&suspect(2, THERE), 4_000 + 5 * 90_000);
    assert_eq!(throttle.wait_s(&suspect(2, HERE), 4_000 + 5 * 90_000), None);
}

#[test]
fn an_address_is_locked_for_all_accounts() {
    let throttle = throttle();
    for account in 0..50 {
        assert_eq!(throttle.wait_s(&suspect(account, HERE), 0), None);
        throttle.failed(&suspect(account, HERE), 0);
    }
    assert_eq!(throttle.wait_s(&suspect(99, HERE), 0), Some(1));
    assert_eq!(throttle.wait_s(&suspect(99, THERE), 0), None);
    // One's own account is no excuse.
    throttle.succeeded(&suspect(99, HERE));
    assert_eq!(throttle.wait_s(&suspect(99, HERE), 0), Some(1));
}

#[test]
fn six_counts_by_network_and_loopback_not_at_all() {
    let throttle = throttle();
    let six = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
    let mapped = |last| IpAddr::V6(Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped());
    for n in 0..60 {
        throttle.failed(&suspect(n, six(n.into())), 0);
        throttle.failed(&suspect(n, mapped(1)), 0);
        throttle.failed(&suspect(n, IpAddr::V4(Ipv4Addr::LOCALHOST)), 0);
        throttle.failed(&suspect(n, IpAddr::V6(Ipv6Addr::LOCALHOST)), 0);
    }
    assert!(throttle.wait_s(&suspect(99, six(999)), 0).is_some());
    let neighbour = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0));
    assert_eq!(throttle.wait_s(&suspect(99, neighbour), 0), None);
    assert!(throttle.wait_s(&suspect(99, HERE), 0).is_some());
    assert_eq!(throttle.wait_s(&suspect(99, IpAddr::V4(Ipv4Addr::LOCALHOST)), 0), None);
    assert_eq!(throttle.wait_s(&suspect(99, IpAddr::V6(Ipv6Addr::LOCALHOST)), 0), None);
}

#[test]
fn tables_are_bounded_and_keep_what_is_locked() {
    let throttle = throttle();
    for _ in 0..20 {
        throttle.failed(&suspect(0, THERE), 0);
    }
    for n in 1..3 * ENTRIES_MAX as u128 {
        let address = IpAddr::V6(Ipv6Addr::from_bits(n << 64));
        throttle.failed(&Suspect { account: n.to_ne_bytes(), address }, 1);
    }
    for table in [&throttle.accounts, &throttle.addresses] {
        assert!(table.failures.lock().is_ok_and(|failures| failures.len() <= ENTRIES_MAX));
    }
    assert!(throttle.wait_s(&suspect(0, HERE), 1).is_some());
}

#[test]
fn zero_never_locks() {
    let settings = Throttling { account_failures: 0, address_failures: 0, ..Throttling::default() };
    let throttle = Throttle::new(&settings);
    for _ in 0..1000 {
        throttle.failed(&suspect(1, HERE), 0);
    }
    assert_eq!(throttle.wait_s(&suspect(1, HERE), 0), None);
}
