//! The row work on plain rusqlite: readers on the calling thread, one thread that writes for all.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::sync::mpsc;

use crate::raw::sqlite::rows::{Reader, Writer};
use crate::raw::{Engine, GROUP_MAX, Job, LOAD_ROWS, QUEUE_MAX, make_row, make_rows, write};
use crate::workload::{BATCH_PUTS, Workload};

mod rows;

/// A file with its reader and its writer.
pub(super) struct Sqlite {
    reader: Reader,
    jobs: mpsc::Sender<Job>,
    loaded: u64,
    next: AtomicU64,
}

impl Sqlite {
    /// Makes the file and fills it.
    pub(super) fn open(file: &Path, records: u64) -> Result<Self> {
        let mut writer = Writer::open(file)?;
        let mut from = 0;
        while from < records {
            let rows = make_rows(from, LOAD_ROWS.min(records - from));
            writer.transaction(|writer| writer.put(&rows).map(drop))?;
            from += LOAD_ROWS;
        }
        let reader = Reader::open(file)?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        std::thread::spawn(move || write_groups(writer, queue));
        Ok(Self { reader, jobs, loaded: records, next: AtomicU64::new(records) })
    }
}

impl Engine for Sqlite {
    async fn step(&self, workload: Workload, index: u64) -> Result<()> {
        match workload {
            Workload::Get | Workload::NotModified => self.reader.get(index)?,
            Workload::List => self.reader.list()?,
            Workload::Poll => self.reader.poll()?,
            Workload::Put => {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                return write(&self.jobs, vec![make_row(index)]).await;
            }
            Workload::Update => {
                self.reader.get(index)?;
                return write(&self.jobs, vec![make_row(index)]).await;
            }
            Workload::Batch => {
                let first = self.next.fetch_add(BATCH_PUTS, Ordering::Relaxed);
                return write(&self.jobs, make_rows(first, BATCH_PUTS)).await;
            }
        }
        // Reads do not wait for anything: let the others have their turn.
        tokio::task::yield_now().await;
        Ok(())
    }

    fn loaded(&self) -> u64 {
        self.loaded
    }
}

// Everything that waits goes into one transaction, and so into one fsync.
fn write_groups(mut writer: Writer, mut queue: mpsc::Receiver<Job>) -> Result<()> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let mut seqs = Vec::with_capacity(group.len());
        writer.transaction(|writer| {
            for job in &group {
                seqs.push(writer.put(&job.rows)?);
            }
            Ok(())
        })?;
        for (job, seq) in group.drain(..).zip(seqs) {
            let _ = job.done.send(seq);
        }
    }
    Ok(())
}
