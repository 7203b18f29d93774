//! The secrets that user ids of basicauth, names of personal buckets, and tokens are made from.
//!
//! They lie in the database, so that they go wherever the data goes. Earlier versions kept those
//! of SQLite in `secrets.toml` beside it: what lies there is taken over at a start, and the file is
//! left for whoever goes back. Where both are, the database counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use nuage_model::copy::{Ground, KEPT, Progress, STORE, Step};
use nuage_model::{ReaderFilter, Store, StoreError};
use uuid::Uuid;

use crate::config::{Files, Place, Settings};
use crate::failure::{Exit, Failure};

const USERID: &str = "userid_hmac_secret";
const DEFAULT_BUCKET: &str = "default_bucket_hmac_secret";
/// The secrets that are made up with the data.
const SECRETS: [&str; 3] = [USERID, DEFAULT_BUCKET, "token_secret"];
/// Those that name what lies in the data. The others may change at any time.
const NAMING: [&str; 2] = [USERID, DEFAULT_BUCKET];

/// Secrets by their names.
pub(crate) type ByName = BTreeMap<String, String>;

/// The secrets in effect, in the order of [`SECRETS`].
pub(crate) struct Secrets {
    values: [String; 3],
    /// What the operator should know of them.
    pub(crate) notes: Vec<String>,
}

/// Where earlier versions kept them.
pub(crate) fn secrets_path(files: &Files) -> PathBuf {
    files.folder.join("secrets.toml")
}

/// The secrets in the database.
pub(crate) async fn kept(store: &dyn Store) -> Result<ByName, StoreError> {
    let meta = nuage_store::copy::meta(store).await?;
    let kept = SECRETS.into_iter().filter_map(|name| {
        let secret = meta.get(&format!("{KEPT}{name}"))?;
        Some((name.to_owned(), secret.clone()))
    });
    Ok(kept.collect())
}

/// The secrets of earlier versions beside the database, where it holds none itself.
pub(crate) async fn left_beside(place: &Place, store: &dyn Store) -> Result<ByName> {
    match kept(store).await?.is_empty() {
        true => beside(place),
        false => Ok(ByName::new()),
    }
}

/// The secrets in the file of earlier versions, if it is there.
fn beside(place: &Place) -> Result<ByName> {
    let Place::Files(files) = place else { return Ok(ByName::new()) };
    let path = secrets_path(files);
    if !path.exists() {
        return Ok(ByName::new());
    }
    let wrong = |why: &str| {
        let sentence = format!(
            "{} {why}. Personal buckets are named with the secrets in it: put back the one that \
             lay beside these data.",
            path.display()
        );
        anyhow::Error::from(Failure::new(Exit::Storage, sentence))
    };
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let table: toml::Table = text.parse().map_err(|_| wrong("is not a table of secrets"))?;
    let mut found = ByName::new();
    for name in SECRETS {
        let secret = table.get(name).and_then(toml::Value::as_str);
        let secret = secret.ok_or_else(|| wrong(&format!("lacks {name}")))?;
        found.insert(name.to_owned(), secret.to_owned());
    }
    Ok(found)
}

/// Keeps these in the database, but for those that it holds already.
pub(crate) async fn take_over(secrets: &ByName, store: &dyn Store) -> Result<(), StoreError> {
    for (name, secret) in known(secrets) {
        nuage_engine::keep(store, name, secret).await?;
    }
    Ok(())
}

fn known(secrets: &ByName) -> impl Iterator<Item = (&String, &String)> {
    secrets.iter().filter(|(name, _)| SECRETS.contains(&name.as_str()))
}

/// Whether what lies in the data would have other names with these.
pub(crate) fn name_otherwise(ours: &ByName, theirs: &ByName) -> bool {
    NAMING.into_iter().any(|name| {
        let both = ours.get(name).zip(theirs.get(name));
        both.is_some_and(|(ours, theirs)| ours != theirs)
    })
}

/// Keeps these instead of what an empty store holds. Nobody else may use it meanwhile.
///
/// # Errors
///
/// [`StoreError::Unsupported`] if there is anything in it.
pub(crate) async fn replace(secrets: &ByName, store: &dyn Store) -> Result<(), StoreError> {
    let mut meta = nuage_store::copy::meta(store).await?;
    for (name, secret) in known(secrets) {
        meta.insert(format!("{KEPT}{name}"), secret.clone());
    }
    let itself = meta.get(STORE).cloned().unwrap_or_default();
    // As a copy of itself, which holds nothing but what it says of itself.
    let progress = Progress::new(itself);
    let begin = Step::Begin { ground: Ground::Empty, meta, progress: progress.clone() };
    store.admin().load(begin).await?;
    store.admin().load(Step::End { before: progress }).await
}

