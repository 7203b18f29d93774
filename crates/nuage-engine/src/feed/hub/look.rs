//! Compares heads and the epoch, now and then and when another process says so: for what no hint
//! told of.
//!
//! Beside those of the watched collections, the heads of what decides about them are compared:
//! the buckets, the collections and groups of their buckets, and the groups of other buckets on which
//! the views of watchers depend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use nuage_model::{
    Bodies, BucketId, CollectionPath, GroupPath, Kind, RecordId, RecordPath, Seq, StoreError,
};
use tokio::time::Instant;

use crate::feed::hub::Shared;
use crate::feed::hub::news::{Event, MembersChange};
use crate::feed::hub::scans::{ask, changed_records};
use crate::write::members_of;

/// Heads that are asked for in one question.
const HEADS_MAX: usize = 20_000;
/// Groups that are read to find whom their change concerns; beyond that it is all who may be in
/// groups of the bucket.
const GROUPS_MAX: usize = 100;
/// Time between two looks, however many hints come.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks for ever.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut looker = Looker { known: HashMap::new(), epoch: None };
    let mut is_failing = false;
    loop {
        let begun = Instant::now();
        match looker.look(shared).await {
            Ok(()) => is_failing = false,
            Err(error) if !is_failing => {
                tracing::warn!(error = %error, "watched collections cannot be looked at");
                is_failing = true;
            }
            Err(_) => {}
        }
        shared.count_look();
        tokio::select! {
            () = tokio::time::sleep_until(begun + shared.look) => {}
            () = shared.look_asked.notified() => {}
        }
        tokio::time::sleep_until(begun + PAUSE).await;
    }
}

struct Looker {
    /// Heads of built-in collections.
    known: HashMap<CollectionPath, Option<Seq>>,
    epoch: Option<String>,
}

impl Looker {
    async fn look(&mut self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        self.look_at_epoch(shared).await?;
        let watches = shared.watches();
        let mut built_in = BTreeSet::from([CollectionPath::buckets()]);
        for watch in &watches {
            let bucket = &watch.collection.bucket;
            built_in.insert(CollectionPath::collections(bucket.clone()));
            built_in.insert(CollectionPath::groups(bucket.clone()));
            built_in.extend(watch.group_buckets().into_iter().map(CollectionPath::groups));
        }
        self.known.retain(|collection, _| built_in.contains(collection));
        let built_in: Vec<CollectionPath> = built_in.into_iter().collect();
        let mut paths = built_in.clone();
        paths.extend(watches.iter().map(|watch| watch.collection.clone()));
        let mut heads = Vec::with_capacity(paths.len());
        for paths in paths.chunks(HEADS_MAX) {
            heads.extend(shared.store.heads(paths).await?);
        }
        let mut heads = heads.into_iter().map(|head| head.map(|head| head.seq));
        for collection in built_in {
            let head = heads.next().flatten();
            let before = self.known.insert(collection.clone(), head);
            if before != Some(head) {
                // All is new where there was nothing.
                let after = before.map(Option::unwrap_or_default);
                moved(shared, &collection, after).await;
            }
        }
        for watch in watches {
            if watch.is_behind(heads.next().flatten()) {
                shared.moved(&watch);
            }
        }
        Ok(())
    }

    // In another one nothing holds that was told before, whatever the heads are.
    async fn look_at_epoch(&mut self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        let ask = ask(&CollectionPath::buckets());
        let (opening, moment) = shared.store.snapshot(&ask).await?;
        drop(moment);
        let before = self.epoch.replace(opening.epoch);
        if before.is_some() && before != self.epoch {
            shared.wake_everybody();
        }
        Ok(())
    }
}

/// Wakes those whom the changes of a built-in collection concern, since this position if it was
/// known before.
async fn moved(shared: &Arc<Shared>, collection: &CollectionPath, after: Option<Seq>) {
    let bucket = &collection.bucket;
    let changed = match after {
        Some(after) => changed_records(shared, collection, after).await.unwrap_or_default(),
        None => None,
    };
    match (collection.kind(), changed) {
        (Kind::Bucket, Some(buckets)) => {
            for bucket in buckets {
                shared.wake_bucket(&BucketId::from(bucket.as_str()));
            }
        }
        (Kind::Bucket, None) => shared.wake_everybody(),
        (Kind::Group, Some(groups)) if groups.len() <= GROUPS_MAX => {
            match concerned(shared, bucket, groups).await {
                Ok(change) => shared.note(&Event::Members(change)),
                Err(_) => shared.wake_members_in(bucket),
            }
        }
        (Kind::Group, _) => shared.wake_members_in(bucket),
        (_, Some(collections)) => {
            for name in collections {
                shared.wake_collection(&CollectionPath::new(bucket.clone(), name.as_str()));
            }
        }
        (_, None) => shared.wake_bucket(bucket),
    }
}

/// Who is in these groups now.
async fn concerned(
    shared: &Shared,
    bucket: &BucketId,
    groups: Vec<RecordId>,
) -> Result<MembersChange, StoreError> {
    let collection = CollectionPath::groups(bucket.clone());
    let paths: Vec<RecordPath> =
        groups.iter().map(|group| collection.record(group.clone())).collect();
    let mut members = HashSet::new();
    for record in shared.store.get(&paths, Bodies::All).await?.iter().flatten() {
        // What is no list of members made nobody a member.
        members.extend(members_of(record.body(), usize::MAX).unwrap_or_default());
    }
    let groups = groups.into_iter().map(|group| GroupPath { bucket: bucket.clone(), group });
    Ok(MembersChange::of(bucket.clone(), groups, members))
}
