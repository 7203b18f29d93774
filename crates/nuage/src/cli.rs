//! The command line: verbs and flags. What they mean is elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed while running
  2  the command line is wrong
  3  the configuration is wrong
  4  the data cannot be opened, or was written by a newer version
  5  the address is in use or may not be used
  6  a check found something wrong, or not everything could be read

Settings come from flags, then NUAGE_SECTION__NAME variables, then nuage.toml, then defaults;
`nuage config show` lists them all with the origin of each.";

/// One small server that keeps the data of offline-first applications in step.
#[derive(Parser, Debug)]
#[command(name = "nuage", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// Flags of every verb.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Settings file [default: $NUAGE_CONFIG, ./nuage.toml, /etc/nuage/nuage.toml]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "kinto_ini")]
    pub(crate) config: Option<PathBuf>,
    /// Settings file of Kinto, used instead of nuage.toml
    #[arg(long, alias = "ini", value_name = "FILE", global = true)]
    pub(crate) kinto_ini: Option<PathBuf>,
    /// Start although this plugin, listener, policy or setting of Kinto is not supported
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) kinto_ignore: Vec<String>,
    /// Folder of the data [storage.path, default: ./nuage-data]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) data: Option<String>,
    /// Database elsewhere: postgres://user@host/database, sqlite:///absolute/file.db or a path
    /// [storage.url]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) storage_url: Option<String>,
    /// Address to listen on [http.listen, default: 127.0.0.1:8888]
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    pub(crate) listen: Option<String>,
    /// pretty, json or auto [log.format]
    #[arg(long, value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<String>,
    /// error, warn, info, debug or trace [log.level]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
    /// Any setting, such as limits.page_records=1000
    #[arg(long, value_name = "NAME=VALUE", global = true, value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    /// Answer with JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

/// The path of a copy. Elsewhere a hyphen is the standard output or input.
fn file(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("a copy is a file; `nuage export` writes to the standard output".to_owned()),
        path => Ok(path.into()),
    }
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Run the server (also without a verb)
    #[command(alias = "start")]
    Serve,
    /// Verify the integrity of the data, also while the server runs
    Check,
    /// Show or check the settings
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Accounts
    #[command(subcommand)]
    User(UserVerb),
    /// Create or reset an account, as Kinto's command of that name does
    #[command(hide = true)]
    CreateUser {
        /// Name of the account
        #[arg(short, long)]
        username: String,
        /// Its password; asked for unless given
        #[arg(short, long)]
        password: Option<String>,
        /// Make the data if there is none yet
        #[arg(long)]
        create: bool,
    },
    /// Buckets, whoever they belong to
    #[command(subcommand)]
    Bucket(BucketVerb),
    /// Copies of the data
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Begin a new epoch, also while the server runs: to be done after the data went back, as by a
    /// copy that was put in its place. All devices that follow feeds begin afresh
    Renew,
    /// Tell who may do what with an object, and why
    Explain(ExplainArguments),
    /// Write everything as lines of JSON, to a file or to the standard output; with password
    /// hashes and secrets
    Export {
        /// Where to; the standard output if it is - or not given
        file: Option<PathBuf>,
        /// Write what can be read of a damaged file, and tell what cannot
        #[arg(long)]
        salvage: bool,
    },
    /// Read what `export` wrote; the collections in it must be empty here
    Import {
        /// From where; the standard input if it is - or not given
        file: Option<PathBuf>,
        /// Go on with the secrets of the data here, though others name the personal buckets and
        /// basicauth users that are imported
        #[arg(long)]
        keep_secrets: bool,
    },
    /// Move everything to another database, between SQLite and PostgreSQL in any direction; the
    /// server must not run
    Copy(CopyArguments),
    /// Print what changes in a collection of a running server, of what you may see, until Ctrl-C
    Watch(WatchArguments),
    /// Tell the version
    Version,
}

/// What is explained, and for whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArguments {
    /// Path of a bucket, a collection, a group, a record or an account:
    /// /buckets/blog/collections/posts/records/1
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
    /// Whom to explain it for: a user id (account:bob), a group (/buckets/blog/groups/editors),
    /// system.Authenticated or system.Everyone
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: String,
}

/// From where to where. Each is a data folder, a SQLite file, sqlite:///absolute/file.db or
/// postgres://user@host/database.
#[derive(Args, Clone, Debug)]
pub(crate) struct CopyArguments {
    /// What is copied: a data folder, a SQLite file or the URL of a database; it is not changed
    #[arg(long, value_name = "WHERE")]
    pub(crate) from: String,
    /// Where to, likewise: an empty place, or a copy of the same that was interrupted
    #[arg(long, value_name = "WHERE")]
    pub(crate) to: String,
    /// Throw away a copy that was interrupted, and begin anew
    #[arg(long)]
    pub(crate) restart: bool,
    /// File that holds the password for the database to copy from
    #[arg(long, value_name = "FILE")]
    pub(crate) from_password_file: Option<PathBuf>,
    /// File that holds the password for the database to copy to
    #[arg(long, value_name = "FILE")]
    pub(crate) to_password_file: Option<PathBuf>,
}

/// Whose feed is printed.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArguments {
    /// http://[user:password@]host/v1/buckets/BUCKET/collections/COLLECTION (or https, with the
    /// certificates that this system trusts), or /buckets/BUCKET/collections/COLLECTION on the
    /// server that http.listen names
    #[arg(value_name = "URL-OR-PATH")]
    pub(crate) place: String,
    /// Who asks; the password is asked for on a terminal
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// File that holds the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Go on after this token, instead of beginning with all there is
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

/// Verbs on settings.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigVerb {
    /// Print all settings in effect with the origin of each; secrets are masked
    Show,
    /// Tell what is wrong with the settings
    Check,
}

/// Verbs on accounts.
#[derive(Subcommand, Debug)]
pub(crate) enum UserVerb {
    /// Create an account
    Add {
        /// Its name: letters, digits and . _ - + @
        name: String,
        #[command(flatten)]
        password: PasswordSource,
        /// Make the data if there is none yet
        #[arg(long)]
        create: bool,
    },
    /// List the accounts
    List,
    /// Change a password
    Passwd {
        /// Name of the account
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Delete an account; its data stays
    Delete {
        /// Its name
        name: String,
    },
}

/// Verbs on buckets.
#[derive(Subcommand, Debug)]
pub(crate) enum BucketVerb {
    /// List the buckets, with how much is in them and who may change them
    List,
    /// Delete a bucket with all that is in it, also while the server runs
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Where a password comes from; it is asked for on a terminal.
#[derive(Args, Clone, Debug)]
pub(crate) struct PasswordSource {
    /// Read it from the first line of the standard input
    #[arg(long, conflicts_with = "generate")]
    pub(crate) password_stdin: bool,
    /// Make one up and print it
    #[arg(long)]
    pub(crate) generate: bool,
}

/// Verbs on copies.
#[derive(Subcommand, Debug)]
pub(crate) enum BackupVerb {
    /// Copy everything to a new file, also while the server runs
    Create {
        /// The new file
        #[arg(value_parser = file)]
        file: PathBuf,
    },
    /// Check the integrity of a copy; the copy is not changed
    Verify {
        /// The copy
        #[arg(value_parser = file)]
        file: PathBuf,
    },
    /// Take a copy as the data; the server must not run
    Restore {
        /// The copy
        #[arg(value_parser = file)]
        file: PathBuf,
        /// Replace data that is there; it is kept beside
        #[arg(long)]
        force: bool,
    },
}
