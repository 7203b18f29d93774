//! What the runners print, counted.

use super::{Runner, Tally};

#[track_caller]
fn check(runner: Runner, output: &str, passed: u64, failed: u64) {
    let mut tally = Tally::default();
    output.lines().for_each(|line| tally.read(runner, line));
    assert_eq!(tally, Tally { passed, failed }, "{output}");
}

#[test]
fn nextest() {
    let good = "     Summary [   0.812s] 120 tests run: 120 passed (1 slow), 0 skipped";
    check(Runner::Nextest, good, 120, 0);
    let bad = "     Summary [   1.1s] 9/12 tests run: 5 passed, 3 failed, 1 timed out, 2 skipped\n\
         error: test run failed";
    check(Runner::Nextest, bad, 5, 6);
    let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.0s] \u{1b}[1m1\u{1b}[0m test run: \
         \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
    check(Runner::Nextest, coloured, 1, 0);
}

#[test]
fn libtest() {
    let output = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
         test a ... FAILED\n\
         test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
    check(Runner::Libtest, output, 4, 3);
}

#[test]
fn unittest() {
    check(Runner::Unittest, "Ran 92 tests in 15.136s\n\nOK", 92, 0);
    check(Runner::Unittest, "Ran 92 tests in 15.1s\n\nFAILED (failures=7, errors=4)", 81, 11);
    check(Runner::Unittest, "Ran 2 tests in 0.1s\n\nOK (skipped=1)", 1, 1);
}

#[test]
fn node() {
    let output = "\u{2714} something passes (1ms)\n\u{2139} tests 5\n\u{2139} suites 1\n\
         \u{2139} pass 3\n\u{2139} fail 1\n\u{2139} cancelled 1\n\u{2139} skipped 0\n\
         \u{2139} todo 0\n\u{2139} duration_ms 156288.9";
    check(Runner::Node, output, 3, 2);
}

#[test]
fn a_run_without_tests_or_without_reason_is_a_failure() {
    assert_eq!(Tally::default().judged(true), Tally { passed: 0, failed: 1 });
    assert_eq!(Tally { passed: 3, failed: 0 }.judged(false), Tally { passed: 3, failed: 1 });
    assert_eq!(Tally { passed: 3, failed: 2 }.judged(false), Tally { passed: 3, failed: 2 });
    assert_eq!(Tally { passed: 3, failed: 0 }.judged(true), Tally { passed: 3, failed: 0 });
}
