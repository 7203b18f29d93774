//! Where values come from, and in which order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Config, Invalid, Kind, Origin, Value, file, keys};
use crate::kinto_ini;

/// The variables of the environment.
pub(crate) type Environment = BTreeMap<String, String>;

/// What the command line and the environment say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Flag, name of the setting, text.
    pub(crate) flags: Vec<(String, String, String)>,
    /// Nuage's settings file.
    pub(crate) file: Option<PathBuf>,
    /// Kinto's settings file, which takes the place of Nuage's.
    pub(crate) kinto_ini: Option<PathBuf>,
    /// What of Kinto's settings the operator agrees to lose.
    pub(crate) kinto_ignored: Vec<String>,
    /// The environment.
    pub(crate) environment: Environment,
}

/// Reads everything. All that is wrong is told at once.
pub(crate) fn load(sources: &Sources) -> Result<Config, Invalid> {
    let mut config = Config::defaults();
    let mut errors = Vec::new();
    match &sources.kinto_ini {
        Some(path) => read_kinto_ini(&mut config, path, sources, &mut errors),
        None => read_own_file(&mut config, sources, &mut errors),
    }
    read_environment(&mut config, &sources.environment, &mut errors);
    for (flag, name, text) in &sources.flags {
        set_text(&mut config, name, text, Origin::Flag(flag.clone()), &mut errors);
    }
    if !errors.is_empty() {
        return Err(Invalid(errors));
    }
    Ok(config)
}

fn read_kinto_ini(config: &mut Config, path: &Path, sources: &Sources, errors: &mut Vec<String>) {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let ini = kinto_ini::Source {
                path,
                text: &text,
                environment: &sources.environment,
                ignored: &sources.kinto_ignored,
            };
            errors.extend(kinto_ini::read(config, &ini));
        }
        Err(error) => errors.push(unreadable(path, &error)),
    }
}

fn read_own_file(config: &mut Config, sources: &Sources, errors: &mut Vec<String>) {
    let named = sources.file.clone();
    let named = named.or_else(|| sources.environment.get("NUAGE_CONFIG").map(PathBuf::from));
    let usual = ["./nuage.toml", "/etc/nuage/nuage.toml"].map(PathBuf::from);
    let Some(path) = named.or_else(|| usual.into_iter().find(|path| path.is_file())) else {
        return;
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => file::read(config, &path, &text, errors),
        Err(error) => errors.push(unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("The settings file {} cannot be read: {error}.", path.display())
}

/// Reads `NUAGE_SECTION__NAME` and `PORT`. Variables without the double underscore are left
/// alone, since container platforms make some up from the names of services; one that would be a
/// setting with it is told.
fn read_environment(config: &mut Config, environment: &Environment, errors: &mut Vec<String>) {
    if let Some(port) = environment.get("PORT") {
        read_port(config, port, errors);
    }
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix("NUAGE_") else { continue };
        if !name.contains("__") {
            config.notes.extend(meant(name).map(|meant| {
                format!("${variable} has no effect: with two underscores it is {meant}.")
            }));
            continue;
        }
        let name = name.to_lowercase().replace("__", ".");
        let origin = Origin::Environment(variable.clone());
        match secret_file(&name) {
            Some(name) => match std::fs::read_to_string(text) {
                Ok(secret) => {
                    let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
                    config.set(name, Value::Text(secret), origin);
                }
                Err(error) => {
                    errors.push(format!("${variable}: the file {text} cannot be read: {error}."));
                }
            },
            None => set_text(config, &name, text, origin, errors),
        }
    }
}

/// The variable that was meant by one with a single underscore after its section.
fn meant(name: &str) -> Option<String> {
    let (section, rest) = name.split_once('_')?;
    let key = format!("{section}.{rest}").to_lowercase();
    let known = keys::find(&key).is_some() || secret_file(&key).is_some();
    known.then(|| format!("NUAGE_{section}__{rest}"))
}

/// The secret that a `..._file` variable stands for.
fn secret_file(name: &str) -> Option<&str> {
    let name = name.strip_suffix("_file")?;
    keys::find(name).filter(|key| key.kind == Kind::Secret).map(|_| name)
}

fn read_port(config: &mut Config, port: &str, errors: &mut Vec<String>) {
    let Ok(port) = port.parse::<u16>() else {
        errors.push(format!("$PORT must be a port number, not {port:?}."));
        return;
    };
    let listen = config.text("http.listen");
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let listen = Value::Text(format!("{host}:{port}"));
    config.set("http.listen", listen, Origin::Environment("PORT".to_owned()));
}

fn set_text(config: &mut Config, name: &str, text: &str, origin: Origin, errors: &mut Vec<String>) {
    let Some(key) = keys::find(name) else {
        errors.push(format!("{origin}: {}", file::unknown(name)));
        return;
    };
    match key.kind.read_text(text) {
        Some(value) => config.set(name, value, origin),
        None => errors.push(format!("{origin}: {name} must be {}.", key.kind.expected())),
    }
}
