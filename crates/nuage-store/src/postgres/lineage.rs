//! Whether the database still holds what was acknowledged.
//!
//! A standby that takes over may lack the last commits of its primary, and a copy that was restored
//! lacks all since it was made. Devices that were told of them would go on and stay wrong. So `meta`
//! says on which server, in which database and table, on which timeline and since which start the
//! data was last used; and each process remembers what it wrote and showed last. Whoever connects
//! compares both before anything else is done. What is known or must be feared to be lost begins a
//! new epoch:
//!
//! - another server, database or table: the data was restored from a copy;
//! - another timeline, as after a promotion or a recovery to a point in time, unless a process finds
//!   what it wrote last;
//! - a record or a head that is behind what this process wrote or showed.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nuage_model::copy::{Cell, Row, Table};
use nuage_model::{CollectionPath, Seq};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use crate::postgres::statements;
use crate::postgres::write_set::Effects;

/// How much of what was written or shown last is remembered.
const REMEMBERED: usize = 32;
/// How often others may be faster.
const ATTEMPTS_MAX: usize = 8;
/// How long the server may take to say what is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server with its database and table, its timeline, its start; and what `meta` says of that.
/// Nothing of the former where a standby is asked.
macro_rules! ask {
    ($system:literal, $timeline:literal) => {
        concat!(
            "SELECT CASE WHEN NOT pg_is_in_recovery() THEN ",
            $system,
            " || '.' || (SELECT oid FROM pg_database WHERE datname = current_database())
                || '.' || 'meta'::regclass::oid || ' ' || ",
            $timeline,
            " || ' ' || (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint END,
            (SELECT value FROM meta WHERE key = 'lineage')"
        )
    };
}
const ASK: &str = ask!(
    "(SELECT system_identifier FROM pg_control_system())",
    "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
);
/// Where these functions are missing or not allowed.
const ASK_LITTLE: &str = ask!("'-'", "'-'");
/// What became of records and heads. The row of a collection outlives it, and only goes forward.
static LOOK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT r.seq, c.seq
        FROM unnest($1::text[], $2::text[], $3::text[])
            WITH ORDINALITY AS k (bucket, collection, id, n)
        LEFT JOIN LATERAL ({}) AS r ON true
        LEFT JOIN LATERAL ({}) AS c ON true ORDER BY k.n",
        statements::lookup(Table::Records, "seq"),
        statements::lookup(Table::Collections, "seq")
    )
});
/// Of two that settle the same at a time, one does.
const SETTLE: &str = "
    WITH settled AS (INSERT INTO meta (key, value) VALUES ('lineage', $1)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE meta.value = $2
        RETURNING 1),
    begun AS (UPDATE meta SET value = replace(gen_random_uuid()::text, '-', '')
        WHERE key = 'store' AND $3 AND EXISTS (SELECT FROM settled))
    SELECT count(*) FROM settled";

/// What a process knows of the server that it works on.
#[derive(Default)]
pub(super) struct Lineage {
    known: Mutex<Known>,
    /// Held by whoever compares.
    checking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// What the server said of itself when it was last compared.
    now: Option<Place>,
    /// What was written last, the latest at the end.
    written: VecDeque<Mark>,
    /// What was shown last.
    shown: VecDeque<Mark>,
}

/// A record, or a collection, that has reached a position.
#[derive(Clone)]
struct Mark {
    bucket: String,
    collection: String,
    /// None is empty.
    id: String,
    seq: i64,
}

/// Where the data is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    /// The server, the database, the table.
    table: String,
    timeline: String,
    started: String,
}

/// What becomes of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It goes on.
    Same,
    /// Somebody begins a new epoch.
    Renewed,
}

/// What was found of the marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Evidence {
    /// What was written last is there, and nothing that was shown is missing.
    Whole,
    /// Something is missing.
    Lost,
    /// Others wrote over what was written last, be it lost or not.
    Unsure,
    /// Nothing was written that could be looked for.
    Nothing,
}

impl Lineage {
    /// Takes note of what a commit wrote: one record speaks for all.
    pub(super) fn note_written(&self, effects: &Effects) {
        let mut rows = effects.of(Table::Records).filter_map(|(key, row)| mark(key, row?));
        if let Some(mark) = rows.next() {
            note(&mut self.known().written, mark);
        }
    }

    /// Takes note of a head that somebody was told.
    pub(super) fn note_shown(&self, collection: &CollectionPath, head: Seq) {
        let (bucket, name) = (collection.bucket.as_str(), collection.stored_name());
        let mut known = self.known();
        let is_same = |mark: &Mark| mark.bucket == bucket && mark.collection == name;
        match known.shown.iter_mut().find(|mark| is_same(mark)) {
            Some(mark) => mark.seq = mark.seq.max(head.0),
            None => {
                let mark = Mark {
                    bucket: bucket.to_owned(),
                    collection: name.into_owned(),
                    id: String::new(),
                    seq: head.0,
                };
                note(&mut known.shown, mark);
            }
        }
    }

    /// Compares for the first time. The tables must be there.
    pub(super) async fn begin(&self, client: &Client) -> Result<(), Error> {
        self.compare(client).await
    }

    /// Compares anew if this connection is to another server than before, or to one that was
    /// started anew.
    pub(super) async fn check(&self, client: &Client) -> Result<(), Error> {
        if self.known().now.is_none() {
            return Ok(());
        }
        let compared = tokio::time::timeout(PATIENCE, self.compare(client)).await;
        compared.unwrap_or_else(|_| Err(Error::__private_api_timeout()))
    }

