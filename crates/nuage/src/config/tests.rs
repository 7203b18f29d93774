#![allow(clippy::unwrap_used)]

mod reading;

use std::path::PathBuf;

use crate::config::{
    Config, Files, Kind, Place, Settings, Sources, Value, keys, load, show_json, show_text,
};

/// What the sources say, the file given as text.
fn sources(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nuage.toml");
    std::fs::write(&path, file).unwrap();
    let flag = |(name, text): &(&str, &str)| {
        (format!("--set {name}"), (*name).to_owned(), (*text).to_owned())
    };
    let variable = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let sources = Sources {
        flags: flags.iter().map(flag).collect(),
        file: Some(path),
        environment: environment.iter().map(variable).collect(),
        ..Sources::default()
    };
    let shown = folder.path().display().to_string() + "/";
    let config = load(&sources).map_err(|invalid| invalid.to_string().replace(&shown, ""))?;
    Settings::of(&config).map_err(|invalid| invalid.to_string().replace(&shown, ""))?;
    Ok(config)
}

fn complaint(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    sources(file, environment, flags).unwrap_err()
}

/// Where the data lies, if it is a file.
fn files(settings: &Settings) -> &Files {
    match &settings.storage.place {
        Place::Files(files) => files,
        Place::Server(server) => panic!("{} is not a file", server.shown),
    }
}

