//! The body of a batch, and of its answer.
//!
//! Source: Kinto fact sheet, section 12. Reading and writing only: what happens in between is in
//! `run`. Bodies inside a batch keep the text in which they were written, as those outside do.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use nuage_model::{Limits, push_json_string};
use percent_encoding::percent_decode_str;

use crate::envelope::{read_members, unrecognized};
use crate::error::{Error, Invalid};
use crate::negotiate;
use crate::object::{Object, items_of, string_of, value_of};
use crate::patch::Format;
use crate::shape;

/// Methods that a request inside a batch may have.
const METHODS: [&str; 7] = ["GET", "HEAD", "DELETE", "TRACE", "POST", "PUT", "PATCH"];

/// What a request inside a batch, or the defaults, may say.
const KEYS: [&str; 4] = ["method", "path", "headers", "body"];

/// Levels of nesting that a batch puts around the data of an object: the batch, the list, the
/// request and the envelope.
const DEPTH: usize = 4;

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
    let mut members = read_members(body, limits.json_depth + DEPTH)?;
    let defaults = members.remove("defaults").filter(|raw| raw != "null");
    let requests = members.remove("requests");
    if !members.is_empty() {
        return Err(Error::invalid_one(unrecognized("", &members)));
    }
    let wrong = |why: String| Err(Error::invalid_one(Invalid::body("requests", why)));
    let Some(requests) = requests else { return wrong("Required".to_owned()) };
    let Some(requests) = items_of(&requests) else { return wrong(shape::not_iterable(&requests)) };
    if requests.len() > limits.batch_requests {
        return wrong(format!("Number of requests is limited to {}", limits.batch_requests));
    }

    let mut wrong = Vec::new();
    let defaults = match &defaults {
        None => Template::default(),
        Some(raw) => Template::read("defaults", raw, &mut wrong),
    };
    let mut parsed = Vec::with_capacity(requests.len());
    let mut bodies_bytes = 0;
    for (n, raw) in requests.iter().enumerate() {
        let name = format!("requests.{n}");
        let own = Template::read(&name, raw, &mut wrong);
        let request = own.fill(&name, &defaults, inherited, &mut wrong);
        // Defaults are repeated in each body.
        bodies_bytes += request.as_ref().map_or(0, |request| request.body.len());
        if bodies_bytes > limits.body_bytes {
            return Err(Error::body_too_large(limits.body_bytes));
        }
        parsed.extend(request);
    }
    if wrong.is_empty() { Ok(parsed) } else { Err(Error::invalid(wrong)) }
}

/// What a request inside a batch says, or what the defaults say for all.
#[derive(Default)]
struct Template {
    method: Option<Method>,
    path: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
    /// Something in it is wrong and was told.
    is_wrong: bool,
}

impl Template {
    fn read(name: &str, raw: &str, wrong: &mut Vec<Invalid>) -> Self {
        let told = wrong.len();
        let mut template = Self::default();
        match Object::of_checked(raw) {
            None => wrong.push(Invalid::body(name, shape::not_mapping(raw))),
            Some(mut members) => {
                for key in KEYS {
                    if let Some(raw) = members.remove(key).filter(|raw| raw != "null")
                        && let Err(why) = template.take(key, raw)
                    {
                        wrong.push(Invalid::body(format!("{name}.{key}"), why));
                    }
                }
                if !members.is_empty() {
                    wrong.push(unrecognized(name, &members));
                }
            }
        }
        template.is_wrong = wrong.len() > told;
        template
    }

    fn take(&mut self, key: &str, raw: String) -> Result<(), String> {
        match key {
            "method" => {
                let method = string_of(&raw).ok_or_else(|| shape::not_string(&value_of(&raw)))?;
                if !METHODS.contains(&&*method) {
                    let methods = METHODS.join(", ");
                    return Err(format!("\"{}\" is not one of {methods}", shape::shown(&method)));
                }
                self.method = Method::from_bytes(method.as_bytes()).ok();
            }
            "path" => {
                let path = string_of(&raw).ok_or_else(|| shape::not_string(&value_of(&raw)))?;
                if !path.starts_with('/') {
                    let missing = path.is_empty();
                    let why =
                        if missing { "Required" } else { "String does not match expected pattern" };
                    return Err(why.to_owned());
                }
                self.path = Some(path.into_owned());
            }
            "headers" => self.headers = read_headers(&raw)?,
            // A list may be a JSON Patch.
            _ if raw.starts_with(['{', '[']) => self.body = Some(raw),
            _ => return Err(shape::not_mapping(&raw)),
        }
        Ok(())
    }

