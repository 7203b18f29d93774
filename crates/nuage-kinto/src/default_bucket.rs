//! `/buckets/default`: everybody's own bucket, made when it is first looked at.
//!
//! Source: Kinto fact sheet, section 14. The bucket and the collection that a path names are
//! ordinary ones, created by whoever asks as ordinary changes.

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use nuage_engine::{Change, Session};
use nuage_model::{BucketId, CollectionPath, Permissions, Principal, RecordPath};
use sha2::Sha256;

use crate::Kinto;
use crate::call::Call;
use crate::error::Error;
use crate::reply::Reply;
use crate::routes::Endpoint;

impl Kinto {
    /// The personal bucket of a user.
    pub(crate) fn default_bucket_of(&self, user: &Principal) -> BucketId {
        let secret = self.settings.default_bucket_hmac_secret.as_bytes();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(user.as_str().as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut name = String::with_capacity(36);
        for (n, byte) in digest.iter().take(16).enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                name.push('-');
            }
            name.push_str(&format!("{byte:02x}"));
        }
        name.into()
    }

    /// Creates what is missing, then answers under the real name.
    pub(crate) async fn default_bucket(
        &self,
        session: &mut Session,
        call: &Call,
        path: &str,
    ) -> Result<Reply, Error> {
        let Some(user) = session.caller().user().cloned() else {
            return Err(Error::unauthorized(&self.challenges));
        };
        if self.settings.readonly {
            return Err(Error::method_not_allowed(call.endpoint.methods()));
        }
        let name = self.default_bucket_of(&user);
        let bucket = RecordPath::bucket(name.clone());
        let endpoint = match path {
            "" => Endpoint::Object(bucket.clone()),
            path => Endpoint::in_bucket(name.clone(), path, self.settings.features)
                .ok_or_else(Error::unknown_route)?,
        };
        if !endpoint.allows(&call.method) {
            return Err(Error::method_not_allowed(endpoint.methods()));
        }
        let is_put = call.method == Method::PUT;
        if !(is_put && endpoint == Endpoint::Object(bucket.clone())) {
            self.ensure(session, bucket).await?;
        }
        let mut steps = path.split('/');
        if let (Some("collections"), Some(id)) = (steps.next(), steps.next()) {
            let collection = CollectionPath::collections(name.clone()).record(id);
            self.check_id(&collection)?;
            if !(is_put && endpoint == Endpoint::Object(collection.clone())) {
                self.ensure(session, collection).await?;
            }
        }
        let real = call.path.replacen("/buckets/default", &format!("/buckets/{name}"), 1);
        let call = call.under(endpoint, real);
        Box::pin(self.answer(session, &call)).await
    }

    async fn ensure(&self, session: &mut Session, path: RecordPath) -> Result<(), Error> {
        let exists = session.has_parent(&path).await;
        if exists.map_err(|error| self.refusal(session, error.into()))? {
            return Ok(());
        }
        let opened = session.open_unjudged(path).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        if opened.live().is_some() {
            return Ok(());
        }
        let mut permissions = Permissions::default();
        permissions.add("write", session.caller().author());
        let change = Change { body: "{}".to_owned(), permissions, chosen: None, owner: None };
        let put = session.put(&opened, change).await;
        put.map_err(|error| self.refusal(session, error))?;
        Ok(())
    }
}
