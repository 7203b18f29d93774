//! `/permissions`: on what the caller holds permissions.
//!
//! Source: Kinto fact sheet, section 19. Children of an object are not listed for a permission on
//! the object. Entries are made up for the answer, so they have no times of their own.
//!
//! Few entries are sorted as asked, and paged like every list. Where there are many, to sort them
//! would mean to walk through all of them for each page: pages then follow the engine's order, and
//! each is sorted in itself.

use std::ops::ControlFlow;

use http::Method;
use nuage_engine::{EngineError, Holding, HoldingsPlace, Session};
use nuage_model::{
    CollectionPath, Field, Kind, Position, Query, Record, Seq, Signature, State, Timestamp, View,
};
use serde_json::{Map, Value};

use crate::Kinto;
use crate::call::Call;
use crate::error::Error;
use crate::querystring::{ListParams, Listing};
use crate::reply::{ListReply, Reply, noun};
use crate::token;

/// Records and collections that are looked at for one page, and that are sorted as a whole.
const LOOKS: usize = 2_000;
/// Records on which something is held that are looked through for one page, if there are.
const HELD_MIN: usize = 256;
/// Bytes of JSON that take about as long to read as an entry takes to be made and sorted.
const ENTRY_BYTES: usize = 1024;

/// The order of pages where there are many entries, as tokens name it.
const ENGINE_ORDER: &str = "permissions";

impl Kinto {
    pub(crate) async fn permissions(
        &self,
        session: &mut Session,
        call: &Call,
    ) -> Result<Reply, Error> {
        let mut params = self.parse_list(call, Listing::Permissions)?;
        params.filters.retain(|filter| filter.field != Field::Timestamp);
        let query = Query {
            sort: params.sort.clone(),
            filters: params.filters.clone(),
            ..Query::all(CollectionPath::buckets(), params.page_records)
        };
        let is_head = call.method == Method::HEAD;
        let going_on = params.token.as_ref().filter(|_| !is_head);
        let going_on = going_on.and_then(|text| self.tokens.decode(text, ENGINE_ORDER).ok());
        if let Some(token) = going_on {
            let place = place_of(&token.position).ok_or_else(token::invalid)?;
            return self.some_entries(session, call, &params, &query, Some(place)).await;
        }
        let order = token::order(&query.sort);
        let after = match &params.token {
            Some(text) => Some(self.tokens.decode(text, &order)?.position),
            None => None,
        };
        let mut held = Vec::new();
        let next = session.holdings(None, LOOKS, |holding| {
            held.push(holding);
            ControlFlow::Continue(())
        });
        let next = next.await;
        if self.store(next, session)?.is_some() {
            if is_head {
                // Too many to be counted at each look.
                let uncounted =
                    ListReply { has_counter: false, ..list(Vec::new(), Some(0), &params) };
                return Ok(Reply::List(uncounted));
            }
            return self.some_entries(session, call, &params, &query, None).await;
        }
        let (mut entries, _) = self.entries(session, held, true, &query, usize::MAX).await?;
        let total = is_head.then_some(entries.len() as u64);
        if let Some(after) = after {
            let is_after = |entry: &Record| {
                query.compare_positions(&whole_position(entry, &query), &after).is_gt()
            };
            entries.retain(is_after);
        }
        let more = entries.len() > params.page_records;
        entries.truncate(params.page_records);
        let last = entries.last().filter(|_| more);
        let next = last.map(|last| whole_position(last, &query));
        let mut reply = list(entries, total, &params);
        reply.next_url = next.map(|position| self.next_at(call, &params, position, &order));
        Ok(Reply::List(reply))
    }

