//! Every setting, declared once: name, kind, default and one line of help. The file, the
//! environment, the flags, `config show` and the documentation all go by this table.

use nuage_model::Limits;

use crate::config::{Config, Kind, Value};

/// One setting.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// Section, dot, name. `*` at the end stands for any name.
    pub(crate) name: &'static str,
    /// What it may hold.
    pub(crate) kind: Kind,
    /// What it holds when nobody says anything.
    pub(crate) preset: Preset,
    /// What it is for, and what it costs.
    pub(crate) help: &'static str,
}

/// A default.
#[derive(Clone, Copy)]
pub(crate) enum Preset {
    /// Nothing: entries under a `*`, and what is generated at the first start.
    Nothing,
    /// As text.
    Text(&'static str),
    /// Taken from where it is declared.
    Of(fn() -> Value),
}

impl Key {
    /// The default.
    pub(crate) fn default(&self) -> Value {
        match self.preset {
            Preset::Nothing => Value::None,
            Preset::Text(text) => {
                self.kind.read_text(text).expect("a default is of the kind of its key")
            }
            Preset::Of(value) => value(),
        }
    }

    /// The name before the `*`, if any name may follow.
    pub(crate) fn family(&self) -> Option<&'static str> {
        self.name.strip_suffix('*')
    }
}

/// All settings, in the order in which they are shown.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(LIMITS)
}

/// The setting of that name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| match key.family() {
        Some(family) => name.strip_prefix(family).is_some_and(|rest| !rest.is_empty()),
        None => key.name == name,
    })
}

/// The known name that is nearest to an unknown one.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let known = all().filter(|key| key.family().is_none()).map(|key| key.name);
    nearest_of(name, known)
}

/// The word that is nearest to another, if it is near at all.
pub(crate) fn nearest_of<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let near = known.into_iter().map(|known| (strsim::jaro_winkler(word, known), known));
    let best = near.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

const fn key(name: &'static str, kind: Kind, preset: &'static str, help: &'static str) -> Key {
    Key { name, kind, preset: Preset::Text(preset), help }
}

const fn open(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, preset: Preset::Nothing, help }
}

const LEVELS: Kind = Kind::Choice(&["error", "warn", "info", "debug", "trace"]);
const FORMATS: Kind = Kind::Choice(&["auto", "pretty", "json"]);
const SYNCHRONOUS: Kind = Kind::Choice(&["full", "normal"]);

