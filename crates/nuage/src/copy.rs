//! `nuage copy`: everything from one database into another, whichever they are.
//!
//! Who comes back with an old position or page token finds the copy as the original was: the
//! secrets that names and tokens are made from go along. The copy is a store only when both sides
//! were found equal; until then every other verb refuses it. No rule about rows is made here.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use nuage_model::copy::{Digest, KEPT, Table};
use nuage_model::{Finding, Store, StoreError};
use nuage_store::Options;
use nuage_store::copy::{CopyError, Copying, Resume, Watch, digest, finish, meta};

use crate::check;
use crate::cli::CopyArguments;
use crate::config::{Place, Settings, StorageSettings, has_file_ending};
use crate::data::{self, ByName, Lock};
use crate::failure::{Exit, Failure};
use crate::out::{complain, say};
use crate::serving::{Holder, Lease};

/// Without a terminal, how often a table that takes long is told about.
const LINES: Duration = Duration::from_secs(10);

/// Copies, compares, and checks the copy.
pub(crate) async fn perform(
    arguments: &CopyArguments,
    settings: &Settings,
    json: bool,
) -> Result<()> {
    let from = place(&arguments.from, arguments.from_password_file.as_deref(), settings)?;
    let to = place(&arguments.to, arguments.to_password_file.as_deref(), settings)?;
    if from == to {
        let sentence = format!("{from} cannot be copied into itself.");
        return Err(Failure::new(Exit::Usage, sentence).into());
    }
    let resume = if arguments.restart { Resume::Restart } else { Resume::Continue };
    let from = Side::open_source(from, &settings.storage.options).await?;
    let copied = match Side::open_target(to, &settings.storage.options).await {
        Ok(to) => {
            let copied = copy(&from, &to, resume).await;
            to.close().await;
            copied
        }
        Err(error) => Err(error),
    };
    from.close().await;
    tell(&copied?, json)
}

/// One end of the copy.
struct Side {
    place: Place,
    store: Arc<dyn Store>,
    beside: ByName,
    lease: Option<Lease>,
    _lock: Option<Lock>,
}

/// What came of it.
struct Done {
    to: String,
    digests: BTreeMap<&'static str, Digest>,
    findings: Vec<Finding>,
}

/// Understands a folder, a file or a URL.
fn place(text: &str, password_file: Option<&Path>, settings: &Settings) -> Result<Place> {
    let path = Path::new(text);
    let is_url = text.starts_with("sqlite:") || text.contains("://");
    let is_file = path.is_file() || has_file_ending(text);
    let refused =
        |why: String| Failure::new(Exit::Configuration, format!("--from or --to: {why}."));
    if !is_url && (path.is_dir() || !is_file) {
        return Ok(Place::of_folder(text).map_err(refused)?);
    }
    let password = match (password_file, &settings.storage.place) {
        (Some(file), _) => Some(read_password(file)?),
        (None, Place::Server(server)) if server.address.url == text => {
            server.address.password.clone()
        }
        (None, _) => None,
    };
    Ok(Place::of(text, password).map_err(refused)?)
}

