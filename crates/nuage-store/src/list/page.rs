//! What a list keeps on its way: as many records as asked for, and no more bytes than a page
//! may have. A page that was cut short says that others follow.

use std::ops::ControlFlow;

use nuage_model::{Position, Query, Record, View};

/// Bytes after which a page takes no further record.
const PAGE_BYTES: usize = 64 * 1024 * 1024;
/// What a record costs besides its texts.
const RECORD_BYTES: usize = 128;

/// The first records of a walk that goes in the order asked for.
pub(crate) struct InOrder {
    records: Vec<Record>,
    limit: usize,
    bytes: usize,
    more: bool,
}

impl InOrder {
    pub(crate) fn new(limit: usize) -> Self {
        Self { records: Vec::new(), limit, bytes: 0, more: false }
    }

    /// Keeps the record, or stops the walk.
    pub(crate) fn push(&mut self, record: Record) -> ControlFlow<()> {
        if self.records.len() >= self.limit || self.bytes >= PAGE_BYTES {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.bytes += cost(&record);
        self.records.push(record);
        ControlFlow::Continue(())
    }

    /// The records, and whether others follow.
    pub(crate) fn finish(self) -> (Vec<Record>, bool) {
        (self.records, self.more)
    }
}

/// The first records in the order of a query, of a walk that goes in any order. Keeps up to
/// twice what is asked for, then sorts and cuts.
pub(crate) struct Best<'q> {
    query: &'q Query,
    kept: Vec<(Position, Record)>,
    bytes: usize,
    more: bool,
}

impl<'q> Best<'q> {
    pub(crate) fn new(query: &'q Query) -> Self {
        Self { query, kept: Vec::new(), bytes: 0, more: false }
    }

    /// Keeps the record as long as it may be among the first.
    pub(crate) fn push(&mut self, record: Record) {
        self.bytes += cost(&record);
        let position = self.query.position(&View::new(&record));
        self.kept.push((position, record));
        let too_many = self.kept.len() > self.query.limit.saturating_mul(2).max(64);
        if too_many || self.bytes > 2 * PAGE_BYTES {
            self.cut();
        }
    }

    /// The records in order, and whether others follow.
    pub(crate) fn finish(mut self) -> (Vec<Record>, bool) {
        self.cut();
        (self.kept.into_iter().map(|(_, record)| record).collect(), self.more)
    }

    // What lies beyond the cut stays beyond it, whatever comes before it later.
    fn cut(&mut self) {
        let query = self.query;
        self.kept.sort_unstable_by(|(a, _), (b, _)| query.compare_positions(a, b));
        let mut bytes = 0;
        let fitting = self.kept.iter().take(query.limit).take_while(|(_, record)| {
            let fits = bytes < PAGE_BYTES;
            bytes += if fits { cost(record) } else { 0 };
            fits
        });
        let fitting = fitting.count();
        self.more |= fitting < self.kept.len();
        self.kept.truncate(fitting);
        self.bytes = bytes;
    }
}

fn cost(record: &Record) -> usize {
    RECORD_BYTES + record.body().len() + record.permissions().len()
}