#[rustfmt::skip]
static KEYS: &[Key] = &[
    key("http.listen", Kind::Text, "127.0.0.1:8888", "address and port to listen on"),
    key("http.trusted_proxies", Kind::Words, "", "addresses and networks of proxies whose Forwarded and X-Forwarded-For name the client: 10.0.0.0/8, ::1"),
    key("http.drain_s", Kind::Whole(0), "8", "time that requests under way may take once the server is told to stop"),

    key("storage.path", Kind::Text, "./nuage-data", "folder that holds the database, nuage.db"),
    key("storage.url", Kind::Text, "", "database elsewhere: postgres://user@host/database, sqlite:///absolute/file.db or a path"),
    key("storage.password", Kind::Secret, "", "PostgreSQL: password of the user, instead of one in the URL"),
    key("storage.password_file", Kind::Text, "", "PostgreSQL: file that holds the password"),
    key("storage.connections", Kind::Whole(1), "8", "PostgreSQL: connections for reads, of each process of Nuage"),
    key("storage.writers", Kind::Whole(1), "4", "PostgreSQL: connections for writes, of each process of Nuage"),
    key("storage.trust_ms", Kind::Whole(0), "1000", "PostgreSQL: how long changes that other processes made to permissions and accounts may go unnoticed at most"),
    key("storage.synchronous", SYNCHRONOUS, "full", "full: an acknowledged write survives a power cut; normal: the last ones may not"),
    key("storage.readers", Kind::Whole(1), "4", "SQLite: connections that read at a time; each costs its cache"),
    key("storage.list_ms", Kind::Whole(1), "10000", "time that one list or count may take"),

    key("log.level", LEVELS, "info", "least severity that is logged; RUST_LOG refines it"),
    key("log.format", FORMATS, "auto", "pretty: aligned lines; json: one object a line; auto: pretty on a terminal"),

    key("auth.policies", Kind::Words, "account", "who may log in, in order: account, basicauth, or name:kind for another name"),
    open("auth.userid_hmac_secret", Kind::Secret, "secret from which basicauth user ids are derived; generated unless set"),
    key("auth.account_cache_ttl_s", Kind::Whole(0), "30", "how long a verified password is remembered"),

    key("auth.account_failures", Kind::Whole(0), "10", "wrong passwords for one account from one address before further ones wait; 0 never waits"),
    key("auth.address_failures", Kind::Whole(0), "50", "wrong passwords from one address before those wait who did not log in from it before; 0 never waits"),
    key("auth.failures_window_s", Kind::Whole(1), "900", "time without failures after which earlier ones are forgotten"),
    key("auth.guess_wait_s", Kind::Whole(0), "8", "longest time between two guesses at one account from one address"),

    open("grants.*", Kind::Words, "principals with a permission on all objects of a kind: bucket_create, account_write, ..."),

    key("kinto.project_name", Kind::Text, "nuage", "name shown by the root"),
    key("kinto.project_version", Kind::Text, env!("CARGO_PKG_VERSION"), "version shown by the root"),
    key("kinto.project_docs", Kind::Text, "", "address of the documentation shown by the root"),
    key("kinto.error_info_link", Kind::Text, "", "address sent with unexpected errors"),
    key("kinto.default_bucket", Kind::Switch, "true", "a personal bucket for everybody, /buckets/default"),
    key("kinto.accounts", Kind::Switch, "true", "/accounts: create, read and change accounts over HTTP"),
    key("kinto.permissions", Kind::Switch, "true", "/permissions: what the caller may reach"),
    key("kinto.schema", Kind::Switch, "true", "records must satisfy the JSON Schema of their collection and bucket"),
    key("kinto.counters", Kind::Switch, "false", "/__counters__: how much is stored, and what feeds are doing, told to everybody"),
    key("kinto.flush", Kind::Switch, "false", "/__flush__: ANYBODY may delete everything; for tests"),
    key("kinto.explicit_permissions", Kind::Switch, "true", "who creates or changes an object gets write permission on it"),
    open("kinto.default_bucket_hmac_secret", Kind::Secret, "secret from which names of personal buckets are derived; generated unless set"),
    open("kinto.token_secret", Kind::Secret, "secret that authenticates tokens of pages and seals those of feeds; generated unless set"),
    key("kinto.paginate_by", Kind::WholeOrNone, "none", "page size; that of limits.page_records when none"),
    key("kinto.pagination_token_validity_s", Kind::Whole(1), "600", "how long tokens of list deletions may be used"),
    key("kinto.readonly", Kind::Switch, "false", "refuse every change"),
    key("kinto.backoff_s", Kind::WholeOrNone, "none", "seconds that clients are asked to wait between requests"),
    key("kinto.backoff_percentage", Kind::WholeOrNone, "none", "on how many percent of the answers they are asked"),
    key("kinto.retry_after_s", Kind::Whole(0), "3", "seconds after which to try again on 409 and 503"),
    key("kinto.eos", Kind::Text, "", "day on which the service ends: 2030-12-31 or 2030-12-31T12:00:00"),
    key("kinto.eos_message", Kind::Text, "", "what to tell users of the end"),
    key("kinto.eos_url", Kind::Text, "", "where to read more about it"),
    key("kinto.cors_origins", Kind::Words, "*", "origins of pages that may call; * is all"),
    key("kinto.cors_max_age_s", Kind::WholeOrNone, "3600", "how long browsers may remember the answer to a preflight"),
    key("kinto.http_scheme", Kind::Text, "", "scheme of absolute addresses; of the request when empty"),
    key("kinto.http_host", Kind::Text, "", "host and port of absolute addresses; of the request when empty"),
    key("kinto.version_prefix_redirect", Kind::Switch, "true", "redirect paths that lack /v1"),
    key("kinto.version_prefix_redirect_s", Kind::WholeOrNone, "none", "how long that may be remembered"),
    key("kinto.trailing_slash_redirect", Kind::Switch, "true", "redirect paths with a slash at the end"),
    key("kinto.trailing_slash_redirect_s", Kind::WholeOrNone, "3600", "how long that may be remembered"),
    key("kinto.root_cache_expires_s", Kind::Whole(0), "86400", "how long the root may be remembered when readonly"),
    open("kinto.cache_expires_s.*", Kind::Whole(0), "how long anonymous readers may remember: record, blog.record, blog.posts.record, ..."),
    key("kinto.heartbeat_timeout_s", Kind::Whole(1), "10", "how long the storage may take to answer a heartbeat"),
    key("kinto.version_json_path", Kind::Text, "version.json", "file served as /__version__"),

    key("feed.horizon_days", Kind::Whole(1), "90", "how long deletions and lost rights are remembered; a device that was away for longer starts afresh"),
    key("feed.kept_min", Kind::Whole(0), "10000", "so many of them are remembered in a collection, and"),
    key("feed.kept_factor", Kind::Whole(0), "4", "so many for each live record, whichever is more"),
    key("feed.compact_s", Kind::Whole(0), "600", "time between two rounds of forgetting; 0 never forgets"),
    key("feed.page_bytes", Kind::Whole(1), "1048576", "bytes of bodies in one page, unless a single record is larger"),
    key("feed.look_ms", Kind::Whole(10), "1000", "how long watchers may miss what no hint of another process told of"),

    key("history.enabled", Kind::Switch, "false", "remember every change, /buckets/{id}/history; doubles what a write costs"),
    key("history.exclude_resources", Kind::Words, "", "addresses whose changes are not remembered: /buckets/b, /buckets/b/collections/c"),
    key("history.exclude_users", Kind::Words, "", "people whose changes are not remembered"),
    key("history.trim_max_count", Kind::WholeOrNone, "none", "entries of one kind that a bucket keeps; all when none"),
    key("history.trim_threshold", Kind::Whole(0), "100", "trim when there are this many more"),
    key("history.trim_users", Kind::Words, "", "trim only entries of these people, counted for each"),
];

