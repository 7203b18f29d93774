//! What every file of a kind keeps to.

/// Folders of people's machines: nothing committed may name one.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:\\Us", "ers"),
];
/// Where the environment may be read: by the program, by tools, and by what only tests use.
const MAY_READ_ENVIRONMENT: &[&str] =
    &["crates/nuage/", "crates/nuage-testkit/", "xtask/", "bench/"];

/// Breaches of one file.
pub(super) fn breaches(path: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if path.ends_with(".rs") {
        breaches.extend(rust(path, text));
    }
    if path.ends_with(".md") {
        breaches.extend(markdown(path, text));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(found) = MACHINE_PATHS.iter().find(|machine| line.contains(**machine)) {
            breaches.push(format!("{path}:{} names a folder of one machine: {found}", number + 1));
        }
    }
    breaches
}

fn rust(path: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    // Tests are introduced by the module they test.
    if !text.starts_with("//!") && !path.ends_with("/tests.rs") {
        breaches.push(format!("{path} does not begin with //!: what it is, which rule it keeps"));
    }
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    if is_test || MAY_READ_ENVIRONMENT.iter().any(|folder| path.starts_with(folder)) {
        return breaches;
    }
    for (number, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        if !is_comment && line.contains("env::var") {
            breaches
                .push(format!("{path}:{} reads the environment: only the program may", number + 1));
        }
    }
    breaches
}

/// One title, on the first line.
fn markdown(path: &str, text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut titles = 0;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if !is_code && line.starts_with("# ") {
            titles += 1;
        }
    }
    let mut breaches = Vec::new();
    if titles != 1 {
        breaches.push(format!("{path} has {titles} titles instead of one"));
    }
    if !text.starts_with("# ") {
        breaches.push(format!("{path} does not begin with its title"));
    }
    breaches
}
