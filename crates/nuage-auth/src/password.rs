//! Passwords: hashing new ones and verifying stored hashes, off the threads that serve requests.
//!
//! New hashes are argon2id in the PHC notation. Hashes of bcrypt, from a store that was moved
//! here, are verified too. Who does not exist is verified against a hash that nothing matches, so
//! that an answer takes as long. An account that still has a bcrypt hash takes longer than others.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use crate::turns::Turn;

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

/// How many are hashed at a time: as many as there are cores, within bounds.
pub(crate) fn parallel() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    cores.clamp(2, PARALLEL_MAX)
}

/// Whether the password is the one of the hash; `None` is nobody's. Work that was begun is done to
/// its end and keeps its turn, also when nobody waits for it any more.
pub(crate) async fn verify(turn: Turn, password: String, hash: Option<String>) -> bool {
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
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
pub(crate) async fn hash(turn: Turn, password: String) -> String {
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        hash_password_blocking(&password)
    });
    work.await.expect("hashing does not panic, and the runtime outlives its requests")
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
