//! The program: one verb, from the command line to an exit code.
//!
//! It puts the rooms together and is the only one that reads the environment and the
//! configuration. It contains no rule of storage, of access or of a protocol.

mod backup;
mod bucket;
mod check;
mod cli;
mod config;
mod copy;
mod data;
mod explain;
mod failure;
mod greeting;
mod kinto_ini;
mod logs;
mod out;
mod renew;
mod server;
mod serving;
mod transfer;
mod users;
mod watch;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::cli::{Cli, Common, ConfigVerb, Verb};
use crate::config::{Settings, Sources};
use crate::failure::Exit;
use crate::out::{complain, say};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pieces of work between two looks at what arrived. A piece may take a millisecond: with tokio's own 61,
/// whoever asks for little would wait for sixty pieces of those who ask for much.
const EVENT_INTERVAL: u32 = 8;
/// One thread may wait for a disk or hash a password while others serve.
const WORKERS_MIN: usize = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => match out::lost() {
            None => ExitCode::SUCCESS,
            // Whoever closed the pipe has seen enough, and needs no words.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Failed.into(),
            Some(error) => {
                complain(&format!("nuage: the output cannot be written: {error}"));
                Exit::Failed.into()
            }
        },
        Err(error) => {
            complain(&format!("nuage: {error:#}"));
            if let Some(advice) = failure::advice(&error) {
                complain(advice);
            }
            failure::exit_code(&error)
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let verb = cli.verb.unwrap_or(Verb::Serve);
    if matches!(verb, Verb::Version) {
        say_version(cli.common.json);
        return Ok(());
    }
    let config = config::load(&sources(&cli.common))?;
    let settings = Settings::of(&config)?;
    if let Verb::Config(verb) = &verb {
        configure(verb, &config, cli.common.json);
        return Ok(());
    }
    let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(WORKERS_MIN))
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
        .context("the threads cannot be started")?;
    let json = cli.common.json;
    runtime.block_on(async move {
        if matches!(verb, Verb::Serve) {
            return server::serve(&config, settings).await;
        }
        logs::begin_tool(&config);
        // Those on Kinto's settings are about serving.
        for note in config.notes.iter().filter(|_| !config.kinto) {
            tracing::warn!("{note}");
        }
        match verb {
            Verb::User(verb) => users::perform(verb, &settings, json).await,
            Verb::CreateUser { username, password, create } => {
                users::create_or_reset(&username, password, create, &settings).await
            }
            Verb::Check => check::perform(&settings, json).await,
            Verb::Backup(verb) => backup::perform(verb, &settings, json).await,
            Verb::Renew => renew::perform(&settings, json).await,
            Verb::Explain(arguments) => explain::perform(&arguments, &settings, json).await,
            Verb::Bucket(verb) => bucket::perform(verb, &settings, json).await,
            Verb::Export { file, salvage: true } => {
                transfer::export::salvage(named(&file), &settings).await
            }
            Verb::Export { file, salvage: false } => {
                transfer::export::perform(named(&file), &settings).await
            }
            Verb::Import { file, keep_secrets } => {
                transfer::import::perform(named(&file), keep_secrets, &settings, json).await
            }
            Verb::Copy(arguments) => copy::perform(&arguments, &settings, json).await,
            Verb::Watch(arguments) => watch::perform(&arguments, &settings, json).await,
            Verb::Serve | Verb::Config(_) | Verb::Version => unreachable!("done above"),
        }
    })
}

/// A file by its name; `-` is the standard input or output.
fn named(file: &Option<PathBuf>) -> Option<&Path> {
    file.as_deref().filter(|file| *file != Path::new("-"))
}

fn sources(common: &Common) -> Sources {
    let mut flags = Vec::new();
    for (name, value) in &common.set {
        flags.push((format!("--set {name}"), name.clone(), value.clone()));
    }
    let own = [
        ("--data", "storage.path", &common.data),
        ("--storage-url", "storage.url", &common.storage_url),
        ("--listen", "http.listen", &common.listen),
        ("--log-format", "log.format", &common.log_format),
        ("--log-level", "log.level", &common.log_level),
    ];
    for (flag, name, value) in own {
        if let Some(value) = value {
            flags.push((flag.to_owned(), name.to_owned(), value.clone()));
        }
    }
    Sources {
        flags,
        file: common.config.clone(),
        kinto_ini: common.kinto_ini.clone(),
        kinto_ignored: common.kinto_ignore.clone(),
        // What is not text is nothing that could be configured.
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    }
}

fn configure(verb: &ConfigVerb, config: &config::Config, json: bool) {
    match (verb, json) {
        (ConfigVerb::Show, false) => say(config::show_text(config).trim_end()),
        (ConfigVerb::Show, true) => say(&config::show_json(config).to_string()),
        (ConfigVerb::Check, false) => {
            for note in &config.notes {
                say(note);
            }
            say("The settings are right.");
        }
        (ConfigVerb::Check, true) => {
            say(&serde_json::json!({ "valid": true, "notes": config.notes }).to_string());
        }
    }
}

fn say_version(json: bool) {
    let version = env!("CARGO_PKG_VERSION");
    match json {
        true => say(&serde_json::json!({ "name": "nuage", "version": version }).to_string()),
        false => say(&format!("nuage {version}")),
    }
}