fn read_password(file: &Path) -> Result<String> {
    let password = std::fs::read_to_string(file).map_err(|error| {
        let sentence = format!("The file {} cannot be read: {error}.", file.display());
        Failure::new(Exit::Configuration, sentence)
    })?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

impl Side {
    async fn open_source(place: Place, options: &Options) -> Result<Self> {
        let storage = StorageSettings { place, options: options.clone() };
        data::expect_database(&storage)?;
        let lock = lock(&storage.place)?;
        let store = data::open(&storage).await?;
        let lease = Lease::take(Holder::Copies, &storage.place, &store).await?;
        let beside = data::left_beside(&storage.place, &*store).await?;
        Ok(Self { place: storage.place, store, beside, lease, _lock: lock })
    }

    async fn open_target(place: Place, options: &Options) -> Result<Self> {
        if let Place::Files(files) = &place {
            data::make_folder(files)?;
        }
        let lock = lock(&place)?;
        let store = data::open_as_it_is(&place, options).await?;
        if let Place::Files(files) = &place {
            data::close_to_others(&files.database)?;
        }
        let lease = Lease::take(Holder::Copies, &place, &store).await?;
        Ok(Self { place, store, beside: ByName::new(), lease, _lock: lock })
    }

    // Nobody served it meanwhile.
    async fn expect_alone(&self) -> Result<()> {
        match &self.lease {
            Some(lease) => lease.expect(&self.place).await,
            None => Ok(()),
        }
    }

    async fn close(self) {
        if let Some(lease) = self.lease {
            lease.end().await;
        }
        self.store.close().await;
    }

    /// What the store says of itself, with the secrets that lie beside a source.
    async fn meta(&self) -> Result<BTreeMap<String, String>> {
        let mut all = meta(&*self.store).await.map_err(|error| self.failed(&error))?;
        for (name, secret) in &self.beside {
            all.entry(format!("{KEPT}{name}")).or_insert_with(|| secret.clone());
        }
        Ok(all)
    }

    fn failed(&self, error: &StoreError) -> anyhow::Error {
        let place = &self.place;
        match error {
            StoreError::Unsupported(why) => {
                Failure::new(Exit::Storage, format!("{place} cannot be used: {why}.")).into()
            }
            StoreError::Corrupt(_) => {
                Failure::new(Exit::Storage, format!("{place}: {error}.")).into()
            }
            error => {
                anyhow!("{place}: {error}. What was copied is kept: run the same again to go on.")
            }
        }
    }
}

fn lock(place: &Place) -> Result<Option<Lock>> {
    match place {
        Place::Files(files) => Ok(Some(data::lock(files)?)),
        Place::Server(_) => Ok(None),
    }
}

async fn copy(from: &Side, to: &Side, resume: Resume) -> Result<Done> {
    let told = |error| match error {
        CopyError::Source(error) => from.failed(&error),
        CopyError::Target(error) => to.failed(&error),
        CopyError::UnfinishedSource => {
            let sentence = format!("{} is itself a copy that is not finished.", from.place);
            Failure::new(Exit::Storage, sentence).into()
        }
        CopyError::OtherSource => {
            let sentence = format!(
                "{} holds a copy of other data that is not finished. To throw it away: --restart",
                to.place
            );
            Failure::new(Exit::Storage, sentence).into()
        }
    };
    let meta = from.meta().await?;
    let copying = Copying::begin(&*from.store, &*to.store, meta, resume).await;
    let mut copying = copying.map_err(told)?;
    let (total, rows) = (copying.total().await.map_err(told)?, copying.rows());
    if rows > 0 {
        complain(&format!("The copy goes on after {rows} rows."));
    }
    let mut progress = Progress::new("copied", total, rows);
    copying.run(&mut progress).await.map_err(told)?;
    progress.end();
    let digests = compare(from, to, total).await?;
    let findings = check::findings(&*to.store).await.map_err(|error| to.failed(&error))?;
    from.expect_alone().await?;
    to.expect_alone().await?;
    // Faults of the source are faults of the copy: it is whole nevertheless.
    finish(&*to.store).await.map_err(told)?;
    Ok(Done { to: to.place.to_string(), digests, findings })
}

/// The digests of both sides, which are the same.
async fn compare(from: &Side, to: &Side, total: u64) -> Result<BTreeMap<&'static str, Digest>> {
    let mut progress = [0, 0].map(|done| Progress::new("compared", total, done));
    let [ours, theirs] = &mut progress;
    theirs.hide();
    let (ours, theirs) = tokio::join!(digest(&*from.store, ours), digest(&*to.store, theirs));
    let ours = with_meta(ours.map_err(|error| from.failed(&error))?, from.meta().await?);
    let theirs = with_meta(theirs.map_err(|error| to.failed(&error))?, to.meta().await?);
    progress[0].end();
    let differ: Vec<&str> =
        ours.iter().filter(|(name, one)| theirs.get(*name) != Some(one)).map(|(n, _)| *n).collect();
    if differ.is_empty() {
        return Ok(ours);
    }
    for name in &differ {
        for (side, digests) in [(from, &ours), (to, &theirs)] {
            complain(&format!("{} in {}", line(name, &digests[name]), side.place));
        }
    }
    Err(anyhow!(
        "{} and its copy differ in {}: somebody wrote to it meanwhile. The copy is not finished; \
         stop whoever writes, and run the same with --restart.",
        from.place,
        differ.join(", ")
    ))
}

