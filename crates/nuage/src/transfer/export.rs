//! Writes everything as lines of JSON, in the order of positions in each collection.
//!
//! Reads a copy made for the purpose, so that the lines show one moment, whatever a server does
//! meanwhile. Memory holds one page, and the names of records whose time is of the past.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::ProgressBar;
use nuage_model::copy::Table;
use nuage_model::{
    Bodies, CollectionPath, Direction, Field, Query, ReaderFilter, Record, RecordId, Seq, Sort,
    States, Store, View,
};
use nuage_store::copy::{CopyError, Copying, Resume, Watch};

use crate::backup::Draft;
use crate::config::{Place, Settings, StorageSettings};
use crate::data::{self, Access, beside};
use crate::failure::{Exit, Failure};
use crate::out::complain;
use crate::server::now;
use crate::transfer::{progress, scratch, wire};

/// Records read at a time; each may be as large as a request.
const PAGE: usize = 100;
/// Collections read at a time.
const COLLECTIONS: usize = 1_000;

/// Writes everything to the file, or to the standard output.
pub(crate) async fn perform(file: Option<&Path>, settings: &Settings) -> Result<()> {
    let storage = &settings.storage;
    data::expect_database(storage)?;
    let (store, access) = data::open_to_read(storage).await?;
    let draft = Draft::new(match &storage.place {
        Place::Files(files) if access == Access::Full => {
            beside(&files.database, &scratch("export"))
        }
        _ => temporary(),
    });
    let copied = match &storage.place {
        Place::Files(_) => store.admin().backup(&draft.0).await.map_err(anyhow::Error::from),
        Place::Server(_) => copy_rows(store.as_ref(), &draft.0, storage).await,
    };
    store.close().await;
    copied.context("no copy could be made to export from")?;
    write_copy(&draft.0, file, storage).await
}

/// Writes what can be read of a damaged file, and tells what cannot. The file is not changed.
pub(crate) async fn salvage(file: Option<&Path>, settings: &Settings) -> Result<()> {
    let storage = &settings.storage;
    let Place::Files(files) = &storage.place else {
        let sentence =
            format!("{} is a PostgreSQL database: --salvage reads a file.", storage.place);
        return Err(Failure::new(Exit::Usage, sentence).into());
    };
    data::expect_database(storage)?;
    // Not beside the file: its disk may be what fails.
    let draft = Draft::new(temporary());
    let lost = nuage_store::salvage(&files.database, &draft.0).await?;
    write_copy(&draft.0, file, storage).await?;
    for one in &lost {
        complain(&one.to_string());
    }
    match lost.len() {
        0 => Ok(()),
        n => {
            let sentence = format!("Of {n} collections not everything could be read.");
            Err(Failure::new(Exit::Negative, sentence).into())
        }
    }
}

fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("nuage{}", scratch("export")))
}

async fn write_copy(copy: &Path, file: Option<&Path>, storage: &StorageSettings) -> Result<()> {
    let copy = data::open_file(copy, &storage.options).await?;
    let beside = data::left_beside(&storage.place, copy.as_ref()).await?;
    data::take_over(&beside, copy.as_ref()).await?;
    let written = match file {
        Some(path) => to_file(copy.as_ref(), path).await,
        None => {
            let written = export(copy.as_ref(), std::io::stdout(), false).await;
            written.context("the export cannot be written")
        }
    };
    copy.close().await;
    let records = written?;
    let shown = file.map_or("The export".to_owned(), |path| path.display().to_string());
    complain(&format!("{shown} holds {records} records and tombstones. {}", data::CONFIDENTIAL));
    Ok(())
}

/// Makes a file of what a server holds at this moment.
async fn copy_rows(from: &dyn Store, to: &Path, storage: &StorageSettings) -> Result<()> {
    // SQLite makes it readable by its owner alone.
    let copy = data::open_file(to, &storage.options).await?;
    let copied = async {
        let meta = nuage_store::copy::meta(from).await?;
        let copying = Copying::begin(from, copy.as_ref(), meta, Resume::Restart).await;
        copying.map_err(told)?.run(&mut Unwatched).await.map_err(told)?;
        nuage_store::copy::finish(copy.as_ref()).await.map_err(told)
    };
    let copied = copied.await;
    copy.close().await;
    copied
}

struct Unwatched;

