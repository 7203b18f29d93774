//! Copies of the data in `fixtures`, on either database, and the present program on them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use flate2::read::GzDecoder;
use nuage_testkit::backend::Backend;
use nuage_testkit::postgres::Database;
use nuage_testkit::server::{Server, clean_command};
use tempfile::TempDir;

use crate::programs::program;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// Which form the data have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    First,
    Second,
    /// Of a file only.
    Third,
    Fourth,
    Fifth,
}

impl Form {
    /// A file that was kept of it.
    pub(super) fn path(self, backend: Backend, name: &str) -> PathBuf {
        let form = match self {
            Self::First => "form-1",
            Self::Second => "form-2",
            Self::Third => "form-3",
            Self::Fourth => "form-4",
            Self::Fifth => "form-5",
        };
        Path::new(FIXTURES).join(form).join(backend.choose("sqlite", "postgres")).join(name)
    }

    /// The same, unpacked.
    pub(super) fn unpack(self, backend: Backend, name: &str) -> Vec<u8> {
        let packed = std::fs::read(self.path(backend, name)).unwrap();
        let mut content = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut content).unwrap();
        content
    }
}

/// A data folder or a database, which goes with this.
pub(crate) struct Data {
    pub(crate) folder: TempDir,
    pub(crate) database: Option<Arc<Database>>,
}

impl Data {
    /// Without anything in it.
    pub(crate) fn empty(backend: Backend) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: backend.database() }
    }

    /// What a program of that form left.
    pub(crate) fn of(form: Form, backend: Backend) -> Self {
        let data = Self::empty(backend);
        if let Some(database) = &data.database {
            let dump = data.folder.path().join("dump.sql");
            std::fs::write(&dump, form.unpack(backend, "dump.sql.gz")).unwrap();
            database.load(&dump);
            // On another server than that which it notes, devices would have to begin afresh.
            database.execute("DELETE FROM meta WHERE key = 'lineage'");
            return data;
        }
        std::fs::create_dir(data.path()).unwrap();
        std::fs::write(data.path().join("nuage.db"), form.unpack(backend, "nuage.db.gz")).unwrap();
        let secrets = form.path(backend, "secrets.toml");
        if secrets.exists() {
            std::fs::copy(secrets, data.path().join("secrets.toml")).unwrap();
        }
        data
    }

    /// The folder of the data.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The path of a file beside the data.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The present program on it. It forgets nothing, however old the data are by now.
    pub(super) fn serve(&self) -> Server {
        let log = tempfile::tempdir().unwrap();
        let settings = Path::new(FIXTURES).join("nuage.toml").display().to_string();
        let mut setup = program().argument("--config").argument(settings);
        setup = setup.argument("--set").argument("feed.compact_s=0");
        setup.database = self.database.clone();
        setup.start_on(self.path(), log)
    }

    /// Runs a verb of the program on it: its exit code and its words.
    pub(crate) fn run(&self, verb: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = clean_command(&program().binary);
        command.arg(verb).args(arguments).arg("--data").arg(self.path());
        if let Some(database) = &self.database {
            command.args(["--storage-url", database.url()]);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&words).into_owned())
    }

    /// The same, which must succeed.
    pub(super) fn expect_done(&self, verb: &str, arguments: &[&str]) {
        let (code, words) = self.run(verb, arguments);
        assert_eq!(code, Some(0), "{verb}: {words}");
    }

    /// The program must find nothing wrong in it.
    pub(crate) fn expect_sound(&self) {
        let (code, words) = self.run("check", &[]);
        assert!(code == Some(0) && words.contains("is sound"), "{code:?}: {words}");
    }
}
