//! Where the database is and how to reach it: URL, password, TLS.

use nuage_model::StoreError;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

/// A database that can be connected to.
#[derive(Clone)]
pub(super) struct Target {
    /// Host, port, user, password, database.
    pub(super) config: Config,
    /// How to encrypt, where the server and the URL want it.
    pub(super) tls: MakeRustlsConnect,
}

impl Target {
    /// Understands a URL such as `postgres://user@host/database?sslmode=require`.
    pub(super) fn of(url: &str) -> Result<Self, StoreError> {
        let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            StoreError::Unsupported(crate::postgres::errors::chain(&error))
        })?;
        let tls = rustls::ClientConfig::builder_with_provider(
            rustls::crypto::aws_lc_rs::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Unsupported(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
    }
}
