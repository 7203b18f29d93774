//! Pages one after the other, for as long as the caller is who it was.
//!
//! What may be seen is judged anew with each page by the engine. Who is asking is not in a page:
//! it is looked at again here when an account changed, and now and then.

use std::sync::Arc;
use std::time::Duration;

use nuage_engine::{EngineError, FeedPage, Follow};
use nuage_http::Stopping;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Kinto;
use crate::error::Error;
use crate::feed::Ask;
use crate::feed::bell::Toll;

/// The longest time for which a caller is believed to be who it was.
const BELIEVED: Duration = Duration::from_secs(60);

/// What there is to tell.
pub(crate) enum Event {
    /// The next page.
    Page(FeedPage),
    /// Nothing until then.
    Silence,
    /// The server stops.
    Stopping,
    /// Nothing more may be told, or nothing can be for now.
    Refusal(Error),
    /// There is nothing that the caller may see, and nothing that a device may keep.
    Nothing(Error),
}

/// Follows a feed for somebody.
pub(crate) struct Watcher {
    door: Arc<Kinto>,
    who: Who,
    follow: Follow,
    believed_until: Instant,
    tolls: Option<watch::Receiver<Toll>>,
    heard: u64,
    stopping: Stopping,
}

/// Who is asking, and by what that is known.
struct Who {
    user: Option<nuage_model::Principal>,
    authorization: Option<http::HeaderValue>,
    peer: std::net::IpAddr,
    /// The name of the account, for those who have one.
    account: Option<String>,
}

impl Watcher {
    /// Begins after this token.
    pub(crate) fn new(door: Arc<Kinto>, ask: &Ask, token: Option<String>) -> Self {
        let follow = door.engine.follow(ask.query.clone(), token);
        let user = ask.query.user.clone();
        // Only an account can change under somebody who is known by something.
        let account = user.as_ref().and_then(|user| door.account_of(user));
        let tolls = account.is_some().then(|| door.bell.listen());
        let heard = tolls.as_ref().map_or(0, |tolls| tolls.borrow().number);
        Self {
            who: Who { user, authorization: ask.authorization.clone(), peer: ask.peer, account },
            follow,
            believed_until: Instant::now() + BELIEVED,
            tolls,
            heard,
            stopping: ask.stopping.clone(),
            door,
        }
    }

    /// The next thing to tell, or nothing until then. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, until: Instant) -> Event {
        loop {
            if (self.is_called() || Instant::now() >= self.believed_until)
                && let Err(error) = self.look_again().await
            {
                return Event::Refusal(error);
            }
            tokio::select! {
                biased;
                () = self.stopping.told() => return Event::Stopping,
                () = rung(&mut self.tolls) => {}
                page = self.follow.next() => return match page {
                    Ok(page) => Event::Page(page),
                    Err(error) => self.refused(error),
                },
                () = sleep_until(until.min(self.believed_until)) => {
                    if Instant::now() >= until {
                        return Event::Silence;
                    }
                }
            }
        }
    }

    fn refused(&self, error: EngineError) -> Event {
        let is_nothing = matches!(
            error,
            EngineError::Forbidden | EngineError::Unknown(_) | EngineError::UnknownParent(_)
        );
        let error = self.door.refusal_to(self.who.user.as_ref(), error);
        if is_nothing { Event::Nothing(error) } else { Event::Refusal(error) }
    }

    /// When the client should come back, if the stream ends: not all at once.
    pub(crate) fn retry_ms(&self) -> u64 {
        let least_ms = self.door.settings.retry_after_s.max(1).saturating_mul(1_000);
        let id = self.door.engine.new_id();
        let random = id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
        least_ms + random % least_ms
    }

    /// Whether the bell rang for this account since it was last heard.
    fn is_called(&mut self) -> bool {
        let (Some(tolls), Some(account)) = (&mut self.tolls, &self.who.account) else {
            return false;
        };
        let toll = tolls.borrow_and_update();
        let missed = toll.number > self.heard + 1;
        let called = toll.number > self.heard && (missed || toll.calls(account));
        self.heard = toll.number;
        called
    }

    /// Makes sure that the credentials still make the same person.
    async fn look_again(&mut self) -> Result<(), Error> {
        let authorization = self.who.authorization.as_ref().map(|value| value.as_bytes());
        let found = self.door.auth.identify(authorization, self.who.peer).await;
        self.believed_until = Instant::now() + BELIEVED;
        match found {
            Ok(user) if user == self.who.user => Ok(()),
            Ok(_) => Err(Error::unauthorized(&self.door.challenges)),
            Err(error) => Err(self.door.unknown(error)),
        }
    }
}

/// Completes at the next toll.
async fn rung(tolls: &mut Option<watch::Receiver<Toll>>) {
    if let Some(tolls) = tolls
        && tolls.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
