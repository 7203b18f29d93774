//! As whom somebody counts, and through which groups.
//!
//! The groups are those that requests count. Which member leads into which group is read from the
//! groups themselves, as far as the asker may read them.

use foldhash::HashMap;
use std::collections::{BTreeSet, HashSet};

use nuage_model::{
    Bodies, CollectionPath, EVERYONE, GroupPath, MembershipQuery, Principal, Record, RecordPath,
    StoreError,
};

use super::{Level, Sight};
use crate::access::Right;
use crate::groups::{Ask, CHAIN_MAX, reached, search};
use crate::write::members_of;
use crate::{Caller, EngineError, Session};

/// Groups of the longest chain of memberships that is told of, though it does not count.
const FARTHER: usize = 2 * CHAIN_MAX;
/// Groups read at a time.
const STEP: usize = 100;

/// Somebody, as far as the asker may know.
pub(super) struct People {
    pub(super) caller: Caller,
    /// To each principal the one by which somebody counts as it.
    via: HashMap<Principal, Principal>,
    /// Groups that are named, and that somebody is in only through more groups than count.
    pub(super) too_far: Vec<Principal>,
}

impl People {
    /// From somebody to a principal that they count as.
    pub(super) fn chain(&self, to: &Principal) -> Vec<Principal> {
        let steps = std::iter::successors(Some(to), |principal| self.via.get(principal.as_str()));
        let mut chain: Vec<_> = steps.cloned().collect();
        chain.reverse();
        chain
    }
}

impl Session {
    /// As whom somebody counts, through groups that the asker may look into.
    pub(super) async fn people(
        &mut self,
        principal: &Principal,
        named: BTreeSet<GroupPath>,
        sight: Sight,
    ) -> Result<People, EngineError> {
        let mut caller = Caller::new((principal.as_str() != EVERYONE).then(|| principal.clone()));
        let groups = named.iter().cloned().collect();
        let query = MembershipQuery { members: caller.base(), ..self.members_query(groups) };
        let staged = self.staged_groups();
        let found = search(&mut Ask::session(self), query.clone(), staged).await?;
        let groups = reached(&found, CHAIN_MAX);
        let mut too_far = Vec::new();
        if sight == Sight::Whole && named.iter().any(|group| !groups.contains(group)) {
            let farther = MembershipQuery { depth: FARTHER - 1, ..query };
            // Where it is more than may be looked at, nothing is said of it.
            if let Ok(found) = search(&mut Ask::session(self), farther, staged).await {
                let all = reached(&found, FARTHER);
                let far =
                    named.iter().filter(|group| all.contains(group) && !groups.contains(group));
                too_far = far.map(GroupPath::principal).collect();
            }
        }
        let groups: Vec<GroupPath> = groups.into_iter().collect();
        let ways = self.ways(&caller, &groups, sight).await?;
        let mut via = HashMap::default();
        let mut level = caller.base();
        for everybody in level.iter().filter(|everybody| *everybody != principal) {
            via.insert(everybody.clone(), principal.clone());
        }
        for _ in 0..CHAIN_MAX {
            let mut next = Vec::new();
            for member in level {
                for group in ways.get(&member).into_iter().flatten() {
                    if group != principal && !via.contains_key(group) {
                        via.insert(group.clone(), member.clone());
                        caller.note(group.clone(), true);
                        next.push(group.clone());
                    }
                }
            }
            level = next;
        }
        Ok(People { caller, via, too_far })
    }

    /// Which of these groups has somebody, everybody, or another of the groups among its members:
    /// from member to groups.
    async fn ways(
        &mut self,
        somebody: &Caller,
        groups: &[GroupPath],
        sight: Sight,
    ) -> Result<HashMap<Principal, Vec<Principal>>, EngineError> {
        let mut known: HashSet<Principal> = groups.iter().map(GroupPath::principal).collect();
        known.extend(somebody.base());
        let mut ways: HashMap<Principal, Vec<Principal>> = HashMap::default();
        for groups in groups.chunks(STEP) {
            let paths: Vec<_> = groups.iter().map(path_of).collect();
            let records = self.look_all(&paths).await?;
            for ((group, path), record) in groups.iter().zip(&paths).zip(records) {
                let Some(record) = record.filter(Record::is_live) else { continue };
                if sight == Sight::OfCaller
                    && !self.has_right(path, Some(&record), Right::Read).await?
                {
                    continue;
                }
                for member in members_of(record.body(), usize::MAX)? {
                    if known.contains(&member) {
                        ways.entry(member).or_default().push(group.principal());
                    }
                }
            }
        }
        Ok(ways)
    }

    /// Whether one of the holders is a group that the caller may not look into, or has such a
    /// group among its members, directly or not. Says nothing about who is in it.
    pub(super) async fn hides(&mut self, levels: &[Level]) -> Result<bool, EngineError> {
        let groups_max = self.engine.settings().limits.inner_groups;
        let holders = levels.iter().filter_map(|level| level.holders.as_ref()).flatten().flatten();
        let mut seen: HashSet<GroupPath> =
            holders.filter_map(|holder| GroupPath::of_principal(holder.as_str())).collect();
        let mut next: Vec<GroupPath> = seen.iter().cloned().collect();
        while !next.is_empty() {
            if seen.len() > groups_max {
                return Ok(true);
            }
            let later = next.split_off(next.len().min(STEP));
            let paths: Vec<_> = next.iter().map(path_of).collect();
            let records = self.look_all(&paths).await?;
            next = later;
            for (path, record) in paths.iter().zip(records) {
                let record = record.filter(Record::is_live);
                if !self.has_right(path, record.as_ref(), Right::Read).await? {
                    return Ok(true);
                }
                let Some(record) = record else { continue };
                for member in members_of(record.body(), usize::MAX)? {
                    let group = GroupPath::of_principal(member.as_str());
                    next.extend(group.filter(|group| seen.insert(group.clone())));
                }
            }
        }
        Ok(false)
    }

    /// Records as this unit of work leaves them, with one question to the store.
    async fn look_all(&self, paths: &[RecordPath]) -> Result<Vec<Option<Record>>, StoreError> {
        let found = self.engine.store().get(paths, Bodies::All).await?;
        let looked = paths.iter().zip(found).map(|(path, stored)| self.own(path).unwrap_or(stored));
        Ok(looked.collect())
    }
}

fn path_of(group: &GroupPath) -> RecordPath {
    CollectionPath::groups(group.bucket.clone()).record(group.group.clone())
}
