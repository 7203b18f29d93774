//! The greatest time that records and tombstones of a signature show: by it, somebody who sees part
//! of a collection is told where the collection is.
//!
//! It counts up without being read. It goes back only where a record that showed it is taken from
//! those who see the signature, or shows an earlier time; what is forgotten by age does not lower
//! it. It is never less than what the rows show.

use nuage_model::CollectionPath;
use nuage_model::copy::{Cell, Row, Table};

use crate::cells::{self, Cells};
use crate::rules::{StoredRow, Transaction};
use crate::schema::{Index, Range, Rows, Was};

/// The place of the column.
pub(crate) const TOP: usize = 6;
/// So many rows with times of their own are looked at, the newest ones. Then the position of the next
/// one is taken, which is not less than what it and all others show.
const LOOKED_AT: usize = 100;
/// So many first: nearly always there is one among them without such a time.
const FEW: usize = 8;

impl<T: Rows> Transaction<'_, T> {
    /// A record does not show a time in its former signature any more.
    pub(super) fn lower_top(
        &mut self,
        path: &CollectionPath,
        old: &StoredRow,
    ) -> Result<(), T::Fault> {
        let key = cells::signature_of(path, old.signature);
        let row = self.tables.get(Table::Signatures, &key)?;
        let kept = row.as_ref().map(|row| Cells::of(Table::Signatures, row, TOP).whole());
        let counted = self.ledger.entry(&mut self.tables, path)?.counted_top(old.signature);
        if counted.max(kept.transpose()?.unwrap_or(0)) > old.shown().0 {
            return Ok(());
        }
        // A database that is asked once is asked for both.
        let mut top = 0;
        for limit in [FEW, LOOKED_AT + 1] {
            let all = Range::of(Index::RecordsSignature, key.clone());
            let newest = Range { descending: true, limit: Some(limit), ..all };
            let rows = self.tables.range(&newest)?;
            let mut is_over = rows.len() < limit;
            for (number, row) in rows.iter().enumerate() {
                let shown = StoredRow::of_row(row)?;
                if shown.chosen.is_none() || number == LOOKED_AT {
                    top = top.max(shown.seq.0);
                    is_over = true;
                    break;
                }
                top = top.max(shown.shown().0);
            }
            if is_over {
                break;
            }
        }
        let Some(Row(mut cells)) = row else { return Ok(()) };
        self.ledger.change(&mut self.tables, path)?.forget_top(old.signature);
        cells[TOP] = Cell::Whole(top);
        self.tables.put(Table::Signatures, Row(cells), Was::Present)
    }
}
