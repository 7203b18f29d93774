//! The verbs of Nuage: the only way to read, judge and change a record.
//!
//! The engine does not know HTTP, and is the only one that writes or judges access. It decides
//! outside the store, and commits by one batch whose guards say what it read.

mod settings;

pub use settings::{Grants, History, Ownership, Settings, Trim, Validation};
