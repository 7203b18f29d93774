#![allow(clippy::unwrap_used)]

use std::path::Path;

use nuage_auth::PolicyKind;
use nuage_engine::Ownership;

use crate::config::{Config, Environment, Origin, Settings};
use crate::kinto_ini::{Source, read};

struct Outcome {
    config: Config,
    errors: Vec<String>,
}

fn run(text: &str, environment: &[(&str, &str)], ignored: &[&str]) -> Outcome {
    let environment: Environment =
        environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let ignored: Vec<String> = ignored.iter().map(|name| (*name).to_owned()).collect();
    let mut config = Config::defaults();
    let path = Path::new("/etc/kinto.ini");
    let source = Source { path, text, environment: &environment, ignored: &ignored };
    let mut errors = read(&mut config, &source);
    if errors.is_empty()
        && let Err(invalid) = Settings::of(&config)
    {
        errors = invalid.0;
    }
    Outcome { config, errors }
}

/// The settings that these lines of `[app:main]` come to.
fn settings(lines: &str) -> Settings {
    let outcome = run(&app(lines), &[], &[]);
    assert_eq!(outcome.errors, Vec::<String>::new());
    Settings::of(&outcome.config).unwrap()
}

fn app(lines: &str) -> String {
    format!("[app:main]\nuse = egg:kinto\n{lines}\n")
}

const ACCOUNTS: &str = "kinto.includes = kinto.plugins.accounts\nmultiauth.policies = account\n\
    multiauth.policy.account.use = kinto.plugins.accounts.AccountsPolicy\n";

#[test]
fn an_empty_file_means_what_it_means_to_kinto() {
    let settings = settings("");
    let features = settings.kinto.features;
    assert!(!features.default_bucket && !features.accounts && !features.history);
    assert!(!features.flush && !features.permissions && !features.schema);
    assert_eq!(settings.auth.policies, vec![]);
    assert_eq!(settings.userid_hmac_secret.as_deref(), Some(""));
    assert_eq!(settings.default_bucket_hmac_secret.as_deref(), Some(""));
    assert_eq!(settings.token_secret, None);
    assert_eq!(settings.engine.ownership, Ownership::Explicit);
    let grants: Vec<_> = settings.engine.grants.iter().map(|(name, _)| name).collect();
    assert_eq!(grants, ["bucket_create", "permissions_read"]);
    assert_eq!(settings.kinto.retry_after_s, 3);
    assert_eq!(settings.kinto.version_prefix_redirect.unwrap().0, None);
    assert_eq!(settings.kinto.trailing_slash_redirect.unwrap().0, Some(3600));
}