impl Watch for Unwatched {
    fn advance(&mut self, _: Table, _: u64) {}
}

fn told(error: CopyError) -> anyhow::Error {
    match error {
        CopyError::Source(error) | CopyError::Target(error) => error.into(),
        CopyError::UnfinishedSource | CopyError::OtherSource => {
            anyhow!("a copy into this database has not ended: finish it with `nuage copy`")
        }
    }
}

/// Writes under another name until all is there.
async fn to_file(store: &dyn Store, path: &Path) -> Result<u64> {
    if path.exists() {
        bail!("{} is there already. Nothing was changed.", path.display());
    }
    let draft = Draft::new(beside(path, ".part"));
    let target = data::private().create_new(true).open(&draft.0);
    let target = target.with_context(|| format!("{} cannot be made", path.display()))?;
    let records = export(store, &target, true).await?;
    target.sync_all()?;
    std::fs::rename(&draft.0, path)?;
    Ok(records)
}

/// Writes all lines; gives the number of records.
pub(crate) async fn export(
    store: &dyn Store,
    target: impl Write,
    show_progress: bool,
) -> Result<u64> {
    let mut total = 0;
    for tally in store.admin().tally().await?.values() {
        total += tally.live + tally.tombstones;
    }
    let mut lines = Lines {
        target: BufWriter::new(target),
        records: 0,
        progress: progress(total, show_progress),
    };
    lines.target.write_all(wire::first_line(now().0).as_bytes())?;
    lines.target.write_all(wire::secrets_line(&data::kept(store).await?).as_bytes())?;
    let mut after: Option<CollectionPath> = None;
    loop {
        let paths = store.collections(ReaderFilter::All, after.as_ref(), COLLECTIONS).await?;
        for path in &paths {
            lines.write_collection(store, path).await?;
        }
        if paths.len() < COLLECTIONS {
            break;
        }
        after = paths.into_iter().next_back();
    }
    lines.target.write_all(wire::last_line(lines.records).as_bytes())?;
    lines.target.flush()?;
    lines.progress.finish_and_clear();
    Ok(lines.records)
}

struct Lines<W: Write> {
    target: BufWriter<W>,
    records: u64,
    progress: ProgressBar,
}

impl<W: Write> Lines<W> {
    /// Lists by the time shown, which is the position but for records with a time of their own.
    /// Those come early, and wait for their position.
    async fn write_collection(&mut self, store: &dyn Store, path: &CollectionPath) -> Result<()> {
        let mut query = Query::all(path.clone(), PAGE);
        query.states = States::Both;
        query.sort = vec![Sort { field: Field::Timestamp, direction: Direction::Ascending }];
        let mut waiting: BinaryHeap<Reverse<(Seq, RecordId)>> = BinaryHeap::new();
        loop {
            let page = store.list(&query).await?;
            for record in &page.records {
                if record.chosen.is_some() {
                    waiting.push(Reverse((record.seq, record.id.clone())));
                    continue;
                }
                self.write_waiting(store, path, &mut waiting, Some(record.seq)).await?;
                self.write_record(path, record)?;
            }
            let Some(last) = page.records.last().filter(|_| page.more) else { break };
            query.after = Some(query.position(&View::new(last)));
        }
        self.write_waiting(store, path, &mut waiting, None).await
    }

    async fn write_waiting(
        &mut self,
        store: &dyn Store,
        path: &CollectionPath,
        waiting: &mut BinaryHeap<Reverse<(Seq, RecordId)>>,
        before: Option<Seq>,
    ) -> Result<()> {
        while let Some(Reverse((seq, _))) = waiting.peek()
            && before.is_none_or(|before| *seq < before)
        {
            let Some(Reverse((_, id))) = waiting.pop() else { break };
            let path_of_record = path.record(id);
            let found = store.get(std::slice::from_ref(&path_of_record), Bodies::All).await?;
            let Some(record) = found.into_iter().next().flatten() else {
                bail!("{path_of_record} vanished while it was read");
            };
            self.write_record(path, &record)?;
        }
        Ok(())
    }

    fn write_record(&mut self, path: &CollectionPath, record: &Record) -> Result<()> {
        self.target.write_all(wire::record_line(path, record).as_bytes())?;
        self.records += 1;
        self.progress.inc(1);
        Ok(())
    }
}
