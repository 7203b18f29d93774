//! The body of a batch, and of its answer.
//!
//! Source: Kinto fact sheet, section 12. Reading and writing only: what happens in between is in
//! `run`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use nuage_model::Limits;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::envelope::{read_members, unrecognized};
use crate::error::{Error, Invalid};
use crate::object::{Object, push_string, value_of};

/// Methods that a request inside a batch may have.
const METHODS: [&str; 7] = ["GET", "HEAD", "DELETE", "TRACE", "POST", "PUT", "PATCH"];

/// One request inside a batch.
#[derive(Clone, Debug)]
pub(crate) struct SubRequest {
    pub(crate) method: Method,
    /// Decoded, as written: with or without the version.
    pub(crate) path: String,
    /// As written, without the question mark.
    pub(crate) query: Option<String>,
    /// Those of the batch, overridden by its own.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Reads the body of a batch whose own headers are `inherited`.
pub(crate) fn parse(
    body: &[u8],
    inherited: &HeaderMap,
    limits: &Limits,
) -> Result<Vec<SubRequest>, Error> {
    let mut members = read_members(body, limits)?;
    let defaults = members.remove("defaults").filter(|raw| raw != "null");
    let requests = members.remove("requests");
    if !members.is_empty() {
        return Err(Error::invalid_one(unrecognized("", &members)));
    }
    let wrong = |name: &str, why: &str| Error::invalid_one(Invalid::body(name, why));
    let requests = requests.ok_or_else(|| wrong("requests", "Required"))?;
    let Value::Array(requests) = value_of(&requests) else {
        return Err(wrong("requests", &format!("\"{}\" is not iterable", clip(&requests))));
    };
    if requests.len() > limits.batch_requests {
        let max = limits.batch_requests;
        return Err(wrong("requests", &format!("Number of requests is limited to {max}")));
    }
    let defaults = match defaults {
        None => Value::Null,
        Some(raw) => match value_of(&raw) {
            Value::Object(defaults) => {
                check_keys("defaults", &defaults)?;
                Value::Object(defaults)
            }
            _ => return Err(wrong("defaults", "is not a mapping type")),
        },
    };
    let mut parsed = Vec::with_capacity(requests.len());
    for (n, request) in requests.into_iter().enumerate() {
        let name = format!("requests.{n}");
        let Value::Object(own) = &request else {
            return Err(wrong(&name, "is not a mapping type"));
        };
        check_keys(&name, own)?;
        let merged = merge(&defaults, request);
        parsed.push(read_request(&name, &merged, inherited)?);
    }
    Ok(parsed)
}

fn check_keys(name: &str, object: &serde_json::Map<String, Value>) -> Result<(), Error> {
    let mut unknown = Object::from_value(object);
    unknown.retain(|key| !matches!(key, "method" | "path" | "headers" | "body"));
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_one(unrecognized(name, &unknown)))
}

/// Defaults under a request: objects are merged at every depth, and the request wins.
fn merge(defaults: &Value, own: Value) -> Value {
    match (defaults, own) {
        (Value::Object(defaults), Value::Object(mut own)) => {
            for (key, default) in defaults {
                let merged = match own.remove(key) {
                    Some(value) => merge(default, value),
                    None => default.clone(),
                };
                own.insert(key.clone(), merged);
            }
            Value::Object(own)
        }
        (_, own) => own,
    }
}

fn read_request(name: &str, request: &Value, inherited: &HeaderMap) -> Result<SubRequest, Error> {
    let wrong =
        |key: &str, why: String| Error::invalid_one(Invalid::body(format!("{name}.{key}"), why));
    let method = match &request["method"] {
        Value::Null => "GET",
        Value::String(method) if METHODS.contains(&method.as_str()) => method,
        other => {
            let one_of = METHODS.join(", ");
            return Err(wrong("method", format!("{other} is not one of {one_of}")));
        }
    };
    let path = match &request["path"] {
        Value::Null => return Err(wrong("path", "Required".to_owned())),
        Value::String(path) if path.starts_with('/') => path,
        _ => return Err(wrong("path", "String does not match expected pattern".to_owned())),
    };
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path.as_str(), None),
    };
    let path = percent_decode_str(path).decode_utf8().map_err(|_| Error::bad_path())?;
    let inside = path.strip_prefix("/v1").unwrap_or(&path).trim_end_matches('/');
    if inside == "/batch" {
        let why = "Recursive call on /batch endpoint is forbidden.";
        return Err(wrong("path", why.to_owned()));
    }
    let mut headers = inherited.clone();
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::CONTENT_TYPE);
    match &request["headers"] {
        Value::Null => {}
        Value::Object(own) => {
            for (key, value) in own {
                let header = HeaderName::try_from(key.as_str());
                let text = value.as_str().map(HeaderValue::try_from);
                let (Ok(header), Some(Ok(text))) = (header, text) else {
                    return Err(wrong(
                        &format!("headers.{key}"),
                        format!("{value} is not a string"),
                    ));
                };
                headers.insert(header, text);
            }
        }
        _ => return Err(wrong("headers", "is not a mapping type".to_owned())),
    }
    let body = match &request["body"] {
        Value::Null => Bytes::new(),
        body @ (Value::Object(_) | Value::Array(_)) => {
            let is_patch = method == "PATCH";
            if body.is_array() && !is_patch {
                return Err(wrong("body", "is not a mapping type".to_owned()));
            }
            if !is_patch {
                headers.remove(http::header::CONTENT_TYPE);
            }
            Bytes::from(body.to_string())
        }
        _ => return Err(wrong("body", "is not a mapping type".to_owned())),
    };
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| wrong("method", "is not a method".to_owned()))?;
    Ok(SubRequest { method, path: path.into_owned(), query, headers, body })
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// One answer inside the answer to a batch: the path with its version, the method, the answer.
pub(crate) type Part = (String, Method, Response<Bytes>);

/// The answer to a batch.
pub(crate) fn render(parts: Vec<Part>) -> Response<Bytes> {
    let size: usize = parts.iter().map(|(path, _, part)| path.len() + part.body().len()).sum();
    let mut text = String::with_capacity(size + parts.len() * 320 + 32);
    text.push_str("{\"responses\":[");
    for (n, (path, method, part)) in parts.into_iter().enumerate() {
        text.push_str(if n == 0 { "{" } else { ",{" });
        text.push_str("\"path\":");
        push_string(&mut text, &path);
        text.push_str(",\"status\":");
        text.push_str(part.status().as_str());
        text.push_str(",\"headers\":{");
        let length = part.body().len();
        for (name, value) in part.headers() {
            push_string(&mut text, &canonical(name.as_str()));
            text.push(':');
            push_string(&mut text, &String::from_utf8_lossy(value.as_bytes()));
            text.push(',');
        }
        text.push_str(&format!("\"Content-Length\":\"{length}\"}},\"body\":"));
        match std::str::from_utf8(part.body()) {
            Ok(body) if method != Method::HEAD && !body.is_empty() => text.push_str(body),
            _ => text.push_str("\"\""),
        }
        text.push('}');
    }
    text.push_str("]}");
    let mut response = Response::new(Bytes::from(text));
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The name of a header as documents spell it.
fn canonical(name: &str) -> String {
    if name == "etag" {
        return "ETag".to_owned();
    }
    let mut spelled = String::with_capacity(name.len());
    let mut starts = true;
    for letter in name.chars() {
        spelled.push(if starts { letter.to_ascii_uppercase() } else { letter });
        starts = letter == '-';
    }
    spelled
}
