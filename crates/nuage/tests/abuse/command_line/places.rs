//! Something that is no path becomes a file, password and all; copies of everything may be read by
//! everybody; a wrong call ends with a number that makes a supervisor try it again for ever.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::Call;
use nuage_testkit::server::{clean_command, free_address};
use serde_json::json;

use crate::abuse::command_line::{assert_end, nuage, nuage_reading, run_reading, said, send};
use crate::abuse::{bounded, bounded_with, eventually};
use crate::programs::program;

const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn a_connection_string_becomes_no_file_and_its_password_is_not_shown() {
    let listen = free_address().to_string();
    let strings = [
        "host=db dbname=notes user=me password=hush",
        "postgres:me:hush@db/notes",
        "me:hush@db/notes",
        "mysql://me:hush@db/notes",
        "sqlite:///hush.db",
    ];
    for string in strings {
        for verb in [&["serve", "--listen", &listen][..], &["config", "show"], &["check"]] {
            let url = [verb, &["--storage-url", string]].concat();
            assert_end(&nuage(&url), 3, &["--storage-url: storage.url: "]);
        }
        let copy = ["copy", "--from", string, "--to", "./somewhere"];
        assert_end(&nuage(&copy), 3, &["--from or --to: "]);
    }
    let folder = ["serve", "--listen", &listen, "--data", "postgres://me:hush@db/notes"];
    assert_end(&nuage(&folder), 3, &["--data: storage.path: this is no folder"]);
}

#[test]
fn each_wrong_call_ends_with_its_own_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("file"), "text").unwrap();
    for (name, content) in [("foreign", &b"SQLite format 3\0"[..]), ("text", b"words, no data")] {
        std::fs::create_dir(path(name)).unwrap();
        std::fs::write(folder.path().join(name).join("nuage.db"), content.repeat(600)).unwrap();
    }
    std::fs::create_dir_all(folder.path().join("folders").join("nuage.db")).unwrap();
    let listen = free_address().to_string();
    let serve = |arguments: &[&str]| nuage(&[&["serve", "--listen", &listen], arguments].concat());
    for place in ["file", "foreign", "text", "folders"] {
        assert_end(&serve(&["--data", &path(place)]), 4, &[place]);
    }
    let none = path("none");
    let without_data: [&[&str]; 8] = [
        &["check"],
        &["export"],
        &["user", "list"],
        &["user", "passwd", "a", "--generate"],
        &["bucket", "list"],
        &["bucket", "delete", "b", "--yes"],
        &["backup", "create", "/nowhere/copy"],
        &["explain", "/buckets/b", "--principal", "account:a"],
    ];
    for verb in without_data {
        let ended = nuage(&[verb, &["--data", &none]].concat());
        assert_end(&ended, 4, &["There is no data at"]);
        assert!(!Path::new(&none).exists(), "{verb:?} made it");
    }
    let cases: [(&[&str], i32, &str); 6] = [
        (&["serve", "--listen", "127.0.0.1", "--data", &none], 3, "ADDRESS:PORT"),
        (&["serve", "--listen", "203.0.113.1:8000", "--data", &none], 5, "not an address of this"),
        (&["serve", "--config", "/nowhere/nuage.toml", "--data", &none], 3, "cannot be read"),
        (&["backup", "verify", &none], 4, "There is no copy"),
        (&["backup", "restore", &none, "--data", &none], 4, "There is no copy"),
        (&["explain", "nothing", "--principal", "account:a", "--data", &none], 2, "not the path"),
    ];
    for (arguments, code, words) in cases {
        assert_end(&nuage(arguments), code, &[words]);
    }
}

