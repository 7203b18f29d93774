//! Accounts from the command line: the same records that the accounts door writes, changed in
//! the data itself, also while a server runs.

use std::io::{BufRead, IsTerminal};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nuage_engine::readers;
use nuage_model::{
    ApplyError, Batch, Bodies, CollectionPath, Direction, Field, Guard, Kind, Permissions,
    Placement, Principal, Put, Query, ReaderFilter, Readers, Record, RecordPath, Sort, Store, View,
    Write,
};
use serde_json::Value;
use uuid::Uuid;

use crate::cli::{PasswordSource, UserVerb};
use crate::config::Settings;
use crate::data;
use crate::failure::{Exit, Failure};
use crate::out::{complain, lost, say};
use crate::server::now;

/// How often a change is tried again when a server changes the account at the same time.
const ATTEMPTS: usize = 10;
/// Accounts read at a time.
const PAGE: usize = 1_000;

/// Performs a verb on accounts.
pub(crate) async fn perform(verb: UserVerb, settings: &Settings, json: bool) -> Result<()> {
    if !matches!(verb, UserVerb::Add { create: true, .. }) {
        expect_database(settings)?;
    }
    // Ask before opening: nobody types fast.
    let password = match &verb {
        UserVerb::Add { name, password, .. } | UserVerb::Passwd { name, password } => {
            check_name(name, settings)?;
            Some(read_password(name, password)?)
        }
        UserVerb::List | UserVerb::Delete { .. } => None,
    };
    let store = open(settings).await?;
    let accounts = Accounts { store: Arc::clone(&store), prefix: prefix(settings) };
    let done = match verb {
        UserVerb::Add { name, .. } => {
            accounts.set_password(&name, password.unwrap_or_default(), Mode::Create, json).await
        }
        UserVerb::Passwd { name, .. } => {
            accounts.set_password(&name, password.unwrap_or_default(), Mode::Change, json).await
        }
        UserVerb::List => accounts.list(json).await,
        UserVerb::Delete { name } => accounts.delete(&name, json).await,
    };
    store.close().await;
    done
}

/// Creates or resets an account.
pub(crate) async fn create_or_reset(
    name: &str,
    password: Option<String>,
    create: bool,
    settings: &Settings,
) -> Result<()> {
    check_name(name, settings)?;
    if !create {
        expect_database(settings)?;
    }
    let password = match password {
        Some(password) => Password { text: password, made_up: false },
        None => {
            let source = PasswordSource { password_stdin: false, generate: false };
            read_password(name, &source)?
        }
    };
    let store = open(settings).await?;
    let accounts = Accounts { store: Arc::clone(&store), prefix: prefix(settings) };
    let done = accounts.set_password(name, password, Mode::CreateOrChange, false).await;
    store.close().await;
    done
}

/// Refuses a place without data, where an account would be of no use to anybody.
fn expect_database(settings: &Settings) -> Result<()> {
    data::expect_database(&settings.storage).map_err(|error| {
        let how = "Start the server there first, say with --data or --storage-url where its data \
                   is, or make new data with `user add --create`.";
        Failure::new(Exit::Storage, format!("{error} {how}")).into()
    })
}

/// Opens the data. New ones get their secrets before anything else.
async fn open(settings: &Settings) -> Result<Arc<dyn Store>> {
    let store = data::open_or_make(&settings.storage).await?;
    if store.collections(ReaderFilter::All, None, 1).await?.is_empty() {
        data::secrets(settings, store.as_ref()).await?;
    }
    Ok(store)
}

fn prefix(settings: &Settings) -> String {
    settings.account_policy().unwrap_or("account").to_owned()
}

fn check_name(name: &str, settings: &Settings) -> Result<()> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let holds = name.chars().all(|c| c.is_ascii_alphanumeric() || "+.@_-".contains(c));
    if begins && holds && name.len() <= settings.engine.limits.id_bytes {
        return Ok(());
    }
    let sentence = "An account name begins with a letter or digit and goes on with letters, \
                    digits and . _ - + @.";
    Err(Failure::new(Exit::Usage, sentence).into())
}

#[derive(Default)]
struct Password {
    text: String,
    made_up: bool,
}

fn read_password(name: &str, source: &PasswordSource) -> Result<Password> {
    if source.generate {
        return Ok(Password { text: Uuid::new_v4().simple().to_string(), made_up: true });
    }
    let text = if source.password_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("no password could be read")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    } else if std::io::stdin().is_terminal() {
        let text = rpassword::prompt_password(format!("Password for {name}: "))?;
        if text != rpassword::prompt_password("The same again: ")? {
            bail!("The two passwords differ. Nothing was changed.");
        }
        text
    } else {
        let sentence = "There is no terminal to ask for the password on: give --password-stdin \
                        or --generate.";
        return Err(Failure::new(Exit::Usage, sentence).into());
    };
    if text.is_empty() {
        bail!("An empty password is none. Nothing was changed.");
    }
    Ok(Password { text, made_up: false })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Change,
    CreateOrChange,
}

