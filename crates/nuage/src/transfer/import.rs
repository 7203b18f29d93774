//! Reads what an export wrote: first all lines to see that they are right and that there is room
//! for them, then again to write. A wrong line changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write as _};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nuage_engine::readers;
use nuage_model::{
    ApplyError, Batch, CollectionPath, GroupPath, Kind, Permissions, Placement, Principal, Put,
    Query, ReaderFilter, Readers, RecordPath, Seq, States, Store, StoreError, Timestamp, Write,
};

use crate::backup::Draft;
use crate::config::{Place, Settings};
use crate::data::{self, ByName, beside};
use crate::out::{complain, say};
use crate::server::now;
use crate::transfer::wire::{self, FORMAT, Line, Mark, RecordLine};
use crate::transfer::{progress, scratch};

/// Longest line. Bodies come from requests, which are shorter unless their limit was raised.
const LINE_BYTES: u64 = 256 * 1024 * 1024;
/// Writes and bytes of bodies in one batch.
const BATCH_WRITES: usize = 500;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Reads the file, or the standard input, into the data.
pub(crate) async fn perform(
    file: Option<&Path>,
    keep_secrets: bool,
    settings: &Settings,
    json: bool,
) -> Result<()> {
    let storage = &settings.storage;
    let spool = Draft::new(match &storage.place {
        Place::Files(files) => {
            data::make_folder(files)?;
            beside(&files.database, &scratch("import"))
        }
        Place::Server(_) => std::env::temp_dir().join(format!("nuage{}", scratch("import"))),
    });
    let (path, shown) = match file {
        Some(path) => (path.to_owned(), path.display().to_string()),
        None => {
            let mut copy = data::private().create_new(true).open(&spool.0)?;
            std::io::copy(&mut std::io::stdin().lock(), &mut copy)?;
            copy.flush()?;
            (spool.0.clone(), "the standard input".to_owned())
        }
    };
    let source = File::open(&path).with_context(|| format!("{shown} cannot be read"))?;
    let lock = match &storage.place {
        Place::Files(files) => data::lock(files).ok(),
        Place::Server(_) => None,
    };
    let store = data::open_or_make(storage).await?;
    // Those that name what is here already count, wherever they are.
    let beside = data::left_beside(&storage.place, store.as_ref()).await?;
    data::take_over(&beside, store.as_ref()).await?;
    let choice = match (keep_secrets, &lock) {
        (true, _) => Choice::Ours,
        (false, Some(_)) => Choice::TheirsIfEmpty,
        (false, None) => Choice::Same,
    };
    let done = import(store.as_ref(), source, &shown, choice).await;
    let secrets = data::kept(store.as_ref()).await;
    store.close().await;
    let records = done?;
    if secrets?.is_empty() {
        complain(&format!(
            "{shown} holds no secrets: an earlier version wrote it. So that people find their \
             personal buckets, put the secrets.toml of its server beside the data, or set \
             kinto.default_bucket_hmac_secret and auth.userid_hmac_secret as they were."
        ));
    }
    match json {
        true => say(&serde_json::json!({ "records": records }).to_string()),
        false => complain(&format!("{records} records and tombstones are imported.")),
    }
    Ok(())
}

/// Which secrets count where an import brings others than are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// Those that are there.
    Ours,
    /// Those that it brings, as long as nothing else is there.
    TheirsIfEmpty,
    /// Neither: it is refused.
    Same,
}

/// Checks all lines, then writes them; gives the number of records.
pub(crate) async fn import(
    store: &dyn Store,
    mut source: File,
    shown: &str,
    choice: Choice,
) -> Result<u64> {
    let (counts, secrets) = check(store, &source, shown).await?;
    bring(&secrets, store, shown, choice).await?;
    let total: u64 = counts.values().map(|count| count.live + count.dead).sum();
    source.rewind()?;
    let progress = progress(total, true);
    let mut lines = Lines::new(&source, shown);
    let mut writer = Writer { store, writes: Vec::new(), bytes: 0 };
    while let Some(line) = lines.next()? {
        if let Line::Record(line) = line {
            writer.add(&line).await.with_context(|| lines.place())?;
            progress.inc(1);
        }
    }
    writer.flush().await?;
    progress.finish_and_clear();
    for (path, count) in &counts {
        let live = store.head(path).await?.map_or(0, |head| head.live);
        if live != count.live {
            bail!("{path} has {live} records after the import, not {}.", count.live);
        }
    }
    Ok(total)
}