#[test]
fn a_hyphen_is_the_standard_output_and_input() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let add = ["user", "add", "alice", "--password-stdin", "--create", "--data", &data];
    assert_end(&nuage_reading("pw\n", &add), 0, &[]);
    let exported = nuage(&["export", "-", "--data", &data]);
    assert_end(&exported, 0, &["\"nuage\":\"end\""]);
    let text = String::from_utf8(exported.stdout).unwrap();
    let other = folder.path().join("other").display().to_string();
    let imported = nuage_reading(&text, &["import", "-", "--data", &other]);
    assert_end(&imported, 0, &["1 records and tombstones"]);
    // Where it cannot be, it is no file either.
    assert_end(&nuage(&["backup", "create", "-", "--data", &data]), 2, &["a copy is a file"]);
}

/// Whoever may read a file, in octal digits.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Runs the program as one whose files everybody may read and write.
fn careless(arguments: &[&str]) -> std::process::Output {
    let mut command: Command = clean_command(Path::new("sh"));
    command.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(&program().binary).args(arguments);
    run_reading("pw\n", command)
}

#[test]
fn copies_of_everything_are_for_their_owner_alone_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, words) = (path("data"), "password hashes and secrets");
    let add = ["user", "add", "alice", "--password-stdin", "--create", "--data", &data];
    assert_end(&careless(&add), 0, &[]);
    let (export, backup) = (path("export"), path("backup"));
    assert_end(&careless(&["export", &export, "--data", &data]), 0, &[words]);
    assert_end(&careless(&["backup", "create", &backup, "--data", &data]), 0, &[words]);
    // An empty file that others may read is in the place of the copy.
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("nuage.db"), "").unwrap();
    std::fs::set_permissions(copy.join("nuage.db"), Permissions::from_mode(0o666)).unwrap();
    assert_end(&careless(&["copy", "--from", &data, "--to", &path("copy")]), 0, &[words]);
    let files = [Path::new(&export), Path::new(&backup), &copy.join("nuage.db")];
    for file in files.into_iter().chain([&*Path::new(&data).join("nuage.db")]) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    let database = Path::new(&data).join("nuage.db");
    std::fs::set_permissions(&database, Permissions::from_mode(0o644)).unwrap();
    let again = path("again.db");
    assert_end(&careless(&["backup", "create", &again, "--data", &data]), 0, &[]);
    assert_eq!(mode(Path::new(&again)), 0o600);
}

#[test]
fn data_that_everybody_may_reach_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = bounded_with(Backend::Sqlite, &[]).start_on(data.clone(), folder);
    assert!(!server.log().contains("chmod"), "{}", server.log());
    server.terminate();
    std::fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(data.join("nuage.db"), Permissions::from_mode(0o644)).unwrap();
    server.start();
    let path = data.display();
    for words in [format!("chmod o-w {path}"), format!("chmod o= {path}/nuage.db")] {
        assert!(eventually(PATIENCE, || server.log().contains(&words)), "{}", server.log());
    }
    let put = Call::put("/v1/buckets/default/collections/c/records/r", &json!({}));
    assert_eq!(send(&server, put, "a:1").status, 201);
}

#[test]
fn a_variable_with_a_single_underscore_is_told() {
    let mut check = clean_command(&program().binary);
    check.args(["config", "check"]).env("NUAGE_HTTP_LISTEN", "0.0.0.0:80");
    let checked = run_reading("", check);
    assert_end(&checked, 0, &["$NUAGE_HTTP_LISTEN has no effect", "NUAGE_HTTP__LISTEN"]);
    // Also by what would else work on other data than was meant.
    let mut list = clean_command(&program().binary);
    list.args(["user", "list", "--data", "/nowhere"]).env("NUAGE_STORAGE_PATH", "/data");
    assert_end(&run_reading("", list), 4, &["$NUAGE_STORAGE_PATH has no effect"]);
    let setup = bounded(Backend::Sqlite).variable("NUAGE_HTTP_LISTEN", "0.0.0.0:80");
    let server = setup.start();
    let told = || server.log().contains("$NUAGE_HTTP_LISTEN has no effect");
    assert!(eventually(PATIENCE, told), "{}", server.log());
    assert!(!said(&checked).contains("0.0.0.0"));
}
