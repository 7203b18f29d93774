//! From a request to what it answers: attempts, commits, and the requests inside a batch.
//!
//! Source: Kinto fact sheet, section 12. One request, or one batch of requests, is one unit of
//! work: applied whole or not at all, and decided again from the start when what it read changed
//! before it was applied.

use std::net::IpAddr;

use http::Method;
use nuage_engine::{Attempts, CommitError, Crowded, EngineError, Requester, Resolved, Session};
use nuage_http::{Body, Held, SMALL_BYTES};
use nuage_model::{Kind, Principal, StoreError};

use crate::Kinto;
use crate::batch;
use crate::call::{Call, Place};
use crate::error::{Error, Invalid};
use crate::objects::unknown_parent;
use crate::reply::Reply;
use crate::routes::Endpoint;

/// Bytes that are read, copied or compared in less than about a millisecond.
const QUICK_BYTES_MAX: usize = 128 * 1024;

/// A request inside a batch, or its path and what is wrong with it.
type Subcall = Result<Call, (String, Error)>;

/// What one unit of work answers.
enum Answers {
    One(Box<Reply>),
    Batch(Vec<(String, Method, Kind, Reply)>),
}

/// Answers that are larger are made on another thread.
const LARGE_BYTES: usize = 256 * 1024;

impl Kinto {
    /// Runs a request to its end. `held` is the room that was taken for the answer, to be kept
    /// with its last form.
    pub(crate) async fn run(&self, call: &Call, held: &mut Vec<Held>) -> nuage_http::Response {
        let response = match self.attempt(call, held).await {
            Ok((Answers::One(reply), resolved, requester)) => {
                let reply = match *reply {
                    Reply::Feed(ask) => return self.feed(*ask, held).await,
                    reply => reply,
                };
                let kind = call.endpoint.kind();
                let bytes = reply.bytes();
                let make = move || reply.render(kind, &resolved);
                let mut response = self.render(&requester, bytes, make).await;
                self.dress(call, &mut response).await;
                response
            }
            Ok((Answers::Batch(replies), resolved, requester)) => {
                let bytes = replies.iter().map(|(.., reply)| reply.bytes()).sum();
                let make = move || {
                    let parts = replies.into_iter();
                    let parts = parts.map(|(path, method, kind, reply)| {
                        (path, method, reply.render(kind, &resolved))
                    });
                    batch::render(bytes, parts)
                };
                self.render(&requester, bytes, make).await
            }
            Err(error) => {
                held.clear();
                error.to_response()
            }
        };
        response.map(Body::Whole)
    }

    /// Answers before anything is rendered, with the room that was taken for them, and for whom.
    async fn attempt(
        &self,
        call: &Call,
        held: &mut Vec<Held>,
    ) -> Result<(Answers, Resolved, Requester), Error> {
        let user = self.identify(call).await?;
        let mut attempts = match (&call.endpoint, &call.method) {
            (Endpoint::Object(path), &(Method::PUT | Method::PATCH | Method::DELETE)) => {
                Attempts::at(path.clone())
            }
            _ => Attempts::default(),
        };
        let subrequests = match call.endpoint {
            Endpoint::Batch => Some(self.read_batch(call).await?),
            _ => None,
        };
        loop {
            let mut session = self.engine.session(user.clone(), &attempts).await;
            session.come_from(call.peer);
            held.clear();
            let answers = match &subrequests {
                None => {
                    let reply = self.reply(&mut session, call).await;
                    held.push(self.hold(&session, call, reply.bytes())?);
                    Answers::One(Box::new(reply))
                }
                Some(calls) => self.replies(&mut session, calls, held).await?,
            };
            let calls = || std::iter::once(call).chain(subrequests.iter().flatten().flatten());
            if calls().any(|call| call.hashing.is_wanted()) {
                // Passwords wait for their turn, and what was read is read again after that.
                drop((session, answers));
                held.clear();
                for call in calls() {
                    self.hash_password(call).await?;
                }
                continue;
            }
            let requester = session.requester();
            let is_abort = matches!(&answers, Answers::One(reply) if reply.is_abort());
            let ended = match is_abort {
                true => session.abandon().await.map(|()| Resolved::default()),
                false => session.commit().await,
            };
            match ended {
                Ok(resolved) => return Ok((answers, resolved, requester)),
                Err(CommitError::Store(error)) => return Err(self.failure(error)),
                Err(CommitError::Conflict(conflict)) => {
                    let attempts_max = self.engine.settings().limits.write_attempts;
                    if !attempts.again(conflict, attempts_max) {
                        return Err(Error::unavailable(self.settings.retry_after_s));
                    }
                }
            }
        }
    }

