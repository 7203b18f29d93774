//! The databases that a test runs on: one body, two tests.
//!
//! A test takes a [`Backend`] and asks it for what it needs; [`crate::both_databases`] makes one
//! test of it for each.

use std::future::Future;
use std::sync::Arc;

use crate::postgres::{self, Database};

/// Which database a test runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// A file in a folder.
    Sqlite,
    /// A database on a server.
    Postgres,
}

impl Backend {
    /// A fresh database on a server, if that is what it takes.
    pub fn database(self) -> Option<Arc<Database>> {
        (self == Self::Postgres).then(|| Arc::new(postgres::database()))
    }

    /// One number for SQLite, another for PostgreSQL, where each statement takes longer.
    pub fn choose<T>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }
}

/// Runs a test that waits, on two threads.
///
/// # Panics
///
/// If the system gives no threads.
pub fn block_on(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.expect("the system gives threads").block_on(test);
}

/// Makes two tests of each function that takes a [`Backend`]: `name::sqlite` and
/// `name::postgres`. Functions that are `async` are listed after that word.
#[macro_export]
macro_rules! both_databases {
    (async $($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::backend::block_on(super::$name($crate::backend::Backend::Sqlite));
            }

            #[test]
            fn postgres() {
                $crate::backend::block_on(super::$name($crate::backend::Backend::Postgres));
            }
        }
    )*};
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn sqlite() {
                super::$name($crate::backend::Backend::Sqlite);
            }

            #[test]
            fn postgres() {
                super::$name($crate::backend::Backend::Postgres);
            }
        }
    )*};
}
