//! The path of a change: from a proof that the caller may, to the writes that it comes to.
//!
//! Consequences are staged with it and applied in the same transaction: history, memberships,
//! cascades.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashSet};
use nuage_model::{
    Body, GroupPath, Kind, MembershipQuery, Memberships, Permissions, Placement, Principal, Put,
    Query, Readers, Record, RecordPath, SnapshotRequest, Timestamp, Write,
};
use serde_json::Value;

use crate::access::{Right, readers};
use crate::authorize::Above;
use crate::groups::{Ask, CHAIN_MAX, groups_among, search};
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
            Kind::Group => {
                let members = self.members(body.text()).await?;
                self.check_inner_groups(opened, &members).await?;
                Some(members)
            }
            _ => None,
        };
        let readers = Readers::new(readers(kind, permissions));
        let new_names = self.new_names(path, &readers).await?;
        self.guard_on(opened);
        let write = self.next_write();
        let live = opened.live();
        let placement = self.placement(path, &opened.parents, live, chosen).await?;
        let remembered = self.engine.settings().history.as_ref().map(|_| body.clone());
        let record = self.stage_record(
            path,
            Write::Put(Put { path: path.clone(), body, permissions: text, readers, placement }),
        );
        if !new_names.is_empty() {
            self.new_names.entry(path.collection.clone()).or_default().extend(new_names);
        }
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

    // Groups in a group are few, and a chain that does not count as a whole is not made longer. Members
    // may go whatever became of the groups below meanwhile. What this tells of other groups is told
    // only to those who may read them, within the bucket; a chain that is too long elsewhere does not
    // count.
    async fn check_inner_groups(
        &mut self,
        opened: &Opened,
        members: &[Principal],
    ) -> Result<(), EngineError> {
        let invalid = |description: String| {
            Err(EngineError::Invalid(Invalid { field: "data.members".to_owned(), description }))
        };
        let group = group_path(&opened.path);
        let inner: Vec<GroupPath> = groups_among(members).filter(|inner| *inner != group).collect();
        if inner.is_empty() {
            return Ok(());
        }
        if let Some(live) = opened.live() {
            let before = members_of(live.body(), usize::MAX).unwrap_or_default();
            let before: HashSet<GroupPath> = groups_among(&before).collect();
            if inner.iter().all(|inner| before.contains(inner)) {
                return Ok(());
            }
        }
        let most = self.engine.settings().limits.groups_in_group;
        if inner.len() > most {
            return invalid(format!("more than {most} groups"));
        }
        if !self.reaches(Kind::Group, Right::Read, &opened.parents) {
            return Ok(());
        }
        let inner: Vec<GroupPath> =
            inner.into_iter().filter(|inner| inner.bucket == group.bucket).collect();
        let (query, staged) = (self.members_query(inner.clone()), self.staged_groups());
        match search(&mut Ask::session(self), query, staged).await {
            Ok(mut found) => {
                found.inside.retain(|(_, outer)| outer.bucket == group.bucket);
                match chain_below(&group, inner, &found) {
                    ..=CHAIN_MAX => Ok(()),
                    _ => invalid(format!(
                        "chains of more than {CHAIN_MAX} groups: who is in the last of them would \
                         not count as a member of the first"
                    )),
                }
            }
            // That many are the business of whoever is in one of them.
            Err(EngineError::TooManyInnerGroups(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    // The groups that the collection does not name yet. The store refuses a batch that names too many.
    // Only after that it is looked which of its requests it is.
    async fn new_names(
        &mut self,
        path: &RecordPath,
        readers: &Readers,
    ) -> Result<BTreeSet<GroupPath>, EngineError> {
        if self.presumes || !path.kind().bounds_names() {
            return Ok(BTreeSet::new());
        }
        let groups: Vec<GroupPath> = readers.groups().collect();
        if groups.is_empty() {
            return Ok(BTreeSet::new());
        }
        let collection = &path.collection;
        let ask = SnapshotRequest::of(collection.clone());
        let standing = self.engine.store().standing(&ask).await?.standing;
        let standing = standing.filter(|_| !self.is_dropped(collection));
        let mut new: BTreeSet<GroupPath> = groups.iter().cloned().collect();
        if standing.is_some() {
            let query = MembershipQuery {
                collection: Some(collection.clone()),
                only_named: true,
                depth: 0,
                ..self.members_query(groups)
            };
            for named in Ask::session(self).memberships(&query).await?.names {
                new.remove(&named.group);
            }
        }
        let most = self.engine.settings().limits.names;
        let there = standing.map_or(0, |standing| usize::try_from(standing.names).unwrap_or(0));
        let own = self.new_names.get(collection);
        new.retain(|group| own.is_none_or(|own| !own.contains(group)));
        if !new.is_empty() && there + own.map_or(0, BTreeSet::len) + new.len() > most {
            return Err(EngineError::TooManyNames(most));
        }
        Ok(new)
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
    async fn placement(
        &mut self,
        path: &RecordPath,
        parents: &Above,
        live: Option<&Record>,
        chosen: Option<Timestamp>,
    ) -> Result<Placement, EngineError> {
        let chosen = chosen.filter(|at| live.is_none_or(|old| *at > old.timestamp()));
        let Some(at) = chosen else { return Ok(Placement::Next) };
        let groups = self.groups_above(path.kind(), parents);
        self.recall(&groups);
        if !self.reaches(path.kind(), Right::Read, parents) {
            self.find_out(groups).await?;
        }
        Ok(match self.reaches(path.kind(), Right::Read, parents) {
            true => Placement::At(at),
            false => Placement::Ahead(at),
        })
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
        let placement = self.placement(path, parents, Some(live), chosen).await?;
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

/// Groups of the longest way down from a group that has these as members, the shortest way to each.
fn chain_below(group: &GroupPath, inner: Vec<GroupPath>, found: &Memberships) -> usize {
    let mut inside: HashMap<&GroupPath, Vec<&GroupPath>> = HashMap::default();
    for (inner, outer) in &found.inside {
        inside.entry(outer).or_default().push(inner);
    }
    let mut seen: HashSet<&GroupPath> = inner.iter().chain([group]).collect();
    let (mut level, mut length) = (inner.iter().collect::<Vec<_>>(), 1);
    while !level.is_empty() {
        length += 1;
        let below = level.iter().flat_map(|group| inside.get(group).into_iter().flatten());
        let below: Vec<&GroupPath> = below.copied().collect();
        level = below.into_iter().filter(|group| seen.insert(group)).collect();
    }
    length
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
