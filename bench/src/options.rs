//! The command line of the benchmark.

use std::path::PathBuf;
use std::time::Duration;

use crate::workload::Workload;

/// Measures Nuage beside a bare hyper server, the raw engine underneath, and Kinto.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    /// A short run, to see that everything works; its figures are not worth keeping
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Workload>,
    /// Only these subjects; `nuage`, `kinto` and `postgres` stand for all of their kind
    #[arg(long, value_delimiter = ',', value_parser = Family::parse)]
    pub(crate) with: Vec<Family>,
    /// Not these subjects
    #[arg(long, value_delimiter = ',', value_parser = Family::parse)]
    pub(crate) without: Vec<Family>,
    /// Connections at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pub(crate) connections: Vec<usize>,
    /// Records loaded first
    #[arg(long, default_value_t = 100_000)]
    pub(crate) records: u64,
    /// Records loaded into Kinto first, which takes about 100 times as long
    #[arg(long, default_value_t = 5_000)]
    pub(crate) kinto_records: u64,
    /// Length of one measurement
    #[arg(long, default_value_t = 800)]
    pub(crate) milliseconds: u64,
    /// Measurements of each kind, taken in turns; the median counts
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Leave it to the system which core serves
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Another build of Nuage than the present one
    #[arg(long)]
    pub(crate) nuage: Option<PathBuf>,
    /// Profile Nuage under each workload with perf instead
    #[arg(long)]
    pub(crate) profile: bool,
    /// Write docs/performance.md also when only a part was run: the tables that are whole
    #[arg(long)]
    pub(crate) write: bool,
}

/// What else may be measured, and what the benchmark starts as processes of their own.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// Feeds: pages, writes and watchers
    Feeds(FeedOptions),
    /// Lists, polls and feeds of people who see part of a collection
    Payments(PaymentsOptions),
    /// What a quiet client waits while another one misbehaves
    Quiet(QuietOptions),
    /// The bare hyper server
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: std::net::SocketAddr,
        #[arg(long)]
        answers: PathBuf,
    },
    /// The row work on plain rusqlite
    #[command(hide = true)]
    RawSqlite {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        records: u64,
    },
    /// The row work on plain tokio-postgres
    #[command(hide = true)]
    RawPostgres {
        #[arg(long)]
        url: String,
        /// Its first process
        #[arg(long)]
        database: u32,
        #[arg(long)]
        records: u64,
    },
}

/// What is measured of feeds.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FeedOptions {
    /// Records of each shape of rights
    #[arg(long, default_value_t = 300_000)]
    pub(crate) records: u64,
    /// People among whom the rights are shared out
    #[arg(long, default_value_t = 1_000)]
    pub(crate) people: u64,
    /// Watchers at a time
    #[arg(long, default_value_t = 10_000)]
    pub(crate) watchers: usize,
    /// Leave it to the system which core serves
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Write the tables into docs/performance.md
    #[arg(long)]
    pub(crate) write: bool,
}

/// What is measured of people who see part of a collection.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PaymentsOptions {
    /// Receipts in the collection
    #[arg(long, default_value_t = 300_000)]
    pub(crate) receipts: u64,
    /// People whose receipts they are
    #[arg(long, default_value_t = 20_000)]
    pub(crate) people: u64,
    /// Leave it to the system which core serves
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Write the table into docs/performance.md
    #[arg(long)]
    pub(crate) write: bool,
}

/// What is measured of a quiet client beside one that misbehaves.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct QuietOptions {
    /// Only the rows whose names hold one of these
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Rounds, each with and without
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Length of each half of a round
    #[arg(long, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Leave it to the system which core serves
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Write the table into docs/performance.md
    #[arg(long)]
    pub(crate) write: bool,
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    /// A bare hyper server that answers the same bytes
    Hyper,
    /// Raw rusqlite, the same row work without HTTP
    Rusqlite,
    /// Nuage with an account and its password, doing the work of the others
    Nuage,
    /// Nuage that also keeps a history and logs each request
    NuageHistory,
    /// Nuage on Kinto's own settings, with its basicauth
    NuageBasicauth,
    /// Kinto on its memory backend
    Kinto,
    /// Kinto on PostgreSQL
    KintoPostgresql,
    /// Raw tokio-postgres, the same row work without HTTP
    PostgresRaw,
    /// Nuage on PostgreSQL
    Postgres,
    /// The same as three processes on one database
    PostgresThree,
}

