//! What of a batch may concern watchers: the little that is taken out before it is applied.

use foldhash::HashSet;
use nuage_model::{Batch, BucketId, CollectionPath, Kind, Principal, Put, Write};

/// What a batch does that may concern watchers.
pub(crate) struct News(Option<Vec<Event>>);

/// What one write does.
pub(super) enum Event {
    /// Records of this collection changed.
    Moved(CollectionPath),
    /// Who may see this collection, or whether it is there.
    Collection(CollectionPath),
    /// The same of all collections of this bucket.
    Bucket(BucketId),
    /// Who belongs to a group: what its members count as, and those who are in it from now on.
    Members(HashSet<Principal>),
    /// All that belonged to groups of this bucket do so no more.
    Groups(BucketId),
    /// Everything.
    Everything,
}

impl News {
    /// Of a batch that nobody watched when it was begun.
    pub(super) fn unknown() -> Self {
        Self(None)
    }

    /// Of a batch that is to be applied.
    pub(super) fn of(batch: &Batch) -> Self {
        let mut events = Vec::new();
        for write in &batch.writes {
            match write {
                // Nothing is left that could tell whom it concerns.
                Write::Erase { path } if path.kind() == Kind::Record => {
                    events.push(Event::Collection(path.collection.clone()));
                }
                Write::Put(Put { path, .. })
                | Write::Delete { path, .. }
                | Write::Erase { path } => match path.kind() {
                    Kind::Record => match events.last() {
                        Some(Event::Moved(last)) if *last == path.collection => {}
                        _ => events.push(Event::Moved(path.collection.clone())),
                    },
                    Kind::Bucket => events.push(Event::Bucket(path.id.as_str().into())),
                    Kind::Collection => {
                        events.extend(path.collection_below().map(Event::Collection));
                    }
                    Kind::Group | Kind::Account | Kind::History => {}
                },
                Write::DropCollection { collection } => {
                    events.push(Event::Collection(collection.clone()));
                }
                Write::DropBucket { bucket } => {
                    events.push(Event::Bucket(bucket.clone()));
                    events.push(Event::Groups(bucket.clone()));
                }
                Write::SetMembers { group, members } => {
                    let mut concerned: HashSet<Principal> = members.iter().cloned().collect();
                    concerned.insert(group.principal());
                    events.push(Event::Members(concerned));
                }
                Write::Renew { .. } | Write::Flush { .. } => events.push(Event::Everything),
                Write::Touch { .. }
                | Write::Compact { .. }
                | Write::Mark { .. }
                | Write::KeepView { .. }
                | Write::ForgetViews { .. }
                | Write::Note { .. } => {}
            }
        }
        Self(Some(events))
    }

    /// Event by event, unless it is not known.
    pub(super) fn events(self) -> Option<Vec<Event>> {
        self.0
    }
}
