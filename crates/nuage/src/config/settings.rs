//! From the configuration to the settings of the rooms, and the rules between settings that are
//! refused at start.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use nuage_auth::{Policy, PolicyKind, Secret, Throttling};
use nuage_engine::{FeedSettings, Grants, History, Ownership, Trim, Validation};
use nuage_kinto::{EndOfService, Features, RedirectLifetime};
use nuage_model::{EVERYONE, Principal};
use nuage_store::{Options, Synchronous};

use crate::config::{Config, Files, Invalid, Place, Value, keys};

/// Everything that the program needs to start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Address and port, as written.
    pub(crate) listen: String,
    /// Time that requests under way may take once the server is told to stop.
    pub(crate) drain_ms: u64,
    /// The proxies that are believed when they name the client.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Where and how data is kept.
    pub(crate) storage: StorageSettings,
    /// Secret of basicauth user ids, unless it is to be generated.
    pub(crate) userid_hmac_secret: Option<String>,
    /// Secret of the personal buckets' names, unless it is to be generated.
    pub(crate) default_bucket_hmac_secret: Option<String>,
    /// Secret of page tokens, unless it is to be generated.
    pub(crate) token_secret: Option<String>,
    /// Who may log in, without the secret.
    pub(crate) auth: nuage_auth::Settings,
    /// The rules.
    pub(crate) engine: nuage_engine::Settings,
    /// The Kinto door, without its secrets.
    pub(crate) kinto: nuage_kinto::Settings,
}

/// Where and how data is kept.
#[derive(Clone, Debug)]
pub(crate) struct StorageSettings {
    /// Where.
    pub(crate) place: Place,
    /// How to open it.
    pub(crate) options: Options,
}

impl Settings {
    /// Understands the configuration. All that is wrong is told at once.
    pub(crate) fn of(config: &Config) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        let policies = policies(config, &mut errors);
        let grants = grants(config, &mut errors);
        check_accounts(config, &policies, &grants, &mut errors);
        let storage = storage(config, &mut errors);
        let kinto = kinto(config, &policies, &mut errors);
        check_listen(config, &mut errors);
        let trusted_proxies = trusted_proxies(config, &mut errors);
        let settings = Self {
            listen: config.text("http.listen").to_owned(),
            drain_ms: config.whole("http.drain_s").saturating_mul(1_000),
            trusted_proxies,
            storage,
            userid_hmac_secret: config.secret("auth.userid_hmac_secret"),
            default_bucket_hmac_secret: config.secret("kinto.default_bucket_hmac_secret"),
            token_secret: config.secret("kinto.token_secret"),
            auth: nuage_auth::Settings {
                policies,
                hmac_secret: Secret::default(),
                cache_s: config.whole("auth.account_cache_ttl_s"),
                throttling: throttling(config),
            },
            engine: nuage_engine::Settings {
                limits: keys::limits(config),
                grants,
                ownership: match config.switch("kinto.explicit_permissions") {
                    true => Ownership::Explicit,
                    false => Ownership::Inherited,
                },
                validation: match config.switch("kinto.schema") {
                    true => Validation::On,
                    false => Validation::Off,
                },
                history: history(config),
                feed: feed(config),
            },
            kinto,
        };
        errors.extend(settings.engine.limits.conflicts());
        if settings.engine.feed.page_bytes > settings.engine.limits.answers_bytes / 4 {
            errors
                .push("feed.page_bytes must be at most a quarter of limits.answers_bytes.".into());
        }
        if errors.is_empty() { Ok(settings) } else { Err(Invalid(errors)) }
    }

    /// The name of the policy that checks accounts, if there is one.
    pub(crate) fn account_policy(&self) -> Option<&str> {
        account_policy(&self.auth.policies)
    }
}

fn check_listen(config: &Config, errors: &mut Vec<String>) {
    let listen = config.text("http.listen");
    let parts = listen.rsplit_once(':');
    if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        let origin = &config.entry("http.listen").origin;
        errors.push(format!("{origin}: http.listen must be ADDRESS:PORT, not {listen:?}."));
    }
}

fn trusted_proxies(config: &Config, errors: &mut Vec<String>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for word in config.words("http.trusted_proxies") {
        let address = word.parse::<IpAddr>().map(IpNet::from);
        match address.or_else(|_| word.parse()) {
            Ok(network) => networks.push(network),
            Err(_) => {
                let origin = &config.entry("http.trusted_proxies").origin;
                errors.push(format!(
                    "{origin}: http.trusted_proxies: {word:?} is neither an address nor a network, \
                     such as 10.0.0.0/8."
                ));
            }
        }
    }
    networks
}

fn account_policy(policies: &[Policy]) -> Option<&str> {
    let policy = policies.iter().find(|policy| policy.kind == PolicyKind::Accounts)?;
    Some(&policy.name)
}

