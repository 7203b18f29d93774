//! Where PostgreSQL's programs are, and as whom they run: its server refuses to run as root.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Where Debian and its relatives put the programs, one folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who may run the server where we are root, the first that exists.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

const MISSING: &str = "these tests need the programs of PostgreSQL 15 or newer; on Debian: \
    apt-get install postgresql";

/// PostgreSQL on this machine.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    /// User and group, where they are not ours.
    user: Option<(u32, u32)>,
}

impl Programs {
    /// Looks for them; without them there is no test.
    pub(super) fn find() -> &'static Self {
        Self::look().unwrap_or_else(|missing| panic!("{missing}"))
    }

    /// Looks for them, and says what to install if they are not there.
    pub(super) fn look() -> Result<&'static Self, &'static str> {
        static FOUND: OnceLock<Programs> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        // What is missing may be installed before the next look.
        let folder = folders().into_iter().find(|folder| {
            ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file())
        });
        let folder = folder.ok_or(MISSING)?;
        Ok(FOUND.get_or_init(|| Self { folder, user: unprivileged() }))
    }

    /// One of them, as the user that may run it.
    pub(super) fn command(&self, name: &str) -> Command {
        self.unprivileged(&self.folder.join(name))
    }

    /// Any other program, as the same user.
    pub(super) fn unprivileged(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Lets the server write to a folder.
    pub(super) fn give(&self, folder: &Path) {
        if let Some((user, group)) = self.user {
            chown(folder, Some(user), Some(group)).expect("root may give folders away");
        }
    }

    /// Names version and user, for what is kept between runs.
    pub(super) fn name(&self) -> String {
        let said = output(self.command("postgres").arg("--version"));
        let said = said.expect("PostgreSQL says its version");
        let version = said.split_whitespace().nth(2).unwrap_or("unknown");
        let user = self.user.map_or_else(|| number("id", &["-u"]), |(user, _)| Some(user));
        format!("{version}-{}", user.unwrap_or_default())
    }

    /// A session that has run these statements and stays until its input is closed.
    pub(super) fn session(&self, url: &str, sql: &str) -> Child {
        const DONE: &str = "the statements are done";
        let mut command = Command::new(self.folder.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut session = command.spawn().expect("psql can be started");
        let input = session.stdin.as_mut().expect("it was piped");
        writeln!(input, "{sql}\n\\echo {DONE}").expect("psql reads its input");
        let output = BufReader::new(session.stdout.take().expect("it was piped"));
        let is_done = output.lines().map_while(Result::ok).any(|line| line == DONE);
        assert!(is_done, "{sql}: the server refuses");
        session
    }

    /// What statements print, or what the server says to them.
    pub(super) fn psql(&self, url: &str, sql: &str) -> Result<String, String> {
        let mut command = self.psql_command(url);
        said(command.args(["-c", sql]).stdin(Stdio::null()))
    }

    /// What the statements of a file print, which may be more than fits into a command line.
    pub(super) fn psql_file(&self, url: &str, file: &Path) -> Result<String, String> {
        let mut command = self.psql_command(url);
        said(command.arg("-f").arg(file).stdin(Stdio::null()))
    }

    fn psql_command(&self, url: &str) -> Command {
        let mut command = Command::new(self.folder.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", url]);
        command
    }
}

/// Where pgbouncer is.
pub(super) fn pgbouncer() -> Result<PathBuf, &'static str> {
    const MISSING: &str = "these tests need pgbouncer; on Debian: apt-get install pgbouncer";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("pgbouncer"));
    programs.find(|program| program.is_file()).ok_or(MISSING)
}

/// Sends a signal to processes of ours. Those that are gone already do not matter.
pub(super) fn signal(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    let mut command = Command::new("kill");
    command.args(["-s", name]).args(processes).stderr(Stdio::null());
    command.status().expect("kill can be started");
}

// The folders of PATH, then those of Debian, newest first.
fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(VERSIONS).into_iter().flatten().flatten() {
        if let Ok(version) = entry.file_name().to_string_lossy().parse() {
            versions.push((version, entry.path().join("bin")));
        }
    }
    versions.sort_by(|one, other| other.cmp(one));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    folders
}

fn unprivileged() -> Option<(u32, u32)> {
    if number("id", &["-u"]) != Some(0) {
        return None;
    }
    let ids = |name: &&str| Some((number("id", &["-u", name])?, number("id", &["-g", name])?));
    let found = ACCOUNTS.iter().find_map(ids);
    Some(
        found.expect("PostgreSQL does not run as root, and there is no account postgres or nobody"),
    )
}

fn number(program: &str, arguments: &[&str]) -> Option<u32> {
    output(Command::new(program).args(arguments))?.trim().parse().ok()
}

fn said(command: &mut Command) -> Result<String, String> {
    let done = command.output().expect("psql can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}
