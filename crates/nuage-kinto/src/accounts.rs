//! What is particular about accounts among the objects.
//!
//! Source: Kinto HTTP API v1, "Accounts". Passwords become hashes here, before anything is stored,
//! and no hash leaves: an account is shown, filtered, sorted and patched as if it had no
//! `password`. Who may log in with one is another crate's matter.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nuage_auth::AuthError;
use nuage_engine::{Opened, Session};
use nuage_model::{Kind, Principal, RecordPath};

use crate::Kinto;
use crate::call::Call;
use crate::error::{Error, Invalid};
use crate::object::{Object, string_of};

/// The member of an account that no answer shows.
pub(crate) const PASSWORD: &str = "password";

impl Kinto {
    /// Who owns an account: the person who logs in with it.
    pub(crate) fn account_owner(&self, path: &RecordPath) -> Option<Principal> {
        if path.kind() != Kind::Account {
            return None;
        }
        let policy = self.settings.account_policy.as_deref().unwrap_or("account");
        Some(Principal::from(format!("{policy}:{}", path.id)))
    }

    /// The name of the account with which a person logs in, if it has one.
    pub(crate) fn account_of(&self, user: &Principal) -> Option<String> {
        let policy = self.settings.account_policy.as_deref()?;
        let name = user.as_str().strip_prefix(policy)?.strip_prefix(':')?;
        Some(name.to_owned())
    }

    /// Checks what is asked of an account and replaces its password by a hash. Nothing happens to
    /// other objects.
    pub(crate) async fn prepare_account(
        &self,
        session: &mut Session,
        call: &Call,
        opened: &Opened,
        data: &mut Object,
    ) -> Result<(), Error> {
        let path = opened.path();
        if path.kind() != Kind::Account {
            return Ok(());
        }
        let user = session.caller().user().cloned();
        if user.is_some()
            && opened.live().is_none()
            && user != self.account_owner(path)
            && !session
                .granted("account", "write")
                .await
                .map_err(|error| self.refusal(session, error))?
        {
            return Err(Error::invalid_one(Invalid::body(
                "data.id",
                "Username and account ID do not match.",
            )));
        }
        let Some(password) = data.get(PASSWORD).and_then(string_of) else {
            return Err(Error::invalid_one(Invalid::body("data.password", "Required")));
        };
        let hash = call.hashing.hash_of(&password);
        data.set(PASSWORD, serde_json::Value::from(hash).to_string());
        Ok(())
    }

    /// Makes the hash that a request was found to lack, if it lacks one. This waits for its turn,
    /// so that no unit of work may be under way, for which others would wait.
    pub(crate) async fn hash_password(&self, call: &Call) -> Result<(), Error> {
        let Some(password) = call.hashing.take_wanted() else { return Ok(()) };
        let hash = self.auth.hash_password(password.clone(), call.peer).await;
        call.hashing.put(password, hash.map_err(|error| self.unknown(error))?);
        Ok(())
    }

    /// Why it is not said who is asking.
    pub(crate) fn unknown(&self, error: AuthError) -> Error {
        match error {
            AuthError::TooManyAttempts { retry_after_s } => Error::too_many_attempts(retry_after_s),
            AuthError::Store(error) => self.failure(error),
        }
    }
}

/// The hash of the password in a body: made once, however often a change is attempted.
#[derive(Default)]
pub(crate) struct Hashing(Mutex<Option<Box<Hashes>>>);

#[derive(Default)]
struct Hashes {
    wanted: Option<String>,
    made: Option<(String, String)>,
}

impl Hashing {
    /// The hash of this password, or nothing, and then it is noted that it is wanted.
    fn hash_of(&self, password: &str) -> String {
        let mut hashes = self.lock();
        let hashes = hashes.get_or_insert_default();
        if let Some((_, hash)) = hashes.made.as_ref().filter(|(of, _)| of == password) {
            return hash.clone();
        }
        hashes.wanted = Some(password.to_owned());
        String::new()
    }

    /// Whether a hash is lacking: what was prepared without it must not be stored.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().as_ref().is_some_and(|hashes| hashes.wanted.is_some())
    }

    fn take_wanted(&self) -> Option<String> {
        self.lock().as_mut()?.wanted.take()
    }

    fn put(&self, password: String, hash: String) {
        self.lock().get_or_insert_default().made = Some((password, hash));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Hashes>>> {
        // Nothing is ever half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an object of this kind, as answers show it.
pub(crate) fn shown(kind: Kind, body: &str) -> Cow<'_, str> {
    if kind != Kind::Account {
        return Cow::Borrowed(body);
    }
    Cow::Owned(parse(body).0.to_text())
}

/// An account without its hash, and the hash as it was written.
pub(crate) fn parse(body: &str) -> (Object, Option<String>) {
    let mut data = Object::parse(body, usize::MAX).unwrap_or_default();
    let hash = data.remove(PASSWORD);
    (data, hash)
}
