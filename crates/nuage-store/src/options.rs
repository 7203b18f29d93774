//! What may be set about a store, each with the cost of its default.

/// How to open a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What an acknowledgement promises. The default costs one flush of the disk for each group
    /// of writes.
    pub synchronous: Synchronous,
    /// Connections for short reads, and as many for long ones. Each costs a file descriptor or
    /// two and up to 2 MiB of cache once used.
    pub readers: usize,
    /// Batches that wait for the writer; more are refused as unavailable.
    pub queued_writes: usize,
    /// Time that a list or a count may take, in milliseconds.
    pub list_ms: u64,
}

/// What survives what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synchronous {
    /// What was acknowledged survives a crash of the program, of the system, and loss of power.
    Full,
    /// It survives a crash of the program; loss of power may cost the last moments, but never
    /// the consistency of the rest.
    Normal,
}

impl Default for Options {
    fn default() -> Self {
        Self { synchronous: Synchronous::Full, readers: 4, queued_writes: 4_096, list_ms: 10_000 }
    }
}
