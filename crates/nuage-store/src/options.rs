//! What may be set about a store, each with the cost of its default.

/// How to open a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What an acknowledgement promises. The default costs one flush of the disk for each group
    /// of writes.
    pub synchronous: Synchronous,
    /// SQLite: connections for short reads, as many for long ones and as many for feeds. Each
    /// costs a file descriptor or two and up to 2 MiB of cache once used.
    pub readers: usize,
    /// PostgreSQL: connections for reads. Each is a process of the database's server.
    pub connections: usize,
    /// PostgreSQL: connections for writes. What is written to one bucket goes through one of them,
    /// in groups.
    pub writers: usize,
    /// PostgreSQL: how long something known of buckets, collections, groups and accounts may be
    /// relied on without asking again, in milliseconds. Hints of other processes come sooner, but
    /// may be lost.
    pub trust_ms: u64,
    /// Batches that wait for a writer; more are refused as unavailable.
    pub queued_writes: usize,
    /// Time that a list or a count may take, in milliseconds.
    pub list_ms: u64,
    /// SQLite: size of a file beside the data that is given up when the disk is full, so that
    /// deletions go on. Who only works beside a server has none: 0.
    pub reserve_bytes: u64,
    /// SQLite: pages of 4 KiB in the write-ahead log after which it is moved into the file. More makes
    /// writes cheaper, since pages are moved once however often they were written.
    pub log_pages: u32,
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
        Self {
            synchronous: Synchronous::Full,
            readers: 4,
            connections: 8,
            writers: 4,
            trust_ms: 1_000,
            queued_writes: 4_096,
            list_ms: 10_000,
            reserve_bytes: 0,
            log_pages: 16_000,
        }
    }
}
