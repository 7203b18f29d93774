//! Which groups somebody counts as.
//!
//! Somebody counts as a group if there is a chain of memberships from them to it, of at most
//! [`CHAIN_MAX`] groups. It is looked for downwards, from the groups that a place names: whoever
//! has a bucket may put anybody, and anybody's groups, into groups of their own, so that upwards
//! everybody would pay for what strangers do. What a membership is good for is not known here.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use nuage_model::{
    BucketId, CollectionPath, GroupPath, Kind, MembershipQuery, Memberships, Pace, Principal,
    Record, Snapshot, SnapshotRequest, StoreError,
};

use crate::cache::Weigh;
use crate::engine::read_permissions;
use crate::{Caller, EngineError, Session};

/// Groups of the longest chain of memberships that counts, the one that it leads to included.
pub const CHAIN_MAX: usize = 8;

/// Memberships that a unit of work changed, and that the store does not know yet.
#[derive(Clone, Copy)]
pub(crate) struct Staged<'a> {
    /// Groups with all their members.
    pub(crate) members: &'a HashMap<GroupPath, Vec<Principal>>,
    /// Buckets that lost their groups before those were given members.
    pub(crate) dropped_buckets: &'a HashSet<BucketId>,
}

impl Staged<'_> {
    /// Who is in a group, if that is not what the store says.
    fn members_of(&self, group: &GroupPath) -> Option<&[Principal]> {
        let is_dropped = || self.dropped_buckets.contains(&group.bucket);
        let staged = self.members.get(group).map(Vec::as_slice);
        staged.or_else(|| is_dropped().then_some(&[]))
    }
}

/// Of whom it is asked who is in which group.
pub(crate) struct Ask<'a, 's> {
    whom: Whom<'a, 's>,
    /// Whether it was.
    asked: bool,
}

enum Whom<'a, 's> {
    /// The store, on behalf of whoever a unit of work is for.
    Session(&'a Session),
    Moment(&'a mut (dyn Snapshot + 's)),
}

impl<'a, 's> Ask<'a, 's> {
    pub(crate) fn session(session: &'a Session) -> Self {
        Self { whom: Whom::Session(session), asked: false }
    }

    pub(crate) fn moment(moment: &'a mut (dyn Snapshot + 's)) -> Self {
        Self { whom: Whom::Moment(moment), asked: false }
    }

    pub(crate) async fn memberships(
        &mut self,
        query: &MembershipQuery,
    ) -> Result<Memberships, EngineError> {
        self.asked = true;
        let found = match &mut self.whom {
            Whom::Moment(moment) => moment.memberships(query).await?,
            Whom::Session(session) => {
                let store = session.engine.store();
                match store.memberships(query, Pace::Quick).await? {
                    Some(found) => found,
                    None => {
                        let _turn = session.turn().await?;
                        let found = store.memberships(query, Pace::Patient).await?;
                        found.ok_or(StoreError::TooSlow)?
                    }
                }
            }
        };
        match found.is_cut {
            true => Err(EngineError::TooManyInnerGroups(query.inner_max)),
            false => Ok(found),
        }
    }
}

