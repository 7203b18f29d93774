//! Lists and counts, as far as they are the same on every database: what a query looks like to
//! an index, which way to go, which of the rows that come back are shown, what a page keeps.
//!
//! Pure: no database is known here.

mod asked;
mod page;
mod shape;

pub(crate) use asked::{Asked, LOOKUPS_TRIED, SIGNATURES_FEW, Signatures, Way};
pub(crate) use page::{Best, InOrder};
pub(crate) use shape::{Shape, Times};