#[test]
fn settings_are_mapped() {
    let settings = settings(
        "kinto.includes = kinto.plugins.default_bucket\n    kinto.plugins.history\n\
         #   kinto.plugins.flush\n    kinto.plugins.counters\n\
         multiauth.policies = account Guest\n\
         multiauth.policy.account.use = kinto.plugins.accounts.AccountsPolicy\n\
         multiauth.policy.Guest.use = kinto.core.authentication.BasicAuthAuthenticationPolicy\n\
         kinto.userid_hmac_secret = abc\n\
         kinto.default_bucket_hmac_secret = \"quoted\"\n\
         kinto.paginate_by = 100\nkinto.storage_max_fetch_size = 500\nbatch_max_requests: 20\n\
         kinto.readonly = true\nkinto.backoff = 10\nkinto.backoff_percentage = 50\n\
         kinto.eos = 2030-01-01\nkinto.eos_message = Bye\n\
         kinto.cors_origins = https://a https://b\nkinto.cors_max_age_seconds =\n\
         kinto.experimental_permissions_endpoint = yes\n\
         kinto.experimental_collection_schema_validation = 1\n\
         kinto.explicit_permissions = false\n\
         kinto.record_write_principals = account:a account:b\n\
         kinto.user-data_delete_principals = account:a\n\
         kinto.history.auto_trim_max_count = 10\n\
         history.exclude_resources = /buckets/a /buckets/b\n\
         kinto.trailing_slash_redirect_enabled = false\n\
         kinto.project_name = 42\n",
    );
    let features = settings.kinto.features;
    assert!(features.default_bucket && features.history && features.counters && !features.flush);
    assert!(features.permissions && features.schema);
    let policies: Vec<_> = settings.auth.policies.iter().collect();
    assert_eq!((policies[0].name.as_str(), policies[0].kind), ("account", PolicyKind::Accounts));
    assert_eq!((policies[1].name.as_str(), policies[1].kind), ("guest", PolicyKind::Basic));
    assert_eq!(settings.userid_hmac_secret.as_deref(), Some("abc"));
    assert_eq!(settings.default_bucket_hmac_secret.as_deref(), Some("quoted"));
    assert_eq!(settings.kinto.paginate_by, Some(100));
    assert_eq!(settings.engine.limits.page_records, 500);
    assert_eq!(settings.engine.limits.batch_requests, 20);
    assert!(settings.kinto.readonly);
    assert_eq!((settings.kinto.backoff_s, settings.kinto.backoff_percentage), (Some(10), Some(50)));
    assert_eq!(settings.kinto.eos.unwrap().message.as_deref(), Some("Bye"));
    assert_eq!(settings.kinto.cors_origins, ["https://a", "https://b"]);
    assert_eq!(settings.kinto.cors_max_age_s, None);
    assert_eq!(settings.engine.ownership, Ownership::Inherited);
    assert_eq!(settings.engine.grants.holders("record", "write").unwrap().len(), 2);
    assert_eq!(settings.engine.grants.holders("user-data", "delete").unwrap().len(), 1);
    let history = settings.engine.history.unwrap();
    assert_eq!(history.trim.unwrap().max_count, 10);
    assert_eq!(history.exclude_resources.len(), 2);
    assert_eq!(settings.kinto.trailing_slash_redirect, None);
    assert_eq!(settings.kinto.project_name, "42");
}

#[test]
fn lifetimes_of_caches_in_all_their_forms() {
    let forms = settings(
        "kinto.bucket_cache_expires_seconds = 1\nkinto.blog.posts.record_cache_expires_seconds = 2\n\
         kinto.blog.record_cache_expires_seconds = 3\nkinto.a_b_record_cache_expires_seconds = 4\n",
    );
    let lifetimes: Vec<_> = forms.kinto.cache_expires_s.into_iter().collect();
    let expected = [
        ("a.b.record", 4),
        ("a_b.record", 4),
        ("blog.posts.record", 2),
        ("blog.record", 3),
        ("bucket", 1),
    ];
    assert_eq!(lifetimes, expected.map(|(name, seconds)| (name.to_owned(), seconds)));
    // The general form goes before the old ones.
    let general = settings(
        "kinto.record_cache_expires_seconds = 0\nkinto.a_b_record_cache_expires_seconds = 4\n",
    );
    assert_eq!(
        general.kinto.cache_expires_s.into_iter().collect::<Vec<_>>(),
        [("record".to_owned(), 0)]
    );
}

#[test]
fn address_and_port_come_from_the_server_section() {
    let cases = [
        ("", "127.0.0.1:8888"),
        ("[server:main]\nuse = egg:waitress#main\nhost = 0.0.0.0\nport = 9999\n", "0.0.0.0:9999"),
        ("[server:main]\nhost = 127.0.0.1\nport = %(http_port)s\n", "127.0.0.1:8888"),
        ("[server:main]\nlisten = *:8080 [::]:8080\n", "0.0.0.0:8080"),
        ("[server:main]\nhost = ::1\nport = 80\n", "[::1]:80"),
    ];
    for (server, expected) in cases {
        let outcome = run(&format!("{}{server}", app("")), &[], &[]);
        assert_eq!(Settings::of(&outcome.config).unwrap().listen, expected, "{server}");
    }
}

