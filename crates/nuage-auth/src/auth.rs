//! The question that every request asks: who is it?

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::password_hash::try_generate_salt;
use nuage_engine::Engine;
use nuage_model::{Principal, Record, RecordPath, StoreError};

use crate::basic::Credentials;
use crate::cache::{Cache, Digest, Found, Judgement, Seen};
use crate::password;
use crate::settings::{Policy, PolicyKind, Settings, SettingsError};
use crate::throttle::{Key, Network, Suspect, Throttle};
use crate::turns::{Asker, Clock, Crowded, Purpose, Turns};

/// Beyond this, times could not be added to others.
const WAIT_MS_MAX: u64 = 3_600_000;

/// Says who is asking.
pub struct Auth {
    engine: Arc<Engine>,
    settings: Settings,
    key: [u8; 32],
    /// People known by their accounts. Apart from the others, so that credentials that anybody
    /// can make up do not push them out.
    accounts: Cache,
    others: Cache,
    turns: Turns,
    clock: Clock,
    /// How often a password was compared with a hash.
    #[cfg(test)]
    verified: std::sync::atomic::AtomicUsize,
}

/// Why it is not said who is asking.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// So many passwords have to be looked at, or so many wrong ones were, that the turn of this
    /// one did not come in time.
    #[error("too many attempts, try again in {retry_after_s} s")]
    TooManyAttempts {
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Crowded> for AuthError {
    fn from(crowded: Crowded) -> Self {
        let seconds = crowded.after.as_secs_f64().ceil().max(1.0);
        Self::TooManyAttempts { retry_after_s: seconds as u64 }
    }
}

impl Auth {
    /// Asks these policies.
    pub fn new(engine: Arc<Engine>, settings: Settings) -> Result<Self, SettingsError> {
        // The time of day may be set back, and what was to last a moment would last a day.
        let started = Instant::now();
        Self::with_clock(engine, settings, Arc::new(move || started.elapsed()))
    }

    fn with_clock(
        engine: Arc<Engine>,
        settings: Settings,
        clock: Clock,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let limits = &engine.settings().limits;
        let turns = Turns::new(
            Throttle::new(&settings.throttling),
            Arc::clone(&clock),
            password::parallel(),
            limits.queued_passwords,
            // Nobody waits for longer than a request may take, and that is not for ever either.
            Duration::from_millis(limits.password_ms.min(limits.request_ms).min(WAIT_MS_MAX)),
        );
        let mut key = [0; 32];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(&try_generate_salt().expect("the system gives random bytes"));
        }
        Ok(Self {
            engine,
            key,
            accounts: Cache::new(settings.cache_s),
            others: Cache::new(settings.cache_s),
            turns,
            clock,
            #[cfg(test)]
            verified: Default::default(),
            settings,
        })
    }

    /// The policies, in the order in which they are asked.
    pub fn policies(&self) -> &[Policy] {
        &self.settings.policies
    }

    /// Who the person of an account is; `None` if no policy knows accounts.
    pub fn account_person(&self, id: &str) -> Option<Principal> {
        let policy = self.policies().iter().find(|policy| policy.kind == PolicyKind::Accounts)?;
        Some(Principal::from(format!("{}:{id}", policy.name)))
    }

    /// Who is asking, by the value of the `Authorization` header; `None` is anybody.
    ///
    /// Credentials that were judged not long ago are neither decoded nor hashed again. They are
    /// dropped when their account changes.
    ///
    /// A wrong password counts against the account name and the address, and makes further ones
    /// wait. Where another policy comes after the accounts, a name without account is in normal
    /// use (many people may even share one name with a password each), and counts for nothing; a
    /// wrong password for an account that exists still counts. So in that order a wait tells that
    /// an account exists, as signing up does.
    pub async fn identify(
        &self,
        authorization: Option<&[u8]>,
        peer: IpAddr,
    ) -> Result<Option<Principal>, AuthError> {
        let Some(authorization) = authorization else { return Ok(None) };
        let digest: Digest = *blake3::keyed_hash(&self.key, authorization).as_bytes();
        if let Some(judged) = self.recall(&digest) {
            return Ok(judged);
        }
        let Some(credentials) = Credentials::parse(authorization) else { return Ok(None) };
        let trust = match self.reconsider(&digest).await? {
            Reconsidered::Holds(judged) => return Ok(judged),
            Reconsidered::Verify(trust) => trust,
        };
        let attempt = Attempt { digest, credentials: &credentials, peer, trust };
        let mut seen = None;
        for policy in &self.settings.policies {
            match policy.kind {
                PolicyKind::Accounts => match self.ask_accounts(policy, &attempt).await? {
                    Answer::Is(judged) => return Ok(judged),
                    Answer::IsNot(read) => seen = read,
                },
                PolicyKind::Basic => {
                    let person = credentials.person(&policy.name, &self.settings.hmac_secret);
                    self.note_other(digest, Some(person.clone()), seen);
                    return Ok(Some(person));
                }
            }
        }
        // A device that keeps a password that was changed asks again and again.
        self.note_other(digest, None, seen);
        Ok(None)
    }

    /// Remembers whose credentials they are that are no account's.
    fn note_other(&self, digest: Digest, person: Option<Principal>, seen: Option<(Seen, u64)>) {
        let (seen, generation) = match seen {
            Some((seen, generation)) => (Some(seen), generation),
            None => (None, 0),
        };
        let judgement = Judgement { person, seen, generation };
        self.others.put(digest, judgement, (self.clock)());
    }

    /// A number for the account whose password was given not long ago with the same value of the
    /// `Authorization` header; `None` if none is known. A look into memory: it says whom to serve
    /// first, not who it is.
    pub fn known(&self, authorization: &[u8]) -> Option<u64> {
        let digest: Digest = *blake3::keyed_hash(&self.key, authorization).as_bytes();
        let account = self.accounts.account(&digest)?;
        Some(u128::from_ne_bytes(self.name_key(account.id.as_str())) as u64)
    }

    /// Hashes a new password, off the threads that serve requests, when its turn comes.
    pub async fn hash_password(&self, password: String, peer: IpAddr) -> Result<String, AuthError> {
        let turn = self.turns.turn(Asker { network: peer.into(), purpose: Purpose::Set }).await?;
        Ok(password::hash(turn, password).await)
    }

    /// What is known for certain and at once: whose credentials they are, or that they are
    /// nobody's.
    fn recall(&self, digest: &Digest) -> Option<Option<Principal>> {
        let now = (self.clock)();
        let generation = self.engine.accounts_generation();
        for cache in [&self.accounts, &self.others] {
            if let Found::Fresh(judged) = cache.get(digest, generation, now) {
                return Some(judged);
            }
        }
        None
    }

    /// What is known but doubtful, because accounts changed or time went by.
    async fn reconsider(&self, digest: &Digest) -> Result<Reconsidered, StoreError> {
        let now = (self.clock)();
        // Asked before reading: a change meanwhile makes the judgement doubtful again.
        let generation = self.engine.accounts_generation();
        for cache in [&self.accounts, &self.others] {
            let (judgement, expired) = match cache.get(digest, generation, now) {
                Found::Fresh(judged) => return Ok(Reconsidered::Holds(judged)),
                Found::Doubtful(judgement) => (judgement, false),
                Found::Expired(judgement) => (judgement, true),
                Found::Nothing => continue,
            };
            if let Some(seen) = &judgement.seen {
                let account = self.engine.peek(&seen.path).await?.filter(Record::is_live);
                if account.map(|record| record.seq) != seen.live_at {
                    cache.forget(digest);
                    continue;
                }
            }
            // That credentials are not those of an account needs no second proof.
            if expired && std::ptr::eq(cache, &self.accounts) {
                return Ok(Reconsidered::Verify(Trust::RightBefore));
            }
            let judgement = Judgement { generation, ..judgement };
            let person = judgement.person.clone();
            cache.put(*digest, judgement, now);
            return Ok(Reconsidered::Holds(person));
        }
        Ok(Reconsidered::Verify(Trust::Unknown))
    }

    async fn ask_accounts(
        &self,
        policy: &Policy,
        attempt: &Attempt<'_>,
    ) -> Result<Answer, AuthError> {
        let user = attempt.credentials.user();
        // No account has such a name, and names are kept with what was found out about them.
        if user.len() > self.engine.settings().limits.id_bytes {
            return Ok(Answer::IsNot(None));
        }
        let network = Network::from(attempt.peer);
        let suspect = Suspect { name: self.name_key(user), network };
        let purpose = match attempt.trust {
            Trust::RightBefore => Purpose::Confirm,
            Trust::Unknown => Purpose::Verify(suspect, attempt.digest),
        };
        let turn = self.turns.turn(Asker { network, purpose }).await?;
        // While this waited, the same credentials may have been judged.
        if let Some(judged) = self.recall(&attempt.digest) {
            return Ok(Answer::Is(judged));
        }
        let generation = self.engine.accounts_generation();
        let path = RecordPath::account(user);
        let account = self.engine.peek(&path).await?.filter(Record::is_live);
        let live_at = account.as_ref().map(|record| record.seq);
        let hash = account.as_ref().and_then(password_of);
        let password = attempt.credentials.password().to_owned();
        #[cfg(test)]
        self.verified.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let matches = password::verify(turn, password, hash).await;
        let seen = Seen { path, live_at };
        if matches {
            self.turns.succeeded(&suspect);
            let person = Some(Principal::from(format!("{}:{user}", policy.name)));
            let judgement = Judgement { person: person.clone(), seen: Some(seen), generation };
            self.accounts.put(attempt.digest, judgement, (self.clock)());
            return Ok(Answer::Is(person));
        }
        if live_at.is_some() || self.settings.policies.last() == Some(policy) {
            self.turns.failed(&suspect);
        }
        Ok(Answer::IsNot(Some((seen, generation))))
    }

    fn name_key(&self, user: &str) -> Key {
        let digest = blake3::keyed_hash(&self.key, user.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_bytes()[..16]);
        key
    }
}

/// Credentials that have to be judged.
struct Attempt<'a> {
    digest: Digest,
    credentials: &'a Credentials,
    peer: IpAddr,
    trust: Trust,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// They were verified before, and the account did not change since: this is no guess.
    RightBefore,
    /// They may be a guess.
    Unknown,
}

enum Reconsidered {
    Holds(Option<Principal>),
    Verify(Trust),
}

enum Answer {
    /// This is all there is to say.
    Is(Option<Principal>),
    /// Not by this account, if there can be one, and what the accounts' generation was before it
    /// was read.
    IsNot(Option<(Seen, u64)>),
}

/// The hash that an account holds. An account without one has no password that is right.
fn password_of(account: &Record) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(account.body()).ok()?;
    Some(body.get("password")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests;