/// Brings the secrets, or refuses where others name what is there.
async fn bring(secrets: &ByName, store: &dyn Store, shown: &str, choice: Choice) -> Result<()> {
    if data::name_otherwise(&data::kept(store).await?, secrets) {
        match choice {
            Choice::Ours => return Ok(()),
            Choice::TheirsIfEmpty
                if store.collections(ReaderFilter::All, None, 1).await?.is_empty() =>
            {
                return Ok(data::replace_secrets(secrets, store).await?);
            }
            _ => bail!(
                "{shown} has other secrets than the data here: nobody would find the personal \
                 buckets in it. Nothing was imported. Stop the server and import into new data \
                 (--data FOLDER or --storage-url URL), or go on with the secrets of here: \
                 --keep-secrets"
            ),
        }
    }
    Ok(data::take_over(secrets, store).await?)
}

#[derive(Default)]
struct Count {
    live: u64,
    dead: u64,
    last: i64,
}

/// Reads all lines without writing.
async fn check(
    store: &dyn Store,
    source: &File,
    shown: &str,
) -> Result<(BTreeMap<CollectionPath, Count>, ByName)> {
    let mut counts: BTreeMap<CollectionPath, Count> = BTreeMap::new();
    let mut secrets = ByName::new();
    let mut current: Option<CollectionPath> = None;
    let mut records = 0;
    let mut end = None;
    let mut lines = Lines::new(source, shown);
    match lines.next()? {
        Some(Line::Mark(mark)) if mark.nuage == "export" => match mark.format {
            Some(1..=FORMAT) => {}
            _ => bail!("{} is of a form that this version does not know.", lines.place()),
        },
        _ => bail!("{} does not begin an export.", lines.place()),
    }
    while let Some(line) = lines.next()? {
        if end.is_some() {
            bail!("{} comes after the end.", lines.place());
        }
        let line = match line {
            Line::Record(line) => line,
            Line::Mark(mark) if mark.nuage == "end" => {
                end = Some(mark.records);
                continue;
            }
            Line::Mark(Mark { nuage, secrets: Some(brought), .. }) if nuage == "secrets" => {
                secrets = brought;
                continue;
            }
            Line::Mark(_) => bail!("{} is out of place.", lines.place()),
        };
        records += 1;
        write_of(&line).with_context(|| lines.place())?;
        let path = line.path().collection;
        if current.as_ref() != Some(&path) {
            if counts.contains_key(&path) {
                bail!("{}: the records of {path} are not together.", lines.place());
            }
            expect_empty(store, &path, Seq(line.seq)).await?;
            current = Some(path.clone());
        }
        let count = counts.entry(path).or_default();
        if line.seq <= count.last {
            bail!("{}: the positions do not increase.", lines.place());
        }
        count.last = line.seq;
        match line.deleted {
            true => count.dead += 1,
            false => count.live += 1,
        }
    }
    match end {
        Some(Some(written)) if written == records => Ok((counts, secrets)),
        Some(_) => bail!("{shown} lost lines: its end tells another number than it has."),
        None => bail!("{shown} has no end: it was cut off. Nothing was imported."),
    }
}

/// What to do where there is no room for an import.
const NEW_DATA: &str = "Import into new data: --data FOLDER or --storage-url URL";

async fn expect_empty(store: &dyn Store, path: &CollectionPath, first: Seq) -> Result<()> {
    let mut query = Query::all(path.clone(), 1);
    query.states = States::Both;
    if !store.list(&query).await?.records.is_empty() {
        bail!("{path} is not empty here. {NEW_DATA}");
    }
    // An empty list has a time, which clients keep: what is imported must come after it.
    if store.head(path).await?.is_some_and(|head| head.seq >= first) {
        bail!(
            "{path} is empty here, but somebody looked at it, and was told a later time than that \
             of its first record: they would never see it. Nothing was imported. {NEW_DATA}, \
             before anybody uses it."
        );
    }
    Ok(())
}

