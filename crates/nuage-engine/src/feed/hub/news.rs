//! What of a batch may concern watchers: the little that is taken out before it is applied.

use foldhash::HashSet;
use nuage_model::{Batch, BucketId, CollectionPath, GroupPath, Kind, Principal, Put, Write};

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
    /// Who belongs to a group.
    Members(MembersChange),
    /// All that belonged to groups of this bucket do so no more.
    Groups(BucketId),
    /// Everything.
    Everything,
}

/// Who belongs to groups of a bucket.
pub(super) struct MembersChange {
    pub(super) bucket: BucketId,
    /// What their members count as, and those who are in them from now on.
    pub(super) principals: HashSet<Principal>,
    /// Whether there are groups among these: then it may concern whoever is in one of them.
    pub(super) has_groups: bool,
}

impl MembersChange {
    /// That groups of this bucket have these members from now on.
    pub(super) fn of(
        bucket: BucketId,
        groups: impl Iterator<Item = GroupPath>,
        members: HashSet<Principal>,
    ) -> Self {
        let is_group = |member: &Principal| GroupPath::of_principal(member.as_str()).is_some();
        let has_groups = members.iter().any(is_group);
        let mut principals = members;
        principals.extend(groups.map(|group| group.principal()));
        Self { bucket, principals, has_groups }
    }
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
                    let bucket = group.bucket.clone();
                    let groups = std::iter::once(group.clone());
                    let members = members.iter().cloned().collect();
                    events.push(Event::Members(MembersChange::of(bucket, groups, members)));
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
