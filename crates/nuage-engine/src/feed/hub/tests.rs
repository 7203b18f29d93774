//! Who is woken for what, and that nobody is forgotten.
#![allow(clippy::unwrap_used)]

mod index;

fn seed() -> u64 {
    match std::env::var("NUAGE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    }
}
