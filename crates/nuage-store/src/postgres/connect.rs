//! Where the database is and how to reach it: URL, password, TLS; and what went wrong when it
//! cannot be reached, in sentences that say what to do.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuage_model::StoreError;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use crate::Address;
use crate::postgres::errors::{chain, has_none_left};
use crate::postgres::lineage::Lineage;
use crate::postgres::servers::{Refusals, Servers};
use crate::postgres::{servers, tls, url};

/// What every session is told, whatever the role or the database says, unless the URL says
/// otherwise. Plans do not depend on the values that are asked for, so a statement is planned once
/// for each connection, and it follows the index that has the order it asks for rather than sort
/// what another index is thought to give. A plan that sorts nevertheless counts as costly beyond
/// all measure and would be compiled, for half a second, before it sorts a handful of rows: nothing
/// is compiled. Who waits for a lock, or holds one and is not heard of, gives up in time; other
/// waits are bounded here and not by the server.
const SESSION: &str = "-c plan_cache_mode=force_generic_plan -c enable_sort=off \
     -c enable_incremental_sort=off -c enable_bitmapscan=off -c jit=off -c lock_timeout=5000 \
     -c idle_in_transaction_session_timeout=10000 -c statement_timeout=0 -c idle_session_timeout=0";

/// What must be so, whatever the URL says as well: a statement that waited for a lock sees what was
/// committed meanwhile, writes are possible, texts in statements are read as written, and rows
/// that a policy hides are an error rather than missing. The last one shows that all arrive.
const RULES: &str = "-c default_transaction_isolation=read\\ committed \
     -c default_transaction_read_only=off -c standard_conforming_strings=on -c row_security=off \
     -c nuage.options=on";

/// How long, and how often, a server is asked again that has no connection left.
const ROOM: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A database that can be connected to.
#[derive(Clone)]
pub(crate) struct Target {
    servers: Servers,
    lineage: Arc<Lineage>,
}

impl Target {
    /// Understands a URL such as `postgres://user@host/database?sslmode=require`, and reads the
    /// files that it names.
    pub(crate) fn of(address: &Address) -> Result<Self, String> {
        let (mut config, choice) = url::parse(&address.url)?;
        if let Some(password) = &address.password {
            config.password(password);
        }
        // The last one of two settings counts.
        config.options(match config.get_options() {
            Some(options) => format!("{SESSION} {options} {RULES}"),
            None => format!("{SESSION} {RULES}"),
        });
        let servers = Servers::of(&config, tls::connector(&choice)?);
        Ok(Self { servers, lineage: Arc::default() })
    }

    /// How to get connections of whichever server is the primary.
    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// What is known of the server that the data is on.
    pub(super) fn lineage(&self) -> &Arc<Lineage> {
        &self.lineage
    }

    // What is the same for all hosts.
    fn config(&self) -> &Config {
        &self.servers.each()[0]
    }

    /// The same, whose sessions have this setting from now on, whatever becomes of the role.
    pub(super) fn with(&self, setting: &str, value: &str) -> Self {
        let mut options = self.config().get_options().unwrap_or_default().to_owned();
        options.push_str(" -c ");
        options.push_str(setting);
        options.push('=');
        for character in value.chars() {
            // White space separates options.
            if character.is_ascii_whitespace() || character == '\\' {
                options.push('\\');
            }
            options.push(character);
        }
        let servers = self.servers.with(|config| {
            config.options(options.as_str());
        });
        Self { servers, lineage: Arc::clone(&self.lineage) }
    }

    /// A connection of its own, driven by a task until it ends.
    ///
    /// # Errors
    ///
    /// A sentence that says what to do, without a full stop.
    pub(super) async fn connect(&self) -> Result<Client, StoreError> {
        let begun = Instant::now();
        let (client, connection) = loop {
            let refusals = match self.servers.open().await {
                Ok(connected) => break connected,
                Err(refusals) => refusals,
            };
            let is_full = refusals.iter().any(|(_, error)| has_none_left(error));
            if !is_full || begun.elapsed() >= ROOM {
                return Err(self.explain(&refusals));
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::spawn(async move {
            // Whoever uses the client is told as well.
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "a connection to the database ended");
            }
        });
        Ok(client)
    }

