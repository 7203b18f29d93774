//! Processes that serve the same data.

use std::net::SocketAddr;
use std::sync::Arc;

use nuage_testkit::backend::Backend;
use nuage_testkit::postgres::Database;
use nuage_testkit::server::Server;

use crate::programs::{program, write_settings};

/// Several processes on one database.
pub(super) struct Site {
    pub(super) processes: Vec<Server>,
    pub(super) database: Option<Arc<Database>>,
}

impl Site {
    /// So many processes on a fresh database. Only one can serve a file.
    pub(super) fn new(backend: Backend, processes: usize, settings: &str) -> Self {
        let database = backend.database();
        let processes = (0..processes).map(|_| serve(database.clone(), settings)).collect();
        Self { processes, database }
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.processes.iter().map(Server::address).collect()
    }
}

/// One process on this database, or on a file.
pub(super) fn serve(database: Option<Arc<Database>>, settings: &str) -> Server {
    serve_with(database, settings, &[])
}

/// The same with these variables in its environment.
pub(super) fn serve_with(
    database: Option<Arc<Database>>,
    settings: &str,
    variables: &[(&str, &str)],
) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), settings);
    let data = folder.path().join("data");
    let mut program = program().argument("--kinto-ini").argument(settings);
    for (name, value) in variables {
        program = program.variable(name, *value);
    }
    match database {
        Some(database) => program.in_database(database).start_on(data, folder),
        None => program.start_on(data, folder),
    }
}

/// Shows how to repeat a test that fails.
pub(super) struct Seed(pub(super) u64);

impl Seed {
    /// The one in `NUAGE_SEED`, or a new one.
    pub(super) fn new() -> Self {
        let now = || crate::programs::now_ms() as u64 % 1_000_000_000;
        Self(crate::programs::number("NUAGE_SEED").unwrap_or_else(now))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let words = format!("replay the choices with NUAGE_SEED={}\n", self.0);
            // There is nobody to tell if that fails.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), words.as_bytes());
        }
    }
}
