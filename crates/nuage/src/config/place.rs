//! Where data is kept, and what a place may be called.
//!
//! What is not a URL must look like a path: anything else may be a connection string that was
//! meant for another program, password and all, and must become neither a file nor a log line.

use std::fmt;
use std::path::{Path, PathBuf};

use nuage_store::Address;

/// Where data is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In files on this machine: SQLite.
    Files(Files),
    /// In a database on a server: PostgreSQL.
    Server(Server),
}

/// A database that is a file, and what lies beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Files {
    /// The folder of secrets and locks.
    pub(crate) folder: PathBuf,
    /// The database in it.
    pub(crate) database: PathBuf,
}

/// A database on a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    /// How to reach it.
    pub(crate) address: Address,
    /// Host and database, without a password.
    pub(crate) shown: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => files.database.display().fmt(f),
            Self::Server(server) => f.write_str(&server.shown),
        }
    }
}

/// How the names of SQLite's files end.
const FILE_ENDINGS: [&str; 3] = ["db", "sqlite", "sqlite3"];
/// Never shown with what was given instead, which may hold a password.
const FORMS: &str = "this is neither postgres://user@host/database nor \
    sqlite:///absolute/file.db nor a path, which begins with / or ./ or ../ or ends with .db, \
    .sqlite or .sqlite3";

impl Place {
    /// Understands the name of a folder, or says in a sentence without a full stop why not.
    pub(crate) fn of_folder(folder: &str) -> Result<Self, String> {
        if !is_rooted(folder) && folder.contains([':', '=', '@']) {
            let why = "this is no folder: one with a colon, = or @ in its name is written with / \
                       or ./ at its beginning, and a database elsewhere belongs into storage.url";
            return Err(why.to_owned());
        }
        let folder = PathBuf::from(folder);
        Ok(Self::Files(Files { database: folder.join("nuage.db"), folder }))
    }

    /// Understands a URL or the path of a file, or says in a sentence without a full stop why not.
    pub(crate) fn of(url: &str, password: Option<String>) -> Result<Self, String> {
        if Address::is_postgres(url) {
            let address = Address { url: url.to_owned(), password };
            let shown = address.place()?;
            return Ok(Self::Server(Server { address, shown }));
        }
        let path = match url.strip_prefix("sqlite:") {
            Some(rest) => path_of_url(rest)?,
            None => url,
        };
        let is_name = has_file_ending(path) && !path.contains([':', '=', '@']);
        if !(is_rooted(path) || is_name) {
            return Err(match scheme(url) {
                Some(scheme) => format!("{scheme} is not a database of Nuage: {FORMS}"),
                None => FORMS.to_owned(),
            });
        }
        let database = PathBuf::from(path);
        let folder = match database.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self::Files(Files { folder, database }))
    }
}

/// Whether this ends as the names of SQLite's files do.
pub(crate) fn has_file_ending(path: &str) -> bool {
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| FILE_ENDINGS.contains(&ending))
}

fn is_rooted(path: &str) -> bool {
    ["/", "./", "../"].iter().any(|root| path.starts_with(root))
}

/// What follows `sqlite:`. Three slashes stand before an absolute path, as in any URL without a
/// host; four, as SQLAlchemy writes it, mean the same.
fn path_of_url(rest: &str) -> Result<&str, String> {
    if rest.contains(['?', '#']) {
        return Err("sqlite: has no parameters here".to_owned());
    }
    let path = match rest {
        rest if rest.starts_with("////") => &rest[3..],
        rest if rest.starts_with("///") => &rest[2..],
        rest if rest.starts_with("//") => {
            return Err("sqlite:// is followed by a third slash and an absolute path".to_owned());
        }
        rest => rest,
    };
    // To SQLAlchemy this is a file in the present folder.
    if rest.starts_with("///") && path.rfind('/') == Some(0) {
        return Err("with three slashes this is a file in the folder /: write the path alone for \
                    one in another folder, such as ./file.db"
            .to_owned());
    }
    Ok(path)
}

/// What stands before `://`, if it can be a scheme: else it may hold a password.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)).then_some(scheme)
}