fn with_meta(
    tables: BTreeMap<Table, Digest>,
    meta: BTreeMap<String, String>,
) -> BTreeMap<&'static str, Digest> {
    let mut all: BTreeMap<&str, Digest> =
        tables.into_iter().map(|(table, digest)| (table.name(), digest)).collect();
    all.insert("meta", Digest::of_meta(&meta));
    all
}

fn line(name: &str, digest: &Digest) -> String {
    format!("{name:22} {:>12} rows, sha256 {}", digest.rows, hexadecimal(&digest.hash))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tell(done: &Done, json: bool) -> Result<()> {
    let all = Digest::of_all(done.digests.values());
    if !json {
        for (name, digest) in &done.digests {
            say(&line(name, digest));
        }
        say(&line("everything", &all));
        complain(&format!(
            "{} holds the same as what it was copied from. {}",
            done.to,
            data::CONFIDENTIAL
        ));
        return check::tell(&done.findings, &done.to, false);
    }
    let shown = |digest: &Digest| serde_json::json!({ "rows": digest.rows, "sha256": hexadecimal(&digest.hash) });
    let tables: serde_json::Map<_, _> =
        done.digests.iter().map(|(name, digest)| ((*name).to_owned(), shown(digest))).collect();
    let findings: Vec<&str> = done.findings.iter().map(|finding| finding.0.as_str()).collect();
    say(&serde_json::json!({
        "to": done.to,
        "tables": tables,
        "everything": shown(&all),
        "findings": findings,
    })
    .to_string());
    match findings.len() {
        0 => Ok(()),
        n => Err(Failure::new(Exit::Negative, format!("{} has {n} faults.", done.to)).into()),
    }
}

/// A bar for a person who watches, lines for a log.
struct Progress {
    verb: &'static str,
    bar: Option<ProgressBar>,
    lines: bool,
    total: u64,
    rows: u64,
    of_table: u64,
    told: Instant,
}

impl Progress {
    fn new(verb: &'static str, total: u64, rows: u64) -> Self {
        let watched = std::io::stderr().is_terminal();
        let bar = watched.then(|| {
            let style = format!("{{bar:40}} {{pos}}/{{len}} rows {verb}, {{eta}} left");
            let style = ProgressStyle::with_template(&style).expect("the template is right");
            ProgressBar::new(total).with_style(style).with_position(rows)
        });
        Self { verb, bar, lines: !watched, total, rows, of_table: 0, told: Instant::now() }
    }

    fn hide(&mut self) {
        self.bar = None;
        self.lines = false;
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn advance(&mut self, table: Table, rows: u64) {
        self.rows += rows;
        self.of_table += rows;
        if let Some(bar) = &self.bar {
            bar.set_position(self.rows);
        }
        if self.lines && self.told.elapsed() >= LINES {
            self.told = Instant::now();
            let (rows, total, verb) = (self.rows, self.total, self.verb);
            complain(&format!("{}: {rows} of {total} rows {verb}.", table.name()));
        }
    }

    fn complete(&mut self, table: Table) {
        if self.lines {
            complain(&format!("{}: {} rows {}.", table.name(), self.of_table, self.verb));
        }
        self.of_table = 0;
        self.told = Instant::now();
    }
}
