//! Lists and counts: what a query looks like to an index, which way to go, which of the rows that
//! come back are shown, what a page keeps.
//!
//! - `asked`, `shape`, `page`: pure;
//! - `position`: the time of a list for whoever sees part of it;
//! - `read`: the rest, above [`crate::reads`].

mod asked;
mod page;
mod position;
mod read;
mod shape;

pub(crate) use asked::{AccessPath, PlannedQuery, Signatures};
pub(crate) use page::{InOrder, TopN};
pub(crate) use read::{count, is_counted, list, looks_quick};
pub(crate) use shape::{Shape, Times};
