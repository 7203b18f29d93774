//! A list: GET, HEAD, POST, DELETE.
//!
//! Source: Kinto fact sheet, sections 6 to 9.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Method, StatusCode};
use nuage_engine::{Change, Intent, ListIntent, OpenedList, Session};
use nuage_http::SMALL_BYTES;
use nuage_model::{CollectionPath, Kind, Position, Query, Record, State, States, Timestamp, View};

use crate::Kinto;
use crate::accounts::PASSWORD;
use crate::call::Call;
use crate::envelope::{Envelope, Purpose};
use crate::error::Error;
use crate::fields::project;
use crate::objects::{self, given, preconditions, shown};
use crate::querystring::{ListParams, Listing, ObjectUse, Rules, parse, parse_object};
use crate::reply::{ListReply, NextPage, Reply};
use crate::token::{self, Token};

impl Kinto {
    pub(crate) async fn list(
        &self,
        session: &mut Session,
        call: &Call,
        collection: &CollectionPath,
    ) -> Result<Reply, Error> {
        self.check_place(collection)?;
        match call.method {
            Method::POST => self.post_list(session, call, collection).await,
            Method::DELETE => self.delete_list(session, call, collection).await,
            _ => self.get_list(session, call, collection).await,
        }
    }

    async fn get_list(
        &self,
        session: &mut Session,
        call: &Call,
        collection: &CollectionPath,
    ) -> Result<Reply, Error> {
        let list = self.open_list(session, collection, ListIntent::Read).await?;
        let conditions = preconditions(call)?;
        let params = self.list_params(call, collection)?;
        // The list brings its head along: another question is worth it only where the answer may
        // save the list.
        if !conditions.is_empty() {
            let head = session.head(&list).await.map_err(|error| self.refusal(session, error))?;
            // Of what somebody sees, something may go while the time stays.
            if list.is_read_whole() && conditions.knows(head.timestamp) {
                return Ok(Reply::NotModified { timestamp: head.timestamp });
            }
            if conditions.must_be_new() || conditions.differs(head.timestamp) {
                return Ok(Reply::Stale { existing: None, timestamp: Some(head.timestamp) });
            }
        }
        let mut query = query(&list, &params);
        let token = params.token.as_ref();
        let token = token.map(|text| self.tokens.decode(text, &token::order(&query.sort)));
        let token = token.transpose()?;
        let begun = token.as_ref().and_then(|token| token.head);
        query.after = token.map(|token| token.position);
        query.states = params.states;
        let alert = params.to_used.then(|| self.headers.to_alert());
        if call.method == Method::HEAD {
            // Tombstones are shown, and not counted.
            query.states = States::Live;
            let (head, total) = self.store(session.count(&list, query).await, session)?;
            // A history is too long to be counted at each look.
            let total = (collection.kind() != Kind::History).then_some(total);
            return Ok(Reply::List(ListReply {
                records: Vec::new(),
                timestamp: head.timestamp,
                last: None,
                total: Some(total.unwrap_or_default()),
                has_counter: total.is_some(),
                fields: None,
                next_page: None,
                next_url: None,
                alert,
                is_timeless: false,
            }));
        }
        let (head, page) = self.store(session.list(&list, query.clone()).await, session)?;
        let last = page.records.last().filter(|_| page.more).cloned();
        let records = match &params.fields {
            Some(fields) => self.with_fields(session, page.records, fields).await?,
            None => page.records,
        };
        Ok(Reply::List(ListReply {
            records,
            timestamp: begun.unwrap_or(head.timestamp),
            next_page: last.as_ref().map(|_| self.next_page(call, params.clone(), query, None)),
            last,
            total: None,
            has_counter: false,
            next_url: None,
            fields: params.fields,
            alert,
            is_timeless: false,
        }))
    }

