//! What the server says when it is ready: facts and first steps to a person, one line to a log.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::config::{Place, Settings};
use crate::logs::Log;
use crate::out::is_terminal;

/// What there is to say.
pub(crate) struct Greeting<'a> {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The settings in effect.
    pub(crate) settings: &'a Settings,
    /// Settings without effect.
    pub(crate) notes: &'a [String],
    /// Whether there was data before.
    pub(crate) existed: bool,
}

impl Greeting<'_> {
    /// Says it.
    pub(crate) fn show(&self, took: Duration, log: &Log) {
        if is_terminal() {
            self.to_person(took, log);
        } else {
            self.to_log(took);
        }
    }

    fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            // Nobody can call that address; this machine answers on its own.
            address.set_ip(match address.is_ipv4() {
                true => std::net::Ipv4Addr::LOCALHOST.into(),
                false => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }

    fn to_log(&self, took: Duration) {
        for note in self.notes {
            tracing::warn!("{note}");
        }
        tracing::info!(
            address = %self.address,
            data = %self.settings.storage.place,
            created = !self.existed,
            version = env!("CARGO_PKG_VERSION"),
            ready_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "listening"
        );
    }

    fn to_person(&self, took: Duration, log: &Log) {
        let say = |line: &str| log.print(&format!("{line}\n"));
        let url = self.url();
        let place = &self.settings.storage.place;
        let kind = match place {
            Place::Files(_) => "SQLite",
            Place::Server(_) => "PostgreSQL",
        };
        let state = if self.existed { "found" } else { "created" };
        say(&format!(
            "\n  Nuage {}   keeps the data of offline-first applications in step\n",
            env!("CARGO_PKG_VERSION")
        ));
        say(&format!("  Server  {url}   ready in {:.3} s", took.as_secs_f64()));
        say(&format!("  Kinto   {url}/v1/   health /__heartbeat__   interface /v1/__api__"));
        say(&format!("  Data    {place} ({kind}, {state})"));
        for note in self.notes {
            say(&format!("  Note    {note}"));
        }
        if let Some(steps) = self.first_steps(&url) {
            say(&steps);
        }
        say(
            "\n  Stop with Ctrl-C. `nuage check` verifies the data, `nuage --help` tells the rest.\n",
        );
    }

    /// Commands that work as they are, where the settings allow them.
    fn first_steps(&self, url: &str) -> Option<String> {
        let features = &self.settings.kinto.features;
        if self.settings.kinto.readonly || !features.default_bucket {
            return None;
        }
        let data = self.data_flag();
        let add = match self.settings.account_policy() {
            Some(_) => format!(
                "\n  First account:\n    nuage user add alice{data}\n\n  Then try, with your password:\n"
            ),
            None => "\n  Try:\n".to_owned(),
        };
        let list = format!("{url}/v1/buckets/default/collections/notes/records");
        Some(format!(
            "{add}    curl -u alice {list} -d '{{\"data\": {{\"title\": \"Hello\"}}}}' \
             -H 'Content-Type: application/json'\n    curl -u alice {list}\n    \
             curl -u alice \"{list}?_since=0\""
        ))
    }

    fn data_flag(&self) -> String {
        match &self.settings.storage.place {
            Place::Files(files) if files.folder == Path::new("./nuage-data") => String::new(),
            Place::Files(files) if files.database == files.folder.join("nuage.db") => {
                format!(" --data {}", files.folder.display())
            }
            Place::Files(files) => format!(" --storage-url {}", files.database.display()),
            // The URL may hold a password, and without it would not work.
            Place::Server(_) => " --storage-url ...".to_owned(),
        }
    }
}
