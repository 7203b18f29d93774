//! The servers that the other modules try, and how long they may.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nuage_testkit::backend::Backend;
use nuage_testkit::history::{Flavour, SETTINGS};
use nuage_testkit::server::{Server, Setup};

/// The program that Cargo built for these tests.
pub(crate) fn program() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_nuage"))
}

/// A server to write to: basic authentication, default buckets and flushing.
pub(crate) fn open_server(backend: Backend) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    program().on(backend).argument("--kinto-ini").argument(settings).start_on(data, folder)
}

/// Writes an `.ini` file of Kinto, and says where.
pub(crate) fn write_settings(folder: &Path, settings: &str) -> String {
    let path = folder.join("kinto.ini");
    let head = "[app:main]\nuse = egg:kinto\n";
    std::fs::write(&path, format!("{head}{settings}")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The present time in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// A server that somebody else started.
pub(crate) fn foreign_server() -> Option<SocketAddr> {
    let url = std::env::var("NUAGE_TEST_SERVER").ok()?;
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    Some(address.parse().unwrap_or_else(|_| panic!("NUAGE_TEST_SERVER is not ADDRESS:PORT: {url}")))
}

/// Whose it is.
pub(crate) fn flavour() -> Flavour {
    match std::env::var("NUAGE_TEST_FLAVOUR").as_deref() {
        Ok("kinto") => Flavour::Kinto,
        _ => Flavour::Nuage,
    }
}
