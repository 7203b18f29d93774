//! What a history may try: one request, in the terms of the model, and how it is written.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::Call;
use crate::history::ask::Ask;

/// A list of objects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum List {
    Buckets,
    Collections(String),
    Groups(String),
    Records(String, String),
}

impl List {
    pub(super) fn path(&self) -> String {
        match self {
            Self::Buckets => "/buckets".to_owned(),
            Self::Collections(bucket) => format!("/buckets/{bucket}/collections"),
            Self::Groups(bucket) => format!("/buckets/{bucket}/groups"),
            Self::Records(bucket, collection) => {
                format!("/buckets/{bucket}/collections/{collection}/records")
            }
        }
    }

    /// The object that the list is part of.
    pub(super) fn parent(&self) -> Option<(List, &str)> {
        match self {
            Self::Buckets => None,
            Self::Collections(bucket) | Self::Groups(bucket) => Some((Self::Buckets, bucket)),
            Self::Records(bucket, collection) => {
                Some((Self::Collections(bucket.clone()), collection))
            }
        }
    }

    pub(super) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Buckets => None,
            Self::Collections(bucket) | Self::Groups(bucket) | Self::Records(bucket, _) => {
                Some(bucket)
            }
        }
    }

    /// The permissions that may be set on its objects.
    pub(super) fn permissions(&self) -> &'static [&'static str] {
        match self {
            Self::Buckets => &["read", "write", "collection:create", "group:create"],
            Self::Collections(_) => &["read", "write", "record:create"],
            Self::Groups(_) | Self::Records(..) => &["read", "write"],
        }
    }
}

/// What a request is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    List(List),
    Object(List, String),
}

impl Target {
    pub(super) fn path(&self) -> String {
        match self {
            Self::List(list) => list.path(),
            Self::Object(list, id) => format!("{}/{id}", list.path()),
        }
    }

    pub(super) fn list(&self) -> &List {
        match self {
            Self::List(list) | Self::Object(list, _) => list,
        }
    }
}

/// What must hold for the request to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    None,
    Match(i64),
    MatchAny,
    NoneMatch(i64),
    NoneMatchAny,
}

/// How a body is to be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Json,
    MergePatch,
    JsonPatch,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) user: Option<usize>,
    pub(super) method: &'static str,
    pub(super) target: Target,
    pub(super) condition: Condition,
    pub(super) content: Content,
    pub(super) body: Option<Value>,
    pub(super) ask: Ask,
    /// Of a deletion.
    pub(super) chosen: Option<i64>,
    /// Write the bucket of the user as `default`.
    pub(super) alias: bool,
}

impl Step {
    pub(super) fn new(user: Option<usize>, method: &'static str, target: Target) -> Self {
        Self {
            user,
            method,
            target,
            condition: Condition::None,
            content: Content::Json,
            body: None,
            ask: Ask::default(),
            chosen: None,
            alias: false,
        }
    }

    pub(super) fn path(&self) -> String {
        let mut path = self.target.path();
        if self.alias {
            let bucket = match &self.target {
                Target::Object(List::Buckets, id) => Some(id.as_str()),
                other => other.list().bucket(),
            };
            let bucket = format!("/buckets/{}", bucket.expect("only buckets have an alias"));
            path = path.replacen(&bucket, "/buckets/default", 1);
        }
        let mut query = self.ask.query();
        if let Some(chosen) = self.chosen {
            query.push(("last_modified".to_owned(), chosen.to_string()));
        }
        let query: Vec<_> = query.iter().map(|(k, v)| format!("{}={}", enc(k), enc(v))).collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// Whether it names a timestamp for what it writes.
    pub(super) fn chooses(&self) -> bool {
        let body = self.body.as_ref().map(|body| &body["data"]["last_modified"]);
        self.chosen.is_some() || body.is_some_and(|time| !time.is_null())
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let condition = match self.condition {
            Condition::None => None,
            Condition::Match(time) => Some(("If-Match", format!("\"{time}\""))),
            Condition::MatchAny => Some(("If-Match", "*".to_owned())),
            Condition::NoneMatch(time) => Some(("If-None-Match", format!("\"{time}\""))),
            Condition::NoneMatchAny => Some(("If-None-Match", "*".to_owned())),
        };
        let content = match self.content {
            Content::Json => "application/json",
            Content::MergePatch => "application/merge-patch+json",
            Content::JsonPatch => "application/json-patch+json",
        };
        let content = self.body.as_ref().map(|_| ("Content-Type", content.to_owned()));
        condition.into_iter().chain(content).collect()
    }

    /// The request on its own.
    pub(super) fn call(&self, credentials: Option<&str>) -> Call {
        let mut call = Call::new(self.method, format!("/v1{}", self.path()));
        for (name, value) in self.headers() {
            call = call.header(name, value);
        }
        if let Some(credentials) = credentials {
            call = call.login(credentials);
        }
        call.body = self.body.as_ref().map(|body| body.to_string().into_bytes());
        call
    }

    /// The request as part of a batch.
    pub(super) fn batched(&self, credentials: Option<&str>) -> Value {
        let mut headers = serde_json::Map::new();
        for (name, value) in self.headers() {
            headers.insert(name.to_owned(), Value::from(value));
        }
        if let Some(credentials) = credentials {
            let call = Call::default().login(credentials);
            let (name, value) = &call.headers[0];
            headers.insert(name.clone(), Value::from(value.as_str()));
        }
        let mut request = json!({"method": self.method, "path": self.path(), "headers": headers});
        if let Some(body) = &self.body {
            request["body"] = body.clone();
        }
        request
    }
}

fn enc(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