/// What is inside some groups, as a unit of work leaves them.
///
/// # Errors
///
/// [`EngineError::TooManyInnerGroups`] if that is more than may be looked at.
pub(crate) async fn search(
    ask: &mut Ask<'_, '_>,
    query: MembershipQuery,
    staged: Option<Staged<'_>>,
) -> Result<Memberships, EngineError> {
    let mut found = ask.memberships(&query).await?;
    let Some(staged) = staged else { return Ok(found) };
    let named = found.names.iter().map(|named| &named.group);
    // From here on, all the way down.
    let mut asked: HashSet<GroupPath> = named.chain(&query.groups).cloned().collect();
    let known_max = asked.len().saturating_add(query.inner_max);
    let mut known = asked.clone();
    known.extend(found.inside.iter().flat_map(|(inner, outer)| [inner, outer]).cloned());
    let mut new: Vec<GroupPath> = known.iter().cloned().collect();
    // Of what is staged nothing holds that is stored, wherever it is met.
    let is_stored = |group: &GroupPath| staged.members_of(group).is_none();
    found.inside.retain(|(_, outer)| is_stored(outer));
    found.direct.retain(is_stored);
    for _ in 0..CHAIN_MAX {
        let mut next = Vec::new();
        for group in new {
            for member in staged.members_of(&group).into_iter().flatten() {
                if query.members.contains(member) {
                    found.direct.push(group.clone());
                }
                if let Some(inner) = GroupPath::of_principal(member.as_str()) {
                    found.inside.push((inner.clone(), group.clone()));
                    // What was met far down before may be nearer now.
                    if asked.insert(inner.clone()) {
                        next.push(inner);
                    }
                }
            }
        }
        if next.is_empty() {
            break;
        }
        let query = MembershipQuery { collection: None, groups: next.clone(), ..query.clone() };
        let more = ask.memberships(&query).await?;
        next.extend(more.inside.iter().flat_map(|(inner, outer)| [inner, outer]).cloned());
        next.retain(|group| known.insert(group.clone()));
        if known.len() > known_max {
            return Err(EngineError::TooManyInnerGroups(query.inner_max));
        }
        found.inside.extend(more.inside.into_iter().filter(|(_, outer)| is_stored(outer)));
        found.direct.extend(more.direct.into_iter().filter(is_stored));
        new = next;
    }
    Ok(found)
}

/// The groups that the members count as who are directly in some of them: along chains of at most so
/// many groups.
pub(crate) fn reached(found: &Memberships, chain_max: usize) -> BTreeSet<GroupPath> {
    let mut outer: HashMap<&GroupPath, Vec<&GroupPath>> = HashMap::default();
    for (inner, around) in &found.inside {
        outer.entry(inner).or_default().push(around);
    }
    let mut reached: BTreeSet<GroupPath> = found.direct.iter().cloned().collect();
    let mut level: Vec<&GroupPath> = found.direct.iter().collect();
    for _ in 1..chain_max {
        let around = level.iter().flat_map(|group| outer.get(group).into_iter().flatten());
        let around: Vec<&GroupPath> = around.copied().collect();
        level = around.into_iter().filter(|group| reached.insert((*group).clone())).collect();
    }
    reached
}

/// Which of some groups, and of those inside them, somebody counts as.
pub(crate) async fn as_whom(
    ask: &mut Ask<'_, '_>,
    groups: BTreeSet<GroupPath>,
    caller: &Caller,
    inner_max: usize,
) -> Result<BTreeSet<GroupPath>, EngineError> {
    let groups = groups.into_iter().collect();
    Ok(reached(&ask.memberships(&query(groups, caller, inner_max)).await?, CHAIN_MAX))
}

/// What is asked about groups, unless something else is said.
pub(crate) fn query(groups: Vec<GroupPath>, caller: &Caller, inner_max: usize) -> MembershipQuery {
    MembershipQuery {
        groups,
        members: caller.base(),
        depth: CHAIN_MAX - 1,
        inner_max,
        ..MembershipQuery::default()
    }
}

/// The groups among some principals.
pub(crate) fn groups_among<'p>(
    principals: impl IntoIterator<Item = &'p Principal>,
) -> impl Iterator<Item = GroupPath> {
    let principals = principals.into_iter();
    principals.filter_map(|principal| GroupPath::of_principal(principal.as_str()))
}

impl Weigh for bool {
    fn bytes(&self) -> usize {
        0
    }
}

impl Session {
    /// What is asked about groups here, unless something else is said.
    pub(crate) fn members_query(&self, groups: Vec<GroupPath>) -> MembershipQuery {
        query(groups, &self.caller, self.engine.settings().limits.inner_groups)
    }

    /// Takes what is remembered of these groups for what is so; not where this unit of work itself
    /// changed who is in which.
    pub(crate) fn recall(&mut self, groups: &BTreeSet<GroupPath>) {
        if groups.is_empty() || self.staged_groups().is_some() {
            return;
        }
        let who = self.caller.author();
        for group in groups {
            let principal = group.principal();
            if !self.caller.knows(principal.as_str())
                && let Some(counts) = self.engine.remembered_membership(&who, group)
            {
                self.caller.note(principal, counts);
            }
        }
    }

