//! The history of a bucket: one entry for each change, written with the change it tells of.
//!
//! Source: Kinto fact sheet, section 16. An entry may be read by whoever could read or write the
//! record, its collection or its bucket when it was made.

use std::collections::BTreeSet;

use nuage_model::{
    Body, CollectionPath, Direction, Field, Filter, Kind, Permissions, Placement, Principal, Put,
    Query, Readers, RecordPath, Slot, Sort, States, Test, Write,
};
use serde_json::Value;

use crate::access::readers;
use crate::{EngineError, Ownership, Session, Trim};

/// Entries removed by one change when the history is trimmed.
const TRIMMED_MAX: usize = 1_000;

/// What a change did to a record.
pub(crate) enum Deed<'a> {
    Create(&'a Body),
    Update(&'a Body),
    Delete,
}

impl Session {
    /// Writes the entry of a change that was just staged as write number `write`.
    pub(crate) async fn remember(
        &mut self,
        path: &RecordPath,
        deed: Deed<'_>,
        permissions: &Permissions,
        write: usize,
    ) -> Result<(), EngineError> {
        let engine = self.engine.clone();
        let Some(settings) = &engine.settings().history else { return Ok(()) };
        let bucket = match path.kind() {
            Kind::Bucket => path.id.as_str().into(),
            Kind::Account | Kind::History => return Ok(()),
            Kind::Collection | Kind::Group | Kind::Record => path.collection.bucket.clone(),
        };
        let user = self.caller.author();
        let excluded = std::iter::once(path.clone())
            .chain(path.ancestors())
            .any(|path| settings.exclude_resources.contains(&path.to_string()));
        if excluded || settings.exclude_users.contains(&user) {
            return Ok(());
        }
        let mut who = BTreeSet::new();
        if engine.settings().ownership == Ownership::Explicit {
            who = readers(Kind::Record, permissions);
            for ancestor in path.ancestors() {
                if let Some(parent) = self.parent(&ancestor).await? {
                    who.extend(readers(Kind::Record, &parent.permissions));
                }
            }
        }
        let collection = CollectionPath::history(bucket);
        let mut own = Permissions::default();
        own.set("read", who.clone());
        let entry = Write::Put(Put {
            path: collection.record(engine.new_record_id()),
            body: self.entry(path, deed, permissions, write),
            permissions: own.to_text(),
            readers: Readers::new(who),
            placement: Placement::Next,
        });
        self.stage(entry);
        if let Some(trim) = &settings.trim {
            self.trim(&collection, path.kind(), &user, trim).await?;
        }
        Ok(())
    }

    fn entry(
        &self,
        path: &RecordPath,
        deed: Deed<'_>,
        permissions: &Permissions,
        write: usize,
    ) -> Body {
        let kind = path.kind().as_str();
        let id = Value::from(path.id.as_str());
        let action = match deed {
            Deed::Create(_) => "create",
            Deed::Update(_) => "update",
            Deed::Delete => "delete",
        };
        let date = iso_date(self.now.0);
        let user = Value::from(self.caller.author().as_str());
        let uri = Value::from(path.to_string());
        let mut text = format!(
            r#"{{"date":"{date}","user_id":{user},"uri":{uri},"action":"{action}","resource_name":"{kind}","{kind}_id":{id},"#
        );
        if path.kind() == Kind::Record {
            let name = Value::from(path.collection.name.as_str());
            text.push_str(&format!(r#""collection_id":{name},"#));
        }
        text.push_str(r#""target":{"data":"#);
        let mut slots = Vec::new();
        let start = text.len();
        match deed {
            Deed::Create(body) | Deed::Update(body) => {
                text.push_str(body.text());
                text.pop();
                slots.extend(body.slots().iter().map(|slot| Slot { at: slot.at + start, ..*slot }));
                if body.text().len() > 2 {
                    text.push(',');
                }
            }
            Deed::Delete => text.push('{'),
        }
        text.push_str(&format!(r#""id":{id},"last_modified":"#));
        slots.push(Slot { at: text.len(), write });
        if matches!(deed, Deed::Delete) {
            // Nobody has permissions on what is no more.
            text.push_str(r#","deleted":true},"permissions":{}}}"#);
        } else {
            text.push_str(&format!(r#"}},"permissions":{}}}}}"#, permissions.to_text()));
        }
        Body::with_slots(text, slots)
    }

    async fn trim(
        &mut self,
        collection: &CollectionPath,
        kind: Kind,
        user: &Principal,
        trim: &Trim,
    ) -> Result<(), EngineError> {
        if !trim.users.is_empty() && !trim.users.contains(user) {
            return Ok(());
        }
        let field = |name: &str| Field::Body(vec![name.to_owned()]);
        let is = |name: &str, value: &str| Filter {
            field: field(name),
            test: Test::Eq(Value::from(value)),
        };
        let mut query = Query::all(collection.clone(), TRIMMED_MAX);
        query.states = States::Live;
        query.filters.push(is("resource_name", kind.as_str()));
        if !trim.users.is_empty() {
            query.filters.push(is("user_id", user.as_str()));
        }
        let (_, count) = self.total(&query).await?;
        if count <= trim.max_count + trim.threshold {
            return Ok(());
        }
        let surplus = usize::try_from(count - trim.max_count).unwrap_or(usize::MAX);
        query.limit = surplus.min(TRIMMED_MAX);
        query.sort = vec![Sort { field: Field::Timestamp, direction: Direction::Ascending }];
        for record in self.page(&query).await?.records {
            self.stage(Write::Erase { path: collection.record(record.id) });
        }
        Ok(())
    }
}

/// ISO 8601 with microseconds and offset, as `2026-11-21T08:20:55.123000+00:00`.
fn iso_date(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}
