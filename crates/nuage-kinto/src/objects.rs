//! One object: GET, PUT, PATCH, DELETE.
//!
//! Source: Kinto fact sheet, sections 4 to 6, 9 and 10. The order of the checks is that of
//! section 1: permission, shape, existence, conditions, schema.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use nuage_engine::{Change, Engine, EngineError, Intent, Opened, Session};
use nuage_http::Preconditions;
use nuage_model::{CollectionPath, Kind, Permissions, Record, RecordPath};

use crate::Kinto;
use crate::accounts;
use crate::call::Call;
use crate::envelope::{BodyRules, Envelope, GivenPermissions, Purpose};
use crate::error::{Error, Invalid, Location};
use crate::negotiate;
use crate::object::Object;
use crate::patch::{Current, Patch, ResponseBehavior};
use crate::querystring::{ObjectUse, parse_object};
use crate::reply::{Fragment, Reply, noun};
use crate::shape::is_id;

impl Kinto {
    pub(crate) async fn object(
        &self,
        session: &mut Session,
        call: &Call,
        path: &RecordPath,
    ) -> Result<Reply, Error> {
        if !matches!(call.method, Method::GET | Method::HEAD) {
            self.check_place(&path.collection)?;
        }
        match call.method {
            Method::PUT => self.put_object(session, call, path).await,
            Method::PATCH => self.patch_object(session, call, path).await,
            Method::DELETE => self.delete_object(session, call, path).await,
            _ => self.get_object(session, call, path).await,
        }
    }

    async fn get_object(
        &self,
        session: &mut Session,
        call: &Call,
        path: &RecordPath,
    ) -> Result<Reply, Error> {
        let opened = session.open(path.clone(), Intent::Read).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        self.check_id(path)?;
        let conditions = preconditions(call)?;
        let limits = &self.engine.settings().limits;
        let params = parse_object(call.query.as_deref(), ObjectUse::Read, limits)?;
        let live = existing(&opened)?;
        let timestamp = live.timestamp();
        if conditions.knows(timestamp) {
            return Ok(Reply::NotModified { timestamp });
        }
        if conditions.must_be_new() || conditions.differs(timestamp) {
            return Ok(stale(live));
        }
        let shown = shown(session, opened.permissions()).await;
        let permissions = shown.map_err(|error| self.refusal(session, error))?;
        Ok(Reply::Object {
            status: StatusCode::OK,
            permissions: Some(permissions),
            record: live.clone(),
            fields: params.fields,
        })
    }

    async fn put_object(
        &self,
        session: &mut Session,
        call: &Call,
        path: &RecordPath,
    ) -> Result<Reply, Error> {
        let conditions = preconditions(call);
        let is_safe_creation = conditions.as_ref().is_ok_and(Preconditions::must_be_new);
        let intent = if is_safe_creation { Intent::Create } else { Intent::Put };
        let opened = session.open(path.clone(), intent).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        self.check_id(path)?;
        let conditions = conditions?;
        let rules = self.body_rules(call, path, Purpose::Replace);
        let body = call.body.clone();
        let read = move || Envelope::parse(&body, &rules.borrow());
        let mut envelope = self.in_turn(session, call.body.len(), read).await??;
        match opened.live() {
            Some(live) => {
                let timestamp = live.timestamp();
                if is_safe_creation || conditions.differs(timestamp) {
                    return self.stale_for(session, path, live).await;
                }
            }
            None if conditions.if_match.is_some() => {
                return self.stale_list(session, &path.collection).await;
            }
            None => {}
        }
        if let Some(data) = &mut envelope.data {
            self.prepare_account(session, call, &opened, data).await?;
        }
        let status = if opened.live().is_some() { StatusCode::OK } else { StatusCode::CREATED };
        let permissions = match envelope.permissions {
            Some(permissions) if permissions.values().any(Option::is_some) => given(permissions),
            _ => opened.permissions().clone(),
        };
        let body = match (envelope.data, opened.live()) {
            (Some(data), _) => data.to_text(),
            (None, Some(live)) => live.body().to_owned(),
            (None, None) => "{}".to_owned(),
        };
        let change = Change {
            body,
            permissions,
            chosen: envelope.last_modified,
            owner: self.account_owner(path),
        };
        self.put(session, &opened, change, status).await
    }