    async fn read_batch(&self, call: &Call) -> Result<Vec<Subcall>, Error> {
        let limits = &self.engine.settings().limits;
        let requests = if call.body.len() <= QUICK_BYTES_MAX {
            batch::parse(&call.body, &call.headers, limits)?
        } else {
            // Who asks is said by each request inside.
            let requester = Requester::at(call.peer);
            let (body, headers, limits) = (call.body.clone(), call.headers.clone(), limits.clone());
            let work = move || batch::parse(&body, &headers, &limits);
            let parsed = self.engine.turns().run(&requester, work).await;
            parsed.map_err(|crowded| self.put_off(crowded))??
        };
        Ok(requests.into_iter().map(|request| self.subcall(call, request)).collect())
    }

    /// Room for an answer, before anything of what it tells is written.
    fn hold(&self, session: &Session, call: &Call, bytes: usize) -> Result<Held, Error> {
        let holder = holder(session.caller().user(), call.peer);
        let held = call.room.take(&holder, bytes);
        held.ok_or_else(|| Error::unavailable(self.settings.retry_after_s))
    }

    /// Answers each request of a batch. Each may have what the answer to a change takes; lists
    /// share what is left of the bytes of a batch.
    async fn replies(
        &self,
        session: &mut Session,
        calls: &[Subcall],
        held: &mut Vec<Held>,
    ) -> Result<Answers, Error> {
        let objects = calls.iter().flatten().filter_map(|call| match &call.endpoint {
            Endpoint::Object(path) => Some(path.clone()),
            _ => None,
        });
        let objects: Vec<_> = objects.collect();
        if objects.len() > 1 {
            session.announce(objects);
        }
        let limits = &self.engine.settings().limits;
        let own = limits.change_bytes();
        let mut left = limits.batch_answer_bytes.saturating_sub(calls.len().saturating_mul(own));
        let mut unheld = 0;
        let mut replies = Vec::with_capacity(calls.len());
        for call in calls {
            session.bound_pages(own.saturating_add(left));
            let (path, method, kind, reply) = match call {
                Ok(call) => {
                    session.act_as(self.identify(call).await?);
                    let reply = self.reply(session, call).await;
                    unheld += reply.bytes();
                    if unheld >= SMALL_BYTES {
                        held.push(self.hold(session, call, std::mem::take(&mut unheld))?);
                    }
                    left = left.saturating_sub(reply.bytes().saturating_sub(own));
                    (call.path.clone(), call.method.clone(), call.endpoint.kind(), reply)
                }
                Err((path, error)) => {
                    (path.clone(), Method::GET, Kind::Record, Reply::Error(error.clone()))
                }
            };
            if let Reply::Error(error) = &reply
                && reply.is_abort()
            {
                return Err(error.clone());
            }
            replies.push((path, method, kind, reply));
        }
        Ok(Answers::Batch(replies))
    }

    async fn reply(&self, session: &mut Session, call: &Call) -> Reply {
        match self.answer(session, call).await {
            Ok(reply) => reply,
            Err(error) => Reply::Error(error),
        }
    }