#[test]
fn values_are_interpolated() {
    let text = "[DEFAULT]\nname = cloud\n[app:main]\nuse = egg:kinto\n\
                kinto.project_name = %(name)s 100%%\nkinto.version_json_path = %(here)s/v.json\n";
    let outcome = run(text, &[], &[]);
    let settings = Settings::of(&outcome.config).unwrap();
    assert_eq!(settings.kinto.project_name, "cloud 100%");
    assert_eq!(settings.kinto.version_json_path.unwrap(), Path::new("/etc/v.json"));
    let circle = app(
        "kinto.project_name = %(kinto.project_docs)s\nkinto.project_docs = %(kinto.project_name)s",
    );
    assert!(run(&circle, &[], &[]).errors[0].contains("goes in circles"));
}

#[test]
fn the_environment_goes_before_the_file_as_with_kinto() {
    let environment = [
        ("KINTO_READONLY", "true"),
        ("KINTO_USERID_HMAC_SECRET", "from-env"),
        ("PROJECT_NAME", "unprefixed"),
        ("KINTO_ACCOUNT_CREATE_PRINCIPALS", "system.Everyone"),
        ("KINTO_BUCKET_CREATE_PRINCIPALS", "system.Everyone"),
        ("KINTO_HISTORY_AUTO_TRIM_MAX_COUNT", "5"),
    ];
    let text = app("kinto.userid_hmac_secret = file\nkinto.history.auto_trim_max_count = 9\n\
                    kinto.includes = kinto.plugins.history");
    let outcome = run(&text, &environment, &[]);
    let settings = Settings::of(&outcome.config).unwrap();
    assert!(settings.kinto.readonly);
    assert_eq!(settings.userid_hmac_secret.as_deref(), Some("from-env"));
    assert_eq!(settings.kinto.project_name, "unprefixed");
    let creators = settings.engine.grants.holders("bucket", "create").unwrap();
    assert_eq!(creators.iter().next().unwrap().as_str(), "system.Everyone");
    assert_eq!(settings.engine.history.unwrap().trim.unwrap().max_count, 5);
    // Kinto reads that one only if the file has it too.
    assert!(settings.engine.grants.holders("account", "create").is_none());
    assert!(outcome.config.notes.iter().any(|n| n.starts_with("$KINTO_ACCOUNT_CREATE_PRINCIPALS")));
    let origin = Origin::Environment("KINTO_READONLY".to_owned());
    assert_eq!(outcome.config.entry("kinto.readonly").origin, origin);
}

#[test]
fn what_would_open_access_if_it_were_ignored_is_refused() {
    let basic = "multiauth.policies = basicauth\n";
    let cases = [
        ("kinto.includes = kinto_signer", "kinto_signer"),
        ("pyramid.includes = my.guard", "my.guard"),
        ("kinto.event_listeners = guard\nkinto.event_listeners.guard.use = my.guard", "guard"),
        ("multiauth.groupfinder = my.finder", "multiauth.groupfinder"),
        ("multiauth.authorization_policy = my.Policy", "multiauth.authorization_policy"),
        ("multiauth.policies = ldap\nmultiauth.policy.ldap.use = kinto_ldap.Policy", "ldap"),
        ("multiauth.policies = my.module", "my.module"),
        ("kinto.object_record_delete_enabled = false", "object_record_delete_enabled"),
        ("kinto.plural_bucket_post_enabled = nope", "plural_bucket_post_enabled"),
        ("kinto.initialization_sequence = a b", "initialization_sequence"),
        ("kinto.account_validation = true", "account_validation"),
    ];
    for (lines, name) in cases {
        let text = app(&format!("{}{lines}", if lines.contains("policies") { "" } else { basic }));
        let errors = run(&text, &[], &[]).errors;
        assert_eq!(errors.len(), 1, "{lines}: {errors:?}");
        assert!(errors[0].ends_with(&format!("--kinto-ignore {name}")), "{}", errors[0]);
        let agreed = run(&text, &[], &[name]);
        assert_eq!(agreed.errors, Vec::<String>::new());
        assert!(agreed.config.notes.iter().any(|note| note.ends_with("It is ignored as asked.")));
    }
}

