//! A copy of a whole store, from any database to any other, page after page.
//!
//! The target remembers in the transaction of each page how far the copy came, so that it goes on
//! from there after whatever stopped it. It is a store only once [`finish`] says so, which is to
//! come after the [`digest`]s of both sides were found equal. Nothing here knows how a row lies in
//! either database.

use std::collections::BTreeMap;

use nuage_model::copy::{
    Cell, Digest, Digesting, Dump, Ground, PageSize, Progress, Row, STORE, Step, Table,
};
use nuage_model::{Store, StoreError};

/// Hears how it goes.
pub trait Watch: Send {
    /// So many rows more of this table are done.
    fn advance(&mut self, table: Table, rows: u64);

    /// All of this table is done.
    fn complete(&mut self, _table: Table) {}
}

/// What is asked of a copy that has begun before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resume {
    /// To go on with it.
    Continue,
    /// To throw it away and begin anew.
    Restart,
}

/// Why a copy did not come about.
#[derive(Debug)]
pub enum CopyError {
    /// The source could not be read.
    Source(StoreError),
    /// The target could not be written or read.
    Target(StoreError),
    /// The source is itself a copy that has not ended.
    UnfinishedSource,
    /// The target holds the beginning of a copy of another store.
    OtherSource,
}

/// A copy on its way.
pub struct Copying<'a> {
    from: Box<dyn Dump>,
    to: &'a dyn Store,
    progress: Progress,
    size: PageSize,
}

/// What the store says of itself: its name and what was kept.
///
/// # Errors
///
/// What the store may answer when it cannot.
pub async fn meta(store: &dyn Store) -> Result<BTreeMap<String, String>, StoreError> {
    store.admin().dump().await?.meta().await
}

impl<'a> Copying<'a> {
    /// Begins the copy, or finds out where it goes on. `meta` is what the target shall say of
    /// itself; where it goes on, it says so already.
    ///
    /// # Errors
    ///
    /// [`CopyError::Target`] with [`StoreError::Unsupported`] if there is data in the target.
    pub async fn begin(
        from: &'a dyn Store,
        to: &'a dyn Store,
        meta: BTreeMap<String, String>,
        resume: Resume,
    ) -> Result<Self, CopyError> {
        if from.admin().unfinished().await.map_err(CopyError::Source)?.is_some() {
            return Err(CopyError::UnfinishedSource);
        }
        let source = meta.get(STORE).cloned().ok_or_else(nameless)?;
        let found = to.admin().unfinished().await.map_err(CopyError::Target)?;
        let ground = match (&found, resume) {
            (None, _) => Some(Ground::Empty),
            (Some(_), Resume::Restart) => Some(Ground::Unfinished),
            (Some(found), Resume::Continue) if found.source != source => {
                return Err(CopyError::OtherSource);
            }
            (Some(_), Resume::Continue) => None,
        };
        let from = from.admin().dump().await.map_err(CopyError::Source)?;
        let mut progress = Progress::new(source);
        match (ground, found) {
            (Some(ground), _) => {
                let step = Step::Begin { ground, meta, progress: progress.clone() };
                to.admin().load(step).await.map_err(CopyError::Target)?;
            }
            (None, found) => progress = found.unwrap_or(progress),
        }
        Ok(Self { from, to, progress, size: PageSize::USUAL })
    }

    /// The same with pages of another size.
    #[must_use]
    pub fn in_pages(self, size: PageSize) -> Self {
        Self { size, ..self }
    }

    /// How many rows were written, now or before.
    pub fn rows(&self) -> u64 {
        self.progress.rows
    }

    /// How many rows the source has.
    ///
    /// # Errors
    ///
    /// [`CopyError::Source`] if it cannot be read.
    pub async fn total(&mut self) -> Result<u64, CopyError> {
        let mut rows = 0;
        for table in Table::ALL {
            rows += self.from.count(table).await.map_err(CopyError::Source)?;
        }
        Ok(rows)
    }

    /// Writes all that is not written yet.
    ///
    /// # Errors
    ///
    /// [`CopyError::Source`] and [`CopyError::Target`]; what was written is kept.
    pub async fn run(mut self, watch: &mut dyn Watch) -> Result<(), CopyError> {
        let (first, mut after) = match self.progress.at.clone() {
            Some((table, after)) => (table, Some(after)),
            None => (Table::ALL[0], None),
        };
        let size = self.size;
        for table in Table::ALL.into_iter().filter(|table| *table >= first) {
            let mut page = self.from.page(table, after.as_deref(), size).await;
            loop {
                let rows = page.map_err(CopyError::Source)?;
                let Some(last) = rows.last() else { break };
                let (key, count) = (last.key(table).to_vec(), rows.len() as u64);
                // The next page is read while this one is written.
                let written = write(self.to, &mut self.progress, table, rows);
                let next = self.from.page(table, Some(&key), size);
                let (written, next) = tokio::join!(written, next);
                written.map_err(CopyError::Target)?;
                watch.advance(table, count);
                page = next;
            }
            watch.complete(table);
            after = None;
        }
        Ok(())
    }
}

async fn write(
    to: &dyn Store,
    progress: &mut Progress,
    table: Table,
    rows: Vec<Row>,
) -> Result<(), StoreError> {
    let after = Progress {
        source: progress.source.clone(),
        at: rows.last().map(|row| (table, row.key(table).to_vec())),
        rows: progress.rows + rows.len() as u64,
    };
    let before = std::mem::replace(progress, after.clone());
    to.admin().load(Step::Rows { table, rows, before, after }).await
}

/// The digest of each table, of one moment.
///
/// # Errors
///
/// What the store may answer when it cannot.
pub async fn digest(
    store: &dyn Store,
    watch: &mut dyn Watch,
) -> Result<BTreeMap<Table, Digest>, StoreError> {
    let mut dump = store.admin().dump().await?;
    let mut digests = BTreeMap::new();
    for table in Table::ALL {
        let mut digesting = Digesting::default();
        let mut after: Option<Vec<Cell>> = None;
        loop {
            let rows = dump.page(table, after.as_deref(), PageSize::USUAL).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key(table).to_vec());
            watch.advance(table, rows.len() as u64);
            // The next page is not asked for before this one is hashed: memory for one is enough.
            rows.iter().for_each(|row| digesting.add(row));
        }
        watch.complete(table);
        digests.insert(table, digesting.end());
    }
    Ok(digests)
}

/// Makes the target a store like any other.
///
/// # Errors
///
/// [`CopyError::Target`] if it cannot, or if there is no copy to finish.
pub async fn finish(to: &dyn Store) -> Result<(), CopyError> {
    let found = to.admin().unfinished().await.map_err(CopyError::Target)?;
    let before = found.ok_or_else(|| {
        CopyError::Target(StoreError::Unsupported("there is no unfinished copy in it".to_owned()))
    })?;
    to.admin().load(Step::End { before }).await.map_err(CopyError::Target)
}

fn nameless() -> CopyError {
    CopyError::Source(StoreError::Corrupt("it has lost its name".to_owned()))
}
