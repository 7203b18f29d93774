//! The path of a change: from a proof that the caller may, to the writes that it comes to.
//!
//! Consequences are staged with it and applied in the same transaction: history, memberships,
//! cascades.

use std::collections::BTreeSet;

use nuage_model::{
    Body, GroupPath, Kind, Permissions, Placement, Principal, Put, Query, Readers, Record,
    RecordPath, Timestamp, Write,
};
use serde_json::Value;

use crate::access::{Right, readers};
use crate::authorize::Above;
use crate::history::Deed;
use crate::validate::QUICK_BYTES_MAX;
use crate::{EngineError, Invalid, Opened, OpenedList, Ownership, Session};

/// What a record becomes.
#[derive(Clone, Debug)]
pub struct Change {
    /// One JSON object as text, without identifier and time.
    pub body: String,
    /// Its own permissions, before the author is added.
    pub permissions: Permissions,
    /// The time that the client wants to see on it.
    pub chosen: Option<Timestamp>,
    /// Who is added to its write permission instead of the author, whatever the setting.
    pub owner: Option<Principal>,
}

/// Records that the lists of one unit of work delete at the most: writers wait for no longer than
/// that takes.
const DELETED_MAX: usize = 10_000;
/// For so many of them a bucket, a collection or a group counts, which has more below it.
const COUNTS_FOR: usize = 10;

impl Session {
    /// Creates the record, or replaces it. What comes back carries a provisional position.
    pub async fn put(
        &mut self,
        opened: &Opened,
        change: Change,
    ) -> Result<(Record, Permissions), EngineError> {
        let path = &opened.path;
        let mut permissions = change.permissions;
        match (change.owner, self.engine.settings().ownership) {
            (Some(owner), _) => permissions.add("write", owner),
            (None, Ownership::Explicit) => permissions.add("write", self.caller.author()),
            (None, Ownership::Inherited) => {}
        }
        self.check_principals(&permissions)?;
        let bytes_max = self.engine.settings().limits.record_bytes;
        let text = permissions.to_text();
        if change.body.len() + text.len() > bytes_max {
            return Err(EngineError::TooLarge(bytes_max));
        }
        let body = self.validated(path, change.body, &opened.parents).await?;
        let record = self.stage_put(opened, body, (&permissions, text), change.chosen).await?;
        Ok((record, permissions))
    }

    /// Replaces the record by decision of the operator: no author is added, no schema asked.
    pub(crate) async fn put_as_is(
        &mut self,
        opened: &Opened,
        body: String,
        permissions: &Permissions,
    ) -> Result<Record, EngineError> {
        self.stage_put(opened, body.into(), (permissions, permissions.to_text()), None).await
    }

    async fn stage_put(
        &mut self,
        opened: &Opened,
        body: Body,
        (permissions, text): (&Permissions, String),
        chosen: Option<Timestamp>,
    ) -> Result<Record, EngineError> {
        let path = &opened.path;
        let kind = path.kind();
        let members = match kind {
            Kind::Group => Some(self.members(body.text()).await?),
            _ => None,
        };
        self.guard_on(opened);
        let write = self.next_write();
        let readers = Readers::new(readers(kind, permissions));
        let live = opened.live();
        let placement = self.placement(path, &opened.parents, live, chosen);
        let remembered = self.engine.settings().history.as_ref().map(|_| body.clone());
        let record = self.stage_record(
            path,
            Write::Put(Put { path: path.clone(), body, permissions: text, readers, placement }),
        );
        if let Some(members) = members {
            self.stage(Write::SetMembers { group: group_path(path), members });
        }
        if let Some(body) = remembered {
            let deed = if live.is_some() { Deed::Update(&body) } else { Deed::Create(&body) };
            self.remember(path, deed, permissions, write).await?;
        }
        Ok(record)
    }

    async fn members(&self, body: &str) -> Result<Vec<Principal>, EngineError> {
        let members_max = self.engine.settings().limits.members;
        if body.len() <= QUICK_BYTES_MAX {
            return members_of(body, members_max);
        }
        let body = body.to_owned();
        let work = move || members_of(&body, members_max);
        self.engine.turns().run(&self.requester(), work).await?
    }

    /// Deletes the record with all that is below it; unknown ones are told as such. What comes
    /// back is the tombstone.
    pub async fn delete(
        &mut self,
        opened: &Opened,
        chosen: Option<Timestamp>,
    ) -> Result<Record, EngineError> {
        let Some(live) = opened.live() else {
            return Err(EngineError::Unknown(opened.path.clone()));
        };
        self.guard_on(opened);
        let permissions = opened.permissions.clone();
        self.bury(&opened.path, &opened.parents, live, &permissions, chosen).await
    }

