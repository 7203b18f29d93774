//! Passwords: hashing new ones, verifying stored hashes, and no more of both at a time than the
//! machine can bear.
//!
//! New hashes are argon2id in the PHC notation. Hashes of bcrypt, from a store that was moved
//! here, are verified too. Who does not exist is verified against a hash that nothing matches, so
//! that an answer takes as long. An account that still has a bcrypt hash takes longer than others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory of one hash: what OWASP names for four passes, as strong as more memory and fewer
/// passes. The allocator keeps it after the first log-in, and four at a time fit a small machine.
const MEMORY_KIB: u32 = 9_216;
/// Passes over that memory.
const PASSES: u32 = 4;
/// Lanes: the rest of the machine serves others meanwhile.
const LANES: u32 = 1;

/// Hashes that ask for more memory are not verified: 1 GiB. They are not ours, and would take the
/// memory that the server needs.
const MEMORY_KIB_MAX: u32 = 1 << 20;
/// Likewise the passes over it.
const PASSES_MAX: u32 = 16;
/// Likewise for bcrypt: each step doubles the time, and this one takes several seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// Hashes computed at a time, at most; at least two, so that one slow hash does not hold all.
const PARALLEL_MAX: usize = 4;
/// Verifications that wait for their turn. It takes about two seconds to come to the last.
const WAITING_MAX: usize = 128;

/// Verified where there is no account. Its salt and hash are made up.
const NOBODY: &str = "$argon2id$v=19$m=9216,t=4,p=1$bnVhZ2Uvbm9ib2R5LzE\
                      $c29tZXRoaW5nIHRoYXQgbm8gcGFzc3dvcmQgZ2l2ZXM";

/// Hashes a password with a salt of its own, in about 20 ms of the calling thread.
pub fn hash_password_blocking(password: &str) -> String {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these are sane figures");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2
        .hash_password(password.as_bytes())
        .expect("the system gives random bytes and memory for a salt and a hash");
    hash.to_string()
}

/// Where passwords are hashed: off the threads that serve requests, a few at a time.
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How often a password was compared with a hash.
    verified: Arc<AtomicUsize>,
}

/// The right to hash once.
pub(crate) struct Turn(OwnedSemaphorePermit);

/// Too many wait already.
#[derive(Debug)]
pub(crate) struct Crowded;

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hasher {
    /// As many at a time as there are cores, within bounds.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(cores.clamp(2, PARALLEL_MAX))),
            waiting: AtomicUsize::new(0),
            verified: Arc::default(),
        }
    }

    /// Waits for a turn, if not too many do.
    pub(crate) async fn turn(&self) -> Result<Turn, Crowded> {
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(Crowded);
        }
        let turn = self.any_turn().await;
        drop(waiting);
        Ok(turn)
    }

    async fn any_turn(&self) -> Turn {
        let turns = Arc::clone(&self.turns);
        Turn(turns.acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// Whether the password is the one of the hash; `None` is nobody's. Work that was begun is
    /// done to its end and keeps its turn, also when nobody waits for it any more.
    pub(crate) async fn verify(&self, turn: Turn, password: String, hash: Option<String>) -> bool {
        let verified = Arc::clone(&self.verified);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn.0;
            verified.fetch_add(1, Ordering::Relaxed);
            match &hash {
                Some(hash) => matches(&password, hash),
                None => {
                    matches(&password, NOBODY);
                    false
                }
            }
        });
        // A panic is not a match.
        work.await.unwrap_or(false)
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: String) -> String {
        let turn = self.any_turn().await;
        tokio::task::spawn_blocking(move || {
            let _turn = turn.0;
            hash_password_blocking(&password)
        })
        .await
        .expect("hashing does not panic, and the runtime outlives its requests")
    }

    /// How often a password was compared with a hash.
    #[cfg(test)]
    pub(crate) fn verifications(&self) -> usize {
        self.verified.load(Ordering::Relaxed)
    }
}

/// Whether the password is the one of the hash. A hash that cannot be read matches nothing. Both
/// kinds compare in constant time.
fn matches(password: &str, hash: &str) -> bool {
    let outcome = if hash.starts_with("$2") {
        matches_bcrypt(password, hash)
    } else {
        matches_argon2(password, hash)
    };
    outcome.unwrap_or_else(|| {
        tracing::warn!("the password of an account is not a hash that can be verified");
        false
    })
}

fn matches_argon2(password: &str, hash: &str) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let params = Params::try_from(&hash).ok()?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
        return None;
    }
    Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    Some(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn matches_bcrypt(password: &str, hash: &str) -> Option<bool> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    if parts.get_cost() > BCRYPT_COST_MAX {
        return None;
    }
    bcrypt::verify(password, hash).ok()
}

#[cfg(test)]
mod tests;
