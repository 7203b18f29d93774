//! Who is asking, and as whom they count.

use std::sync::Arc;

use foldhash::HashSet;
use nuage_model::{AUTHENTICATED, EVERYONE, Principal};

/// The closure of a caller's principals.
#[derive(Clone, Debug)]
pub struct Caller {
    user: Option<Principal>,
    principals: Arc<HashSet<Principal>>,
}

impl Caller {
    pub(crate) fn new(user: Option<Principal>, groups: impl Iterator<Item = Principal>) -> Self {
        let mut principals: HashSet<Principal> = groups.collect();
        principals.insert(EVERYONE.into());
        if let Some(user) = &user {
            principals.insert(AUTHENTICATED.into());
            principals.insert(user.clone());
        }
        Self { user, principals: Arc::new(principals) }
    }

    /// The person or application, unless anonymous.
    pub fn user(&self) -> Option<&Principal> {
        self.user.as_ref()
    }

    /// All that the caller counts as.
    pub fn principals(&self) -> &HashSet<Principal> {
        &self.principals
    }

    /// The same, to keep.
    pub(crate) fn shared_principals(&self) -> Arc<HashSet<Principal>> {
        Arc::clone(&self.principals)
    }

    /// Whose groups count for the caller: none for a stranger.
    pub(crate) fn members(&self) -> Vec<Principal> {
        self.user.iter().cloned().chain(self.user.is_some().then(|| AUTHENTICATED.into())).collect()
    }

    /// Whether the caller counts as this principal.
    pub fn is(&self, principal: &str) -> bool {
        self.principals.contains(principal)
    }

    /// Whom a change is attributed to: everyone, for an anonymous caller.
    pub fn author(&self) -> Principal {
        self.user.clone().unwrap_or_else(|| EVERYONE.into())
    }
}