    /// Follows the endpoint.
    pub(crate) async fn answer(&self, session: &mut Session, call: &Call) -> Result<Reply, Error> {
        match &call.endpoint {
            Endpoint::Object(path) => self.object(session, call, path).await,
            Endpoint::List(collection) => self.list(session, call, collection).await,
            Endpoint::Feed(collection) => self.ask_feed(session, call, collection),
            Endpoint::Default { path, .. } => self.default_bucket(session, call, path).await,
            Endpoint::Permissions => self.permissions(session, call).await,
            Endpoint::Explain(path) => self.explain(session, call, path).await,
            Endpoint::Snapshot { collection, at } => {
                self.snapshot(session, call, collection, at).await
            }
            Endpoint::Hello => self.hello(session, &call.headers).await,
            Endpoint::Heartbeat => self.heartbeat().await,
            Endpoint::LoadBalancerHeartbeat => Ok(Reply::json(http::StatusCode::OK, "{}")),
            Endpoint::Version => self.version().await,
            Endpoint::OpenApi => Ok(self.describe(&call.headers)),
            Endpoint::Contribute => Ok(self.contribute()),
            Endpoint::Counters => self.counters(session).await,
            Endpoint::Flush => Ok(self.flush(session)),
            Endpoint::UserData(who) => self.erase_user(session, who).await,
            Endpoint::Batch => Err(Error::invalid_one(Invalid::body(
                "path",
                "Recursive call on /batch endpoint is forbidden.",
            ))),
        }
    }

    /// Makes an answer of so many bytes: a large one elsewhere, so that the threads that serve keep
    /// their share of the processors.
    async fn render<T: Send + 'static>(
        &self,
        requester: &Requester,
        bytes: usize,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= LARGE_BYTES {
            return make();
        }
        self.engine.turns().finish(requester, make).await
    }

    /// Does something with so many bytes: here if they are few, and elsewhere otherwise, when it is
    /// the turn of whoever asks.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        session: &Session,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        if bytes <= QUICK_BYTES_MAX {
            return Ok(work());
        }
        let done = self.engine.turns().run(&session.requester(), work).await;
        done.map_err(|crowded| self.put_off(crowded))
    }

    async fn identify(&self, call: &Call) -> Result<Option<Principal>, Error> {
        if call.place == Place::Alone && call.endpoint == Endpoint::Batch {
            return Ok(None);
        }
        let authorization = call.headers.get(http::header::AUTHORIZATION);
        let Some(authorization) = authorization else { return Ok(None) };
        let identified = self.auth.identify(Some(authorization.as_bytes()), call.peer).await;
        identified.map_err(|error| self.unknown(error))
    }

    /// The engine's answer in the words of this protocol.
    pub(crate) fn refusal(&self, session: &Session, error: EngineError) -> Error {
        self.refusal_to(session.caller().user(), error)
    }

    /// The same, where there is no unit of work.
    pub(crate) fn refusal_to(&self, user: Option<&Principal>, error: EngineError) -> Error {
        match error {
            EngineError::Forbidden if user.is_none() => Error::unauthorized(&self.challenges),
            EngineError::Forbidden => Error::forbidden(),
            EngineError::Unknown(path) => {
                Error::unknown_object(path.id.as_str(), path.kind().as_str())
            }
            EngineError::UnknownParent(path) => unknown_parent(&path),
            EngineError::Invalid(invalid) => {
                Error::invalid_one(Invalid::body(invalid.field, invalid.description))
            }
            EngineError::TooManyNames(limit) => Error::too_many_names(limit),
            EngineError::TooManyInnerGroups(limit) => Error::too_many_inner_groups(limit),
            EngineError::TooLarge(limit_bytes) => Error::record_too_large(limit_bytes),
            EngineError::Crowded(crowded) => self.put_off(crowded),
            EngineError::Store(error) => self.failure(error),
        }
    }

    /// What may be done once less work waits.
    pub(crate) fn put_off(&self, crowded: Crowded) -> Error {
        tracing::warn!(%crowded, "a request was put off");
        Error::unavailable(self.settings.retry_after_s)
    }

    /// What the store could not do: logged here, told to the client in general words.
    pub(crate) fn failure(&self, error: StoreError) -> Error {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::TooSlow
            | StoreError::Closed => {
                tracing::warn!(%error, "a request was put off");
            }
            // SQLite says the same of a disk that cannot be read for the moment. Whoever
            // operates the server must look; a client can only come back.
            StoreError::Corrupt(_) | StoreError::Unsupported(_) => {
                tracing::error!(%error, "a request failed");
            }
        }
        Error::unavailable(self.settings.retry_after_s)
    }
}

/// Who holds room for answers: a person, or an address when nobody is known.
pub(crate) fn holder(user: Option<&Principal>, peer: IpAddr) -> String {
    user.map_or_else(|| peer.to_string(), |user| user.as_str().to_owned())
}