fn storage(config: &Config, errors: &mut Vec<String>) -> StorageSettings {
    let options = Options {
        synchronous: match config.text("storage.synchronous") {
            "normal" => Synchronous::Normal,
            _ => Synchronous::Full,
        },
        readers: config.whole("storage.readers") as usize,
        connections: config.whole("storage.connections") as usize,
        writers: config.whole("storage.writers") as usize,
        trust_ms: config.whole("storage.trust_ms"),
        queued_writes: config.whole("limits.queued_writes") as usize,
        list_ms: config.whole("storage.list_ms"),
        // Among what is not a setting: what only a server has.
        ..Options::default()
    };
    let url = config.text("storage.url");
    if url.is_empty() {
        let place = Place::of_folder(config.text("storage.path"));
        return StorageSettings {
            place: place_or_error(config, "storage.path", place, errors),
            options,
        };
    }
    let password = password(config, errors);
    let place = Place::of(url, password);
    StorageSettings { place: place_or_error(config, "storage.url", place, errors), options }
}

fn place_or_error(
    config: &Config,
    name: &str,
    place: Result<Place, String>,
    errors: &mut Vec<String>,
) -> Place {
    place.unwrap_or_else(|why| {
        let origin = &config.entry(name).origin;
        errors.push(format!("{origin}: {name}: {why}."));
        Place::Files(Files { folder: PathBuf::new(), database: PathBuf::new() })
    })
}

/// The password of the database's user, in the settings or in a file that they name.
fn password(config: &Config, errors: &mut Vec<String>) -> Option<String> {
    if let Some(password) = config.text_or_none("storage.password") {
        return Some(password);
    }
    let file = config.text_or_none("storage.password_file")?;
    match std::fs::read_to_string(&file) {
        Ok(password) => Some(password.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            let origin = &config.entry("storage.password_file").origin;
            errors.push(format!(
                "{origin}: storage.password_file: the file {file} cannot be read: {error}."
            ));
            None
        }
    }
}

fn policies(config: &Config, errors: &mut Vec<String>) -> Vec<Policy> {
    let mut policies: Vec<Policy> = Vec::new();
    for word in config.words("auth.policies") {
        let (name, kind) = word.split_once(':').unwrap_or((word, word));
        let kind = match kind {
            "account" => PolicyKind::Accounts,
            "basicauth" => PolicyKind::Basic,
            _ => {
                errors.push(format!(
                    "auth.policies: {kind} is not a kind of policy; there are account and \
                     basicauth."
                ));
                continue;
            }
        };
        policies.push(Policy { name: name.to_owned(), kind });
    }
    let settings = nuage_auth::Settings { policies, ..nuage_auth::Settings::default() };
    if let Err(error) = settings.check() {
        errors.push(format!("auth.policies: {error}."));
    }
    settings.policies
}

fn throttling(config: &Config) -> Throttling {
    Throttling {
        account_failures: config.count("auth.account_failures"),
        address_failures: config.count("auth.address_failures"),
        window_s: config.whole("auth.failures_window_s"),
        guess_wait_s: config.whole("auth.guess_wait_s"),
    }
}

/// Kinto refuses the same combinations.
fn check_accounts(config: &Config, policies: &[Policy], grants: &Grants, errors: &mut Vec<String>) {
    if !config.switch("kinto.accounts") {
        return;
    }
    if account_policy(policies).is_none() && !config.kinto {
        errors.push(
            "kinto.accounts is on, but auth.policies has no account: nobody could log in with \
             an account."
                .to_owned(),
        );
    }
    let holders = |verb| {
        let holders = grants.holders("account", verb).into_iter().flatten();
        holders.map(Principal::as_str).collect::<BTreeSet<_>>()
    };
    let writers = holders("write");
    for creator in holders("create") {
        if creator != EVERYONE && !writers.contains(creator) {
            errors.push(format!(
                "{creator} may create accounts but not write them, so it could create only its \
                 own: give it account_write too, or open sign-up to {EVERYONE}."
            ));
        }
    }
}

const KINDS: &[&str] =
    &["bucket", "collection", "group", "record", "account", "history", "permissions", "user-data"];

fn grants(config: &Config, errors: &mut Vec<String>) -> Grants {
    let mut grants = Grants::default();
    for (name, entry) in config.family("grants.") {
        let Value::Words(words) = &entry.value else { continue };
        // Variables cannot hold a hyphen.
        let name = name.replace("user_data", "user-data");
        let parts = name.rsplit_once('_');
        let known = parts.filter(|(kind, verb)| {
            KINDS.contains(kind) && ["create", "read", "write", "delete"].contains(verb)
        });
        let Some((kind, verb)) = known else {
            let all = KINDS.iter().flat_map(|kind| {
                ["create", "read", "write", "delete"].map(|verb| format!("{kind}_{verb}"))
            });
            let all: Vec<_> = all.collect();
            let near = keys::nearest_of(&name, all.iter().map(String::as_str));
            let hint = near.map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
            let origin = &entry.origin;
            errors.push(format!("{origin}: there is no permission {name} to give.{hint}"));
            continue;
        };
        let principals = words.iter().map(|word| Principal::from(word.as_str())).collect();
        grants.set(kind, verb, principals);
    }
    grants
}

