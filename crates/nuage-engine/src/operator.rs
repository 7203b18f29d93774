//! What the operator may always do, whatever permissions say: rights are not asked, since whoever
//! reaches the data itself has all of them.

use std::sync::Arc;
use std::time::Duration;

use nuage_model::{
    ApplyError, Batch, BucketId, CollectionPath, Direction, Field, GroupPath, Kind, Placement,
    Query, ReaderFilter, RecordPath, Sort, States, StoreError, View, Write,
};

use crate::{Attempts, CommitError, Engine, EngineError};

/// Records removed in one commit: a millisecond or two of the disk. Each is read, and may be as
/// large as a request.
const STEP: usize = 100;
/// Pause between two commits, in which others write.
const REST: Duration = Duration::from_millis(5);
/// Collections looked at in one step.
const COLLECTIONS: usize = 1_000;

impl Engine {
    /// Deletes a bucket with all that is in it; false if there was nothing. Most of it goes in
    /// small commits, so that nobody waits long; the bucket itself goes last, so that nobody can
    /// make it anew over what is left. Repeating it after an interruption finishes the work.
    ///
    /// # Errors
    ///
    /// [`EngineError::Store`], also where the bucket changes all the time.
    pub async fn delete_bucket(self: &Arc<Self>, bucket: &BucketId) -> Result<bool, EngineError> {
        if bucket.as_str().is_empty() {
            // What holds the buckets is none.
            return Ok(false);
        }
        let removed = self.empty_bucket(bucket).await?;
        let path = RecordPath::bucket(bucket.clone());
        let attempts_max = self.settings().limits.write_attempts;
        let mut attempts = Attempts::at(path.clone());
        loop {
            let mut session = self.session(None, &attempts).await;
            let opened = session.open_unjudged(path.clone()).await?;
            let is_there = opened.live().is_some();
            match (is_there, removed) {
                (true, _) => drop(session.delete(&opened, None).await?),
                (false, true) => session.stage(Write::DropBucket { bucket: bucket.clone() }),
                (false, false) => return Ok(false),
            }
            match session.commit().await {
                Ok(_) => return Ok(true),
                Err(CommitError::Store(error)) => return Err(error.into()),
                Err(CommitError::Conflict(conflict)) => {
                    if !attempts.again(conflict, attempts_max) {
                        let why = "the bucket kept changing while it was deleted".to_owned();
                        return Err(StoreError::Unavailable(why).into());
                    }
                }
            }
        }
    }

    // Whether anything was in it.
    async fn empty_bucket(self: &Arc<Self>, bucket: &BucketId) -> Result<bool, EngineError> {
        let mut after = CollectionPath::new(bucket.as_str(), "");
        let mut removed = false;
        loop {
            let paths =
                self.store().collections(ReaderFilter::All, Some(&after), COLLECTIONS).await?;
            let full = paths.len() == COLLECTIONS;
            for path in paths {
                if path.bucket != *bucket {
                    return Ok(removed);
                }
                removed = true;
                // Records of collections stay for as long as something may be in one.
                if path.kind() != Kind::Collection {
                    self.empty_collection(&path).await?;
                }
                after = path;
            }
            if !full {
                return Ok(removed);
            }
        }
    }

    async fn empty_collection(self: &Arc<Self>, path: &CollectionPath) -> Result<(), EngineError> {
        let mut query = Query::all(path.clone(), STEP);
        query.states = States::Both;
        query.sort = vec![Sort { field: Field::Id, direction: Direction::Ascending }];
        loop {
            let page = self.store().list(&query).await?;
            let Some(last) = page.records.last() else { return Ok(()) };
            query.after = Some(query.position(&View::new(last)));
            let mut writes = Vec::with_capacity(page.records.len());
            for record in &page.records {
                let path = path.record(record.id.clone());
                if path.kind() == Kind::Group {
                    // By the position of a deletion others notice that it has no members any more.
                    let bucket = path.collection.bucket.clone();
                    let group = GroupPath { bucket, group: record.id.clone() };
                    writes.push(Write::Delete { path: path.clone(), placement: Placement::Next });
                    writes.push(Write::SetMembers { group, members: Vec::new() });
                }
                writes.push(Write::Erase { path });
            }
            let batch = Batch::new(self.now(), writes);
            match self.apply(batch, Vec::new(), Vec::new()).await {
                Ok(_) => {}
                Err(ApplyError::Store(error)) => return Err(error.into()),
                Err(ApplyError::Conflict) => unreachable!("there are no guards"),
            }
            if !page.more {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
        }
    }
}