    /// Finds out which of these groups the caller counts as, by one question, whatever is known.
    pub(crate) async fn find_out(
        &mut self,
        groups: BTreeSet<GroupPath>,
    ) -> Result<(), EngineError> {
        let age = self.engine.age_of_memberships();
        let query = self.members_query(groups.iter().cloned().collect());
        let staged = self.staged_groups();
        let found = search(&mut Ask::session(self), query, staged).await?;
        let reached = reached(&found, CHAIN_MAX);
        let is_stored = staged.is_none();
        let who = self.caller.author();
        for group in groups {
            let counts = reached.contains(&group);
            self.caller.note(group.principal(), counts);
            if is_stored {
                self.engine.remember_membership(&age, &who, group, counts);
            }
        }
        Ok(())
    }

    /// Finds out about the groups that each of these places names. Where they contain too many groups
    /// together, each place is looked at by itself: who has a right from one does not need the others.
    /// Then the error is for whoever turns out to have none.
    pub(crate) async fn find_out_by_place(
        &mut self,
        places: &[BTreeSet<GroupPath>],
    ) -> Result<Option<EngineError>, EngineError> {
        let error = match self.find_out(places.iter().flatten().cloned().collect()).await {
            Err(error @ EngineError::TooManyInnerGroups(_)) => error,
            found => return found.map(|()| None),
        };
        for place in places {
            match self.find_out(place.clone()).await {
                Err(EngineError::TooManyInnerGroups(_)) => {}
                found => found?,
            }
        }
        Ok(Some(error))
    }

    /// Finds out which of these groups the caller counts as, unless all are known or remembered.
    pub(crate) async fn learn(&mut self, groups: BTreeSet<GroupPath>) -> Result<(), EngineError> {
        self.recall(&groups);
        let is_known = |group: &GroupPath| self.caller.knows(group.principal().as_str());
        match groups.iter().all(is_known) {
            true => Ok(()),
            false => self.find_out(groups).await,
        }
    }

    /// Whether the caller counts as one of these.
    pub(crate) async fn is_one_of(
        &mut self,
        holders: impl Iterator<Item = &Principal>,
    ) -> Result<bool, EngineError> {
        let holders: Vec<&Principal> = holders.collect();
        if holders.iter().any(|holder| self.caller.is(holder.as_str())) {
            return Ok(true);
        }
        let groups: BTreeSet<GroupPath> = groups_among(holders).collect();
        self.learn(groups.clone()).await?;
        Ok(groups.iter().any(|group| self.caller.is(group.principal().as_str())))
    }

    /// As whom the caller may read single records of a collection, and whether that took a question
    /// about memberships. It finds out as well whether they count as the groups in the permissions
    /// above it.
    ///
    /// In the list of all buckets, which everybody names who has one, only groups that have the
    /// caller themselves as a member count: there is no bound on what is named there.
    pub(crate) async fn readers_of(
        &mut self,
        collection: &CollectionPath,
        above: BTreeSet<GroupPath>,
    ) -> Result<(Vec<Principal>, bool), EngineError> {
        let mut readers = self.caller.base();
        let mut asked = true;
        let staged = self.staged_in(collection);
        let on_staged = staged.iter().map(groups_on).collect::<Result<Vec<_>, _>>()?;
        let on_staged: BTreeSet<GroupPath> = on_staged.into_iter().flatten().collect();
        if collection.kind() == Kind::Bucket {
            self.find_out(above.into_iter().chain(on_staged.iter().cloned()).collect()).await?;
            readers.extend(self.own_names(collection).await?);
            let counts = |group: &Principal| self.caller.is(group.as_str());
            readers.extend(on_staged.iter().map(GroupPath::principal).filter(counts));
        } else if self.staged_groups().is_some() || !on_staged.is_empty() {
            let groups = above.iter().chain(&on_staged).cloned().collect();
            let stored = (!self.is_dropped(collection)).then(|| collection.clone());
            let query = MembershipQuery { collection: stored, ..self.members_query(groups) };
            let staged = self.staged_groups();
            let found = search(&mut Ask::session(self), query, staged).await?;
            let reached = reached(&found, CHAIN_MAX);
            for group in &above {
                self.caller.note(group.principal(), reached.contains(group));
            }
            readers.extend(reached.iter().map(GroupPath::principal));
        } else {
            let remembered = self.engine.named().remembered(collection);
            let ask = SnapshotRequest {
                buckets: remembered.buckets(),
                ..SnapshotRequest::of(collection.clone())
            };
            let header = self.engine.store().standing(&ask).await?;
            let engine = Arc::clone(&self.engine);
            let mut ask = Ask::session(self);
            let counted = engine
                .named()
                .counted(
                    &mut ask,
                    (remembered, &header),
                    collection,
                    above.clone(),
                    &self.caller,
                    engine.settings().limits.inner_groups,
                )
                .await?;
            asked = ask.asked;
            for group in above {
                let counts = counted.groups().contains(&group);
                self.caller.note(group.principal(), counts);
            }
            readers.extend(counted.names().map(|named| named.group.principal()));
        }
        Ok((readers, asked))
    }

