//! What a server says of itself: hello, heartbeats, version, counters; flush and user data.
//!
//! Source: Kinto fact sheet, section 20.

use std::time::Duration;

use bytes::Bytes;
use http::header::{RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nuage_engine::{EngineError, Ownership, Session};
use nuage_model::Principal;
use serde_json::{Map, Value, json};

use crate::Kinto;
use crate::error::Error;
use crate::openapi;
use crate::reply::Reply;

/// The version of the protocol that this door speaks.
pub(crate) const HTTP_API_VERSION: &str = "1.23";
/// Documents served as they are may have this size.
const VERSION_BYTES_MAX: u64 = 64 * 1024;

impl Kinto {
    pub(crate) async fn hello(
        &self,
        session: &Session,
        headers: &HeaderMap,
    ) -> Result<Reply, Error> {
        let settings = &self.settings;
        let engine = self.engine.settings();
        let mut body = json!({
            "project_name": settings.project_name,
            "project_version": settings.project_version,
            "http_api_version": HTTP_API_VERSION,
            "project_docs": settings.project_docs,
            "url": self.absolute(headers, "/v1/"),
            "config": null,
            "settings": {
                "readonly": settings.readonly,
                "explicit_permissions": engine.ownership == Ownership::Explicit,
                "batch_max_requests": engine.limits.batch_requests,
            },
            "capabilities": self.capabilities(),
        });
        if let Some(eos) = &settings.eos {
            body["eos"] = eos.text.as_str().into();
        }
        if let Some(user) = session.caller().user() {
            let most = engine.limits.principals;
            let principals = session.principals(most.saturating_add(1)).await;
            let principals = principals.map_err(|error| self.refusal(session, error))?;
            let (principals, cut) = shown_principals(&principals, most);
            let mut told = json!({ "id": user.as_str(), "principals": principals });
            if cut {
                told["principals_truncated"] = true.into();
            }
            if settings.features.default_bucket {
                told["bucket"] = self.default_bucket_of(user).as_str().into();
            }
            body["user"] = told;
        }
        let mut told = Vec::new();
        if settings.readonly && session.caller().user().is_none() {
            told.push((VARY, HeaderValue::from_static("Authorization")));
            let value = format!("max-age={}", settings.root_cache_expires_s);
            let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""));
            told.push((HeaderName::from_static("cache-control"), value));
        }
        Ok(Reply::Text { status: StatusCode::OK, body: body.to_string().into(), headers: told })
    }

    fn capabilities(&self) -> Value {
        let features = self.settings.features;
        let docs = "https://kinto.readthedocs.io/en/latest/api/1.x/";
        let mut all = Map::new();
        let mut tell = |name: &str, page: &str, description: &str| {
            let url = format!("{docs}{page}");
            all.insert(name.to_owned(), json!({ "description": description, "url": url }));
        };
        if features.default_bucket {
            tell("default_bucket", "buckets.html", "Everybody has a bucket of their own.");
        }
        if features.accounts {
            tell("accounts", "accounts.html", "People have accounts with a password.");
        }
        if features.history {
            tell("history", "history.html", "Changes of buckets can be looked up.");
        }
        if features.flush {
            tell("flush_endpoint", "flush.html", "Everything can be emptied at once.");
        }
        if features.counters {
            tell("counters_endpoint", "utilities.html", "Objects are counted by kind.");
        }
        if features.schema {
            let page = "collections.html#collection-json-schema";
            tell("schema", page, "Validates collection records with JSON schemas.");
        }
        if self.settings.basic_policy {
            let told = json!({
                "description": "Very basic authentication sessions. Not for production use.",
                "url": "http://kinto.readthedocs.io/en/stable/api/1.x/authentication.html",
            });
            all.insert("basicauth".to_owned(), told);
        }
        let told = json!({
            "description": "Why somebody may or may not do something with an object is told to \
                            those who may change it: GET on the object's path and /explain.",
            "url": self.settings.project_docs,
        });
        all.insert("explain".to_owned(), told);
        let told = json!({
            "description": "What changed in a collection, of what the caller may see, as pages or \
                            live: GET on the collection's path and /feed.",
            "url": self.settings.project_docs,
            "page_max": self.engine.settings().limits.feed_page,
        });
        all.insert("feed".to_owned(), told);
        if let Some(accounts) = all.get_mut("accounts") {
            accounts["validation_enabled"] = false.into();
        }
        let history = self.engine.settings().history.as_ref();
        if let (Some(told), Some(history)) = (all.get_mut("history"), history) {
            let excluded: Vec<_> =
                history.exclude_resources.iter().map(|uri| named_parts(uri)).collect();
            if !excluded.is_empty() {
                told["excluded_resources"] = excluded.into();
            }
        }
        if features.permissions {
            let told = json!({
                "description":
                    "The permissions endpoint can be used to list all user objects permissions.",
                "url": "https://kinto.readthedocs.io/en/latest/configuration/settings.html\
                        #activating-the-permissions-endpoint",
            });
            all.insert("permissions_endpoint".to_owned(), told);
        }
        Value::Object(all)
    }

    pub(crate) async fn heartbeat(&self) -> Result<Reply, Error> {
        let time = Duration::from_secs(self.settings.heartbeat_timeout_s);
        let answered = tokio::time::timeout(time, self.engine.store().admin().ping()).await;
        let works = matches!(answered, Ok(Ok(())));
        match answered {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a part is down: storage"),
            Err(_) => tracing::warn!("a part is down: storage does not answer in time"),
        }
        // Permissions and the cache of passwords live where the objects do.
        let body = json!({ "storage": works, "permission": works, "cache": works });
        let body = Bytes::from(body.to_string());
        if works {
            return Ok(Reply::json(StatusCode::OK, body));
        }
        let headers = vec![(RETRY_AFTER, HeaderValue::from(self.settings.retry_after_s))];
        Ok(Reply::Text { status: StatusCode::SERVICE_UNAVAILABLE, body, headers })
    }

    pub(crate) async fn version(&self) -> Result<Reply, Error> {
        let Some(path) = &self.settings.version_json_path else {
            return Err(Error::unknown_route());
        };
        let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= VERSION_BYTES_MAX);
        let text = std::fs::read_to_string(path).ok().filter(|_| small);
        match text.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
            Some(document) => Ok(Reply::json(StatusCode::OK, document.to_string())),
            None => Err(Error::unknown_route()),
        }
    }

    /// The description of the endpoints for tools.
    pub(crate) fn describe(&self, headers: &HeaderMap) -> Reply {
        let url = self.absolute(headers, "");
        let (scheme, host) = url.split_once("://").unwrap_or(("http", &url));
        let settings = &self.settings;
        let address = openapi::Address { scheme, host };
        let body = openapi::document(&settings.project_name, settings.features, address);
        Reply::json(StatusCode::OK, body)
    }

    pub(crate) fn contribute(&self) -> Reply {
        let body = json!({
            "name": self.settings.project_name,
            "description": "Storage and synchronization for offline-first applications.",
            "repository": { "license": "Apache-2.0 OR MIT" },
            "participate": { "docs": self.settings.project_docs },
            "bugs": { "report": self.settings.error_info_link },
            "keywords": ["JSON", "REST", "synchronization", "offline-first", "Rust", "SQLite"],
        });
        Reply::json(StatusCode::OK, body.to_string())
    }

    pub(crate) async fn counters(&self, session: &Session) -> Result<Reply, Error> {
        let tally = self.engine.store().admin().tally().await;
        let tally = tally.map_err(|error| self.refusal(session, error.into()))?;
        let mut objects = Map::new();
        let mut tombstones = Map::new();
        for (kind, count) in tally {
            if count.live > 0 {
                objects.insert(kind.as_str().to_owned(), count.live.into());
            }
            if count.tombstones > 0 {
                tombstones.insert(kind.as_str().to_owned(), count.tombstones.into());
            }
        }
        let (feeds, house) = (self.engine.feed_statistics(), self.engine.housekeeping());
        let body = json!({
            "objects": objects,
            "tombstones": tombstones,
            "feeds": {
                "collections": feeds.collections,
                "subscriptions": feeds.subscriptions,
                "wakeups": feeds.wakeups,
            },
            "forgetting": {
                "rounds": house.rounds(),
                "steps": house.steps(),
                "failures": house.failures(),
            },
        });
        Ok(Reply::json(StatusCode::OK, body.to_string()))
    }

    pub(crate) fn flush(&self, session: &mut Session) -> Reply {
        session.flush();
        Reply::json(StatusCode::ACCEPTED, "{}")
    }

    pub(crate) async fn erase_user(
        &self,
        session: &mut Session,
        principal: &str,
    ) -> Result<Reply, Error> {
        let may = session.granted("user-data", "delete").await;
        if !may.map_err(|error| self.refusal(session, error))? {
            return Err(self.refusal(session, EngineError::Forbidden));
        }
        let erased = self.engine.erase(&Principal::from(principal)).await;
        erased.map_err(|error| self.refusal(session, error))?;
        let body = json!({ "data": { "principal": principal } });
        Ok(Reply::json(StatusCode::OK, body.to_string()))
    }
}

/// The principals of somebody, in order and with those of everybody among them, and whether there
/// are more than may be told: others put people into groups.
fn shown_principals(all: &[Principal], most: usize) -> (Vec<&str>, bool) {
    let mut all: Vec<_> = all.iter().map(Principal::as_str).collect();
    let is_group = |name: &str| name.starts_with('/');
    all.sort_unstable_by_key(|name| (is_group(name), *name));
    let cut = all.len() > most;
    all.truncate(most);
    all.sort_unstable();
    (all, cut)
}

/// The parts of an address by their singular names: `/buckets/b/collections/c` is
/// `{"bucket": "b", "collection": "c"}`.
fn named_parts(uri: &str) -> Value {
    let mut parts = Map::new();
    let mut steps = uri.trim_matches('/').split('/');
    while let (Some(kind), Some(id)) = (steps.next(), steps.next()) {
        parts.insert(kind.trim_end_matches('s').to_owned(), id.into());
    }
    Value::Object(parts)
}
