//! One connection to a server that streams a feed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::watch::line::sentence;
use crate::watch::target::Target;

/// Longest wait for a connection and for the head of an answer.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest silence of a stream: servers give a sign of life more often.
const SILENCE: Duration = Duration::from_secs(120);
/// Greatest line, and greatest refusal.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Why there is no stream.
pub(super) enum Trouble {
    /// The server says no: asking again is useless.
    Refused(String),
    /// The server says later.
    Busy { why: String, pause: Option<Duration> },
    /// The server could not be reached, or did not answer.
    Lost(String),
}

/// A stream of lines.
pub(super) struct Link {
    body: Incoming,
    buffer: BytesMut,
    /// How far the buffer was looked through.
    searched: usize,
    place: String,
}

impl Link {
    /// Asks for a feed after this token.
    pub(super) async fn open(target: &Target, token: Option<&str>) -> Result<Self, Trouble> {
        let place = target.place();
        let asked = tokio::time::timeout(CONNECT, ask(target, token)).await;
        let response = match asked {
            Ok(Ok(response)) => response,
            Ok(Err(why)) => return Err(Trouble::Lost(format!("{place} does not answer: {why}."))),
            Err(_) => return Err(Trouble::Lost(format!("{place} does not answer in time."))),
        };
        if response.status() != StatusCode::OK {
            return Err(refusal(response, target).await);
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/x-ndjson")) {
            let sentence = format!("{place} answers, but not with a feed: it is another server.");
            return Err(Trouble::Refused(sentence));
        }
        let body = response.into_body();
        Ok(Self { body, buffer: BytesMut::new(), searched: 0, place })
    }

    /// The next line; `None` at the end.
    pub(super) async fn line(&mut self) -> Result<Option<String>, String> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(format!("{} sends a line without end.", self.place));
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Err(_) => return Err(format!("{} is silent.", self.place)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => {
                    return Err(format!("The connection to {} is lost.", self.place));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

async fn ask(target: &Target, token: Option<&str>) -> Result<Response<Incoming>, String> {
    let words = |error: io::Error| error.to_string();
    let stream = TcpStream::connect((&*target.host, target.port)).await.map_err(words)?;
    stream.set_nodelay(true).map_err(words)?;
    if !target.tls {
        return exchange(stream, target, token).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(tls()?));
    exchange(connector.connect(name, stream).await.map_err(words)?, target, token).await
}

/// TLS with the certificates that this system trusts.
fn tls() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange<S>(
    stream: S,
    target: &Target,
    token: Option<&str>,
) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let words = |error: hyper::Error| error.to_string();
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(words)?;
    // Ends with the connection, which ends with the body.
    tokio::spawn(connection);
    sender.send_request(request(target, token)?).await.map_err(words)
}

fn request(target: &Target, token: Option<&str>) -> Result<Request<Empty<Bytes>>, String> {
    let mut path = target.path.clone();
    if let Some(token) = token {
        path.push_str("?token=");
        path.extend(utf8_percent_encode(token, NON_ALPHANUMERIC));
    }
    let mut request =
        Request::get(path).header(HOST, target.place()).header(ACCEPT, "application/x-ndjson");
    if let Some((user, password)) = &target.login {
        let login = format!("{user}:{}", password.as_deref().unwrap_or_default());
        let encoded = base64::engine::general_purpose::STANDARD.encode(login);
        request = request.header(AUTHORIZATION, format!("Basic {encoded}"));
    }
    request.body(Empty::new()).map_err(|error| error.to_string())
}

/// What an answer says that is no feed.
async fn refusal(response: Response<Incoming>, target: &Target) -> Trouble {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let pause = after.and_then(|value| value.parse().ok()).map(Duration::from_secs);
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect();
    let said = match tokio::time::timeout(CONNECT, body).await {
        Ok(Ok(body)) => serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        _ => serde_json::Value::Null,
    };
    let said = sentence(&said);
    let place = target.place();
    match status {
        StatusCode::UNAUTHORIZED if target.login.is_none() => Trouble::Refused(format!(
            "{place} wants to know who asks: give --user NAME, or user:password@ in the URL."
        )),
        StatusCode::UNAUTHORIZED => {
            Trouble::Refused(format!("{place} does not know this name and password."))
        }
        StatusCode::NOT_FOUND => Trouble::Refused(format!("{place} has no {}.", target.path)),
        StatusCode::TOO_MANY_REQUESTS => {
            Trouble::Busy { why: format!("{place} is busy: {said}"), pause }
        }
        status if status.is_server_error() => {
            Trouble::Busy { why: format!("{place} is busy: {said}"), pause }
        }
        status => Trouble::Refused(format!("{place} refuses ({}): {said}", status.as_u16())),
    }
}
