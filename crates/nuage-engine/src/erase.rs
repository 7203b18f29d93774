//! Forgetting a person: what only they may change is deleted, and their name leaves the
//! permissions and groups of everything else.
//!
//! Source: Kinto fact sheet, section 20, "User data".

use std::sync::Arc;

use nuage_model::{
    Direction, Field, Kind, Principal, Query, ReaderFilter, RecordPath, Scope, Sort, StoreError,
    View,
};
use serde_json::Value;

use crate::engine::read_permissions;
use crate::{Attempts, CommitError, Engine, EngineError};

/// Records changed in one commit.
const STEP: usize = 100;

impl Engine {
    /// Erases a person, step by step. Repeating it after an interruption finishes the work.
    pub async fn erase(self: &Arc<Self>, principal: &Principal) -> Result<(), EngineError> {
        let whom = [principal.clone()];
        // Buckets first: what is below them is gone with them.
        let mut collections =
            self.store().collections(ReaderFilter::Of(&whom), None, usize::MAX).await?;
        collections.sort_by_key(|collection| collection.kind());
        for collection in collections {
            if collection.kind() == Kind::History {
                continue;
            }
            let mut query = Query::all(collection.clone(), STEP);
            query.scope = Scope::Readers(whom.to_vec());
            query.sort = vec![Sort { field: Field::Id, direction: Direction::Ascending }];
            // What cannot be changed is passed, so that it ends.
            loop {
                let page = self.store().list(&query).await?;
                for record in &page.records {
                    self.erase_from(&collection.record(record.id.clone()), principal).await?;
                }
                let Some(last) = page.records.last().filter(|_| page.more) else { break };
                query.after = Some(query.position(&View::new(last)));
            }
        }
        for group in self.store().groups_of(&whom, usize::MAX).await? {
            let groups = nuage_model::CollectionPath::groups(group.bucket);
            self.erase_from(&groups.record(group.group), principal).await?;
        }
        Ok(())
    }

    async fn erase_from(
        self: &Arc<Self>,
        path: &RecordPath,
        principal: &Principal,
    ) -> Result<(), EngineError> {
        let attempts_max = self.settings().limits.write_attempts;
        let mut attempts = Attempts::at(path.clone());
        loop {
            let mut session = self.session(Some(principal.clone()), &attempts).await;
            let opened = match session.open_unjudged(path.clone()).await {
                Ok(opened) => opened,
                Err(EngineError::UnknownParent(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some(live) = opened.live() else { return Ok(()) };
            let mut permissions = read_permissions(live)?;
            let body = without_member(path.kind(), live.body(), principal);
            let only_writer = permissions.holders("write").count() == 1
                && permissions.holders("write").any(|holder| holder == principal);
            if only_writer {
                session.delete(&opened, None).await?;
            } else if permissions.remove(principal.as_str()) || body.is_some() {
                let body = body.unwrap_or_else(|| live.body().to_owned());
                session.put_as_is(&opened, body, &permissions).await?;
            } else {
                return Ok(());
            }
            match session.commit().await {
                Ok(_) => return Ok(()),
                Err(CommitError::Store(error)) => return Err(error.into()),
                Err(CommitError::Conflict(conflict)) => {
                    if !attempts.again(conflict, attempts_max) {
                        let why = "a record kept changing while it was erased".to_owned();
                        return Err(StoreError::Unavailable(why).into());
                    }
                }
            }
        }
    }
}

/// The body of a group without a member; `None` if nothing changes.
fn without_member(kind: Kind, body: &str, member: &Principal) -> Option<String> {
    if kind != Kind::Group {
        return None;
    }
    let mut body: Value = serde_json::from_str(body).ok()?;
    let members = body.get_mut("members")?.as_array_mut()?;
    let before = members.len();
    members.retain(|name| name.as_str() != Some(member.as_str()));
    (members.len() < before).then(|| body.to_string())
}
