//! What a damaged file does not give any more.

use std::fmt;

use nuage_model::CollectionPath;

/// Names that a sentence tells.
const NAMES_TOLD: usize = 20;

/// A collection of which something is lost, or may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Which one.
    pub collection: CollectionPath,
    /// Records and tombstones that can be read.
    pub read: u64,
    /// Records and tombstones that it should have; none if that cannot be read.
    pub kept: Option<u64>,
    /// Names of those that are known to be lost, at most a thousand.
    pub names: Vec<String>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collection, read, kept, names } = self;
        match kept {
            Some(kept) => write!(f, "{collection}: {read} of {kept} records can be read")?,
            None => write!(f, "{collection}: {read} records can be read, of an unknown number")?,
        }
        if names.is_empty() {
            return Ok(());
        }
        let told: Vec<&str> = names.iter().take(NAMES_TOLD).map(String::as_str).collect();
        write!(f, "; lost: {}", told.join(", "))?;
        match names.len().saturating_sub(NAMES_TOLD) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
