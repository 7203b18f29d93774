//! What a list keeps on its way: as many records as asked for, and no more bytes of them, unless
//! the first alone has more. A page that was cut short says that others follow.

use std::ops::ControlFlow;

use nuage_model::{PAGE_BYTES, Position, Query, Record, View};

/// The first records of a walk that goes in the order asked for.
pub(crate) struct InOrder {
    records: Vec<Record>,
    limit: usize,
    limit_bytes: usize,
    bytes: usize,
    more: bool,
}

impl InOrder {
    pub(crate) fn new(limit: usize, limit_bytes: usize) -> Self {
        Self { records: Vec::new(), limit, limit_bytes, bytes: 0, more: false }
    }

    /// Keeps the record, or stops the walk.
    pub(crate) fn push(&mut self, record: Record) -> ControlFlow<()> {
        let bytes = self.bytes + Query::cost(&record);
        let fits = self.records.is_empty() || bytes <= self.limit_bytes;
        if self.records.len() >= self.limit || !fits {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.bytes = bytes;
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
pub(crate) struct TopN<'q> {
    query: &'q Query,
    kept: Vec<(Position, Record)>,
    bytes: usize,
    more: bool,
    /// What did not fit once, nor anything after it, is on this page: a small record that
    /// comes later in the order must not take the place of one that was left out.
    end: Option<Position>,
}

impl<'q> TopN<'q> {
    pub(crate) fn new(query: &'q Query) -> Self {
        Self { query, kept: Vec::new(), bytes: 0, more: false, end: None }
    }

    /// Keeps the record as long as it may be among the first.
    pub(crate) fn push(&mut self, record: Record) {
        let position = self.query.position(&View::new(&record));
        let end = self.end.as_ref();
        if end.is_some_and(|end| self.query.compare_positions(&position, end).is_ge()) {
            self.more = true;
            return;
        }
        self.bytes += Query::cost(&record);
        self.kept.push((position, record));
        let too_many = self.kept.len() > self.query.limit.saturating_mul(2).max(64);
        if too_many || self.bytes > self.query.limit_bytes.saturating_mul(2).max(PAGE_BYTES) {
            self.cut();
        }
    }

    /// The records in order, and whether others follow.
    pub(crate) fn finish(mut self) -> (Vec<Record>, bool) {
        self.cut();
        (self.kept.into_iter().map(|(_, record)| record).collect(), self.more)
    }

    fn cut(&mut self) {
        let query = self.query;
        self.kept.sort_unstable_by(|(a, _), (b, _)| query.compare_positions(a, b));
        let (fitting, bytes) = query.page(self.kept.iter().map(|(_, record)| record));
        if let Some((beyond, _)) = self.kept.get(fitting) {
            self.end = Some(beyond.clone());
            self.more = true;
        }
        self.kept.truncate(fitting);
        self.bytes = bytes;
    }
}