struct Accounts {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Accounts {
    async fn set_password(
        &self,
        name: &str,
        password: Password,
        mode: Mode,
        json: bool,
    ) -> Result<()> {
        let text = password.text.clone();
        let hash = tokio::task::spawn_blocking(move || nuage_auth::hash_password_blocking(&text));
        let hash = hash.await?;
        let path = RecordPath::account(name);
        for _ in 0..ATTEMPTS {
            let old = self.read(&path).await?;
            match (mode, &old) {
                (Mode::Create, Some(_)) => {
                    bail!(
                        "{name} is there already. To change the password: nuage user passwd {name}"
                    )
                }
                (Mode::Change, None) => bail!("There is no account {name}."),
                _ => {}
            }
            let write = self.put(&path, name, old.as_ref(), &hash)?;
            if self.apply(&path, old.as_ref(), write).await? {
                self.tell(name, &password, old.is_some(), json);
                return Ok(());
            }
        }
        bail!("The account is being changed by others all the time. Nothing was changed.")
    }

    fn tell(&self, name: &str, password: &Password, existed: bool, json: bool) {
        let made_up = password.made_up.then_some(password.text.as_str());
        if json {
            let mut told = serde_json::json!({ "id": name, "principal": self.principal(name) });
            if let Some(text) = made_up {
                told["password"] = text.into();
            }
            return say(&told.to_string());
        }
        match made_up {
            Some(text) => say(text),
            None => complain(&match existed {
                true => format!("The password of {name} is changed."),
                false => format!("{name} is there: {} in permissions.", self.principal(name)),
            }),
        }
    }

    fn principal(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    fn put(
        &self,
        path: &RecordPath,
        name: &str,
        old: Option<&Record>,
        hash: &str,
    ) -> Result<Write> {
        let mut body: Value = match old {
            Some(record) => serde_json::from_str(record.body())
                .with_context(|| format!("the account {name} cannot be read"))?,
            None => serde_json::json!({}),
        };
        body["password"] = hash.into();
        let mut permissions = match old {
            Some(record) => Permissions::from_text(&record.permissions())?,
            None => Permissions::default(),
        };
        permissions.add("write", Principal::from(self.principal(name)));
        Ok(Write::Put(Put {
            path: path.clone(),
            body: body.to_string().into(),
            permissions: permissions.to_text(),
            readers: Readers::new(readers(Kind::Account, &permissions)),
            placement: Placement::Next,
        }))
    }

    async fn delete(&self, name: &str, json: bool) -> Result<()> {
        let path = RecordPath::account(name);
        for _ in 0..ATTEMPTS {
            let Some(old) = self.read(&path).await? else {
                bail!("There is no account {name}.");
            };
            let write = Write::Delete { path: path.clone(), placement: Placement::Next };
            if self.apply(&path, Some(&old), write).await? {
                match json {
                    true => say(&serde_json::json!({ "id": name, "deleted": true }).to_string()),
                    false => complain(&format!("{name} is deleted. Its data stays.")),
                }
                return Ok(());
            }
        }
        bail!("The account is being changed by others all the time. Nothing was changed.")
    }

    async fn read(&self, path: &RecordPath) -> Result<Option<Record>> {
        let found = self.store.get(std::slice::from_ref(path), Bodies::All).await?;
        Ok(found.into_iter().next().flatten().filter(Record::is_live))
    }

    /// False when the account changed since it was read.
    async fn apply(&self, path: &RecordPath, old: Option<&Record>, write: Write) -> Result<bool> {
        let guard = Guard::new(path.clone(), old);
        let batch = Batch { guards: vec![guard], ..Batch::new(now(), vec![write]) };
        match self.store.apply(batch).await {
            Ok(_) => Ok(true),
            Err(ApplyError::Conflict) => Ok(false),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    async fn list(&self, json: bool) -> Result<()> {
        let mut query = Query::all(CollectionPath::accounts(), PAGE);
        query.sort = vec![Sort { field: Field::Id, direction: Direction::Ascending }];
        loop {
            let page = self.store.list(&query).await?;
            for record in &page.records {
                let line = match json {
                    true => serde_json::json!({
                        "id": record.id.as_str(),
                        "principal": self.principal(record.id.as_str()),
                        "last_modified": record.timestamp().0,
                    })
                    .to_string(),
                    false => record.id.to_string(),
                };
                say(&line);
            }
            let more = page.more && lost().is_none();
            let Some(last) = page.records.last().filter(|_| more) else { return Ok(()) };
            query.after = Some(query.position(&View::new(last)));
        }
    }
}

#[cfg(test)]
mod tests;
