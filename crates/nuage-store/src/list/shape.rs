//! What a query looks like to an index: the identifiers it names, the times it lies between,
//! and whether anything is left that only the evaluator of the model can decide.

use std::collections::BTreeSet;

use nuage_model::{Direction, Field, Filter, Query, Test};
use serde_json::Value;

/// Shown times from `low` to `high`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Times {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// The parts of a query that indexes serve.
pub(crate) struct Shape<'q> {
    /// Only records with these identifiers can match.
    pub(crate) ids: Option<Vec<&'q str>>,
    /// Only records shown between these times can match.
    pub(crate) times: Times,
    /// Every record between the times matches.
    pub(crate) is_exact: bool,
    /// The direction in time, if that is the order.
    pub(crate) by_time: Option<Direction>,
    /// A filter looks into bodies.
    pub(crate) filters_bodies: bool,
}

impl<'q> Shape<'q> {
    /// Looks at the filters, the order and the position.
    pub(crate) fn of(query: &'q Query) -> Self {
        let by_time = query.sort.first().filter(|sort| sort.field == Field::Timestamp);
        let mut shape = Self {
            ids: None,
            times: Times { low: i64::MIN, high: i64::MAX },
            is_exact: true,
            by_time: by_time.map(|sort| sort.direction),
            filters_bodies: false,
        };
        for filter in &query.filters {
            shape.is_exact &= shape.narrow(filter);
            shape.filters_bodies |= matches!(filter.field, Field::Body(_) | Field::Deleted);
        }
        if let Some(position) = &query.after {
            let last = position.first().and_then(|value| value.as_ref()?.as_i64());
            // Further keys decide nothing: no two records show the same time.
            match (shape.by_time, last) {
                (Some(Direction::Ascending), Some(last)) if query.sort.len() == 1 => {
                    shape.after(last);
                }
                (Some(Direction::Descending), Some(last)) if query.sort.len() == 1 => {
                    shape.before(last);
                }
                (Some(Direction::Ascending), Some(last)) => {
                    shape.times.low = shape.times.low.max(last);
                    shape.is_exact = false;
                }
                (Some(Direction::Descending), Some(last)) => {
                    shape.times.high = shape.times.high.min(last);
                    shape.is_exact = false;
                }
                _ => shape.is_exact = false,
            }
        }
        shape
    }

    // Whether nothing of the filter is left to decide.
    fn narrow(&mut self, filter: &'q Filter) -> bool {
        match (&filter.field, &filter.test) {
            (Field::Id, Test::Eq(Value::String(id))) if self.ids.is_none() => {
                self.ids = Some(vec![id]);
            }
            (Field::Id, Test::In(values)) if self.ids.is_none() => {
                let ids: BTreeSet<&str> = values.iter().filter_map(Value::as_str).collect();
                self.ids = Some(ids.into_iter().collect());
            }
            (Field::Timestamp, test) => return self.narrow_times(test),
            _ => return false,
        }
        true
    }

    fn narrow_times(&mut self, test: &Test) -> bool {
        let (Test::Eq(bound)
        | Test::Gt(bound)
        | Test::Min(bound)
        | Test::Lt(bound)
        | Test::Max(bound)) = test
        else {
            return false;
        };
        let Some(bound) = bound.as_i64() else { return false };
        match test {
            Test::Gt(_) => self.after(bound),
            Test::Lt(_) => self.before(bound),
            Test::Min(_) => self.times.low = self.times.low.max(bound),
            Test::Max(_) => self.times.high = self.times.high.min(bound),
            _ => {
                self.times.low = self.times.low.max(bound);
                self.times.high = self.times.high.min(bound);
            }
        }
        true
    }

    fn after(&mut self, time: i64) {
        match time.checked_add(1) {
            Some(next) => self.times.low = self.times.low.max(next),
            None => self.times = Times { low: 1, high: 0 },
        }
    }

    fn before(&mut self, time: i64) {
        match time.checked_sub(1) {
            Some(next) => self.times.high = self.times.high.min(next),
            None => self.times = Times { low: 1, high: 0 },
        }
    }
}