    async fn post_list(
        &self,
        session: &mut Session,
        call: &Call,
        collection: &CollectionPath,
    ) -> Result<Reply, Error> {
        let rules = objects::Rules {
            engine: Arc::clone(&self.engine),
            kind: collection.kind(),
            purpose: Purpose::Create,
            path_id: None,
            alias: None,
        };
        let body = call.body.clone();
        let read = move || Envelope::parse(&body, &rules.borrow());
        let envelope = self.in_turn(session, call.body.len(), read).await?;
        let named = match &envelope {
            Ok(envelope) => envelope.id.clone(),
            Err(_) => None,
        };
        let Some(id) = named else {
            // Whoever may not create is told so before what is wrong with the body.
            self.open_list(session, collection, ListIntent::Create).await?;
            let conditions = preconditions(call)?;
            let envelope = envelope?;
            if conditions.if_match.is_some() {
                return self.stale_list(session, collection).await;
            }
            let path = collection.record(self.generate_id(collection.kind()));
            return self.create(session, call, path, envelope).await;
        };
        let path = collection.record(id);
        let opened = session.open(path.clone(), Intent::CreateOrRead).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        let conditions = preconditions(call)?;
        let envelope = envelope?;
        if let Some(live) = opened.live() {
            if conditions.must_be_new() || conditions.differs(live.timestamp()) {
                return self.stale_for(session, &path, live).await;
            }
            let shown = shown(session, opened.permissions()).await;
            let permissions = shown.map_err(|error| self.refusal(session, error))?;
            return Ok(Reply::Object {
                status: StatusCode::OK,
                permissions: Some(permissions),
                record: live.clone(),
                fields: None,
            });
        }
        if conditions.if_match.is_some() {
            return self.stale_list(session, collection).await;
        }
        self.create(session, call, path, envelope).await
    }

    async fn create(
        &self,
        session: &mut Session,
        call: &Call,
        path: nuage_model::RecordPath,
        mut envelope: Envelope,
    ) -> Result<Reply, Error> {
        let opened = session.open(path.clone(), Intent::Create).await;
        let opened = opened.map_err(|error| self.refusal(session, error))?;
        let data = envelope.data.get_or_insert_default();
        self.prepare_account(session, call, &opened, data).await?;
        let change = Change {
            body: envelope.data.unwrap_or_default().to_text(),
            permissions: given(envelope.permissions.unwrap_or_default()),
            chosen: envelope.last_modified,
            owner: self.account_owner(&path),
        };
        self.put(session, &opened, change, StatusCode::CREATED).await
    }

    async fn delete_list(
        &self,
        session: &mut Session,
        call: &Call,
        collection: &CollectionPath,
    ) -> Result<Reply, Error> {
        let list = self.open_list(session, collection, ListIntent::Write).await?;
        let conditions = preconditions(call)?;
        let params = self.list_params(call, collection)?;
        let limits = &self.engine.settings().limits;
        let asked = parse_object(call.query.as_deref(), ObjectUse::Delete, limits)?;
        let head = session.head(&list).await.map_err(|error| self.refusal(session, error))?;
        if conditions.must_be_new() || conditions.differs(head.timestamp) {
            return Ok(Reply::Stale { existing: None, timestamp: Some(head.timestamp) });
        }
        let mut query = query(&list, &params);
        let mut nonce = None;
        if let Some(text) = &params.token {
            let token = self.tokens.decode(text, &token::order(&query.sort))?;
            let spent = token.nonce.ok_or_else(token::invalid)?;
            if !call.spent.load(Ordering::Relaxed) {
                self.nonces.spend(&spent, session.engine().now())?;
                call.spent.store(true, Ordering::Relaxed);
            }
            nonce = Some(spent);
            query.after = Some(token.position);
        }
        query.states = States::Live;
        let deleted = session.delete_list(&list, query.clone(), asked.last_modified).await;
        let (records, last) = deleted.map_err(|error| {
            // Nothing was deleted: the same may be asked again.
            if let Some(nonce) = nonce {
                self.nonces.give_back(&nonce);
                call.spent.store(false, Ordering::Relaxed);
            }
            self.refusal(session, error)
        })?;
        let timestamp = records.last().map_or(head.timestamp, |record| Timestamp(record.seq.0));
        let next_page = last.as_ref().map(|_| {
            let nonce = self.nonces.issue(session.engine());
            self.next_page(call, params.clone(), query, Some(nonce))
        });
        Ok(Reply::List(ListReply {
            records,
            timestamp,
            last,
            total: None,
            has_counter: false,
            fields: params.fields,
            next_page,
            next_url: None,
            alert: None,
            is_timeless: false,
        }))
    }

