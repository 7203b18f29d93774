//! What is particular about accounts among the objects.
//!
//! Source: Kinto fact sheet, section 17. Passwords become hashes here, before anything is stored;
//! who may log in with them is another crate's matter.

use nuage_engine::{Opened, Session};
use nuage_model::{Kind, Principal, RecordPath};

use crate::Kinto;
use crate::call::Call;
use crate::error::{Error, Invalid};
use crate::object::{Object, string_of};

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
        session: &Session,
        call: &Call,
        opened: &Opened,
        data: &mut Object,
        password: Password,
    ) -> Result<(), Error> {
        let path = opened.path();
        if path.kind() != Kind::Account {
            return Ok(());
        }
        if let Some(user) = session.caller().user()
            && opened.live().is_none()
            && !session.granted("account", "write")
            && Some(user) != self.account_owner(path).as_ref()
        {
            return Err(Error::invalid_one(Invalid::body(
                "data.id",
                "Username and account ID do not match.",
            )));
        }
        if password == Password::Kept {
            return Ok(());
        }
        let Some(password) = data.get("password").and_then(string_of) else {
            return Err(Error::invalid_one(Invalid::body("data.password", "Required")));
        };
        let hash = match call.hash.get() {
            Some(hash) => hash.clone(),
            None => {
                let hash = self.auth.hash_password(password.into_owned()).await;
                call.hash.get_or_init(|| hash).clone()
            }
        };
        data.set("password", serde_json::Value::from(hash).to_string());
        Ok(())
    }
}

/// Whether a change of an account gives it a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Password {
    /// The one in the data is new, in plain text.
    Given,
    /// The one in the data is the hash that was stored.
    Kept,
}
