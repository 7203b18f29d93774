//! What a database URL says, in the words of libpq.
//!
//! The URL is taken apart here and handed to the driver parameter by parameter, because the driver
//! reads some parameters in other units or under other names than libpq, and TLS is ours. What
//! is not known is an error that names it, never ignored. Errors never hold a value: it may be a
//! password.

use std::borrow::Cow;
use std::path::Path;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};

/// Where a host that is not named has its socket.
const SOCKET_FOLDER: &str = "/var/run/postgresql";
/// Without these, a server that vanished would be waited for as long as the system likes.
const CONNECT_TIMEOUT_S: &str = "5";
const UNACKNOWLEDGED_S: u64 = 15;
const KEEPALIVE: [(&str, &str); 3] =
    [("keepalives_idle", "30"), ("keepalives_interval", "5"), ("keepalives_retries", "3")];

/// Parameters of libpq that the driver takes as they are.
const PASSED: [&str; 14] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "connect_timeout",
    "application_name",
    "options",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "channel_binding",
    "load_balance_hosts",
];

/// How far the server's certificate is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verification {
    /// Not at all: encryption against listeners only.
    None,
    /// Somebody who is trusted signed it.
    Authority,
    /// And it is for the host that was asked for.
    Full,
}

/// What of the URL is about TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TlsChoice {
    pub(super) verification: Verification,
    /// File of trusted certificates; those of the system if there is none.
    pub(super) roots: Option<String>,
    /// Files of our own certificate and of its key.
    pub(super) client: Option<(String, String)>,
    /// Without PostgreSQL's own negotiation.
    pub(super) direct: bool,
}

/// Reads the URL.
pub(super) fn parse(url: &str) -> Result<(Config, TlsChoice), String> {
    let mut parameters = Parameters::of(url)?;
    let tls = tls_choice(&mut parameters)?;
    refuse_what_cannot_be(&mut parameters)?;
    let session = session_attributes(&mut parameters)?;
    let unacknowledged_s = match parameters.take("tcp_user_timeout") {
        // libpq counts milliseconds here, and takes 0 for the default of the system.
        Some(ms) => ms
            .parse::<u64>()
            .map_err(|_| "tcp_user_timeout must be a number of milliseconds".to_owned())?
            .div_ceil(1_000),
        None => UNACKNOWLEDGED_S,
    };
    parameters.rename("keepalives_count", "keepalives_retries");
    parameters.fill("application_name", "nuage");
    parameters.fill("connect_timeout", CONNECT_TIMEOUT_S);
    for (name, value) in KEEPALIVE {
        parameters.fill(name, value);
    }
    if parameters.get("host").is_none() && parameters.get("hostaddr").is_none() {
        let local = if Path::new(SOCKET_FOLDER).is_dir() { SOCKET_FOLDER } else { "localhost" };
        parameters.fill("host", local);
    }
    let mut config = parameters.into_config()?;
    if unacknowledged_s > 0 {
        config.tcp_user_timeout(std::time::Duration::from_secs(unacknowledged_s));
    }
    finish_hosts(&mut config)?;
    config.target_session_attrs(session.unwrap_or(match config.get_hosts().len() {
        // Of several servers, one is the primary.
        2.. => TargetSessionAttrs::ReadWrite,
        _ => TargetSessionAttrs::Any,
    }));
    let on_sockets = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    match tls {
        // As in libpq, there is no TLS on the sockets of this machine.
        Some((mode, choice)) if !on_sockets => {
            config.ssl_mode(mode);
            if choice.direct {
                config.ssl_negotiation(SslNegotiation::Direct);
            }
            Ok((config, choice))
        }
        _ => {
            config.ssl_mode(SslMode::Disable);
            let verification = Verification::None;
            Ok((config, TlsChoice { verification, roots: None, client: None, direct: false }))
        }
    }
}

/// How the TLS parameters are meant. `None` is without TLS.
fn tls_choice(parameters: &mut Parameters) -> Result<Option<(SslMode, TlsChoice)>, String> {
    // As Java writes it, and as libpq understands it.
    let word = match (parameters.take("sslmode"), parameters.take("ssl").as_deref()) {
        (Some(word), _) => word,
        (None, Some("true")) => "require".to_owned(),
        (None, _) => "prefer".to_owned(),
    };
    let roots = parameters.take("sslrootcert");
    let client = match (parameters.take("sslcert"), parameters.take("sslkey")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("sslcert and sslkey go together: give both files".to_owned()),
    };
    let negotiation = parameters.take("sslnegotiation");
    let system = roots.as_deref() == Some("system");
    let (mode, verification) = match word.as_str() {
        "disable" => return Ok(None),
        "allow" | "prefer" if system => return Err(weak("sslrootcert=system")),
        "allow" | "prefer" => (SslMode::Prefer, Verification::None),
        "require" if system => return Err(weak("sslrootcert=system")),
        // As in libpq: whoever names an authority wants it asked.
        "require" if roots.is_some() => (SslMode::Require, Verification::Authority),
        "require" => (SslMode::Require, Verification::None),
        "verify-ca" => (SslMode::Require, Verification::Authority),
        "verify-full" => (SslMode::Require, Verification::Full),
        _ => {
            return Err(
                "sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned()
            );
        }
    };
    let direct = match negotiation.as_deref() {
        None | Some("postgres") => false,
        Some("direct") if mode == SslMode::Require => true,
        Some("direct") => return Err(weak("sslnegotiation=direct")),
        Some(_) => return Err("sslnegotiation must be postgres or direct".to_owned()),
    };
    let roots = roots.filter(|_| !system);
    Ok(Some((mode, TlsChoice { verification, roots, client, direct })))
}