    async fn open_list(
        &self,
        session: &mut Session,
        collection: &CollectionPath,
        intent: ListIntent,
    ) -> Result<OpenedList, Error> {
        let opened = session.open_list(collection.clone(), intent).await;
        opened.map_err(|error| match error {
            nuage_engine::EngineError::Forbidden
                if collection.kind() == Kind::Account
                    && intent != ListIntent::Create
                    && session.caller().user().is_none() =>
            {
                Error::unreadable_accounts(&self.challenges)
            }
            error => self.refusal(session, error),
        })
    }

    pub(crate) fn list_params(
        &self,
        call: &Call,
        collection: &CollectionPath,
    ) -> Result<ListParams, Error> {
        let listing = match collection.kind() {
            Kind::History => Listing::History,
            _ => Listing::Objects,
        };
        let mut params = self.parse_list(call, listing)?;
        if collection.kind() == Kind::Account {
            params.hide(PASSWORD);
        }
        Ok(params)
    }

    pub(crate) fn parse_list(&self, call: &Call, listing: Listing) -> Result<ListParams, Error> {
        let rules = Rules {
            listing,
            limits: &self.engine.settings().limits,
            paginate_by: self.settings.paginate_by,
        };
        parse(call.query.as_deref(), &rules)
    }

    /// Makes the address of the next page once the last record of this one is known.
    pub(crate) fn next_page(
        &self,
        call: &Call,
        params: ListParams,
        query: Query,
        nonce: Option<String>,
    ) -> NextPage {
        let base = self.absolute(&call.headers, &call.path);
        let tokens = self.tokens.clone();
        Box::new(move |last, head| {
            let position = query.position(&View::new(last));
            // Each page of a deletion moves the list.
            let head = nonce.is_none().then_some(head);
            let token = Token { position, nonce, head };
            next_url(&base, &params, &tokens.encode(&token, &token::order(&query.sort)))
        })
    }

    /// The address of the next page, where its place is known.
    pub(crate) fn next_at(
        &self,
        call: &Call,
        params: &ListParams,
        position: Position,
        order: &str,
    ) -> HeaderValue {
        let base = self.absolute(&call.headers, &call.path);
        let token = self.tokens.encode(&Token { position, nonce: None, head: None }, order);
        next_url(&base, params, &token)
    }

    /// The records with some fields only.
    async fn with_fields(
        &self,
        session: &Session,
        records: Vec<Record>,
        fields: &[String],
    ) -> Result<Vec<Record>, Error> {
        let bytes = records.iter().map(Query::cost).sum();
        if bytes < SMALL_BYTES {
            // Little is left to whoever makes the answer.
            return Ok(records);
        }
        let fields = fields.to_vec();
        let work = move || records.into_iter().map(|record| projected(record, &fields)).collect();
        self.in_turn(session, bytes, work).await
    }

    /// A new identifier: short for what people name, a UUID for records.
    fn generate_id(&self, kind: Kind) -> String {
        if kind == Kind::Record {
            return self.engine.new_record_id();
        }
        let mut id = self.engine.new_id();
        id.retain(|letter| letter != '-');
        id.truncate(8);
        id
    }

    /// 412 with the time of the list, for those who may read it.
    pub(crate) async fn stale_list(
        &self,
        session: &mut Session,
        collection: &CollectionPath,
    ) -> Result<Reply, Error> {
        let timestamp = match session.open_list(collection.clone(), ListIntent::Read).await {
            Ok(list) => Some(self.store(session.head(&list).await, session)?.timestamp),
            Err(_) => None,
        };
        Ok(Reply::Stale { existing: None, timestamp })
    }

    pub(crate) fn store<T>(
        &self,
        result: Result<T, nuage_engine::EngineError>,
        session: &Session,
    ) -> Result<T, Error> {
        result.map_err(|error| self.refusal(session, error))
    }
}

fn next_url(base: &str, params: &ListParams, token: &str) -> HeaderValue {
    let url = format!("{base}?{}", params.next_query(token));
    // What cannot be in a header was percent-encoded.
    HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static(""))
}

fn projected(mut record: Record, fields: &[String]) -> Record {
    if let State::Live { body, .. } = &mut record.state {
        *body = project(body, fields);
    }
    record
}

/// What is asked of an opened list, from its first page on.
fn query(list: &OpenedList, params: &ListParams) -> Query {
    Query {
        states: params.states,
        filters: params.filters.clone(),
        sort: params.sort.clone(),
        ..Query::all(list.collection().clone(), params.page_records)
    }
}