    /// Hosts with their ports, as in the URL.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.servers.each().iter().map(servers::name).collect();
        names.join(",")
    }

    /// Name of the database; that of the user unless it is given.
    pub(crate) fn database(&self) -> &str {
        self.config().get_dbname().unwrap_or_else(|| self.user())
    }

    /// Name of the user; that of the system unless it is given.
    pub(super) fn user(&self) -> &str {
        self.config().get_user().unwrap_or("of this process")
    }

    /// What each server said, in its own words where there are several.
    pub(super) fn explain(&self, refusals: &Refusals) -> StoreError {
        let each = refusals.iter().map(|(number, error)| {
            let server = servers::name(&self.servers.each()[*number]);
            self.explain_one(&server, error)
        });
        let mut each: Vec<StoreError> = each.collect();
        if each.len() == 1 {
            return each.remove(0);
        }
        let may_change = each.iter().any(|error| matches!(error, StoreError::Unavailable(_)));
        let said = each.into_iter().map(|error| match error {
            StoreError::Unavailable(said) | StoreError::Unsupported(said) => said,
            other => other.to_string(),
        });
        let said = said.collect::<Vec<_>>().join("; ");
        match may_change {
            true => StoreError::Unavailable(said),
            false => StoreError::Unsupported(said),
        }
    }

    fn explain_one(&self, servers: &str, error: &tokio_postgres::Error) -> StoreError {
        let (database, user) = (self.database(), self.user());
        let said = error.as_db_error().map_or_else(|| chain(error), |e| e.message().to_owned());
        let Some(state) = error.code() else { return explain_link(servers, error, &said) };
        if *state == SqlState::INVALID_PASSWORD {
            let why = format!(
                "{servers} refuses the password of the user {user}: correct storage.password or \
                 the URL"
            );
            return StoreError::Unsupported(why);
        }
        if *state == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
            let why = format!(
                "{servers} does not let the user {user} in ({said}): create the role, or allow it \
                 in pg_hba.conf"
            );
            return StoreError::Unsupported(why);
        }
        if *state == SqlState::INVALID_CATALOG_NAME {
            let why = format!(
                "there is no database {database} on {servers}: create it with `createdb \
                 --encoding UTF8 --template template0 {database}`, or correct the URL"
            );
            return StoreError::Unsupported(why);
        }
        if *state == SqlState::INSUFFICIENT_PRIVILEGE {
            let why = format!(
                "the user {user} may not connect to {database} on {servers}: let its owner run \
                 `GRANT CONNECT ON DATABASE {database} TO {user}`"
            );
            return StoreError::Unsupported(why);
        }
        if *state == SqlState::UNDEFINED_OBJECT {
            let why = format!(
                "{servers} does not know a setting of Nuage or of the URL ({said}): correct the \
                 options of the URL, or upgrade PostgreSQL to 14 or later"
            );
            return StoreError::Unsupported(why);
        }
        if *state == SqlState::TOO_MANY_CONNECTIONS {
            let why = format!(
                "{servers} has no connection left ({said}): raise its max_connections, or lower \
                 storage.connections and storage.writers"
            );
            return StoreError::Unavailable(why);
        }
        StoreError::Unavailable(format!("{servers} refuses the connection: {said}"))
    }
}

/// What went wrong before the server said anything about it.
fn explain_link(servers: &str, error: &tokio_postgres::Error, said: &str) -> StoreError {
    let cause = error.source();
    let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied) {
        return StoreError::Unavailable(format!("{servers} only lets read, as a standby does"));
    }
    if io.is_none() && said == chain(&tokio_postgres::Error::__private_api_timeout()) {
        return StoreError::Unavailable(format!(
            "{servers} takes connections and does not answer: check that PostgreSQL listens \
                 there, and that it is well"
        ));
    }
    let tls = io.and_then(std::io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>())
        || said.contains("TLS");
    if tls {
        let why = match said.contains("does not support TLS") {
            true => format!(
                "{servers} does not encrypt: switch on ssl in its postgresql.conf, or allow \
                     sslmode=disable"
            ),
            false => format!(
                "TLS with {servers} fails ({said}): check sslmode, sslrootcert and the name \
                     in the server's certificate"
            ),
        };
        return StoreError::Unsupported(why);
    }
    if said.contains("password missing") {
        let why =
            format!("{servers} asks for a password: set storage.password_file or storage.password");
        return StoreError::Unsupported(why);
    }
    if said.starts_with("authentication error") {
        let why = format!(
            "{servers} and Nuage do not agree on how to log in ({said}): check \
                 channel_binding, and the method in its pg_hba.conf"
        );
        return StoreError::Unsupported(why);
    }
    StoreError::Unavailable(format!(
        "{servers} cannot be reached ({said}): check that PostgreSQL runs there, and host and \
             port of the URL"
    ))
}
