//! Pages of a feed one after the other, waiting at rest until something happens.

use std::sync::Arc;

use crate::feed::hub::Subscription;
use crate::{Engine, EngineError, Entry, FeedPage, FeedQuery};

/// A feed that goes on.
pub struct Follow {
    engine: Arc<Engine>,
    query: FeedQuery,
    token: Option<String>,
    state: State,
    subscription: Subscription,
}

/// What comes before the next page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing: there is more to tell, or it is not known.
    Reading,
    /// Something must happen.
    AtRest,
    /// The same, and the caller was refused.
    Refused,
}

impl Follow {
    pub(crate) fn new(engine: Arc<Engine>, query: FeedQuery, token: Option<String>) -> Self {
        let subscription = engine.hub().subscribe(&query.collection);
        Self { engine, query, token, state: State::Reading, subscription }
    }

    /// The token of the last page, or the one that it began with.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the next page is waited for, because the last one had no more to tell.
    pub fn is_at_rest(&self) -> bool {
        self.state == State::AtRest
    }

    /// The next page. At rest it waits until there may be something to tell, and what it then
    /// gives may still be an empty page. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::feed`]. One may go on after each: a refusal is followed by a page, or
    /// another refusal, when it may have ended (the collection came back, or the right to it);
    /// whatever else failed is tried again at once, so whoever goes on should wait a little.
    pub async fn next(&mut self) -> Result<FeedPage, EngineError> {
        let is_woken = self.state != State::Reading;
        if is_woken {
            self.subscription.woken().await;
        }
        // From here on, being dropped means to read again.
        self.state = State::Reading;
        self.subscription.begin_page();
        let (engine, token) = (&self.engine, self.token.as_deref());
        let page = match is_woken {
            true => engine.feed_news(&self.query, token).await,
            false => engine.feed(&self.query, token).await,
        };
        match page {
            Ok(page) => {
                self.subscription.set_interest(&page.interest, page.head);
                self.token = Some(page.token.clone());
                // After a loss there may be nothing left to see, and that is told at once.
                let is_loss = |entry: &Entry| matches!(entry, Entry::Removal(_));
                let lost = !page.interest.whole && page.entries.iter().any(is_loss);
                self.state = if page.more || lost { State::Reading } else { State::AtRest };
                Ok(page)
            }
            Err(error) => {
                if matches!(error, EngineError::Forbidden | EngineError::UnknownParent(_)) {
                    self.state = State::Refused;
                }
                Err(error)
            }
        }
    }
}
