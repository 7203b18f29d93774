//! Whose feed is watched: a server, a collection, and as whom.

use percent_encoding::percent_decode_str;

/// Whose feed is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) tls: bool,
    /// Name or address, as TLS and the header know it, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path of the feed.
    pub(super) path: String,
    /// User and password, if there are any.
    pub(super) login: Option<(String, Option<String>)>,
}

impl Target {
    /// Reads a URL, or a path on the server that listens there.
    pub(super) fn parse(text: &str, listen: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest.to_owned()),
            Some(("https", rest)) => (true, rest.to_owned()),
            Some((scheme, _)) => return Err(format!("{scheme}:// is neither http nor https.")),
            None if text.starts_with('/') => (false, format!("{}{text}", reachable(listen))),
            None => return Err(not_a_collection(text)),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => return Err(not_a_collection(text)),
        };
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(decode_login(login)), place),
            None => (None, authority),
        };
        let (host, port) = split_place(place, if tls { 443 } else { 80 })
            .ok_or_else(|| format!("{place} is not the address of a server."))?;
        let path = feed_path(path).ok_or_else(|| not_a_collection(text))?;
        Ok(Self { tls, host, port, path, login })
    }

    /// Host and port, as headers and people write them.
    pub(super) fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

fn not_a_collection(text: &str) -> String {
    format!(
        "{text} is not a collection: give /buckets/BUCKET/collections/COLLECTION, or a URL that \
         ends so."
    )
}

/// Where a server that listens everywhere is reached on this machine.
fn reachable(listen: &str) -> String {
    let listen = listen.replacen("0.0.0.0:", "127.0.0.1:", 1);
    listen.replacen("[::]:", "[::1]:", 1)
}

fn decode_login(login: &str) -> (String, Option<String>) {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match login.split_once(':') {
        Some((user, password)) => (decode(user), Some(decode(password))),
        None => (decode(login), None),
    }
}

fn split_place(place: &str, port: u16) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (host, "") => (host, port),
            (host, rest) => (host, rest.strip_prefix(':')?.parse().ok()?),
        },
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, port),
        },
    };
    let plain = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    (plain && !host.is_empty()).then(|| (host.to_owned(), port))
}

/// The path of the feed of a collection, its version and `/feed` given or not.
fn feed_path(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/feed").unwrap_or(path);
    let at = path.find("/buckets/")?;
    let prefix = path[..at].strip_suffix("/v1").unwrap_or(&path[..at]);
    let steps: Vec<&str> = path[at + 1..].split('/').collect();
    let fits = matches!(steps[..], ["buckets", bucket, "collections", collection]
        if !bucket.is_empty() && !collection.is_empty());
    let sendable = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>".contains(&byte));
    (fits && sendable).then(|| format!("{prefix}/v1{}/feed", &path[at..]))
}
