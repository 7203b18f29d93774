//! Which groups somebody is in, directly or through other groups.
//!
//! A member of a group may be the principal of another group: whoever is in that one is in both.
//! Each group is found once, so that groups that contain each other do no harm. What a membership
//! is good for is not known here.

use std::collections::HashSet;

use nuage_model::{AUTHENTICATED, BucketId, GroupPath, Principal, Store};

use crate::EngineError;

/// Memberships that a unit of work changed, and that the store does not know yet.
#[derive(Clone, Copy)]
pub(crate) struct Staged<'a> {
    /// Groups with all their members.
    pub(crate) members: &'a foldhash::HashMap<GroupPath, Vec<Principal>>,
    /// Buckets that lost their groups before those were given members.
    pub(crate) dropped_buckets: &'a foldhash::HashSet<BucketId>,
}

impl Staged<'_> {
    /// The groups that have one of these members, given those that the store knows of.
    fn over(self, stored: Vec<GroupPath>, members: &[Principal]) -> Vec<GroupPath> {
        let known = |group: &GroupPath| {
            !self.members.contains_key(group) && !self.dropped_buckets.contains(&group.bucket)
        };
        let mut groups: Vec<GroupPath> = stored.into_iter().filter(known).collect();
        let sought: HashSet<&str> = members.iter().map(Principal::as_str).collect();
        let has = |held: &[Principal]| held.iter().any(|member| sought.contains(member.as_str()));
        groups.extend(
            self.members.iter().filter(|(_, held)| has(held)).map(|(group, _)| group.clone()),
        );
        groups
    }
}

/// The groups that a person is in, each once, as a unit of work leaves them.
///
/// Groups of everybody who is logged in count. Each step looks at the store anew, so that what was
/// taken away before the first of them is never counted.
///
/// # Errors
///
/// [`EngineError::TooManyGroups`] beyond so many.
pub(crate) async fn closure(
    store: &dyn Store,
    user: &Principal,
    staged: Option<Staged<'_>>,
    groups_max: usize,
) -> Result<Vec<GroupPath>, EngineError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut members = vec![user.clone(), AUTHENTICATED.into()];
    while !members.is_empty() {
        let stored = store.groups_of(&members).await?;
        let groups = match staged {
            Some(staged) => staged.over(stored, &members),
            None => stored,
        };
        members.clear();
        for group in groups {
            if seen.insert(group.clone()) {
                members.push(group.principal());
                found.push(group);
            }
            if found.len() > groups_max {
                return Err(EngineError::TooManyGroups(groups_max));
            }
        }
    }
    Ok(found)
}