    /// Writes and shows the result.
    pub(crate) async fn put(
        &self,
        session: &mut Session,
        opened: &Opened,
        change: Change,
        status: StatusCode,
    ) -> Result<Reply, Error> {
        let is_owned = change.owner.is_some();
        let put = session.put(opened, change).await;
        let (record, permissions) = put.map_err(|error| self.refusal(session, error))?;
        // Whoever signs up is not known yet under the new name.
        let shown = match is_owned {
            true => Ok(permissions.to_text()),
            false => shown(session, &permissions).await,
        };
        let permissions = Some(shown.map_err(|error| self.refusal(session, error))?);
        Ok(Reply::Object { status, record, permissions, fields: None })
    }

    async fn patch_object(
        &self,
        session: &mut Session,
        call: &Call,
        path: &RecordPath,
    ) -> Result<Reply, Error> {
        let opened = session.open(path.clone(), Intent::Write).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        self.check_id(path)?;
        let conditions = preconditions(call)?;
        let header = call.headers.get("response-behavior").map(HeaderValue::as_bytes);
        let behavior = ResponseBehavior::parse(header)?;
        let rules = self.body_rules(call, path, Purpose::Change);
        let (format, body) = (negotiate::format(&call.headers), call.body.clone());
        let read = move || (Patch::parse(format, &body, &rules.borrow()), rules);
        let (patch, rules) = self.in_turn(session, call.body.len(), read).await?;
        let patch = patch?;
        let live = existing(&opened)?;
        let timestamp = live.timestamp();
        if conditions.must_be_new() || conditions.differs(timestamp) {
            return self.stale_for(session, path, live).await;
        }
        let (body, permissions) = (live.body().to_owned(), opened.permissions().clone());
        let (place, bytes) = (path.clone(), patch.work_bytes(body.len() + call.body.len()));
        let apply = move || {
            let (before, hash) = match place.kind() {
                Kind::Account => accounts::parse(&body),
                _ => (Object::parse(&body, usize::MAX).unwrap_or_default(), None),
            };
            let current = Current {
                id: place.id.as_str(),
                timestamp,
                data: &before,
                permissions: &permissions,
            };
            let patched = patch.apply(&current, place.kind(), rules.borrow().limits);
            (patched, before, hash)
        };
        let (patched, before, hash) = self.in_turn(session, bytes, apply).await?;
        let mut patched = patched?;
        match hash {
            Some(hash) if !patched.sends(accounts::PASSWORD) => {
                patched.data.set(accounts::PASSWORD, hash);
            }
            _ => self.prepare_account(session, call, &opened, &mut patched.data).await?,
        }
        let change = Change {
            body: patched.data.to_text(),
            permissions: patched.permissions.clone(),
            chosen: patched.last_modified,
            owner: self.account_owner(path),
        };
        let reply = self.put(session, &opened, change, StatusCode::OK).await?;
        Ok(match (behavior, reply) {
            (ResponseBehavior::Full, reply) => reply,
            (_, Reply::Object { record, permissions, .. }) => Reply::Fragment(Box::new(Fragment {
                record,
                before,
                patched,
                behavior,
                permissions: permissions.unwrap_or_default(),
            })),
            (_, reply) => reply,
        })
    }

    async fn delete_object(
        &self,
        session: &mut Session,
        call: &Call,
        path: &RecordPath,
    ) -> Result<Reply, Error> {
        let opened = session.open(path.clone(), Intent::Delete).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        self.check_id(path)?;
        let conditions = preconditions(call)?;
        let limits = &self.engine.settings().limits;
        let params = parse_object(call.query.as_deref(), ObjectUse::Delete, limits)?;
        let live = existing(&opened)?;
        let timestamp = live.timestamp();
        if conditions.must_be_new() || conditions.differs(timestamp) {
            return self.stale_for(session, path, live).await;
        }
        let deleted = session.delete(&opened, params.last_modified).await;
        let record = deleted.map_err(|error| self.refusal(session, error))?;
        Ok(Reply::Object { status: StatusCode::OK, record, permissions: None, fields: None })
    }

