//! What the runners print, counted.

use super::failures::{Failures, PANIC_LINES, SAID_LINES_MAX};
use super::{Failure, Runner, Tally, plain};

#[track_caller]
fn check(runner: Runner, output: &str, passed: u64, failed: u64) {
    let mut tally = Tally::default();
    output.lines().for_each(|line| tally.read(runner, &plain(line)));
    assert_eq!((tally.passed, tally.failed), (passed, failed), "{output}");
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
    let judged = |passed, failed, ended_well| {
        let tally =
            Tally { passed, failed, ..Tally::default() }.judged(ended_well, Failure::new(""));
        (tally.passed, tally.failed, tally.failures.len())
    };
    assert_eq!(judged(0, 0, true), (0, 1, 1));
    assert_eq!(judged(3, 0, false), (3, 1, 1));
    assert_eq!(judged(3, 2, false), (3, 2, 0));
    assert_eq!(judged(3, 0, true), (3, 0, 0));
}

#[track_caller]
fn named(runner: Runner, output: &str, expected: &[(&str, &[&str])]) {
    let mut failures = Failures::new(runner);
    output.lines().for_each(|line| failures.read(line));
    let (found, _) = failures.end();
    let found: Vec<_> = found.iter().map(|one| (&*one.name, one.said.join("|"))).collect();
    let expected: Vec<_> = expected.iter().map(|(name, said)| (*name, said.join("|"))).collect();
    assert_eq!(found, expected);
}

#[test]
fn retries_of_nextest() {
    let output = "
  TRY 1 FAIL [   0.480s] (1/2) sample a::in_time::b
  stdout \u{2500}\u{2500}\u{2500}
    too slow
  TRY 2 PASS [   0.380s] (1/2) sample a::in_time::b
  TRY 1 FAIL [   0.480s] (2/2) sample a::in_time::c
  TRY 2 FAIL [   0.480s] (2/2) sample a::in_time::c
\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}
     Summary [   0.531s] 2 tests run: 1 passed (1 flaky), 1 failed, 0 skipped
   FLAKY 2/2 [   0.380s] (1/2) sample a::in_time::b
  TRY 2 FAIL [   0.480s] (2/2) sample a::in_time::c";
    let mut failures = Failures::new(Runner::Nextest);
    output.lines().for_each(|line| failures.read(line));
    let (failed, retried) = failures.end();
    let failed: Vec<_> = failed.into_iter().map(|failure| failure.name).collect();
    assert_eq!(failed, ["sample a::in_time::c"]);
    assert_eq!(retried, ["sample a::in_time::b"]);
    check(Runner::Nextest, output, 1, 1);
}

#[test]
fn failures_of_nextest() {
    let output = "
        PASS [   0.018s] (1/4) sample good
        FAIL [   0.480s] (2/4) sample m::bad_one::sqlite
  stdout \u{2500}\u{2500}\u{2500}

    running 1 test
    FAIL [   0.1s] what a test of this prints
  stderr \u{2500}\u{2500}\u{2500}
    NUAGE_SEED=5

     SIGABRT [   0.019s] (3/4) sample aborts
    (test aborted with signal 6: SIGABRT)
        SLOW [> 60.000s] sample slow
    not of it
\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}
     Summary [   0.531s] 4 tests run: 1 passed, 2 failed, 0 skipped
     SIGABRT [   0.019s] (3/4) sample aborts
        FAIL [   0.480s] (2/4) sample m::bad_one::sqlite
error: test run failed";
    named(
        Runner::Nextest,
        output,
        &[
            (
                "sample m::bad_one::sqlite",
                &[
                    "  stdout \u{2500}\u{2500}\u{2500}",
                    "    running 1 test",
                    "    FAIL [   0.1s] what a test of this prints",
                    "  stderr \u{2500}\u{2500}\u{2500}",
                    "    NUAGE_SEED=5",
                ],
            ),
            ("sample aborts", &["    (test aborted with signal 6: SIGABRT)"]),
        ],
    );
}

#[test]
fn failures_of_libtest() {
    let output = "test a ... ok\ntest m::b ... FAILED\n\nfailures:\n\n---- m::b stdout ----\n\
         thread 'm::b' panicked\nwhy\n\nfailures:\n    m::b\n\ntest result: FAILED. 1 passed";
    named(Runner::Libtest, output, &[("m::b", &["thread 'm::b' panicked", "why"])]);
}

#[test]
fn failures_of_unittest() {
    let line = "=".repeat(70);
    let output = format!(
        "test_bad (t.A.test_bad) ... FAIL\ntest_no (t.A.test_no) ... skipped 'why'\n\n{line}\n\
         ERROR: setUpClass (t.B)\n---\nTraceback\n\n{line}\nFAIL: test_bad (t.A.test_bad)\n---\n\
         AssertionError: 1 != 2\n\n---\nRan 4 tests in 0.009s\n\nFAILED (failures=1, errors=1)"
    );
    named(
        Runner::Unittest,
        &output,
        &[
            ("test_no (t.A.test_no) ... skipped 'why'", &[]),
            ("setUpClass (t.B)", &["---", "Traceback"]),
            ("test_bad (t.A.test_bad)", &["---", "AssertionError: 1 != 2", "---"]),
        ],
    );
}

#[test]
fn failures_of_node() {
    let output = "\u{2714} good (2ms)\n\u{2716} bad (1ms)\n  Error: why\n\
         \u{fe63} left out (1ms) # SKIP\n\u{2139} fail 1\n\n\u{2716} failing tests:\n\n\
         test at a.test.js:2:23\n\u{2716} bad (1ms)\n  Error: why\n\n\
         test at b.test.js:3:1\n\u{2716} inner (1ms)\n  Error: how";
    named(
        Runner::Node,
        output,
        &[
            ("left out (1ms) # SKIP", &[]),
            ("a.test.js:2:23 bad (1ms)", &["  Error: why"]),
            ("b.test.js:3:1 inner (1ms)", &["  Error: how"]),
        ],
    );
}

#[test]
fn only_the_end_of_long_outputs_is_kept() {
    let mut failures = Failures::new(Runner::Nextest);
    failures.read("        FAIL [   0.480s] (2/4) sample long");
    (0..1_000).for_each(|n| failures.read(&format!("    line {n}")));
    let said = &failures.end().0[0].said;
    assert_eq!(said.len(), SAID_LINES_MAX);
    assert_eq!(said.last().map(String::as_str), Some("    line 999"));
}

#[test]
fn a_panic_is_kept_whatever_follows() {
    let mut failure = Failure::new("loud");
    (0..100).for_each(|n| failure.hear(&format!("before {n}")));
    failure.hear("thread 'main' panicked at src/json.rs:1:2:");
    failure.hear("why");
    (0..100).for_each(|n| failure.hear(&format!("log {n}")));
    failure.hear("thread 'other' panicked at the end");
    assert_eq!(failure.said.len(), SAID_LINES_MAX);
    assert_eq!(failure.said[..2], ["thread 'main' panicked at src/json.rs:1:2:", "why"]);
    assert_eq!(failure.said[PANIC_LINES - 1], format!("log {}", PANIC_LINES - 3));
    assert_eq!(failure.said[SAID_LINES_MAX - 2], "log 99");
}
