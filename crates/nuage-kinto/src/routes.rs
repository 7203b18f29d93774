//! The table of contents: which path leads where, and by which methods.
//!
//! Source: Kinto fact sheet, sections 1 and 3. Paths come in decoded and without the version.

use http::Method;
use nuage_model::{BucketId, CollectionPath, Kind, RecordPath};

use crate::Features;

/// Where a path leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Endpoint {
    /// `/`
    Hello,
    /// `/batch`
    Batch,
    /// `/__heartbeat__`
    Heartbeat,
    /// `/__lbheartbeat__`
    LoadBalancerHeartbeat,
    /// `/__version__`
    Version,
    /// `/__api__`
    OpenApi,
    /// `/contribute.json`
    Contribute,
    /// `/__flush__`
    Flush,
    /// `/__counters__`
    Counters,
    /// `/__user_data__/{principal}`
    UserData(String),
    /// `/permissions`
    Permissions,
    /// `/buckets`, `/buckets/b/collections`, `/buckets/b/collections/c/records`, …
    List(CollectionPath),
    /// One object of such a list.
    Object(RecordPath),
    /// An object, `/explain`: no identifier holds a slash, so that nothing else has this path.
    Explain(RecordPath),
    /// `/buckets/b/collections/c/feed`
    Feed(CollectionPath),
    /// `/buckets/b/snapshot/collections/c@timestamp`
    Snapshot {
        /// The collection.
        collection: CollectionPath,
        /// The time, as written.
        at: String,
    },
    /// `/buckets/default` and what is below it: an endpoint once the name is replaced.
    Default {
        /// What comes after it.
        path: String,
        /// The methods of that endpoint.
        methods: &'static str,
    },
}

const OBJECT: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";
const LIST: &str = "GET, HEAD, POST, DELETE, OPTIONS";
const HISTORY: &str = "GET, HEAD, DELETE, OPTIONS";
const READ: &str = "GET, HEAD, OPTIONS";
const FEED: &str = "GET, OPTIONS";
const POST: &str = "POST, OPTIONS";
const DELETE: &str = "DELETE, OPTIONS";

