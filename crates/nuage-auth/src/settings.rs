//! How the operator wants people to be known.

use std::fmt;

/// What authentication may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may say who is asking, in this order.
    pub policies: Vec<Policy>,
    /// Key of the digests that [`PolicyKind::Basic`] makes of credentials. Another key makes other
    /// people of everybody.
    pub hmac_secret: Secret,
    /// How long credentials that were verified are trusted after their last use, in seconds.
    pub cache_s: u64,
    /// How wrong passwords are slowed.
    pub throttling: Throttling,
}

/// One way to know who is asking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Its name, which is the prefix of the people that it knows.
    pub name: String,
    /// How it knows them.
    pub kind: PolicyKind,
}

/// The ways to know who is asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyKind {
    /// By the password of a stored account.
    Accounts,
    /// By whatever user name and password: each pair is a person of its own.
    Basic,
}

/// How wrong passwords are slowed.
///
/// After so many failures of late, guesses wait before they are looked at: at first a second, and
/// with each further failure for one name from one address twice as long. Nobody is locked out:
/// the right password passes when it is looked at, whatever failed before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Throttling {
    /// Failures for one account name from one address before others there wait; ten times as many
    /// from all addresses make those wait who did not log in from theirs before. 0 never waits.
    /// More than a person needs to find the right one of their passwords.
    pub account_failures: u32,
    /// Failures from one address before others there wait, unless they logged in from it before;
    /// 0 never waits. A whole office may be behind one. Loopback addresses never wait: behind
    /// them may be a proxy with all its clients.
    pub address_failures: u32,
    /// Time in which as many failures are forgiven as make nobody wait, in seconds.
    pub window_s: u64,
    /// Longest time between two guesses at one name from one address, in seconds. Who has the right
    /// password waits as long.
    pub guess_wait_s: u64,
}

impl Default for Throttling {
    fn default() -> Self {
        Self { account_failures: 10, address_failures: 50, window_s: 900, guess_wait_s: 8 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policies: vec![Policy { name: "account".to_owned(), kind: PolicyKind::Accounts }],
            hmac_secret: Secret::default(),
            cache_s: 30,
            throttling: Throttling::default(),
        }
    }
}

impl Settings {
    /// Whether these settings can work.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (n, policy) in self.policies.iter().enumerate() {
            let before = &self.policies[..n];
            if policy.name.is_empty() || policy.name.contains([':', '/']) {
                return Err(SettingsError::Name { name: policy.name.clone() });
            }
            if before.iter().any(|other| other.name == policy.name) {
                return Err(SettingsError::SameName { name: policy.name.clone() });
            }
            if let Some(other) = before.iter().find(|other| other.kind == policy.kind) {
                let (first, second) = (other.name.clone(), policy.name.clone());
                return Err(SettingsError::SameKind { first, second });
            }
            if policy.kind == PolicyKind::Accounts
                && let Some(basic) = before.iter().find(|other| other.kind == PolicyKind::Basic)
            {
                let (basic, accounts) = (basic.name.clone(), policy.name.clone());
                return Err(SettingsError::BasicFirst { basic, accounts });
            }
        }
        Ok(())
    }
}

/// Settings that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// Every user name and password would be taken before an account is looked at.
    #[error(
        "authentication policy \"{basic}\" accepts every user name and password, so \"{accounts}\" \
         after it would never be asked: put \"{accounts}\" first"
    )]
    BasicFirst {
        /// Name of the policy that comes first.
        basic: String,
        /// Name of the policy that would never be asked.
        accounts: String,
    },
    /// People of two policies could not be told apart.
    #[error("two authentication policies have the name \"{name}\": give each its own")]
    SameName {
        /// The name.
        name: String,
    },
    /// The second could only repeat what the first said.
    #[error(
        "authentication policies \"{first}\" and \"{second}\" are of the same kind: keep one \
         of them"
    )]
    SameKind {
        /// Name of the policy that comes first.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// Prefixes end with a colon and stand beside the paths of groups.
    #[error("\"{name}\" cannot name an authentication policy: it is empty or has a \":\" or \"/\"")]
    Name {
        /// The name.
        name: String,
    },
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(empty)" } else { "(secret)" })
    }
}

#[cfg(test)]
mod tests;
