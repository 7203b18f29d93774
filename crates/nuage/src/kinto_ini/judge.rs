//! The settings that need judgement: who may log in, who may do what, what is plugged in, and
//! what must not be lost silently.

use crate::config::{Config, Origin, Value, nearest_of};
use crate::kinto_ini::found::{Found, Setting};
use crate::kinto_ini::{Source, table};

/// The classes of Kinto's own policies.
const BASICAUTH: &[&str] = &["kinto.core.authentication.BasicAuthAuthenticationPolicy"];
const ACCOUNTS: &[&str] = &[
    "kinto.plugins.accounts.AccountsPolicy",
    "kinto.plugins.accounts.AccountsAuthenticationPolicy",
    "kinto.plugins.accounts.authentication.AccountsAuthenticationPolicy",
    "kinto.plugins.accounts.authentication.AccountsPolicy",
];
const OPENID: &[&str] =
    &["kinto.plugins.openid.OpenIDConnectPolicy", "kinto.plugins.openid.utils.OpenIDConnectPolicy"];
const GROUPFINDERS: &[&str] = &["kinto.core.authorization.groupfinder"];
const AUTHORIZATION: &[&str] = &["kinto.authorization.AuthorizationPolicy"];
const GENERATORS: &[&str] = &[
    "kinto.core.storage.generators.UUID4",
    "kinto.views.NameGenerator",
    "kinto.views.RelaxedUUID",
];
/// Kinds of objects that a grant may name.
const KINDS: &[&str] =
    &["bucket", "collection", "group", "record", "account", "history", "permissions", "user-data"];

pub(super) struct Judge<'a, 'b> {
    pub(super) config: &'a mut Config,
    pub(super) found: &'a Found,
    pub(super) source: &'a Source<'b>,
    pub(super) errors: &'a mut Vec<String>,
}

impl Judge<'_, '_> {
    pub(super) fn judge(&mut self) {
        self.plugins();
        self.policies();
        self.rules_of_access();
        self.listeners();
        self.grants();
        self.methods();
        self.cache_lifetimes();
        self.generators();
        self.rest();
    }

    fn note(&mut self, sentence: String) {
        self.config.notes.push(sentence);
    }

    /// Refuses to start, unless the operator agreed to lose it.
    fn refuse(&mut self, name: &str, sentence: String) {
        if self.source.ignored.iter().any(|ignored| ignored == name) {
            self.note(format!("{sentence} It is ignored as asked."));
        } else {
            self.errors.push(format!(
                "{sentence} To start without it all the same: --kinto-ignore {name}"
            ));
        }
    }

    fn set(&mut self, name: &str, value: Value, setting: Option<&Setting>) {
        let origin = setting.map_or(Origin::KintoDefault, |setting| setting.origin.clone());
        self.config.set(name, value, origin);
    }

    fn plugins(&mut self) {
        let setting = self.found.take("includes");
        let mut includes = self.found.words("includes");
        for (_, switch) in table::PLUGINS {
            self.set(switch, Value::Switch(false), None);
        }
        if let Some(pyramid) = self.found.take("pyramid.includes") {
            includes.extend(pyramid.words());
        }
        for name in includes {
            if let Some((_, switch)) = table::PLUGINS.iter().find(|(known, _)| *known == name) {
                self.set(switch, Value::Switch(true), setting);
            } else if let Some((_, why)) = lookup(table::PLUGINS_MISSING, &name) {
                self.note(format!("Plugin {name}: {why}."));
            } else {
                let sentence = format!(
                    "Plugin {name} is not supported, and what it does may include refusing \
                     access or limiting use."
                );
                self.refuse(&name, sentence);
            }
            if name == "kinto.plugins.admin" {
                self.set("kinto.permissions", Value::Switch(true), setting);
            }
        }
        let validation = self.found.take("account_validation").and_then(Setting::switch);
        if validation == Some(true) {
            let sentence = "account_validation is not supported: without it, anybody could take \
                            a mail address that is not theirs as account name.";
            self.refuse("account_validation", sentence.to_owned());
        }
    }

