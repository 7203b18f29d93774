//! Room for large answers: how many bytes of them may be held until they are taken.
//!
//! Whoever makes an answer takes room for it before anything is written, and the room is free again
//! when the last byte was handed to the system, or the connection is gone. One holder has a
//! quarter of it at most, so that others find some. It does not know who a holder is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller answers take no room: the buffers of a connection cost as much.
pub const SMALL_BYTES: usize = 64 * 1024;

/// Room for answers. Clones are the same room.
#[derive(Clone, Debug, Default)]
pub struct Room(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    bytes_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    by: HashMap<Box<str>, usize>,
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Numbers are never half written.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared { bytes_max, taken: Mutex::default() }))
    }

    /// Takes room for an answer to somebody; `None` if there is not enough.
    pub fn take(&self, holder: &str, bytes: usize) -> Option<Held> {
        if bytes < SMALL_BYTES {
            return Some(Held(None));
        }
        let mut taken = self.0.taken();
        let own = taken.by.get(holder).copied().unwrap_or(0);
        if taken.bytes + bytes > self.0.bytes_max || own + bytes > self.0.bytes_max / 4 {
            drop(taken);
            tracing::warn!(holder, "too many large answers wait to be taken");
            return None;
        }
        taken.bytes += bytes;
        *taken.by.entry(holder.into()).or_default() += bytes;
        drop(taken);
        Some(Held(Some(Part { room: Arc::clone(&self.0), holder: holder.into(), bytes })))
    }
}

/// Some of a [`Room`], free when it is dropped.
#[derive(Debug)]
pub struct Held(Option<Part>);

#[derive(Debug)]
struct Part {
    room: Arc<Shared>,
    holder: Box<str>,
    bytes: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.bytes -= self.bytes;
        if let Some(own) = taken.by.get_mut(&self.holder) {
            *own -= self.bytes;
            if *own == 0 {
                taken.by.remove(&self.holder);
            }
        }
    }
}

impl Held {
    /// The same bytes, which keep this room until they are dropped.
    pub fn keep(held: Vec<Self>, bytes: Bytes) -> Bytes {
        if held.iter().all(|held| held.0.is_none()) {
            return bytes;
        }
        Bytes::from_owner(Kept { bytes, _held: held })
    }
}

struct Kept {
    bytes: Bytes,
    _held: Vec<Held>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_has_a_quarter_and_all_have_the_whole() {
        let room = Room::new(1024 * 1024);
        let mut places: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|holder| room.take(holder, 200 * 1024).unwrap())
            .collect();
        assert!(room.take("a", 100 * 1024).is_none(), "more than a quarter");
        assert!(room.take("e", 250 * 1024).is_none(), "more than there is");
        assert!(room.take("e", 1024).is_some(), "small answers take no room");
        let answer = Held::keep(vec![places.remove(0)], Bytes::from_static(b"x"));
        assert!(room.take("a", 100 * 1024).is_none());
        drop(answer);
        assert!(room.take("e", 250 * 1024).is_some());
    }
}