    async fn compare(&self, client: &Client) -> Result<(), Error> {
        let (now, _) = ask(client).await?;
        if now.is_none() || self.known().now == now {
            return Ok(());
        }
        let _alone = self.checking.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let (Some(now), told) = ask(client).await? else { return Ok(()) };
            if self.known().now.as_ref() == Some(&now) {
                return Ok(());
            }
            let evidence = self.evidence(client).await?;
            let told_place = told.as_deref().and_then(understand);
            let verdict = judge(&now, self.known().now.as_ref(), told_place, evidence);
            if settle(client, &now, told.as_deref(), verdict).await? {
                let mut known = self.known();
                if verdict == Verdict::Renewed {
                    known.written.clear();
                    known.shown.clear();
                }
                known.now = Some(now);
                return Ok(());
            }
        }
        // Who is always faster has settled it.
        Ok(())
    }

    async fn evidence(&self, client: &Client) -> Result<Evidence, Error> {
        let (written, shown) = {
            let known = self.known();
            (known.written.clone(), known.shown.clone())
        };
        let marks: Vec<&Mark> = shown.iter().chain(&written).collect();
        let buckets: Vec<&str> = marks.iter().map(|mark| mark.bucket.as_str()).collect();
        let collections: Vec<&str> = marks.iter().map(|mark| mark.collection.as_str()).collect();
        let ids: Vec<&str> = marks.iter().map(|mark| mark.id.as_str()).collect();
        let asked: [(&(dyn ToSql + Sync), Type); 3] = [
            (&buckets, Type::TEXT_ARRAY),
            (&collections, Type::TEXT_ARRAY),
            (&ids, Type::TEXT_ARRAY),
        ];
        let mut evidence = Evidence::Nothing;
        for (row, mark) in client.query_typed(&LOOK, &asked).await?.iter().zip(marks) {
            let (record, head): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            if record.or(head).is_none_or(|found| found < mark.seq) {
                return Ok(Evidence::Lost);
            }
            evidence = match record == Some(mark.seq) {
                _ if mark.id.is_empty() => Evidence::Nothing,
                true => Evidence::Whole,
                false => Evidence::Unsure,
            };
        }
        Ok(evidence)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(marks: &mut VecDeque<Mark>, mark: Mark) {
    if marks.len() == REMEMBERED {
        marks.pop_front();
    }
    marks.push_back(mark);
}

fn mark(key: &[Cell], row: &Row) -> Option<Mark> {
    let text = |at: usize| match key.get(at)? {
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    };
    let Some(Cell::Whole(seq)) = row.0.get(3) else { return None };
    Some(Mark { bucket: text(0)?, collection: text(1)?, id: text(2)?, seq: *seq })
}

/// What the server says of itself, and what `meta` says.
async fn ask(client: &Client) -> Result<(Option<Place>, Option<String>), Error> {
    let rows = match client.query_typed(ASK, &[]).await {
        Err(error) if is_denied(&error) => client.query_typed(ASK_LITTLE, &[]).await?,
        asked => asked?,
    };
    let Some(row) = rows.first() else { return Ok((None, None)) };
    let now: Option<String> = row.try_get(0)?;
    let now = now.as_deref().and_then(understand).map(|(place, _)| place);
    Ok((now, row.try_get(1)?))
}

fn is_denied(error: &Error) -> bool {
    let denied = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::FEATURE_NOT_SUPPORTED,
    ];
    error.code().is_some_and(|code| denied.contains(code))
}

fn understand(text: &str) -> Option<(Place, Verdict)> {
    let mut words = text.split(' ').map(str::to_owned);
    let (table, timeline, started) = (words.next()?, words.next()?, words.next()?);
    let verdict = match words.next().as_deref() {
        Some("renewed") => Verdict::Renewed,
        _ => Verdict::Same,
    };
    Some((Place { table, timeline, started }, verdict))
}

/// `before`: where this process found the data; `told`: where it was found last by whichever.
fn judge(
    now: &Place,
    before: Option<&Place>,
    told: Option<(Place, Verdict)>,
    evidence: Evidence,
) -> Verdict {
    let Some((told, verdict)) = told else { return Verdict::Same };
    let is_new_here = before.is_some_and(|before| before.timeline != now.timeline);
    let may_be_lost = match evidence {
        _ if told.table != now.table => true,
        Evidence::Whole => false,
        Evidence::Lost => true,
        Evidence::Unsure => told.timeline != now.timeline || is_new_here,
        // Another one may have found what it wrote.
        Evidence::Nothing => told.timeline != now.timeline,
    };
    match may_be_lost {
        // Another process did what is to be done.
        _ if told == *now && verdict == Verdict::Renewed => verdict,
        true => Verdict::Renewed,
        false => Verdict::Same,
    }
}

/// Writes down what is so now, unless somebody else was faster.
async fn settle(
    client: &Client,
    now: &Place,
    told: Option<&str>,
    verdict: Verdict,
) -> Result<bool, Error> {
    let Place { table, timeline, started } = now;
    let (renews, word) = match verdict {
        Verdict::Same => (false, "same"),
        Verdict::Renewed => (true, "renewed"),
    };
    let text = format!("{table} {timeline} {started} {word}");
    if told == Some(text.as_str()) {
        return Ok(true);
    }
    let asked: [(&(dyn ToSql + Sync), Type); 3] =
        [(&text, Type::TEXT), (&told, Type::TEXT), (&renews, Type::BOOL)];
    let settled: i64 = client.query_typed_one(SETTLE, &asked).await?.try_get(0)?;
    if settled > 0 && renews {
        tracing::warn!(
            "the database went back, or nobody can tell that it did not, as after a restore or a \
             failover: all devices begin afresh"
        );
    }
    Ok(settled > 0)
}