    /// The caller and everybody, and the groups that have them as members, directly and in any
    /// bucket: at most so many. To be shown; what somebody may do does not follow from it.
    pub async fn principals(&self, most: usize) -> Result<Vec<Principal>, EngineError> {
        let mut principals = self.caller.base();
        let left = most.saturating_sub(principals.len());
        principals.extend(self.own_groups(left).await?);
        principals.truncate(most);
        Ok(principals)
    }

    /// The groups that have the caller as a member, or everybody: directly, in any bucket, at most so
    /// many. Those of the caller come first.
    pub(crate) async fn own_groups(&self, most: usize) -> Result<Vec<Principal>, EngineError> {
        let groups = self.engine.store().groups_of(&self.caller.base(), most).await?;
        Ok(self.as_staged(groups).iter().map(GroupPath::principal).collect())
    }

    /// The same of those that a collection names. The shorter side is read: what is named there, or the
    /// groups that somebody was put into, by whomever.
    async fn own_names(&self, collection: &CollectionPath) -> Result<Vec<Principal>, EngineError> {
        let store = self.engine.store();
        let standing = store.standing(&SnapshotRequest::of(collection.clone())).await?.standing;
        let names = standing.map_or(0, |standing| usize::try_from(standing.names).unwrap_or(0));
        let own = store.groups_of(&self.caller.base(), names.saturating_add(1)).await?;
        let only_named = own.len() <= names;
        let query = MembershipQuery {
            collection: Some(collection.clone()),
            only_named,
            depth: 0,
            ..self.members_query(if only_named { own } else { Vec::new() })
        };
        let direct = Ask::session(self).memberships(&query).await?.direct;
        Ok(self.as_staged(direct).iter().map(GroupPath::principal).collect())
    }

    // These groups as the unit of work leaves them, which have the caller as a member.
    fn as_staged(&self, mut groups: Vec<GroupPath>) -> Vec<GroupPath> {
        let members = self.caller.base();
        if let Some(staged) = self.staged_groups() {
            let is_in = |held: &[Principal]| held.iter().any(|member| members.contains(member));
            groups.retain(|group| staged.members_of(group).is_none());
            let staged = staged.members.iter().filter(|(_, held)| is_in(held));
            groups.extend(staged.map(|(group, _)| group.clone()));
        }
        groups
    }
}

/// The groups in the permissions of a record, if it is alive.
pub(crate) fn groups_on(record: &Record) -> Result<BTreeSet<GroupPath>, StoreError> {
    // Most name none, and need not be read for that.
    if !record.is_live() || !record.permissions().contains("/groups/") {
        return Ok(BTreeSet::new());
    }
    let permissions = read_permissions(record)?;
    Ok(groups_among(permissions.iter().flat_map(|(_, holders)| holders)).collect())
}