fn feed(config: &Config) -> FeedSettings {
    let days = i64::try_from(config.whole("feed.horizon_days")).unwrap_or(i64::MAX);
    FeedSettings {
        // That of the page tokens, once it is known.
        secret: String::new(),
        horizon_ms: days.saturating_mul(24 * 60 * 60 * 1_000),
        kept_min: config.whole("feed.kept_min"),
        kept_factor: config.whole("feed.kept_factor"),
        compact_ms: config.whole("feed.compact_s").saturating_mul(1_000),
        page_bytes: usize::try_from(config.whole("feed.page_bytes")).unwrap_or(usize::MAX),
        look_ms: config.whole("feed.look_ms"),
    }
}

fn history(config: &Config) -> Option<History> {
    if !config.switch("history.enabled") {
        return None;
    }
    let principals = |name| -> BTreeSet<Principal> {
        config.words(name).iter().map(|word| Principal::from(word.as_str())).collect()
    };
    // Zero means "no trimming" to Kinto.
    let max_count = config.whole_or_none("history.trim_max_count").filter(|count| *count > 0);
    Some(History {
        exclude_resources: config.words("history.exclude_resources").iter().cloned().collect(),
        exclude_users: principals("history.exclude_users"),
        trim: max_count.map(|max_count| Trim {
            max_count,
            threshold: config.whole("history.trim_threshold"),
            users: principals("history.trim_users"),
        }),
    })
}

fn kinto(config: &Config, policies: &[Policy], errors: &mut Vec<String>) -> nuage_kinto::Settings {
    let redirect = |name: &str| {
        let lifetime = config.whole_or_none(&format!("{name}_s"));
        config.switch(name).then_some(RedirectLifetime(lifetime))
    };
    let lifetimes =
        config.family("kinto.cache_expires_s.").filter_map(|(name, entry)| match entry.value {
            Value::Whole(seconds) => Some((name.to_owned(), seconds)),
            _ => None,
        });
    let percentage = config.whole_or_none("kinto.backoff_percentage");
    if percentage.is_some_and(|percentage| percentage > 100) {
        errors.push("kinto.backoff_percentage is at most 100.".to_owned());
    }
    nuage_kinto::Settings {
        project_name: config.text("kinto.project_name").to_owned(),
        project_version: config.text("kinto.project_version").to_owned(),
        project_docs: config.text("kinto.project_docs").to_owned(),
        error_info_link: config.text("kinto.error_info_link").to_owned(),
        features: Features {
            default_bucket: config.switch("kinto.default_bucket"),
            accounts: config.switch("kinto.accounts"),
            history: config.switch("history.enabled"),
            flush: config.switch("kinto.flush"),
            counters: config.switch("kinto.counters"),
            permissions: config.switch("kinto.permissions"),
            schema: config.switch("kinto.schema"),
        },
        challenges: policies.iter().map(|policy| policy.name.clone()).collect(),
        account_policy: account_policy(policies).map(str::to_owned),
        basic_policy: policies.iter().any(|policy| policy.kind == PolicyKind::Basic),
        // The secrets are filled in once the data is open.
        default_bucket_hmac_secret: String::new(),
        token_secret: Vec::new(),
        paginate_by: config
            .whole_or_none("kinto.paginate_by")
            .filter(|size| *size > 0)
            .map(|size| size as usize),
        pagination_token_validity_s: config.whole("kinto.pagination_token_validity_s"),
        readonly: config.switch("kinto.readonly"),
        backoff_s: config.whole_or_none("kinto.backoff_s"),
        backoff_percentage: percentage.map(|percentage| percentage.min(100) as u8),
        retry_after_s: config.whole("kinto.retry_after_s"),
        eos: end_of_service(config, errors),
        cors_origins: config.words("kinto.cors_origins").to_vec(),
        cors_max_age_s: config.whole_or_none("kinto.cors_max_age_s"),
        http_scheme: config.text_or_none("kinto.http_scheme"),
        http_host: config.text_or_none("kinto.http_host"),
        version_prefix_redirect: redirect("kinto.version_prefix_redirect"),
        trailing_slash_redirect: redirect("kinto.trailing_slash_redirect"),
        root_cache_expires_s: config.whole("kinto.root_cache_expires_s"),
        cache_expires_s: lifetimes.collect(),
        heartbeat_timeout_s: config.whole("kinto.heartbeat_timeout_s"),
        version_json_path: config.text_or_none("kinto.version_json_path").map(PathBuf::from),
    }
}

fn end_of_service(config: &Config, errors: &mut Vec<String>) -> Option<EndOfService> {
    let text = config.text_or_none("kinto.eos")?;
    let Some(at_ms) = day_ms(&text) else {
        let origin = &config.entry("kinto.eos").origin;
        errors.push(format!("{origin}: the end of service must be a day such as 2030-12-31."));
        return None;
    };
    Some(EndOfService {
        at_ms,
        message: config.text_or_none("kinto.eos_message"),
        url: config.text_or_none("kinto.eos_url"),
        text,
    })
}

/// A day, or a day and a time, in UTC unless it says otherwise.
fn day_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let local: jiff::civil::DateTime = text.parse().ok()?;
    let instant = jiff::tz::TimeZone::UTC.to_timestamp(local).ok()?;
    Some(instant.as_millisecond())
}
