//! Who is asking, and as whom they count.

use std::sync::Arc;

use foldhash::HashMap;
use nuage_model::{AUTHENTICATED, EVERYONE, Principal};

/// Somebody, and which groups they are known to count as.
///
/// Groups are found out where a decision depends on them; until then nobody counts as one.
#[derive(Clone, Debug)]
pub struct Caller {
    user: Option<Principal>,
    /// Groups that were found out about, and whether the caller counts as each.
    groups: Arc<HashMap<Principal, bool>>,
}

impl Caller {
    /// A person or application; `None` for a stranger.
    pub fn new(user: Option<Principal>) -> Self {
        Self { user, groups: Arc::default() }
    }

    /// The person or application, unless anonymous.
    pub fn user(&self) -> Option<&Principal> {
        self.user.as_ref()
    }

    /// What the caller counts as whatever groups there are.
    pub(crate) fn base(&self) -> Vec<Principal> {
        let person = self.user.iter().cloned();
        let everybody = self.user.is_some().then(|| AUTHENTICATED.into());
        person.chain(everybody).chain([EVERYONE.into()]).collect()
    }

    /// Whether the caller counts as this principal, as far as it is known.
    pub fn is(&self, principal: &str) -> bool {
        let is_base = || match &self.user {
            Some(user) => principal == user.as_str() || principal == AUTHENTICATED,
            None => false,
        };
        is_base() || principal == EVERYONE || self.groups.get(principal) == Some(&true)
    }

    /// Whether it was found out about this group.
    pub(crate) fn knows(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// It was found out whether the caller counts as this group.
    pub(crate) fn note(&mut self, group: Principal, counts: bool) {
        Arc::make_mut(&mut self.groups).insert(group, counts);
    }

    /// Forgets what was found out about groups.
    pub(crate) fn forget(&mut self) {
        self.groups = Arc::default();
    }

    /// Whom a change is attributed to: everyone, for an anonymous caller.
    pub fn author(&self) -> Principal {
        self.user.clone().unwrap_or_else(|| EVERYONE.into())
    }
}
