use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::Throttling;
use crate::throttle::{ENTRIES_MAX, Network, Suspect, Throttle};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn suspect(name: u8, address: IpAddr) -> Suspect {
    Suspect { name: [name; 16], network: address.into() }
}

fn throttle() -> Throttle {
    Throttle::new(&Throttling::default())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn guesses_at_a_name_from_an_address_wait_longer_and_longer_up_to_a_bound() {
    let mut throttle = throttle();
    let mut now = seconds(1_000);
    for _ in 0..9 {
        throttle.failed(&suspect(1, HERE), now);
        assert!(throttle.due(&suspect(1, HERE)) <= now);
    }
    for expected in [1, 2, 4, 8, 8, 8] {
        throttle.failed(&suspect(1, HERE), now);
        assert_eq!(throttle.due(&suspect(1, HERE)), now + seconds(expected));
        // Neither the same name elsewhere nor another name there.
        assert!(throttle.due(&suspect(1, THERE)) <= now);
        assert!(throttle.due(&suspect(2, HERE)) <= now);
        now += seconds(expected);
    }
    // One guess at a time.
    throttle.begin(&suspect(1, HERE), now);
    assert!(throttle.due(&suspect(1, HERE)) > now);
}

#[test]
fn a_success_clears_the_pair_and_time_forgives() {
    let mut throttle = throttle();
    for _ in 0..12 {
        throttle.failed(&suspect(1, HERE), seconds(0));
        throttle.failed(&suspect(2, HERE), seconds(0));
    }
    throttle.succeeded(&suspect(1, HERE), seconds(0));
    throttle.failed(&suspect(1, HERE), seconds(0));
    assert_eq!(throttle.due(&suspect(1, HERE)), seconds(0));
    // One failure in 90 s is forgiven.
    throttle.failed(&suspect(2, HERE), seconds(400));
    assert_eq!(throttle.due(&suspect(2, HERE)), seconds(400));
    // However many there were, all are in the time in which thrice as many may fail.
    for n in 0..1_000 {
        throttle.failed(&suspect(3, HERE), seconds(n));
    }
    throttle.failed(&suspect(3, HERE), seconds(4_000));
    assert_eq!(throttle.due(&suspect(3, HERE)), seconds(4_000));
}

#[test]
fn an_address_waits_a_second_and_not_for_those_it_is_known_for() {
    let mut throttle = throttle();
    throttle.succeeded(&suspect(200, HERE), seconds(0));
    for name in 0..120 {
        throttle.failed(&suspect(name, HERE), seconds(9));
    }
    assert_eq!(throttle.due(&suspect(199, HERE)), seconds(10));
    assert_eq!(throttle.due(&suspect(199, THERE)), seconds(0));
    assert_eq!(throttle.due(&suspect(200, HERE)), seconds(0));
    // One's own account is no excuse for guessing at others.
    assert_eq!(throttle.due(&suspect(150, HERE)), seconds(10));
}

#[test]
fn a_name_guessed_at_from_everywhere_waits_a_second_where_it_is_not_known() {
    let mut throttle = throttle();
    throttle.succeeded(&suspect(1, THERE), seconds(0));
    for n in 0..200_u32 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        throttle.failed(&suspect(1, address), seconds(9));
    }
    assert_eq!(throttle.due(&suspect(1, HERE)), seconds(10));
    assert_eq!(throttle.due(&suspect(1, THERE)), seconds(0));
    assert_eq!(throttle.due(&suspect(2, HERE)), seconds(0));
}

#[test]
fn six_counts_by_network_and_loopback_not_at_all() {
    let mut throttle = throttle();
    let six = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
    let mapped = |last| IpAddr::V6(Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped());
    let now = seconds(1);
    for n in 0..60 {
        throttle.failed(&suspect(n, six(n.into())), now);
        throttle.failed(&suspect(n, mapped(1)), now);
        throttle.failed(&suspect(n, IpAddr::V4(Ipv4Addr::LOCALHOST)), now);
        throttle.failed(&suspect(n, IpAddr::V6(Ipv6Addr::LOCALHOST)), now);
    }
    assert!(throttle.due(&suspect(99, six(999))) > now);
    let neighbour = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0));
    assert!(throttle.due(&suspect(99, neighbour)) <= now);
    assert!(throttle.due(&suspect(99, HERE)) > now);
    assert!(throttle.due(&suspect(99, IpAddr::V4(Ipv4Addr::LOCALHOST))) <= now);
    assert!(throttle.due(&suspect(99, IpAddr::V6(Ipv6Addr::LOCALHOST))) <= now);
    assert_ne!(Network::from(six(1)), Network::from(neighbour));
}

#[test]
fn tables_are_bounded_and_keep_who_waits() {
    let mut throttle = throttle();
    for _ in 0..20 {
        throttle.failed(&suspect(0, THERE), seconds(1));
    }
    for n in 1..2 * ENTRIES_MAX as u128 {
        let network = Network::from(IpAddr::V6(Ipv6Addr::from_bits(n << 64)));
        let suspect = Suspect { name: n.to_ne_bytes(), network };
        throttle.failed(&suspect, seconds(2));
        throttle.succeeded(&Suspect { name: [7; 16], network }, seconds(2));
    }
    assert!(throttle.pairs.entries.len() <= ENTRIES_MAX);
    assert!(throttle.networks.entries.len() <= ENTRIES_MAX);
    assert!(throttle.names.entries.len() <= ENTRIES_MAX);
    assert!(throttle.known.entries.len() <= ENTRIES_MAX);
    assert_eq!(throttle.due(&suspect(0, THERE)), seconds(9));
}

#[test]
fn zero_never_waits() {
    let settings = Throttling { account_failures: 0, address_failures: 0, ..Throttling::default() };
    let mut throttle = Throttle::new(&settings);
    for _ in 0..1000 {
        throttle.failed(&suspect(1, HERE), seconds(5));
    }
    assert_eq!(throttle.due(&suspect(1, HERE)), seconds(0));
}