#[test]
fn defaults_are_right_and_closed() {
    let config = Config::defaults();
    let settings = Settings::of(&config).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:8888");
    let files = files(&settings);
    assert_eq!(files.database, PathBuf::from("./nuage-data/nuage.db"));
    assert_eq!(settings.engine.limits, nuage_model::Limits::default());
    assert_eq!(settings.storage.options, nuage_store::Options::default());
    assert_eq!(settings.auth.throttling, nuage_auth::Throttling::default());
    let features = settings.kinto.features;
    assert!(features.default_bucket && features.permissions && !features.history);
    assert!(!features.flush && !features.counters);
    assert!(settings.engine.grants.holders("account", "create").is_none());
    assert_eq!(settings.auth.policies, nuage_auth::Settings::default().policies);
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_defaults() {
    let file = "[limits]\npage_records = 1\nmembers = 2\nid_bytes = 3\n";
    let environment = [("NUAGE_LIMITS__MEMBERS", "20"), ("NUAGE_LIMITS__ID_BYTES", "30")];
    let config = sources(file, &environment, &[("limits.id_bytes", "300")]).unwrap();
    let shown = |name| {
        let entry = config.entry(name);
        format!("{} from {}", entry.value, entry.origin)
    };
    assert!(shown("limits.page_records").ends_with("nuage.toml line 2"));
    assert_eq!(shown("limits.members"), "20 from $NUAGE_LIMITS__MEMBERS");
    assert_eq!(shown("limits.id_bytes"), "300 from --set limits.id_bytes");
    assert_eq!(shown("limits.json_depth"), "64 from default");
}

#[test]
fn limits_that_do_not_go_together_are_an_error() {
    assert_eq!(
        complaint("[limits]\nbody_bytes = 4194304\n", &[], &[]),
        "limits: body_bytes is too small for batch_requests records of record_bytes: 4194304 \
         bytes, where 26419200 are needed."
    );
}

#[test]
fn what_is_not_known_is_an_error_that_names_line_and_nearest_key() {
    let cases = [
        (
            "[http]\nlsten = 'x'",
            "nuage.toml line 2: there is no setting http.lsten. Did you mean http.listen?",
        ),
        (
            "[htp]\nlisten = 'x'",
            "nuage.toml line 1: there is no section [htp]. Did you mean [http]?",
        ),
        ("\n\nreadonly = true", "nuage.toml line 3: there is no setting readonly."),
        ("[kinto]\nreadonly = 3", "nuage.toml line 2: kinto.readonly must be true or false."),
        ("[limits]\nbody_bytes = 0", "must be a whole number of at least 1."),
        ("[log]\nlevel = 'loud'", "must be one of error, warn, info, debug, trace."),
        ("[http]\nlisten = ", "nuage.toml line 2: "),
        ("[grants]\nbuket_create = ['x']", "Did you mean bucket_create?"),
        (
            "[storage]\nurl = 'mysql://me:secret@db/x'",
            "nuage.toml line 2: storage.url: mysql is not a database of Nuage",
        ),
    ];
    for (file, expected) in cases {
        let said = complaint(file, &[], &[]);
        assert!(said.contains(expected), "{said:?} does not say {expected:?}");
        assert!(!said.contains("secret"));
    }
    let said = complaint("", &[("NUAGE_HTTP__LSTEN", "x")], &[("kinto.redonly", "true")]);
    assert!(
        said.contains(
            "$NUAGE_HTTP__LSTEN: there is no setting http.lsten. Did you mean http.listen?"
        )
    );
    assert!(said.contains(
        "--set kinto.redonly: there is no setting kinto.redonly. Did you mean kinto.readonly?"
    ));
}

#[test]
fn port_of_the_platform_replaces_the_port_alone() {
    let file = "[http]\nlisten = '[::]:8888'";
    let config =
        sources(file, &[("PORT", "9000"), ("NUAGE_PORT", "tcp://10.0.0.1:1")], &[]).unwrap();
    assert_eq!(config.text("http.listen"), "[::]:9000");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hush-hush\n").unwrap();
    let path = path.to_str().unwrap();
    let environment = [("NUAGE_AUTH__USERID_HMAC_SECRET_FILE", path)];
    let config = sources("[kinto]\ntoken_secret = 'hush-too'", &environment, &[]).unwrap();
    assert_eq!(config.secret("auth.userid_hmac_secret").as_deref(), Some("hush-hush"));
    for shown in [show_text(&config), show_json(&config).to_string()] {
        assert!(!shown.contains("hush") && shown.contains("********"));
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let file = "[kinto.cache_expires_s]\n'blog.record' = 60\nrecord = 5\n[grants]\nrecord_read = ['account:a b']\n";
    let config = sources(file, &[], &[]).unwrap();
    let again = sources(&show_text(&config), &[], &[]).unwrap();
    let values = |config: &Config| {
        let entries = config.entries.iter();
        entries.map(|(name, entry)| format!("{name}={}", entry.value)).collect::<Vec<_>>()
    };
    assert_eq!(values(&config), values(&again));
}

#[test]
fn rules_between_settings_are_kept() {
    let cases = [
        ("[auth]\npolicies = ['basicauth', 'account']", "would never be asked"),
        ("[auth]\npolicies = ['basicauth']", "nobody could log in with an account"),
        ("[auth]\npolicies = ['ldap']", "ldap is not a kind of policy"),
        ("[grants]\naccount_create = ['account:a']", "account:a may create accounts but not write"),
        ("[http]\nlisten = '8888'", "http.listen must be ADDRESS:PORT"),
        ("[http]\ntrusted_proxies = ['10.0.0.0/33']", "\"10.0.0.0/33\" is neither an address"),
        ("[limits]\nbodies_bytes = 1000000", "an eighth of bodies_bytes is too small"),
        ("[kinto]\neos = 'soon'", "must be a day such as 2030-12-31"),
        ("[kinto]\nbackoff_percentage = 101", "at most 100"),
    ];
    for (file, expected) in cases {
        let said = complaint(file, &[], &[]);
        assert!(said.contains(expected), "{said:?} does not say {expected:?}");
    }
    sources("[grants]\naccount_create = ['system.Everyone']", &[], &[]).unwrap();
    sources("[auth]\npolicies = ['account', 'guest:basicauth']", &[], &[]).unwrap();
}

#[test]
fn storage_urls_name_files() {
    let cases = [
        ("sqlite:///abs/here.db", "/abs/here.db", "/abs"),
        ("sqlite:////abs/here.db", "/abs/here.db", "/abs"),
        ("sqlite:here.db", "here.db", "."),
        ("data/here.sqlite3", "data/here.sqlite3", "data"),
        ("./here", "./here", "."),
        ("/abs/a=b@c:d", "/abs/a=b@c:d", "/abs"),
    ];
    for (url, database, folder) in cases {
        let config = sources("", &[], &[("storage.url", url)]).unwrap();
        let settings = Settings::of(&config).unwrap();
        let files = files(&settings);
        assert_eq!(files.database, PathBuf::from(database));
        assert_eq!(files.folder, PathBuf::from(folder));
    }
}

#[test]
fn what_looks_like_no_path_becomes_no_file_and_is_not_shown() {
    let cases = [
        ("storage.url", "host=db dbname=notes password=hush", "this is neither"),
        ("storage.url", "host=db password=hush dbname=n.db", "this is neither"),
        ("storage.url", "host=db password=hush://x", "this is neither"),
        ("storage.url", "postgres:u:hush@db/notes", "this is neither"),
        ("storage.url", "postgres:/u:hush@db/notes.db", "this is neither"),
        ("storage.url", "u:hush@db.example.org/notes", "this is neither"),
        ("storage.url", "mysql://u:hush@db/notes", "mysql is not a database of Nuage"),
        ("storage.url", "hush", "this is neither"),
        ("storage.url", "sqlite:", "this is neither"),
        ("storage.url", "sqlite::memory:", "this is neither"),
        ("storage.url", "sqlite://hush.db", "third slash"),
        ("storage.url", "sqlite:///hush.db", "./file.db"),
        ("storage.url", "sqlite:////hush.db", "./file.db"),
        ("storage.url", "sqlite:///a/hush.db?mode=ro", "no parameters"),
        ("storage.path", "postgres://u:hush@db/notes", "this is no folder"),
        ("storage.path", "host=db password=hush", "this is no folder"),
    ];
    for (name, given, expected) in cases {
        let said = complaint("", &[], &[(name, given)]);
        assert!(said.starts_with(&format!("--set {name}: {name}: ")), "{said}");
        assert!(said.contains(expected) && !said.contains("hush"), "{given}: {said}");
    }
}

#[test]
fn variables_with_a_single_underscore_are_told() {
    let environment = [
        ("NUAGE_HTTP_LISTEN", "0.0.0.0:1"),
        ("NUAGE_STORAGE_PASSWORD_FILE", "/none"),
        // Made up by container platforms.
        ("NUAGE_HTTP_PORT", "tcp://10.0.0.1:80"),
        ("NUAGE_SERVICE_HOST", "10.0.0.1"),
    ];
    let config = sources("", &environment, &[]).unwrap();
    let expected = [
        "$NUAGE_HTTP_LISTEN has no effect: with two underscores it is NUAGE_HTTP__LISTEN.",
        "$NUAGE_STORAGE_PASSWORD_FILE has no effect: with two underscores it is \
         NUAGE_STORAGE__PASSWORD_FILE.",
    ];
    assert_eq!(config.notes, expected);
}

#[test]
fn storage_urls_name_databases_on_servers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "hush-file\n").unwrap();
    let path = path.to_str().unwrap();
    let url = ("storage.url", "postgres://me:hush-url@db:6000/n?sslmode=require");
    let cases = [
        (vec![url], vec![], None),
        (vec![url, ("storage.password", "hush")], vec![], Some("hush")),
        (vec![url, ("storage.password_file", path)], vec![], Some("hush-file")),
        (vec![url], vec![("NUAGE_STORAGE__PASSWORD_FILE", path)], Some("hush-file")),
    ];
    for (flags, environment, password) in cases {
        let config = sources("", &environment, &flags).unwrap();
        let settings = Settings::of(&config).unwrap();
        let Place::Server(server) = &settings.storage.place else { panic!("a server") };
        assert_eq!(server.shown, "db:6000/n");
        assert_eq!(server.address.password.as_deref(), password);
        for shown in [show_text(&config), show_json(&config).to_string(), format!("{settings:?}")] {
            assert!(shown.contains("postgres://me:********@db:6000/n?sslmode=require"), "{shown}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}

#[test]
fn a_wrong_storage_url_is_told_with_its_origin_and_without_its_password() {
    let cases = [
        ("postgres://me:hush@db/n?colour=red", "there is no parameter colour"),
        ("postgres://me:hush@db/n?sslmode=verify-ca&sslrootcert=/none", "sslrootcert: /none"),
        ("postgresql+psycopg2://me:hush@db/n", "postgresql+psycopg2 is not a database of Nuage"),
    ];
    for (url, expected) in cases {
        let said = complaint("", &[("NUAGE_STORAGE__URL", url)], &[]);
        assert!(said.starts_with("$NUAGE_STORAGE__URL: storage.url: "), "{said}");
        assert!(said.contains(expected) && !said.contains("hush"), "{said}");
    }
    let file = "[storage]\nurl = 'postgres://me@db/n'\npassword_file = '/none'";
    assert!(
        complaint(file, &[], &[]).contains("nuage.toml line 3: storage.password_file: the file")
    );
}

#[test]
fn the_end_of_service_is_a_day_or_a_moment() {
    let cases = [
        ("2030-12-31", 1_924_905_600_000),
        ("2030-12-31T12:00:00", 1_924_948_800_000),
        ("2030-12-31T12:00:00+02:00", 1_924_941_600_000),
    ];
    for (text, at_ms) in cases {
        let config = sources("", &[], &[("kinto.eos", text)]).unwrap();
        assert_eq!(Settings::of(&config).unwrap().kinto.eos.unwrap().at_ms, at_ms);
    }
}

/// The tables of `docs/configuration.md`.
fn reference() -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys::all() {
        let (this, name) = key.name.split_once('.').unwrap();
        if this != section {
            text.push_str(&format!("\n### {this}\n\n| setting | default | |\n|---|---|---|\n"));
            section = this;
        }
        let default = match (key.kind, key.default()) {
            (Kind::Secret, Value::None) => "generated".to_owned(),
            _ if key.family().is_some() => String::new(),
            (_, value) => format!("`{value}`"),
        };
        text.push_str(&format!("| `{name}` | {default} | {} |\n", key.help.replace('|', "\\|")));
    }
    text
}

#[test]
fn the_documentation_has_every_setting() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    let reference = reference();
    assert!(page.ends_with(&reference), "docs/configuration.md must end with:\n{reference}");
}
