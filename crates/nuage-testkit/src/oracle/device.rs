//! What a device keeps: a mirror and a token, as any client would. What the judge must know of the
//! token is kept beside it.

use std::collections::BTreeMap;

use crate::oracle::subject::{Entry, Page};

/// Content and time of the records that a device has, by id.
pub(crate) type Mirror = BTreeMap<String, (u64, i64)>;

/// How many of its former states a device may be put back to.
const KEPT: usize = 8;

#[derive(Clone, Default)]
pub(crate) struct Device {
    pub(crate) person: usize,
    pub(crate) state: State,
    /// Its former states, the latest last.
    former: Vec<State>,
}

#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) mirror: Mirror,
    /// What takes the place of the mirror at rest.
    fresh: Option<Mirror>,
    pub(crate) token: Option<String>,
    pub(crate) origin: Origin,
}

/// What there was when a token was given.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    pub(crate) incarnation: u64,
    /// Whether anything had been written to it: before, it is no collection to a store.
    pub(crate) written: bool,
    /// Where the device stood when its run began, or stands at rest.
    pub(crate) floor: Option<i64>,
    /// Of a run: how many commits there were when it began.
    pub(crate) run: Option<u64>,
    /// How often views had been forgotten when it was last at rest.
    pub(crate) forgotten: u64,
}

impl Device {
    pub(crate) fn of(person: usize) -> Self {
        Self { person, ..Self::default() }
    }

    /// As it was so many pages ago, as far as that is remembered.
    pub(crate) fn put_back(&mut self, pages: usize) {
        let at = self.former.len().saturating_sub(1 + pages);
        self.state = self.former.get(at).cloned().unwrap_or_default();
    }

    /// Takes a page.
    pub(crate) fn take(&mut self, page: &Page) {
        let state = &mut self.state;
        if page.reset {
            state.fresh = Some(Mirror::new());
        }
        let mirror = state.fresh.as_mut().unwrap_or(&mut state.mirror);
        for entry in &page.entries {
            match entry {
                Entry::Change(id, content, time) => {
                    mirror.insert(id.clone(), (*content, *time));
                }
                Entry::Removal(id) => {
                    mirror.remove(id);
                }
            }
        }
        state.token = Some(page.token.clone());
        if !page.more
            && let Some(fresh) = state.fresh.take()
        {
            state.mirror = fresh;
        }
    }

    /// Forgets everything: there is nothing to see.
    pub(crate) fn forget(&mut self) {
        self.state = State::default();
    }

    /// Remembers its state, to be put back to it.
    pub(crate) fn remember(&mut self) {
        self.former.push(self.state.clone());
        if self.former.len() > KEPT {
            self.former.remove(0);
        }
    }
}
