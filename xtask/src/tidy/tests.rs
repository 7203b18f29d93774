//! The house is tidy, and breaches are noticed.

use super::crates::{self, Member};
use super::{files, settings};

#[test]
fn the_house_is_tidy() {
    let breaches = super::breaches().expect("cargo answers");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn nothing_is_missed_where_there_is_no_repository() {
    let walked = super::walked().expect("the workspace can be read");
    for path in super::committed().expect("the workspace can be read") {
        let is_there = crate::workspace::root().join(&path).exists();
        // The first inputs of the fuzz targets are committed beside those that are found.
        let is_input = path.starts_with("fuzz/corpus");
        assert!(walked.contains(&path) || !is_there || is_input, "{} is missed", path.display());
    }
}

fn member(name: &str, uses: &[&str], tests_use: &[&str]) -> Member {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Member { name: name.to_owned(), uses: own(uses), tests_use: own(tests_use) }
}

#[test]
fn layers_use_only_what_is_below_them() {
    let good = [
        member("nuage-model", &[], &[]),
        member("nuage-store", &["nuage-model"], &["nuage-testkit"]),
        member("nuage-engine", &["nuage-model"], &["nuage-store"]),
        member("nuage-testkit", &["nuage-model"], &[]),
    ];
    assert_eq!(crates::breaches(&good), Vec::<String>::new());
    let bad = [
        member("nuage-engine", &["nuage-model", "nuage-store"], &["nuage-http"]),
        member("nuage-model", &[], &[]),
        member("nuage-store", &["nuage-model"], &[]),
        member("nuage-http", &["nuage-model", "nuage-testkit"], &[]),
        member("nuage-testkit", &["nuage-model"], &[]),
        member("nuage-new", &[], &[]),
    ];
    assert_eq!(
        crates::breaches(&bad),
        [
            "the manifest must list nuage-model above nuage-engine, which uses it",
            "nuage-engine may not use nuage-store",
            "the manifest must list nuage-store above nuage-engine, which uses it",
            "the tests of nuage-engine may not use nuage-http, a layer above it",
            "nuage-http may not use nuage-testkit",
            "the manifest must list nuage-testkit above nuage-http, which uses it",
            "nuage-new has no place among the crates: give it one in tidy",
        ]
    );
}

#[test]
fn settings_that_nothing_reads_are_told() {
    let holder = "crates/nuage-store/src/options.rs";
    let text =
        "pub struct Options {\n    /// Words.\n    pub readers: usize,\n    pub list_ms: u64,\n}\n";
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let told = |files: &[(String, String)]| {
        let of_holder = |breach: &String| breach.starts_with(holder);
        settings::breaches(files).into_iter().filter(of_holder).collect::<Vec<_>>()
    };
    let reader = file("crates/nuage-store/src/a.rs", "options.readers + options.list_ms_max");
    let filler = file("crates/nuage/src/b.rs", "options.list_ms = 1");
    let tester = file("crates/nuage-store/src/c/tests.rs", "options.list_ms");
    let unread = format!("{holder}: nothing reads the setting list_ms of Options");
    let files = [file(holder, text), reader, filler, tester];
    assert_eq!(told(&files), [unread]);
    let other = file("crates/nuage-store/src/d.rs", "let time = options\n    .list_ms;");
    assert_eq!(told(&[&files[..], &[other]].concat()), [""; 0]);
}

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    assert_eq!(files::breaches(path, text), expected, "{path}");
}

#[test]
fn modules_introduce_themselves() {
    check("crates/nuage-store/src/a.rs", "//! What.\nfn a() {}\n", &[]);
    let expected = "crates/nuage-store/src/a.rs does not begin with //!: what it is, which rule \
                    it keeps";
    check("crates/nuage-store/src/a.rs", "fn a() {}\n", &[expected]);
}

#[test]
fn only_the_program_reads_the_environment() {
    let text = "//! What.\nlet x = std::env::var(\"X\");\n// env::var in a comment\n";
    check("crates/nuage/src/a.rs", text, &[]);
    check("crates/nuage-store/tests/a.rs", text, &[]);
    check("crates/nuage-store/src/a/tests.rs", text, &[]);
    let expected = "crates/nuage-kinto/src/a.rs:2 reads the environment: only the program may";
    check("crates/nuage-kinto/src/a.rs", text, &[expected]);
}

#[test]
fn pages_have_one_title() {
    check("README.md", "# One\n\n```sh\n# a comment\n```\n## Two\n", &[]);
    check("a.md", "# One\n# Two\n", &["a.md has 2 titles instead of one"]);
    let untitled = ["a.md has 0 titles instead of one", "a.md does not begin with its title"];
    check("a.md", "text\n", &untitled);
}

#[test]
fn files_name_no_machine() {
    let text = concat!("ok\nsee /ho", "me/ann/notes\n");
    let found = concat!("a.txt:2 names a folder of one machine: /ho", "me/");
    check("a.txt", text, &[found]);
}