#[test]
fn files_that_are_not_kinto_alone_are_refused() {
    let cases = [
        ("[app:other]\nuse = egg:kinto\n", "no section [app:main]"),
        ("[app:main]\nuse = egg:other\n", "not egg:kinto"),
        ("[app:main]\nuse = egg:kinto\nfilter-with = guard\n", "filter-with"),
        (
            "[pipeline:main]\npipeline = guard kinto\n[app:main]\nuse = egg:kinto\n",
            "[pipeline:main]",
        ),
        ("kinto.readonly = true\n", "line 1: an option before any [section]"),
        ("[app:main]\nreadonly\n", "line 2: neither"),
        ("[app:main]\nkinto.readonly = true\nkinto.readonly = false\n", "set twice"),
        ("[app:main]\nkinto.readonly = true\nreadonly = false\n", "are in conflict"),
        ("[app:main]\nkinto.readonly = ture\n", "kinto.readonly must be true or false"),
        ("[app:main]\nkinto.backoff = soon\n", "kinto.backoff must be a whole number"),
    ];
    for (text, expected) in cases {
        let errors = run(text, &[], &[]).errors;
        assert!(errors.iter().any(|error| error.contains(expected)), "{text}: {errors:?}");
    }
}

#[test]
fn accounts_follow_the_rules_of_kinto() {
    let cases = [
        ("kinto.includes = kinto.plugins.accounts\n".to_owned(), "no multiauth.policy"),
        (
            ACCOUNTS.replace("policies = account", "policies = basicauth account"),
            "would never be asked",
        ),
        (format!("{ACCOUNTS}kinto.account_create_principals = account:a"), "account:a may create"),
    ];
    for (lines, expected) in cases {
        let errors = run(&app(&lines), &[], &[]).errors;
        assert!(errors.iter().any(|error| error.contains(expected)), "{lines}: {errors:?}");
    }
    settings(&format!("{ACCOUNTS}kinto.account_create_principals = system.Everyone"));
    settings(&format!(
        "{ACCOUNTS}kinto.account_create_principals = account:a\nkinto.account_write_principals = account:a"
    ));
    settings(&ACCOUNTS.replace("policies = account", "policies = account basicauth"));
}

#[test]
fn what_has_no_effect_is_told_without_values() {
    let text = app("kinto.storage_url = postgresql://me:hush@db/x\nkinto.cache_hosts = hush\n\
         kinto.includes = kinto.plugins.openid kinto.plugins.prometheus kinto_attachment\n\
         multiauth.policies = google\n\
         multiauth.policy.google.use = kinto.plugins.openid.OpenIDConnectPolicy\n\
         multiauth.policy.google.client_secret = hush\n\
         kinto.record_id_generator = my.Ids\nkinto.bucket_id_generator = kinto.views.NameGenerator\n\
         kinto.readonyl = true\nkinto.sentry_dsn = https://hush@x\nmail.host = x\n");
    let outcome = run(&text, &[], &[]);
    assert_eq!(outcome.errors, Vec::<String>::new());
    let notes = outcome.config.notes.join("\n");
    let expected = [
        "kinto.storage_url has no effect: replaced by Nuage's own storage.",
        "Plugin kinto.plugins.openid: logging in",
        "Plugin kinto_attachment: attachments are not supported",
        "Policy google: logging in with OpenID Connect is not supported",
        "Nobody can log in",
        "multiauth.policy.google.client_secret has no effect.",
        "kinto.record_id_generator has no effect",
        "kinto.readonyl is not a setting of Kinto and has no effect. Is it kinto.readonly?",
        "kinto.sentry_dsn has no effect: errors are only logged.",
    ];
    for sentence in expected {
        assert!(notes.contains(sentence), "{notes}\n\nlacks: {sentence}");
    }
    assert!(!notes.contains("hush") && !notes.contains("bucket_id_generator"));
}