    /// 412 with the object and its time, if the caller may read it.
    pub(crate) async fn stale_for(
        &self,
        session: &mut Session,
        path: &RecordPath,
        live: &Record,
    ) -> Result<Reply, Error> {
        let may_read = session.open(path.clone(), Intent::Read).await.is_ok();
        Ok(if may_read { stale(live) } else { Reply::Stale { existing: None, timestamp: None } })
    }

    pub(crate) fn check_id(&self, path: &RecordPath) -> Result<(), Error> {
        let limits = &self.engine.settings().limits;
        if is_id(path.kind(), path.id.as_str(), limits) {
            return Ok(());
        }
        Err(Error::invalid_id())
    }

    /// 404 for a place under a name that no bucket and no collection can have: that tells nobody
    /// anything.
    pub(crate) fn check_place(&self, collection: &CollectionPath) -> Result<(), Error> {
        let limits = &self.engine.settings().limits;
        let mut owner = collection.owner();
        let mut unknown = None;
        while let Some(path) = owner {
            if !is_id(path.kind(), path.id.as_str(), limits) {
                unknown = Some(unknown_parent(&path));
            }
            owner = path.collection.owner();
        }
        unknown.map_or(Ok(()), Err)
    }

    fn body_rules(&self, call: &Call, path: &RecordPath, purpose: Purpose) -> Rules {
        Rules {
            engine: Arc::clone(&self.engine),
            kind: path.kind(),
            purpose,
            path_id: Some(path.id.as_str().to_owned()),
            alias: call.alias.filter(|_| path.kind() == Kind::Bucket),
        }
    }
}

/// By what a body is judged, to take along where that happens.
pub(crate) struct Rules {
    pub(crate) engine: Arc<Engine>,
    pub(crate) kind: Kind,
    pub(crate) purpose: Purpose,
    pub(crate) path_id: Option<String>,
    pub(crate) alias: Option<&'static str>,
}

impl Rules {
    pub(crate) fn borrow(&self) -> BodyRules<'_> {
        BodyRules {
            kind: self.kind,
            purpose: self.purpose,
            path_id: self.path_id.as_deref(),
            alias: self.alias,
            limits: &self.engine.settings().limits,
        }
    }
}

/// 404 for what should hold the object.
pub(crate) fn unknown_parent(path: &RecordPath) -> Error {
    // Names that begin with an underscore came in under one that no record has.
    Error::unknown_parent(path.id.as_str().trim_start_matches('/'), noun(path.kind()))
}

/// The object if it exists; 404 otherwise.
fn existing(opened: &Opened) -> Result<&Record, Error> {
    let path = opened.path();
    opened.live().ok_or_else(|| Error::unknown_object(path.id.as_str(), noun(path.kind())))
}

fn stale(live: &Record) -> Reply {
    Reply::Stale { existing: Some(live.clone()), timestamp: Some(live.timestamp()) }
}

pub(crate) fn preconditions(call: &Call) -> Result<Preconditions, Error> {
    Preconditions::parse(&call.headers).map_err(|error| {
        Error::invalid_one(Invalid::named(
            Location::Header,
            error.header,
            "The value should be integer between double quotes.",
        ))
    })
}

/// Permissions as text, for those who may change them.
pub(crate) async fn shown(
    session: &mut Session,
    permissions: &Permissions,
) -> Result<String, EngineError> {
    Ok(match session.holds(permissions, "write").await? {
        true => permissions.to_text(),
        false => "{}".to_owned(),
    })
}

/// The permissions that a client gave; null counts as not given.
pub(crate) fn given(permissions: GivenPermissions) -> Permissions {
    let mut set = Permissions::default();
    for (name, holders) in permissions {
        set.set(&name, holders.unwrap_or_default());
    }
    set
}
