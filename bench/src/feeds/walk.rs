//! The same answers by hand: a walk along the positions of a collection that keeps what one of a
//! person's signatures lets them see. The signatures are known beforehand, and cost nothing here.

use std::collections::HashSet;

use anyhow::Result;
use nuage_model::{Principal, Signature};
use rusqlite::{Connection, OpenFlags};
use tokio_postgres::NoTls;

use crate::feeds::Clock;
use crate::feeds::shapes::{Home, Shape, person};

/// Rows asked of PostgreSQL at a time.
const ROWS: usize = 1_000;

const SQLITE: &str = "
    SELECT seq, signature, dead, id, body FROM records
    WHERE number = (SELECT number FROM collections WHERE bucket = ?1 AND collection = 'c')
        AND seq > ?2 ORDER BY seq";
const POSTGRES: &str = "
    SELECT seq, signature, dead, id, body FROM records
    WHERE bucket = $1 AND collection = 'c' AND seq > $2 ORDER BY bucket, collection, seq
    LIMIT $3";

/// A walk for some people.
pub(crate) struct Walk {
    bucket: &'static str,
    seen: Vec<HashSet<Signature>>,
    way: Way,
}

enum Way {
    Sqlite(Connection),
    Postgres(tokio_postgres::Client, tokio_postgres::Statement),
}

impl Walk {
    pub(crate) async fn new(
        home: &Home,
        shape: Shape,
        people: impl Iterator<Item = u64>,
    ) -> Result<Self> {
        let way = if home.place.contains("://") {
            let (client, connection) = tokio_postgres::connect(&home.place, NoTls).await?;
            tokio::spawn(connection);
            let statement = client.prepare(POSTGRES).await?;
            Way::Postgres(client, statement)
        } else {
            Way::Sqlite(Connection::open_with_flags(
                &home.place,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?)
        };
        let mut walk = Self { bucket: shape.name(), seen: Vec::new(), way };
        for n in people {
            let groups = home.store.groups_of(&[person(n)], usize::MAX).await?;
            let groups = groups.iter().map(nuage_model::GroupPath::principal);
            let principals: Vec<Principal> = groups.chain([person(n)]).collect();
            walk.seen.push(walk.signatures(&principals).await?);
        }
        Ok(walk)
    }

    async fn signatures(&self, principals: &[Principal]) -> Result<HashSet<Signature>> {
        let mut found = HashSet::new();
        for principal in principals {
            match &self.way {
                Way::Sqlite(connection) => {
                    let mut statement = connection.prepare_cached(
                        "SELECT signature FROM named_signature_principals
                         WHERE bucket = ?1 AND collection = 'c' AND principal = ?2",
                    )?;
                    let mut rows = statement.query([self.bucket, principal.as_str()])?;
                    while let Some(row) = rows.next()? {
                        found.insert(Signature(row.get(0)?));
                    }
                }
                Way::Postgres(client, _) => {
                    let sql = "SELECT signature FROM signature_principals
                         WHERE bucket = $1 AND collection = 'c' AND principal = $2";
                    for row in client.query(sql, &[&self.bucket, &principal.as_str()]).await? {
                        let bytes: &[u8] = row.try_get(0)?;
                        found.insert(Signature(bytes.try_into()?));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Microseconds of CPU time for what one person may see after a position, until so many.
    pub(crate) async fn run(&self, pids: &[u32], after: i64, limit: usize) -> Result<f64> {
        let mut clock = Clock::start(pids);
        loop {
            let seen = &self.seen[clock.count as usize % self.seen.len()];
            match &self.way {
                Way::Sqlite(connection) => self.sqlite(connection, seen, after, limit)?,
                Way::Postgres(client, statement) => {
                    self.postgres(client, statement, seen, after, limit).await?
                }
            };
            if !clock.again() {
                return Ok(clock.each_us());
            }
        }
    }

    fn sqlite(
        &self,
        connection: &Connection,
        seen: &HashSet<Signature>,
        after: i64,
        limit: usize,
    ) -> Result<usize> {
        let mut statement = connection.prepare_cached(SQLITE)?;
        let mut rows = statement.query(rusqlite::params![self.bucket, after])?;
        let (mut found, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            if row.get::<_, bool>(2)? || !seen.contains(&Signature(row.get(1)?)) {
                continue;
            }
            bytes += row.get_ref(4)?.as_str()?.to_owned().len();
            found += 1;
            if found == limit {
                break;
            }
        }
        Ok(std::hint::black_box(bytes))
    }

    async fn postgres(
        &self,
        client: &tokio_postgres::Client,
        statement: &tokio_postgres::Statement,
        seen: &HashSet<Signature>,
        after: i64,
        limit: usize,
    ) -> Result<usize> {
        let (mut after, mut found, mut bytes) = (after, 0, 0);
        loop {
            let asked = ROWS as i64;
            let rows = client.query(statement, &[&self.bucket, &after, &asked]).await?;
            for row in &rows {
                after = row.try_get(0)?;
                let signature: &[u8] = row.try_get(1)?;
                if row.try_get(2)? || !seen.contains(&Signature(signature.try_into()?)) {
                    continue;
                }
                bytes += row.try_get::<_, String>(4)?.len();
                found += 1;
                if found == limit {
                    return Ok(std::hint::black_box(bytes));
                }
            }
            if rows.len() < ROWS {
                return Ok(std::hint::black_box(bytes));
            }
        }
    }
}