    /// Deletes the records of one page of a list that the caller may change, with all that is
    /// below them: of all lists of a unit of work no more than 10,000, or 1,000 buckets,
    /// collections and groups, and at least one of each. What comes back are the tombstones, and
    /// whether others follow after the last.
    pub async fn delete_list(
        &mut self,
        list: &OpenedList,
        mut query: Query,
        chosen: Option<Timestamp>,
    ) -> Result<(Vec<Record>, Option<Record>), EngineError> {
        query.scope = list.scope.clone();
        query.collection = list.collection.clone();
        // Permissions are read, for the history, and no bodies.
        query.bodies = false;
        let each = match list.collection.kind() {
            Kind::Bucket | Kind::Collection | Kind::Group => COUNTS_FOR,
            Kind::Record | Kind::Account | Kind::History => 1,
        };
        let left = DELETED_MAX.saturating_sub(self.deleted) / each;
        query.limit = query.limit.min(left.max(1));
        let page = self.page(&query).await?;
        self.deleted += page.records.len() * each;
        for (path, parent) in &list.parents {
            self.rely(path, Some(&parent.record));
        }
        let last = page.records.last().filter(|_| page.more).cloned();
        let mut tombstones = Vec::with_capacity(page.records.len());
        for record in page.records {
            let path = list.collection.record(record.id.clone());
            if !record.is_live() {
                tombstones.push(record);
                continue;
            }
            self.rely(&path, Some(&record));
            let permissions = crate::engine::read_permissions(&record)?;
            tombstones.push(self.bury(&path, &list.parents, &record, &permissions, chosen).await?);
        }
        Ok((tombstones, last))
    }

    // An existing record cannot be moved back. Two records never show the same time: whoever may not
    // see all of them would find the hidden ones by the times that are taken.
    fn placement(
        &self,
        path: &RecordPath,
        parents: &Above,
        live: Option<&Record>,
        chosen: Option<Timestamp>,
    ) -> Placement {
        match chosen.filter(|at| live.is_none_or(|old| *at > old.timestamp())) {
            Some(at) if self.reaches(path.kind(), Right::Read, parents) => Placement::At(at),
            Some(at) => Placement::Ahead(at),
            None => Placement::Next,
        }
    }

    async fn bury(
        &mut self,
        path: &RecordPath,
        parents: &Above,
        live: &Record,
        permissions: &Permissions,
        chosen: Option<Timestamp>,
    ) -> Result<Record, EngineError> {
        let write = self.next_write();
        let placement = self.placement(path, parents, Some(live), chosen);
        let tombstone = self.stage_record(path, Write::Delete { path: path.clone(), placement });
        match path.kind() {
            Kind::Bucket => self.stage(Write::DropBucket { bucket: path.id.as_str().into() }),
            Kind::Group => {
                self.stage(Write::SetMembers { group: group_path(path), members: Vec::new() });
            }
            Kind::Collection | Kind::Record | Kind::Account | Kind::History => {}
        }
        if let Some(collection) = path.collection_below() {
            self.stage(Write::DropCollection { collection });
        }
        if path.kind() != Kind::Bucket {
            self.remember(path, Deed::Delete, permissions, write).await?;
        }
        Ok(tombstone)
    }

    /// Empties everything.
    pub fn flush(&mut self) {
        let epoch = self.engine.new_id().replace('-', "");
        self.stage(Write::Flush { epoch });
    }

    /// A decision stands on the record itself and on those above it: permissions were read there,
    /// and what is below a deleted one must not come back.
    fn guard_on(&mut self, opened: &Opened) {
        self.rely(&opened.path, opened.record.as_deref());
        for (path, parent) in &opened.parents {
            self.rely(path, Some(&parent.record));
        }
    }

    fn check_principals(&self, permissions: &Permissions) -> Result<(), EngineError> {
        let bound = self.engine.settings().limits.principals;
        for (name, holders) in permissions.iter() {
            if holders.len() > bound {
                return Err(EngineError::Invalid(Invalid {
                    field: format!("permissions.{name}"),
                    description: format!("more than {bound} principals: name a group instead"),
                }));
            }
            if !holders.iter().all(can_be_named) {
                return Err(EngineError::Invalid(Invalid {
                    field: format!("permissions.{name}"),
                    description: UNNAMEABLE.to_owned(),
                }));
            }
        }
        Ok(())
    }
}

/// What is wrong with a principal that holds a character 0.
const UNNAMEABLE: &str = "the character U+0000 cannot be in a name";

/// Not every database can keep a character 0 in a text, so none is asked to. Nobody has such a
/// name: whoever logs in with one is nobody's principal.
fn can_be_named(principal: &Principal) -> bool {
    !principal.as_str().contains('\0')
}

fn group_path(path: &RecordPath) -> GroupPath {
    GroupPath { bucket: path.collection.bucket.clone(), group: path.id.clone() }
}

/// The members that the body of a group names, each once.
pub(crate) fn members_of(body: &str, members_max: usize) -> Result<Vec<Principal>, EngineError> {
    let invalid = |description: String| {
        EngineError::Invalid(Invalid { field: "data.members".to_owned(), description })
    };
    let body: Value = serde_json::from_str(body).map_err(|error| invalid(error.to_string()))?;
    let members = match body.get("members") {
        None => return Ok(Vec::new()),
        Some(Value::Array(members)) => members,
        Some(_) => return Err(invalid("is not a list of strings".to_owned())),
    };
    if members.len() > members_max {
        return Err(invalid(format!("more than {members_max} members")));
    }
    let mut names = BTreeSet::new();
    for member in members {
        match member {
            Value::String(name) => names.insert(Principal::from(name.as_str())),
            _ => return Err(invalid("is not a list of strings".to_owned())),
        };
    }
    if !names.iter().all(can_be_named) {
        return Err(invalid(UNNAMEABLE.to_owned()));
    }
    Ok(names.into_iter().collect())
}
