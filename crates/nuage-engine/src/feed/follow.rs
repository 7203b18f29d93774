//! Pages of a feed one after the other, waiting at rest until something happens.

use std::sync::Arc;

use crate::feed::hub::Subscription;
use crate::{Engine, EngineError, FeedPage, FeedQuery};

/// A feed that goes on.
pub struct Follow {
    engine: Arc<Engine>,
    query: FeedQuery,
    token: Option<String>,
    at_rest: bool,
    subscription: Subscription,
}

impl Follow {
    pub(crate) fn new(engine: Arc<Engine>, query: FeedQuery, token: Option<String>) -> Self {
        let subscription = engine.hub().subscribe(&query.collection);
        Self { engine, query, token, at_rest: false, subscription }
    }

    /// The token of the last page.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The next page. At rest it waits until there may be something to tell, and what it then
    /// gives may still be an empty page. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<FeedPage, EngineError> {
        if self.at_rest {
            self.subscription.woken().await;
        }
        let page = self.engine.feed(&self.query, self.token.as_deref()).await?;
        self.subscription.set_interest(&page.interest);
        self.token = Some(page.token.clone());
        self.at_rest = !page.more;
        Ok(page)
    }
}