impl Endpoint {
    /// Follows a path that begins with a slash; `None` leads nowhere.
    pub(crate) fn of(path: &str, features: Features) -> Option<Self> {
        let (first, rest) = match path.strip_prefix('/')?.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (&path[1..], None),
        };
        match (first, rest) {
            ("", None) => Some(Self::Hello),
            ("batch", None) => Some(Self::Batch),
            ("__heartbeat__", None) => Some(Self::Heartbeat),
            ("__lbheartbeat__", None) => Some(Self::LoadBalancerHeartbeat),
            ("__version__", None) => Some(Self::Version),
            ("__api__", None) => Some(Self::OpenApi),
            ("contribute.json", None) => Some(Self::Contribute),
            ("__flush__", None) if features.flush => Some(Self::Flush),
            ("__counters__", None) if features.counters => Some(Self::Counters),
            ("__user_data__", Some(who)) if !who.is_empty() && !who.contains('/') => {
                Some(Self::UserData(who.to_owned()))
            }
            ("permissions", None) if features.permissions => Some(Self::Permissions),
            ("accounts", None) if features.accounts => Some(Self::List(CollectionPath::accounts())),
            ("accounts", Some(id)) if features.accounts => {
                segment(id).map(|id| Self::Object(RecordPath::account(id)))
            }
            ("buckets", None) => Some(Self::List(CollectionPath::buckets())),
            ("buckets", Some(rest)) => Self::in_buckets(rest, features),
            _ => None,
        }
    }

    fn in_buckets(path: &str, features: Features) -> Option<Self> {
        let (bucket, rest) = match path.split_once('/') {
            Some((bucket, rest)) => (segment(bucket)?, Some(rest)),
            None => (segment(path)?, None),
        };
        if bucket == "default" && features.default_bucket {
            let path = rest.unwrap_or_default().to_owned();
            let real = rest.and_then(|rest| Self::in_bucket(bucket.into(), rest, features));
            let methods = real.map_or(OBJECT, |real| real.methods());
            return Some(Self::Default { path, methods });
        }
        let bucket = BucketId::from(bucket);
        match rest {
            None => Some(Self::Object(RecordPath::bucket(bucket))),
            Some(rest) => Self::in_bucket(bucket, rest, features),
        }
    }

    /// Follows what comes after `/buckets/{id}/`.
    pub(crate) fn in_bucket(bucket: BucketId, path: &str, features: Features) -> Option<Self> {
        if path == "explain" {
            return Some(Self::Explain(RecordPath::bucket(bucket)));
        }
        // What is called `explain` in a list is an object like others.
        if let Some(object) = path.strip_suffix("/explain")
            && let Some(Self::Object(object)) = Self::in_bucket(bucket.clone(), object, features)
        {
            return Some(Self::Explain(object));
        }
        let mut steps = path.split('/');
        let found = match (steps.next()?, steps.next(), steps.next(), steps.next()) {
            ("collections", None, ..) => Self::List(CollectionPath::collections(bucket)),
            ("groups", None, ..) => Self::List(CollectionPath::groups(bucket)),
            ("history", None, ..) if features.history => {
                Self::List(CollectionPath::history(bucket))
            }
            ("collections", Some(id), None, _) => {
                Self::Object(CollectionPath::collections(bucket).record(segment(id)?))
            }
            ("groups", Some(id), None, _) => {
                Self::Object(CollectionPath::groups(bucket).record(segment(id)?))
            }
            ("collections", Some(id), Some("records"), record) => {
                let records = CollectionPath::new(bucket, segment(id)?);
                match record {
                    None => Self::List(records),
                    Some(record) => Self::Object(records.record(segment(record)?)),
                }
            }
            ("collections", Some(id), Some("feed"), None) => {
                Self::Feed(CollectionPath::new(bucket, segment(id)?))
            }
            ("snapshot", Some("collections"), Some(last), None) if features.history => {
                let (id, at) = last.rsplit_once('@')?;
                let collection = CollectionPath::new(bucket, segment(id)?);
                Self::Snapshot { collection, at: at.to_owned() }
            }
            _ => return None,
        };
        steps.next().is_none().then_some(found)
    }

    /// Of which kind the objects are that an answer shows.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Object(path) => path.kind(),
            Self::List(list) => list.kind(),
            // Those of buckets, which are all shown as they are stored, or none.
            _ => Kind::Record,
        }
    }

    /// The value of `Allow`.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Object(_) => OBJECT,
            Self::List(list) if list.kind() == Kind::History => HISTORY,
            Self::List(_) => LIST,
            Self::Default { methods, .. } => methods,
            Self::Batch | Self::Flush => POST,
            Self::UserData(_) => DELETE,
            Self::Permissions => READ,
            Self::Feed(_) => FEED,
            Self::Hello
            | Self::Heartbeat
            | Self::LoadBalancerHeartbeat
            | Self::Version
            | Self::OpenApi
            | Self::Contribute
            | Self::Counters
            | Self::Explain(_)
            | Self::Snapshot { .. } => READ,
        }
    }

    /// Whether anybody looks at the body of a request.
    pub(crate) fn reads_body(&self) -> bool {
        matches!(self, Self::Object(_) | Self::List(_) | Self::Default { .. } | Self::Batch)
    }

    /// Whether it shows what is stored, in JSON alone.
    pub(crate) fn shows_objects(&self) -> bool {
        matches!(
            self,
            Self::Object(_)
                | Self::List(_)
                | Self::Permissions
                | Self::Explain(_)
                | Self::Snapshot { .. }
        ) || matches!(self, Self::Default { methods, .. } if *methods != FEED)
    }

    /// Whether it shows changes, in several shapes.
    pub(crate) fn is_feed(&self) -> bool {
        matches!(self, Self::Feed(_) | Self::Default { methods: FEED, .. })
    }

    /// Whether the method leads anywhere.
    pub(crate) fn allows(&self, method: &Method) -> bool {
        if let Self::Default { .. } = self {
            // Who is asking comes first there.
            return OBJECT.contains(method.as_str()) || method == Method::POST;
        }
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }
}

fn segment(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