/// Takes the secrets from where the data is, or makes them up for data that is new.
///
/// # Errors
///
/// A [`Failure`] where there is data without the secrets that name what is in it.
pub(crate) async fn secrets(settings: &Settings, store: &dyn Store) -> Result<Secrets> {
    let place = &settings.storage.place;
    let known = kept(store).await?;
    let is_complete = SECRETS.iter().all(|name| known.contains_key(*name));
    let mut notes = Vec::new();
    let beside = match beside(place) {
        Err(error) if is_complete => {
            notes.push(format!("{error} Since they are in the database too, it is not needed."));
            ByName::new()
        }
        beside => beside?,
    };
    let is_empty = store.collections(ReaderFilter::All, None, 1).await?.is_empty();
    expect_known(settings, &known, &beside, is_empty)?;
    let mut values = [const { String::new() }; 3];
    let mut chosen = ByName::new();
    for (value, name) in values.iter_mut().zip(SECRETS) {
        let configured = settings.configured_secret(name);
        // One that is configured is known to whoever configures; but it names what lies here.
        let first = configured.filter(|_| NAMING.contains(&name)).or(beside.get(name)).cloned();
        let kept = match known.get(name) {
            // Nothing is written: a full disk keeps nobody from starting.
            Some(known) => known.clone(),
            None => nuage_engine::keep(store, name, &first.unwrap_or_else(random_text)).await?,
        };
        if beside.get(name).is_some_and(|beside| *beside != kept) && configured.is_none() {
            notes.push(format!(
                "{name} in the secrets.toml beside these data has no effect: the database holds \
                 another one."
            ));
        }
        if let Some(configured) = configured.filter(|configured| **configured != kept) {
            chosen.insert(name.to_owned(), configured.clone());
        }
        *value = configured.cloned().unwrap_or(kept);
    }
    // Nobody else uses a file whose server starts.
    let is_new = is_empty && !chosen.is_empty() && matches!(place, Place::Files(_));
    if !(is_new && replace(&chosen, store).await.is_ok()) {
        notes.extend(chosen.keys().filter_map(|name| renamed(settings, name)));
    }
    Ok(Secrets { values, notes })
}

/// What a configured secret costs that is not the one of the data.
fn renamed(settings: &Settings, name: &str) -> Option<String> {
    if !matters(settings, name) {
        return None;
    }
    let (setting, who) = match name {
        USERID => ("auth.userid_hmac_secret", "basicauth users"),
        _ => ("kinto.default_bucket_hmac_secret", "personal buckets"),
    };
    Some(format!(
        "{setting} is not the secret that names the {who} in these data: they all have other names \
         with it, and what they had is where it was once the setting is as before, or gone."
    ))
}

/// Whether anything is named with it.
fn matters(settings: &Settings, name: &str) -> bool {
    match name {
        USERID => settings.kinto.basic_policy,
        DEFAULT_BUCKET => settings.kinto.features.default_bucket,
        _ => false,
    }
}

fn expect_known(settings: &Settings, kept: &ByName, beside: &ByName, is_empty: bool) -> Result<()> {
    let is_lost = |name: &&str| {
        let found = kept.contains_key(*name) || beside.contains_key(*name);
        !found && settings.configured_secret(name).is_none() && matters(settings, name)
    };
    if is_empty || !NAMING.iter().any(is_lost) {
        return Ok(());
    }
    let sentence = format!(
        "{} holds data, but not the secrets that name its personal buckets and basicauth users: \
         they would all look empty. Put the secrets.toml that lay beside the data there again, or \
         set kinto.default_bucket_hmac_secret and auth.userid_hmac_secret as they were. If they \
         are lost, set both to something new.",
        settings.storage.place
    );
    Err(Failure::new(Exit::Storage, sentence).into())
}

/// 244 random bits in hexadecimal.
fn random_text() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Settings {
    /// The secret of that name, if the configuration says one.
    fn configured_secret(&self, name: &str) -> Option<&String> {
        match name {
            USERID => self.userid_hmac_secret.as_ref(),
            DEFAULT_BUCKET => self.default_bucket_hmac_secret.as_ref(),
            _ => self.token_secret.as_ref(),
        }
    }

    /// Fills in what the configuration left open.
    pub(crate) fn take_secrets(&mut self, secrets: Secrets) {
        let [userid_hmac_secret, default_bucket_hmac_secret, token_secret] = secrets.values;
        self.auth.hmac_secret = userid_hmac_secret.into();
        self.kinto.default_bucket_hmac_secret = default_bucket_hmac_secret;
        self.engine.feed.secret.clone_from(&token_secret);
        self.kinto.token_secret = token_secret.into_bytes();
    }
}
