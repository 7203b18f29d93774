//! The floor: a bare hyper server that answers each kind of request with the bytes that a real
//! server once answered. What it costs is what HTTP costs; it reads bodies and stores nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::Kept;
use crate::workload::Workload;

/// What to answer to each kind of request.
type Answers = HashMap<&'static str, Response<Bytes>>;

/// Writes the kept answers where [`serve`] reads them.
pub(crate) fn write_answers(path: &Path, answers: &[(Workload, Kept)]) -> Result<()> {
    let list: Vec<Value> = answers
        .iter()
        .map(|(workload, kept)| {
            json!({
                "workload": workload.name(),
                "head": String::from_utf8_lossy(&kept.head),
                "body": String::from_utf8_lossy(&kept.body),
            })
        })
        .collect();
    Ok(std::fs::write(path, Value::from(list).to_string())?)
}

/// Serves until it is killed.
pub(crate) async fn serve(listen: SocketAddr, answers: &Path) -> Result<()> {
    let answers = Arc::new(read_answers(answers)?);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &answers));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: &Answers,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    if let Err(error) = body.collect().await {
        let text = Full::from(error.to_string());
        let mut response = Response::new(text);
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    }
    let response = match classify(&parts.method, parts.uri.query(), &parts.headers) {
        _ if parts.uri.path() == "/v1/__lbheartbeat__" => Response::new(Bytes::from_static(b"{}")),
        workload => answers.get(workload.name()).cloned().unwrap_or_default(),
    };
    Ok(response.map(Full::new))
}

fn classify(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Workload {
    match (method, query) {
        (&Method::POST, _) => Workload::Batch,
        (&Method::PUT, _) if headers.contains_key(header::IF_MATCH) => Workload::Update,
        (&Method::PUT, _) => Workload::Put,
        (_, Some(query)) if query.starts_with("_since") => Workload::Poll,
        (_, Some(_)) => Workload::List,
        _ if headers.contains_key(header::IF_NONE_MATCH) => Workload::NotModified,
        _ => Workload::Get,
    }
}

fn read_answers(path: &Path) -> Result<Answers> {
    let list: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let mut answers = Answers::new();
    for entry in list.as_array().context("a list of answers")? {
        let text = |key: &str| entry[key].as_str().context("an answer");
        let name = text("workload")?;
        let workload = Workload::ALL.iter().find(|w| w.name() == name).context("a workload")?;
        answers.insert(workload.name(), parse_answer(text("head")?, text("body")?)?);
    }
    Ok(answers)
}

// Without the headers that hyper writes itself.
fn parse_answer(head: &str, body: &str) -> Result<Response<Bytes>> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.get(9..12)).context("a status line")?;
    *response.status_mut() = status.parse()?;
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse()?;
        if ![header::DATE, header::CONTENT_LENGTH, header::CONNECTION].contains(&name) {
            response.headers_mut().append(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
