//! The oracle of feeds: random histories, a model of the truth that is too simple to be wrong, and
//! a judge who looks at each page.
//!
//! Persons in nested groups share, change, lose and delete records of one collection; devices ask
//! for pages, of one entry or of a hundred, bring old tokens and tokens of others. In each moment:
//!
//! - whatever is shown, its reader may see, as it is at present;
//! - whatever is taken back, its reader could see at some time, and may not any more;
//! - a device at rest has exactly what its person may see, and the sum that is told is that of it;
//! - a device begins anew only where the model knows a reason, and always where it must;
//! - whoever goes on asking comes to rest.
//!
//! It knows neither HTTP nor the engine: see [`Subject`]. A seed decides a history, and what fails
//! is made as short as it can be.

mod campaign;
mod choose;
mod device;
mod judge;
mod play;
mod shrink;
mod step;
mod subject;
#[cfg(test)]
mod tests;
mod world;

pub use campaign::{Campaign, campaign};
pub use choose::{MIXES, Mix, history};
pub use play::{Minimum, Tally, play};
pub use shrink::shrink;
pub use step::{BUCKETS, Change, DEVICES, GROUPS, Names, PERSONS, RECORDS, Step, Token, Who};
pub use subject::{Ask, Deed, Entry, Page, Reply, Stage, Subject};
