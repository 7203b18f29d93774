//! The verbs of Nuage: the only way to read, judge and change a record.
//!
//! The engine does not know HTTP, and is the only one that writes or judges access. It decides
//! outside the store, and commits by one batch whose guards say what it read:
//!
//! - [`Engine`]: settings, caches, and the loop around a commit;
//! - [`Session`]: the unit of work of one request, or of one batch of requests, which sees its
//!   own changes before they are applied;
//! - `access`: the one table of which permission grants what;
//! - `authorize`: the one path by which reads, lists, counts and writes are judged;
//! - `record_cache`: records as they were last seen, by which changes are decided;
//! - `groups`: which groups somebody counts as, looked for from those that a place names; `named`:
//!   what collections name;
//! - `operator`: what the operator may always do;
//! - `explain`: why somebody may or may not do something;
//! - [`check`]: what is wrong in a store as only the engine can know;
//! - `compact`: forgetting, in the background, what feeds need not tell any more;
//! - [`keep`] and [`lease`]: what all processes on a store share;
//! - `feed`: what changed since a token, filtered by what the caller may see;
//! - [`Turns`]: fair turns for work that takes long, elsewhere than where requests are answered;
//! - `write`: the path of a change, with its consequences: history, memberships, cascades.

mod access;
mod authorize;
mod cache;
mod caller;
mod check;
mod compact;
mod engine;
mod erase;
mod error;
mod explain;
mod feed;
mod groups;
mod history;
mod holdings;
mod list;
mod named;
mod notes;
mod operator;
mod record_cache;
mod session;
mod settings;
mod snapshot;
mod turns;
mod validate;
mod write;

pub use access::{Intent, ListIntent, permission_names, readers};
pub use authorize::{Opened, OpenedList};
pub use caller::Caller;
pub use check::check;
pub use compact::Housekeeping;
pub use engine::{Attempts, Engine, World};
pub use error::{CommitError, Conflict, EngineError, Invalid};
pub use explain::{Answer, Explanation, Level, Source, Verdict};
#[cfg(feature = "mutants")]
pub use feed::mutants;
pub use feed::{Entry, FeedPage, FeedQuery, FeedSettings, FeedStatistics, Follow, Interest};
pub use groups::CHAIN_MAX;
pub use holdings::{Holding, HoldingsPlace};
pub use notes::{keep, lease};
pub use session::{Resolved, Session};
pub use settings::{Grants, History, Ownership, Settings, Trim, Validation};
pub use snapshot::{OpenedPast, Past, PastPage};
pub use turns::{Crowded, Places, Requester, Turn, Turns, is_wanted};
pub use write::Change;