macro_rules! limits {
    ($($field:ident: $type:ty, $help:literal;)*) => {
        static LIMITS: &[Key] = &[$(Key {
            name: concat!("limits.", stringify!($field)),
            kind: Kind::Whole(1),
            preset: Preset::Of(|| Value::Whole(Limits::default().$field as u64)),
            help: $help,
        }),*];

        /// The bounds as configured.
        pub(crate) fn limits(config: &Config) -> Limits {
            Limits {
                $($field: config.whole(concat!("limits.", stringify!($field))) as $type),*
            }
        }
    };
}

limits! {
    body_bytes: usize, "size of a request body";
    bodies_bytes: usize, "size of all request bodies that are here at a time";
    json_depth: usize, "nesting of arrays and objects";
    header_bytes: usize, "size of a request's line and headers";
    batch_requests: usize, "requests in one batch";
    record_bytes: usize, "size of one record with its permissions";
    page_records: usize, "records in one page";
    page_bytes: usize, "size of the records in one page, unless a single one is larger";
    batch_answer_bytes: usize, "size of the answers in one batch";
    answers_bytes: usize, "size of the large answers that are held at a time, a quarter for one person";
    id_bytes: usize, "length of an identifier";
    principals: usize, "principals under one permission, and told of one person by the root";
    members: usize, "members of one group";
    groups_in_group: usize, "groups that one group may have as members";
    inner_groups: usize, "groups inside those that a place names, of which it is looked who is in them";
    names: usize, "groups that the permissions of the records of one collection may name";
    feed_page: usize, "entries in one page of a feed";
    feed_wait_ms: u64, "time that a feed may be waited for, and between two signs of life of a stream";
    filter_terms: usize, "conditions in one list request";
    filter_values: usize, "values in one in_ or exclude_ condition";
    sort_terms: usize, "keys of one order";
    patch_operations: usize, "operations in one JSON Patch";
    schema_bytes: usize, "size of one JSON Schema";
    schema_compiled_bytes: usize, "size of one JSON Schema when compiled, as an upper estimate";
    schemas_compiled_bytes: usize, "size of all compiled JSON Schemas that are kept";
    schema_depth: usize, "nesting of one JSON Schema";
    validation_ms: u64, "time of a processor that the validation of one record may take";
    request_ms: u64, "time that one request may take once its body is here";
    connections: usize, "connections at a time";
    header_ms: u64, "time to send line and headers, and to take bytes of an answer";
    idle_ms: u64, "time that a connection may wait for another request";
    body_ms: u64, "time to send the body of a request";
    write_attempts: usize, "attempts to apply a change whose premises changed meanwhile";
    queued_passwords: usize, "passwords that wait to be hashed or verified at a time";
    password_ms: u64, "time that a password may wait for that";
    queued_writes: usize, "writes that wait for the disk at a time";
    waiting_work: usize, "pieces of work of some milliseconds or more that wait for their turn";
    waiting_work_own: usize, "the same, of one person or address";
}
