//! One page of a feed.

use std::sync::Arc;

use nuage_model::StoreError;

use crate::{Engine, EngineError, FeedPage, FeedQuery, Follow};

impl Engine {
    /// One page of a feed, after this token or from the beginning.
    ///
    /// A token that is not one of this caller's for this collection, or too old, is answered by
    /// a page that begins afresh.
    ///
    /// # Errors
    ///
    /// [`EngineError::Forbidden`] where the caller may see nothing of the collection and has
    /// nothing to forget; [`EngineError::UnknownParent`] where it is gone and the caller may know.
    pub async fn feed(
        self: &Arc<Self>,
        _query: &FeedQuery,
        _token: Option<&str>,
    ) -> Result<FeedPage, EngineError> {
        Err(StoreError::Unsupported("not built yet".to_owned()).into())
    }

    /// A feed that goes on after this token or from the beginning.
    pub fn follow(self: &Arc<Self>, query: FeedQuery, token: Option<String>) -> Follow {
        Follow::new(Arc::clone(self), query, token)
    }
}