fn weak(what: &str) -> String {
    format!("{what} asks for a stronger sslmode: verify-full")
}

/// Parameters of libpq that would change what the connection is, and those that may be ignored.
fn refuse_what_cannot_be(parameters: &mut Parameters) -> Result<(), String> {
    for name in ["fallback_application_name", "sslcompression", "sslsni", "gsslib", "krbsrvname"] {
        parameters.take(name);
    }
    if parameters.take("gssencmode").as_deref() == Some("require") {
        return Err("gssencmode=require is not supported: encrypt with sslmode".to_owned());
    }
    let encoding = parameters.take("client_encoding").map(|word| word.to_lowercase());
    if !matches!(encoding.as_deref(), None | Some("utf8" | "utf-8" | "auto")) {
        return Err("client_encoding must be UTF8".to_owned());
    }
    if parameters.take("passfile").is_some() {
        return Err("passfile is not read: set storage.password_file".to_owned());
    }
    Ok(())
}

fn session_attributes(parameters: &mut Parameters) -> Result<Option<TargetSessionAttrs>, String> {
    match parameters.take("target_session_attrs").as_deref() {
        None => Ok(None),
        Some("any") => Ok(Some(TargetSessionAttrs::Any)),
        Some("read-write" | "primary") => Ok(Some(TargetSessionAttrs::ReadWrite)),
        Some(_) => {
            Err("target_session_attrs must be any, read-write or primary: Nuage writes".to_owned())
        }
    }
}

/// Makes of addresses hosts, and checks what the driver would only say when it connects.
fn finish_hosts(config: &mut Config) -> Result<(), String> {
    if config.get_hosts().is_empty() {
        // A certificate may be for an address as well.
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    let hosts = config.get_hosts().len();
    if !matches!(config.get_hostaddrs().len(), 0) && config.get_hostaddrs().len() != hosts {
        return Err("there must be as many addresses in hostaddr as hosts".to_owned());
    }
    if !matches!(config.get_ports().len(), 0 | 1) && config.get_ports().len() != hosts {
        return Err("there must be one port, or as many as hosts".to_owned());
    }
    Ok(())
}

/// Names and decoded values, in the order of the URL.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let Some(rest) = rest else {
            return Err("it must begin with postgres:// or postgresql://".to_owned());
        };
        let mut parameters = Self(Vec::new());
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let hosts = match authority.rsplit_once('@') {
            None => authority,
            Some((credentials, hosts)) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                parameters.fill("user", &decoded(user)?);
                parameters.fill("password", &decoded(password)?);
                hosts
            }
        };
        parameters.read_hosts(hosts)?;
        parameters.fill("dbname", &decoded(database)?);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err("what follows the question mark must be name=value&name=value".into());
            };
            let (name, value) = (decoded(name)?, decoded(value)?);
            // The last one counts.
            parameters.take(&name);
            parameters.fill(&name, &value);
        }
        Ok(parameters)
    }

    fn read_hosts(&mut self, hosts: &str) -> Result<(), String> {
        if hosts.is_empty() {
            return Ok(());
        }
        let mut names = Vec::new();
        let mut ports = Vec::new();
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
                Some(Some((name, ""))) => (name, ""),
                Some(Some((name, rest))) => match rest.strip_prefix(':') {
                    Some(port) => (name, port),
                    None => return Err("a port is written after a colon".to_owned()),
                },
                Some(None) => return Err("a bracket of a host is not closed".to_owned()),
                None => host.split_once(':').unwrap_or((host, "")),
            };
            names.push(decoded(name)?.into_owned());
            ports.push(decoded(port)?.into_owned());
        }
        self.fill("host", &names.join(","));
        if ports.iter().any(|port| !port.is_empty()) {
            self.fill("port", &ports.join(","));
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        Some(&self.0.iter().find(|(known, _)| known == name)?.1)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Sets what is not set. An empty value says nothing.
    fn fill(&mut self, name: &str, value: &str) {
        if !value.is_empty() && self.get(name).is_none() {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.take(from) {
            self.fill(to, &value);
        }
    }

    /// Through the driver's own reader of names and values.
    fn into_config(self) -> Result<Config, String> {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !PASSED.contains(&name.as_str()) && name != "keepalives_retries" {
                return Err(format!("there is no parameter {}", printable(name)));
            }
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            text.push_str(&format!("{name}='{value}' "));
        }
        text.parse::<Config>().map_err(|error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            why.unwrap_or_else(|| error.to_string())
        })
    }
}

/// A name as it may stand in a sentence.
fn printable(name: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    name.chars().take_while(plain).take(40).collect()
}

fn decoded(text: &str) -> Result<Cow<'_, str>, String> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| "what is written with % must be UTF-8".to_owned())?;
    if text.contains('\0') {
        return Err("there may be no character 0 in it".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
