//! Which setting of Kinto is which of Nuage's, and what Kinto assumes without it.

/// A setting with the same meaning here and there.
pub(super) struct Row {
    /// Name in Kinto, without prefix.
    pub(super) kinto: &'static str,
    /// Name here.
    pub(super) nuage: &'static str,
    /// What Kinto assumes.
    pub(super) default: &'static str,
    /// Whether Kinto knows it without the file, so that the environment alone may set it.
    pub(super) declared: bool,
}

const fn row(kinto: &'static str, nuage: &'static str, default: &'static str) -> Row {
    Row { kinto, nuage, default, declared: true }
}

const fn plugin(kinto: &'static str, nuage: &'static str, default: &'static str) -> Row {
    Row { kinto, nuage, default, declared: false }
}

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    row("readonly", "kinto.readonly", "false"),
    row("batch_max_requests", "limits.batch_requests", "25"),
    row("paginate_by", "kinto.paginate_by", ""),
    row("storage_max_fetch_size", "limits.page_records", "10000"),
    row("pagination_token_validity_seconds", "kinto.pagination_token_validity_s", "600"),
    row("experimental_collection_schema_validation", "kinto.schema", "false"),
    row("experimental_permissions_endpoint", "kinto.permissions", "false"),
    row("explicit_permissions", "kinto.explicit_permissions", "true"),
    row("userid_hmac_secret", "auth.userid_hmac_secret", ""),
    row("default_bucket_hmac_secret", "kinto.default_bucket_hmac_secret", ""),
    row("http_scheme", "kinto.http_scheme", ""),
    row("http_host", "kinto.http_host", ""),
    row("cors_origins", "kinto.cors_origins", "*"),
    row("cors_max_age_seconds", "kinto.cors_max_age_s", "3600"),
    row("backoff", "kinto.backoff_s", ""),
    row("backoff_percentage", "kinto.backoff_percentage", ""),
    row("retry_after_seconds", "kinto.retry_after_s", "3"),
    row("eos", "kinto.eos", ""),
    row("eos_message", "kinto.eos_message", ""),
    row("eos_url", "kinto.eos_url", ""),
    row("heartbeat_timeout_seconds", "kinto.heartbeat_timeout_s", "10"),
    row("version_json_path", "kinto.version_json_path", "version.json"),
    row("project_name", "kinto.project_name", "kinto"),
    row("project_version", "kinto.project_version", env!("CARGO_PKG_VERSION")),
    row("project_docs", "kinto.project_docs", "https://kinto.readthedocs.io/"),
    // Kinto names its own issue tracker, which is not the place for ours.
    row("error_info_link", "kinto.error_info_link", ""),
    row("version_prefix_redirect_enabled", "kinto.version_prefix_redirect", "true"),
    row("version_prefix_redirect_ttl_seconds", "kinto.version_prefix_redirect_s", "-1"),
    row("trailing_slash_redirect_enabled", "kinto.trailing_slash_redirect", "true"),
    row("trailing_slash_redirect_ttl_seconds", "kinto.trailing_slash_redirect_s", "3600"),
    row("root_cache_expires_seconds", "kinto.root_cache_expires_s", "86400"),
    plugin("account_cache_ttl_seconds", "auth.account_cache_ttl_s", "30"),
    plugin("history.exclude_resources", "history.exclude_resources", ""),
    plugin("history.exclude_user_ids", "history.exclude_users", ""),
    plugin("history.auto_trim_max_count", "history.trim_max_count", "-1"),
    plugin("history.auto_trim_threshold", "history.trim_threshold", "100"),
    plugin("history.auto_trim_user_ids", "history.trim_users", ""),
];

/// Plugins that Nuage has, and the settings that switch them on.
pub(super) static PLUGINS: &[(&str, &str)] = &[
    ("kinto.plugins.default_bucket", "kinto.default_bucket"),
    ("kinto.plugins.accounts", "kinto.accounts"),
    ("kinto.plugins.history", "history.enabled"),
    ("kinto.plugins.flush", "kinto.flush"),
    ("kinto.plugins.counters", "kinto.counters"),
];

/// Plugins without which people have less, never more.
#[rustfmt::skip]
pub(super) static PLUGINS_MISSING: &[(&str, &str)] = &[
    ("kinto.plugins.admin", "there are no administration pages; the permissions endpoint is on, and a Kinto Admin hosted elsewhere can be pointed here"),
    ("kinto.plugins.openid", "logging in with OpenID Connect is not supported; its tokens are refused"),
    ("kinto.plugins.prometheus", "there are no metrics"),
    ("kinto.plugins.statsd", "there are no metrics"),
    ("kinto_attachment", "attachments are not supported; their addresses answer 404"),
    ("kinto_emailer", "no mail is sent"),
    ("kinto_redis", "nothing is kept in or sent to Redis"),
];

/// Names that Kinto knows without the file and that are judged by code.
pub(super) static JUDGED: &[&str] = &[
    "includes",
    "bucket_create_principals",
    "permissions_read_principals",
    "event_listeners",
    "initialization_sequence",
    "multiauth.policies",
    "multiauth.groupfinder",
    "multiauth.authorization_policy",
    "multiauth.policy.basicauth.use",
    "storage_backend",
    "storage_url",
    "cache_backend",
    "cache_url",
    "permission_backend",
    "permission_url",
    "id_generator",
    "bucket_id_generator",
    "collection_id_generator",
    "group_id_generator",
    "record_id_generator",
    "transaction_per_request",
    "statsd_url",
    "sentry_dsn",
    "newrelic_config",
    "profiler_enabled",
];

/// Beginnings of names of settings that have no effect here, and why that is harmless.
#[rustfmt::skip]
pub(super) static WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("storage_", "replaced by Nuage's own storage"),
    ("permission_", "replaced by Nuage's own storage"),
    ("cache_", "replaced by Nuage's own caches, which need no configuration"),
    ("transaction_per_request", "every request is one transaction"),
    ("statsd_", "there are no metrics"),
    ("prometheus_", "there are no metrics"),
    ("metrics_", "there are no metrics"),
    ("sentry_", "errors are only logged"),
    ("newrelic_", "there is no New Relic agent"),
    ("profiler_", "there is no Python to profile"),
    ("admin_assets_path", "there are no administration pages"),
    ("attachment.", "attachments are not supported"),
    ("openid.", "logging in with OpenID Connect is not supported"),
    ("mail.", "no mail is sent"),
    ("json_renderer", "there is one JSON writer"),
    ("tm.", "it is about Python"),
    ("pyramid.", "it is about Python"),
    ("http_api_version", "the version of the protocol is fixed"),
];