    /// One page of many, in the order of the engine.
    async fn some_entries(
        &self,
        session: &mut Session,
        call: &Call,
        params: &ListParams,
        query: &Query,
        after: Option<HoldingsPlace>,
    ) -> Result<Reply, Error> {
        let is_first = after.is_none();
        let mut held = Vec::new();
        let next = session.holdings(after, LOOKS, |holding| {
            held.push(holding);
            match held.len() < params.page_records.max(HELD_MIN) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        let next = next.await;
        let next = self.store(next, session)?;
        let limit = params.page_records;
        let (entries, cut) = self.entries(session, held, is_first, query, limit).await?;
        let next = cut.or(next);
        let mut reply = list(entries, None, params);
        reply.next_url = next.map(|place| {
            let HoldingsPlace { collection, after } = place;
            let position = vec![
                Some(collection.bucket.as_str().into()),
                Some(collection.stored_name().into()),
                after.map(|after| after.0.into()),
            ];
            self.next_at(call, params, position, ENGINE_ORDER)
        });
        Ok(Reply::List(reply))
    }

    /// Not more than so many of the entries that are asked for, in order, with the root where it is
    /// among them, and the place after the last if others follow in these. Of many, in a turn.
    async fn entries(
        &self,
        session: &mut Session,
        held: Vec<Holding>,
        with_root: bool,
        query: &Query,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<HoldingsPlace>), Error> {
        let bytes = held.len() * ENTRY_BYTES;
        let root = match with_root {
            true => root_entry(session).await,
            false => Ok(None),
        };
        let root = root.map_err(|error| self.refusal(session, error))?;
        let (query, has_accounts) = (query.clone(), self.settings.features.accounts);
        let make = move || {
            let is_asked = |entry: &Record| query.matches(&View::new(entry));
            let mut entries: Vec<_> = root.into_iter().filter(is_asked).collect();
            let (mut last, mut cut) = (None, None);
            for one in held.iter().filter(|one| has_accounts || one.path.kind() != Kind::Account) {
                let entry = entry(one);
                if !is_asked(&entry) {
                    continue;
                }
                if entries.len() >= limit && last.is_some() {
                    cut = last;
                    break;
                }
                entries.push(entry);
                last = Some(one.end());
            }
            sort(&mut entries, &query);
            (entries, cut)
        };
        self.in_turn(session, bytes, make).await
    }
}

fn entry(holding: &Holding) -> Record {
    let path = &holding.path;
    let names: Vec<&str> = holding.names.iter().copied().collect();
    let mut body = Map::new();
    body.insert("uri".to_owned(), path.to_string().into());
    body.insert("resource_name".to_owned(), noun(path.kind()).into());
    body.insert("permissions".to_owned(), names.into());
    for part in path.ancestors().chain([path.clone()]) {
        body.insert(format!("{}_id", noun(part.kind())), part.id.as_str().into());
    }
    body.insert("id".to_owned(), path.id.as_str().into());
    made_up(path.id.as_str(), &Value::Object(body))
}

fn place_of(position: &Position) -> Option<HoldingsPlace> {
    let [Some(Value::String(bucket)), Some(Value::String(name)), after] = &position[..] else {
        return None;
    };
    let after = after.as_ref().and_then(Value::as_i64).map(Timestamp);
    Some(HoldingsPlace { collection: CollectionPath::of_stored(bucket.as_str(), name), after })
}

fn list(records: Vec<Record>, total: Option<u64>, params: &ListParams) -> ListReply {
    ListReply {
        records,
        timestamp: Timestamp(0),
        last: None,
        total,
        has_counter: total.is_some(),
        fields: params.fields.clone(),
        next_page: None,
        next_url: None,
        alert: None,
        is_timeless: true,
    }
}

/// The values by which an entry is sorted, in full: they are short, and the address alone tells two
/// entries apart.
fn whole_position(entry: &Record, query: &Query) -> Position {
    let view = View::new(entry);
    query.sort.iter().map(|sort| view.get(&sort.field)).collect()
}

fn sort(entries: &mut Vec<Record>, query: &Query) {
    let mut placed: Vec<_> =
        entries.drain(..).map(|entry| (whole_position(&entry, query), entry)).collect();
    placed.sort_by(|(a, _), (b, _)| query.compare_positions(a, b));
    entries.extend(placed.into_iter().map(|(_, entry)| entry));
}

/// What the caller may do at the root.
async fn root_entry(session: &mut Session) -> Result<Option<Record>, EngineError> {
    let names = session.holdings_of_root().await?;
    if names.is_empty() {
        return Ok(None);
    }
    let mut body = Map::new();
    body.insert("uri".to_owned(), "/".into());
    body.insert("resource_name".to_owned(), "root".into());
    body.insert("permissions".to_owned(), names.into());
    Ok(Some(made_up("", &Value::Object(body))))
}

fn made_up(id: &str, body: &Value) -> Record {
    Record {
        id: id.into(),
        seq: Seq(0),
        chosen: None,
        signature: Signature([0; 16]),
        entered: Seq(0),
        state: State::Live { body: body.to_string(), permissions: "{}".to_owned() },
    }
}