impl RecordLine {
    fn path(&self) -> RecordPath {
        CollectionPath::of_stored(self.bucket.as_str(), &self.collection).record(self.id.as_str())
    }
}

/// What a line asks to be written.
fn write_of(line: &RecordLine) -> Result<Write> {
    let path = line.path();
    if line.id.is_empty() || line.collection.is_empty() || line.seq < 1 {
        bail!("a record needs a collection, an id and a position");
    }
    if line.timestamp > line.seq {
        bail!("the time shown is after the position");
    }
    let chosen = (line.timestamp != line.seq).then_some(Timestamp(line.timestamp));
    let placement = Placement::Exact { seq: Seq(line.seq), chosen };
    if line.deleted {
        return Ok(Write::Delete { path, placement });
    }
    let body = line.body.as_ref().ok_or_else(|| anyhow!("there is no body"))?.get();
    if !body.starts_with('{') {
        bail!("the body is not an object");
    }
    let permissions = line.permissions.as_ref().map_or("{}", |permissions| permissions.get());
    let permissions = Permissions::from_text(permissions)?;
    Ok(Write::Put(Put {
        readers: Readers::new(readers(path.kind(), &permissions)),
        path,
        body: body.to_owned().into(),
        permissions: permissions.to_text(),
        placement,
    }))
}

/// Who is in a group, by its body.
fn members_of(body: &str) -> Vec<Principal> {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let members = body["members"].as_array().into_iter().flatten();
    let members: BTreeSet<&str> = members.filter_map(serde_json::Value::as_str).collect();
    members.into_iter().map(Principal::from).collect()
}

struct Writer<'a> {
    store: &'a dyn Store,
    writes: Vec<Write>,
    bytes: usize,
}

impl Writer<'_> {
    async fn add(&mut self, line: &RecordLine) -> Result<()> {
        let write = write_of(line)?;
        if let Write::Put(Put { path, body, .. }) = &write
            && path.kind() == Kind::Group
        {
            let group =
                GroupPath { bucket: path.collection.bucket.clone(), group: path.id.clone() };
            let members = members_of(body.text());
            self.writes.push(Write::SetMembers { group, members });
        }
        self.bytes += line.body.as_ref().map_or(0, |body| body.get().len());
        self.writes.push(write);
        if self.writes.len() >= BATCH_WRITES || self.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        if writes.is_empty() {
            return Ok(());
        }
        let batch = Batch::new(now(), writes);
        match self.store.apply(batch).await {
            Ok(_) => Ok(()),
            // What was deleted before leaves its positions behind.
            Err(ApplyError::Store(StoreError::Unsupported(why))) => {
                bail!("{why}. What came before it is imported. {NEW_DATA}")
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
            Err(error @ ApplyError::Conflict) => Err(error.into()),
        }
    }
}

/// The lines of a file, each bounded.
struct Lines<'a> {
    reader: BufReader<&'a File>,
    shown: &'a str,
    number: usize,
    text: String,
}

impl<'a> Lines<'a> {
    fn new(file: &'a File, shown: &'a str) -> Self {
        Self { reader: BufReader::new(file), shown, number: 0, text: String::new() }
    }

    /// Where the line that was last read lies.
    fn place(&self) -> String {
        format!("{} line {}", self.shown, self.number)
    }

    fn next(&mut self) -> Result<Option<Line>> {
        self.text.clear();
        self.number += 1;
        let mut bounded = self.reader.by_ref().take(LINE_BYTES);
        let read = bounded.read_line(&mut self.text).with_context(|| self.place())?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == LINE_BYTES {
            bail!("{} is too long.", self.place());
        }
        match wire::read_line(&self.text) {
            Ok(line) => Ok(Some(line)),
            Err(error) if error.is_eof() => {
                bail!("{} is cut off. Nothing was imported.", self.place())
            }
            Err(_) => bail!("{} is not a line of an export. Nothing was imported.", self.place()),
        }
    }
}