    fn policies(&mut self) {
        let setting = self.found.take("multiauth.policies");
        let mut policies = Vec::new();
        for name in self.found.words("multiauth.policies") {
            let class = match self.found.take(&format!("multiauth.policy.{name}.use")) {
                Some(class) => class.text(),
                None if name == "basicauth" => BASICAUTH[0].to_owned(),
                None => name.clone(),
            };
            let class = class.as_str();
            if BASICAUTH.contains(&class) {
                policies.push(format!("{}:basicauth", name.to_lowercase()));
            } else if ACCOUNTS.contains(&class) {
                policies.push("account:account".to_owned());
            } else if OPENID.contains(&class) {
                self.note(format!(
                    "Policy {name}: logging in with OpenID Connect is not supported; its tokens \
                     are refused."
                ));
            } else {
                let sentence = format!(
                    "Policy {name} ({class}) is not supported: whom it let in cannot log in, and \
                     whom it kept out others might let in."
                );
                self.refuse(&name, sentence);
            }
        }
        if policies.is_empty() {
            self.note("Nobody can log in: multiauth.policies names no policy.".to_owned());
        }
        self.set("auth.policies", Value::Words(policies), setting);
        self.account_policy();
        self.policy_settings();
    }

    /// Kinto refuses to start when accounts are plugged in and no policy is defined for them.
    fn account_policy(&mut self) {
        let plugged =
            self.found.words("includes").iter().any(|name| name == "kinto.plugins.accounts");
        let defined = self.found.iter().any(|(key, setting)| {
            key.starts_with("multiauth.policy.")
                && key.ends_with(".use")
                && ACCOUNTS.contains(&setting.text().as_str())
        });
        if plugged && !defined {
            self.errors.push(
                "kinto.plugins.accounts is included, but no multiauth.policy.<name>.use is \
                 kinto.plugins.accounts.AccountsPolicy."
                    .to_owned(),
            );
        }
    }

    fn policy_settings(&mut self) {
        let found = self.found;
        for (key, setting) in found.untaken() {
            let Some((_, option)) =
                key.strip_prefix("multiauth.policy.").and_then(|rest| rest.split_once('.'))
            else {
                continue;
            };
            setting.mark();
            if option != "use" {
                self.note(format!("{} has no effect.", setting.name));
            }
        }
    }

    fn rules_of_access(&mut self) {
        let rules = [
            ("multiauth.groupfinder", GROUPFINDERS, "groups of principals"),
            ("multiauth.authorization_policy", AUTHORIZATION, "who may do what"),
        ];
        for (key, known, what) in rules {
            let Some(setting) = self.found.take(key) else { continue };
            if !known.contains(&setting.text().as_str()) {
                let sentence = format!("{key} replaces the rule on {what}, which Nuage cannot.");
                self.refuse(key, sentence);
            }
        }
        if let Some(setting) = self.found.take("initialization_sequence") {
            let sentence = format!(
                "{} changes how Kinto is put together, authentication included, which Nuage \
                 cannot follow.",
                setting.name
            );
            self.refuse("initialization_sequence", sentence);
        }
    }

    fn listeners(&mut self) {
        for name in self.found.words("event_listeners") {
            let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
            let class = self.found.take(&format!("event_listeners.{short}.use"));
            let class = class.map_or_else(|| name.clone(), Setting::text);
            if class.starts_with("kinto_redis") || class == "kinto.core.listeners.redis" {
                self.note(format!("Listener {name}: nothing is sent to Redis."));
            } else {
                let sentence = format!(
                    "Listener {name} ({class}) is not supported, and listeners of Kinto may \
                     refuse changes."
                );
                self.refuse(&name, sentence);
            }
        }
        for (key, setting) in self.found.untaken() {
            if key.starts_with("event_listeners.") {
                setting.mark();
            }
        }
    }

    fn grants(&mut self) {
        let found = self.found;
        for (key, setting) in found.iter() {
            let Some(stem) = key.strip_suffix("_principals") else { continue };
            let Some((kind, verb)) = stem.rsplit_once('_') else { continue };
            if !matches!(verb, "create" | "read" | "write" | "delete") {
                continue;
            }
            setting.mark();
            if KINDS.contains(&kind) {
                let words = Value::Words(setting.words());
                self.set(&format!("grants.{stem}"), words, Some(setting));
            } else {
                self.note(format!(
                    "{} gives nothing: Nuage has no objects of the kind {kind}.",
                    setting.name
                ));
            }
        }
    }

