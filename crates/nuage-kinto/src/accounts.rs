//! What is particular about accounts among the objects.
//!
//! Source: Kinto fact sheet, section 17. Passwords become hashes here, before anything is stored;
//! who may log in with them is another crate's matter.

use http::Method;
use nuage_engine::{Opened, Session};
use nuage_model::{Kind, Principal, RecordPath};

use crate::Kinto;
use crate::call::Call;
use crate::envelope::Envelope;
use crate::error::{Error, Invalid};
use crate::object::string_of;

impl Kinto {
    /// Who owns an account: the person who logs in with it.
    pub(crate) fn account_owner(&self, path: &RecordPath) -> Option<Principal> {
        if path.kind() != Kind::Account {
            return None;
        }
        let policy = self.settings.account_policy.as_deref().unwrap_or("account");
        Some(Principal::from(format!("{policy}:{}", path.id)))
    }

    /// Checks what is asked of an account and replaces its password by a hash. Nothing happens to
    /// other objects.
    pub(crate) async fn prepare_account(
        &self,
        session: &Session,
        call: &Call,
        path: &RecordPath,
        opened: &Opened,
        envelope: &mut Envelope,
    ) -> Result<(), Error> {
        if path.kind() != Kind::Account {
            return Ok(());
        }
        let owner = self.account_owner(path);
        let is_manager = session.granted("account", "write");
        if let Some(user) = session.caller().user()
            && opened.live().is_none()
            && !is_manager
            && Some(user) != owner.as_ref()
        {
            return Err(Error::invalid_one(Invalid::body(
                "data.id",
                "Username and account ID do not match.",
            )));
        }
        let password = envelope.data.as_ref().and_then(|data| data.get("password"));
        let changes = call.method != Method::PATCH || envelope.carries("password");
        let password = match password {
            Some(_) if !changes => return Ok(()),
            Some(text) => string_of(text).map(|text| text.into_owned()),
            None if call.method == Method::PUT && opened.live().is_some() && envelope.data.is_none() => {
                return Ok(());
            }
            None => None,
        };
        let Some(password) = password else {
            return Err(Error::invalid_one(Invalid::body("data.password", "Required")));
        };
        let hash = match call.hash.get() {
            Some(hash) => hash.clone(),
            None => {
                let hash = self.auth.hash_password(password).await;
                call.hash.get_or_init(|| hash).clone()
            }
        };
        if let Some(data) = &mut envelope.data {
            data.set("password", serde_json::Value::from(hash).to_string());
        }
        Ok(())
    }
}