    /// The request that this and the defaults make.
    fn fill(
        self,
        name: &str,
        defaults: &Self,
        inherited: &HeaderMap,
        wrong: &mut Vec<Invalid>,
    ) -> Option<SubRequest> {
        if self.is_wrong || defaults.is_wrong {
            return None;
        }
        let Some(path) = self.path.or_else(|| defaults.path.clone()) else {
            wrong.push(Invalid::body(format!("{name}.path"), "Required"));
            return None;
        };
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path.as_str(), None),
        };
        let Ok(path) = percent_decode_str(path).decode_utf8() else {
            wrong.push(Invalid::body(format!("{name}.path"), "Invalid URL path."));
            return None;
        };
        if path.strip_prefix("/v1").unwrap_or(&path).trim_end_matches('/') == "/batch" {
            let why = "Recursive call on /batch endpoint is forbidden.";
            wrong.push(Invalid::body("requests", why));
            return None;
        }
        let method = self.method.or_else(|| defaults.method.clone()).unwrap_or(Method::GET);
        let body = merge_bodies(defaults.body.as_deref(), self.body);

        let mut headers = inherited.clone();
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
        for (name, value) in defaults.headers.iter().cloned().chain(self.headers) {
            headers.insert(name, value);
        }
        // A body is JSON whatever is said of it, except where it is a patch.
        let is_patch = method == Method::PATCH && negotiate::format(&headers) != Format::Members;
        if !is_patch {
            headers.remove(CONTENT_TYPE);
            if let Some(list) = body.as_deref().filter(|body| body.starts_with('[')) {
                wrong.push(Invalid::body(format!("{name}.body"), shape::not_mapping(list)));
                return None;
            }
        }
        let body = body.map(Bytes::from).unwrap_or_default();
        Some(SubRequest { method, path: path.into_owned(), query, headers, body })
    }
}

fn read_headers(raw: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let members = Object::of_checked(raw).ok_or_else(|| shape::not_mapping(raw))?;
    let mut headers = Vec::new();
    for (name, value) in members.iter() {
        let Some(value) = string_of(value) else {
            return Err(format!("{} contains non string value", shape::shown(raw)));
        };
        match (HeaderName::try_from(name), HeaderValue::try_from(value.as_bytes())) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => return Err(format!("\"{}\" is not a header", shape::shown(name))),
        }
    }
    Ok(headers)
}

/// Keys of both bodies are kept, at every depth; the request wins.
fn merge_bodies(default: Option<&str>, own: Option<String>) -> Option<String> {
    let read = |text: &str| Object::parse(text, usize::MAX).ok();
    match (default, own) {
        (Some(default), None) => Some(default.to_owned()),
        (Some(default), Some(own)) => match (read(default), read(&own)) {
            (Some(default), Some(mut merged)) => {
                merged.complete(&default);
                Some(merged.to_text())
            }
            _ => Some(own),
        },
        (None, own) => own,
    }
}

/// One answer inside the answer to a batch: the path with its version, the method, the answer.
pub(crate) type Part = (String, Method, Response<Bytes>);

/// Bytes of the names and headers of one answer inside a batch, mostly.
const PART_BYTES: usize = 512;

/// The answer to a batch, whose parts are made one after the other and have about so many bytes
/// together.
pub(crate) fn render(bytes: usize, parts: impl ExactSizeIterator<Item = Part>) -> Response<Bytes> {
    let mut text = String::with_capacity(bytes + parts.len() * PART_BYTES);
    text.push_str("{\"responses\":[");
    for (n, (path, method, part)) in parts.enumerate() {
        text.push_str(if n == 0 { "{\"path\":" } else { ",{\"path\":" });
        push_json_string(&mut text, &path);
        text.push_str(",\"status\":");
        text.push_str(part.status().as_str());
        text.push_str(",\"headers\":{");
        for name in part.headers().keys() {
            push_name(&mut text, name.as_str());
            let values = part.headers().get_all(name).iter();
            let values: Vec<_> =
                values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            push_json_string(&mut text, &values.join(", "));
            text.push(',');
        }
        let _ = write!(text, "\"Content-Length\":\"{}\"}},\"body\":", part.body().len());
        match std::str::from_utf8(part.body()) {
            Ok(body) if method != Method::HEAD && !body.is_empty() => text.push_str(body),
            _ => text.push_str("\"\""),
        }
        text.push('}');
    }
    text.push_str("]}");
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Writes the name of a header as documents spell it, and the colon.
fn push_name(text: &mut String, name: &str) {
    text.push('"');
    match name {
        "etag" => text.push_str("ETag"),
        "www-authenticate" => text.push_str("WWW-Authenticate"),
        _ => {
            let mut starts = true;
            for letter in name.chars() {
                text.push(if starts { letter.to_ascii_uppercase() } else { letter });
                starts = letter == '-';
            }
        }
    }
    text.push_str("\":");
}

#[cfg(test)]
mod tests;
