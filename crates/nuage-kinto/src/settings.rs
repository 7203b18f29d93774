//! How the operator wants this door to behave. Names are those of Kinto's settings where it has
//! one; rules that are not of this protocol are the engine's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the door may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name shown by the root.
    pub project_name: String,
    /// Version shown by the root; that of the program unless set.
    pub project_version: String,
    /// Address of the documentation shown by the root.
    pub project_docs: String,
    /// Address sent with unexpected errors (`info`).
    pub error_info_link: String,
    /// What is switched on.
    pub features: Features,
    /// Policies that ask for a password, in order, for `WWW-Authenticate` (realm "Realm").
    pub challenges: Vec<String>,
    /// Whether any name and password make a user.
    pub basic_policy: bool,
    /// Name of the policy that checks accounts, the prefix of their principals.
    pub account_policy: Option<String>,
    /// Secret from which the personal bucket's name is derived.
    pub default_bucket_hmac_secret: String,
    /// Secret that authenticates page tokens: the same for all processes on one store.
    pub token_secret: Vec<u8>,
    /// Page size when the client asks for none or for more; the limit of the engine otherwise.
    pub paginate_by: Option<usize>,
    /// How long the page tokens of list deletions may be used, in seconds.
    pub pagination_token_validity_s: u64,
    /// Refuse every change.
    pub readonly: bool,
    /// Seconds of `Backoff` on every answer.
    pub backoff_s: Option<u64>,
    /// On how many percent of the answers.
    pub backoff_percentage: Option<u8>,
    /// Seconds of `Retry-After` on 409 and 503.
    pub retry_after_s: u64,
    /// End of service.
    pub eos: Option<EndOfService>,
    /// Allowed origins; `*` allows all.
    pub cors_origins: Vec<String>,
    /// How long browsers may remember a preflight; `None` says nothing.
    pub cors_max_age_s: Option<u64>,
    /// Scheme of absolute addresses; of the request unless set.
    pub http_scheme: Option<String>,
    /// Host and port of absolute addresses; of the request unless set.
    pub http_host: Option<String>,
    /// Redirection of paths without the version; `None` answers 404.
    pub version_prefix_redirect: Option<RedirectLifetime>,
    /// Redirection of paths with a trailing slash; `None` answers 404.
    pub trailing_slash_redirect: Option<RedirectLifetime>,
    /// Lifetime of the root in caches when readonly.
    pub root_cache_expires_s: u64,
    /// `<kind>_cache_expires_seconds` and those of single buckets and collections, for anonymous
    /// requests: `record`, `blog.record`, `blog.posts.record` to seconds.
    pub cache_expires_s: BTreeMap<String, u64>,
    /// How long the storage may take to answer a heartbeat.
    pub heartbeat_timeout_s: u64,
    /// File served as the version document; 404 when it does not exist.
    pub version_json_path: Option<PathBuf>,
}

/// What is switched on beside the storage itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// `/buckets/default`.
    pub default_bucket: bool,
    /// `/accounts`.
    pub accounts: bool,
    /// `/buckets/{id}/history` and snapshots; the engine keeps the entries.
    pub history: bool,
    /// `/__flush__`.
    pub flush: bool,
    /// `/__counters__`.
    pub counters: bool,
    /// `/permissions`.
    pub permissions: bool,
    /// Records are validated; the engine does it, the root tells of it.
    pub schema: bool,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Features {
    /// Everything switched on: for those who try it.
    pub(crate) fn all() -> Self {
        Self {
            default_bucket: true,
            accounts: true,
            history: true,
            flush: true,
            counters: true,
            permissions: true,
            schema: true,
        }
    }
}

/// Lifetime of a redirection in caches, in seconds; `None` sends no header about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedirectLifetime(pub Option<u64>);

/// The day the service ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndOfService {
    /// As written in the settings, shown by the root: a date or date and time, ISO 8601.
    pub text: String,
    /// The same in milliseconds since 1970.
    pub at_ms: i64,
    /// What to tell users.
    pub message: Option<String>,
    /// Where to read more.
    pub url: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            project_name: "nuage".to_owned(),
            project_version: env!("CARGO_PKG_VERSION").to_owned(),
            project_docs: String::new(),
            error_info_link: String::new(),
            features: Features::default(),
            challenges: Vec::new(),
            basic_policy: false,
            account_policy: None,
            default_bucket_hmac_secret: String::new(),
            token_secret: Vec::new(),
            paginate_by: None,
            pagination_token_validity_s: 600,
            readonly: false,
            backoff_s: None,
            backoff_percentage: None,
            retry_after_s: 3,
            eos: None,
            cors_origins: vec!["*".to_owned()],
            cors_max_age_s: Some(3600),
            http_scheme: None,
            http_host: None,
            version_prefix_redirect: Some(RedirectLifetime(None)),
            trailing_slash_redirect: Some(RedirectLifetime(Some(3600))),
            root_cache_expires_s: 86_400,
            cache_expires_s: BTreeMap::new(),
            heartbeat_timeout_s: 10,
            version_json_path: None,
        }
    }
}