    /// `object_record_delete_enabled = false` and the like.
    fn methods(&mut self) {
        let found = self.found;
        for (key, setting) in found.untaken() {
            let switch = key
                .strip_suffix("_enabled")
                .filter(|stem| stem.starts_with("plural_") || stem.starts_with("object_"));
            if switch.is_none() {
                continue;
            }
            setting.mark();
            if setting.switch() != Some(true) {
                let sentence = format!(
                    "{} switches a method off, which Nuage cannot: it would be open again.",
                    setting.name
                );
                self.refuse(key, sentence);
            }
        }
    }

    fn cache_lifetimes(&mut self) {
        let found = self.found;
        let mut old_forms = Vec::new();
        let mut set = std::collections::BTreeSet::new();
        for (key, setting) in found.untaken() {
            let Some(stem) = key.strip_suffix("_cache_expires_seconds") else { continue };
            setting.mark();
            let text = setting.text();
            let Ok(seconds) = text.trim().parse::<u64>() else {
                if !text.trim().is_empty() {
                    let (name, origin) = (&setting.name, &setting.origin);
                    self.errors.push(format!("{origin}: {name} must be a whole number."));
                }
                continue;
            };
            let dotted = stem.ends_with(".record");
            if dotted || KINDS.contains(&stem) {
                self.set(&lifetime(stem), Value::Whole(seconds), Some(setting));
                set.insert(stem.to_owned());
            } else if let Some(names) = stem.strip_suffix("_record") {
                old_forms.push((names, seconds, setting));
            } else {
                self.note(format!("{} has no effect.", setting.name));
            }
        }
        for (names, seconds, setting) in old_forms {
            if set.contains("record") {
                let name = &setting.name;
                self.note(format!("{name} has no effect beside record_cache_expires_seconds."));
                continue;
            }
            for stem in readings(names) {
                if !set.contains(&stem) {
                    self.set(&lifetime(&stem), Value::Whole(seconds), Some(setting));
                }
            }
        }
    }

    fn generators(&mut self) {
        let found = self.found;
        for (key, setting) in found.untaken() {
            if !key.ends_with("id_generator") {
                continue;
            }
            setting.mark();
            if !GENERATORS.contains(&setting.text().as_str()) {
                self.note(format!(
                    "{} has no effect: identifiers are UUIDs where the client chooses none.",
                    setting.name
                ));
            }
        }
    }

    /// All that nobody has understood: known to be harmless, or unknown.
    fn rest(&mut self) {
        let found = self.found;
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut unknown = Vec::new();
        for (key, setting) in found.untaken() {
            let known = table::WITHOUT_EFFECT.iter().find(|(start, _)| key.starts_with(start));
            match known {
                Some((_, why)) => match reasons.iter_mut().find(|(reason, _)| reason == why) {
                    Some((_, names)) => names.push(&setting.name),
                    None => reasons.push((why, vec![&setting.name])),
                },
                None => unknown.push((key, setting)),
            }
        }
        for (why, names) in reasons {
            let verb = if names.len() == 1 { "has" } else { "have" };
            self.note(format!("{} {verb} no effect: {why}.", names.join(", ")));
        }
        for (key, setting) in unknown {
            let known = table::ROWS.iter().map(|row| row.kinto);
            let known = known.chain(table::JUDGED.iter().copied());
            match nearest_of(key, known) {
                Some(near) => self.note(format!(
                    "{} is not a setting of Kinto and has no effect. Is it kinto.{near}?",
                    setting.name
                )),
                None => self.note(format!("{} is unknown and has no effect.", setting.name)),
            }
        }
    }
}

fn lookup<'a>(list: &'a [(&str, &str)], name: &str) -> Option<(&'a str, &'a str)> {
    let named = |known: &str| {
        name == known || name.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'))
    };
    list.iter().find(|(known, _)| named(known)).copied()
}

fn lifetime(stem: &str) -> String {
    format!("kinto.cache_expires_s.{stem}")
}

/// What `<bucket>_<collection>` or `<bucket>` may mean where names hold underscores themselves.
fn readings(names: &str) -> Vec<String> {
    let mut readings = vec![format!("{names}.record")];
    for (at, _) in names.match_indices('_') {
        let (bucket, collection) = (&names[..at], &names[at + 1..]);
        if !bucket.is_empty() && !collection.is_empty() {
            readings.push(format!("{bucket}.{collection}.record"));
        }
    }
    readings
}
