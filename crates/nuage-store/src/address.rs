//! Where a PostgreSQL database is, as the operator writes it. Passwords are never shown.

use std::fmt;

use crate::postgres::Target;

/// A database on a PostgreSQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `postgres://user@host:port/database?parameters`, as libpq reads it.
    pub url: String,
    /// Password of the user, instead of one in the URL.
    pub password: Option<String>,
}

impl Address {
    /// Whether a URL is of this kind.
    pub fn is_postgres(url: &str) -> bool {
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// Host and database, to be shown: `localhost:5433/nuage`.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the files that it names, without a full stop.
    pub fn place(&self) -> Result<String, String> {
        let target = Target::of(self)?;
        Ok(format!("{}/{}", target.names(), target.database()))
    }

    /// The URL with whatever may be a password in it masked, also where the URL is wrong.
    pub fn without_password(url: &str, mask: &str) -> String {
        let start = url.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = url.split_at(start);
        // Up to the last sign: an earlier one may belong to a password.
        let rest = match rest.rsplit_once('@') {
            Some((credentials, place)) => match credentials.split_once(':') {
                Some((user, _)) => format!("{user}:{mask}@{place}"),
                None => rest.to_owned(),
            },
            None => rest.to_owned(),
        };
        let Some((place, query)) = rest.split_once('?') else { return format!("{scheme}{rest}") };
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            // A name may be written with % to the same effect.
            Some((name, _)) if name.contains("password") || name.contains('%') => {
                format!("{name}={mask}")
            }
            _ => pair.to_owned(),
        });
        format!("{scheme}{place}?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::without_password(&self.url, "********"))
    }
}

#[cfg(test)]
mod tests;