impl Subject {
    pub(crate) const ALL: [Self; 10] = [
        Self::Hyper,
        Self::Rusqlite,
        Self::Nuage,
        Self::NuageHistory,
        Self::NuageBasicauth,
        Self::Kinto,
        Self::KintoPostgresql,
        Self::PostgresRaw,
        Self::Postgres,
        Self::PostgresThree,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hyper => "hyper",
            Self::Rusqlite => "rusqlite",
            Self::Nuage => "nuage",
            Self::NuageHistory => "nuage-history",
            Self::NuageBasicauth => "nuage-basicauth",
            Self::Kinto => "kinto-memory",
            Self::KintoPostgresql => "kinto-postgresql",
            Self::PostgresRaw => "postgres-raw",
            Self::Postgres => "postgres-one",
            Self::PostgresThree => "postgres-three",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Hyper => "hyper",
            Self::Rusqlite => "rusqlite",
            Self::Nuage => "Nuage",
            Self::NuageHistory => "Nuage, history and log",
            Self::NuageBasicauth => "Nuage, basicauth",
            Self::Kinto => "Kinto, memory",
            Self::KintoPostgresql => "Kinto, PostgreSQL",
            Self::PostgresRaw => "tokio-postgres",
            Self::Postgres => "Nuage on PostgreSQL",
            Self::PostgresThree => "Nuage on PostgreSQL, 3 processes",
        }
    }

    pub(crate) fn is_nuage(self) -> bool {
        matches!(self, Self::Nuage | Self::NuageHistory | Self::NuageBasicauth)
            || matches!(self, Self::Postgres | Self::PostgresThree)
    }

    /// Whether it needs PostgreSQL to be installed.
    pub(crate) fn needs_postgres(self) -> bool {
        let nuage = matches!(self, Self::Postgres | Self::PostgresThree);
        nuage || matches!(self, Self::PostgresRaw | Self::KintoPostgresql)
    }

    pub(crate) fn is_kinto(self) -> bool {
        matches!(self, Self::Kinto | Self::KintoPostgresql)
    }
}

/// Subjects whose names begin alike.
#[derive(Clone, Debug)]
pub(crate) struct Family(String);

impl Family {
    fn parse(text: &str) -> Result<Self, String> {
        let family = Self(text.to_owned());
        if Subject::ALL.into_iter().any(|subject| family.holds(subject)) {
            return Ok(family);
        }
        Err(format!("one of {}", Subject::ALL.map(Subject::name).join(", ")))
    }

    fn holds(&self, subject: Subject) -> bool {
        let rest = subject.name().strip_prefix(self.0.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl Options {
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let is_in = |list: &[Family], subject| list.iter().any(|family| family.holds(subject));
        let wanted = |subject: &Subject| {
            (self.with.is_empty() || is_in(&self.with, *subject)) && !is_in(&self.without, *subject)
        };
        Subject::ALL.into_iter().filter(wanted).collect()
    }

    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let wanted = |w: &Workload| self.only.is_empty() || self.only.contains(w);
        Workload::ALL.into_iter().filter(wanted).collect()
    }

    /// Whether the figures are worth publishing.
    pub(crate) fn is_whole(&self) -> bool {
        let all = self.only.is_empty() && self.with.is_empty() && self.without.is_empty();
        all && !self.quick && self.connections == [1, 16, 64] && self.records >= 100_000
    }

    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { self.milliseconds })
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.duration() / 4
    }

    pub(crate) fn records(&self) -> u64 {
        let wanted = if self.quick { self.records.min(10_000) } else { self.records };
        wanted.max(crate::load::RECORDS_MIN)
    }

    pub(crate) fn kinto_records(&self) -> u64 {
        let wanted = if self.quick { 1_000 } else { self.kinto_records };
        wanted.max(crate::load::RECORDS_MIN)
    }
}
