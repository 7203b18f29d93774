//! Every setting is read when the settings of the rooms are made of them. That the rooms read
//! theirs is looked at by `cargo xtask tidy`.

use std::collections::BTreeSet;

use crate::config::{Config, Kind, Origin, Settings, Value, keys};

/// All that has to be on for every setting to matter.
const ON: [(&str, &str); 5] = [
    ("history.enabled", "true"),
    ("history.trim_max_count", "1"),
    ("kinto.eos", "2030-12-31"),
    ("kinto.backoff_percentage", "10"),
    ("storage.password_file", "/nowhere"),
];

fn read_by(config: &Config) -> BTreeSet<String> {
    // What is wrong with them is told, and does not keep others from being read.
    let _ = Settings::of(config);
    let _ = (config.log_level(), config.log_format());
    config.was_read.lock().unwrap().clone()
}

#[test]
fn every_setting_is_read() {
    let mut files = Config::defaults();
    for (name, text) in ON {
        let value = files.kind(name).read_text(text).unwrap();
        files.set(name, value, Origin::Default);
    }
    let mut read = read_by(&files);
    let mut server = Config::defaults();
    let url = Value::Text("postgres://u@h/d".to_owned());
    server.set("storage.url", url, Origin::Default);
    server.set("storage.password_file", Value::Text("/nowhere".to_owned()), Origin::Default);
    read.extend(read_by(&server));
    let single = keys::all().filter(|key| key.family().is_none());
    let unread: Vec<&str> =
        single.map(|key| key.name).filter(|name| !read.contains(*name)).collect();
    assert_eq!(unread, [""; 0], "nothing reads these settings");
    // Those of any name: what is set changes what is made.
    for (name, kind) in
        [("grants.bucket_write", Kind::Words), ("kinto.cache_expires_s.b", Kind::Whole(0))]
    {
        let mut config = Config::defaults();
        config.set(name, kind.read_text("7").unwrap(), Origin::Default);
        let made = |config: &Config| format!("{:?}", Settings::of(config).unwrap());
        assert_ne!(made(&config), made(&Config::defaults()), "{name}");
    }
}
