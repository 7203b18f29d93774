//! The second round trip of a transaction: everything that a group of batches does, as a few
//! statements over arrays, and the commit.

use std::collections::BTreeSet;
use std::pin::Pin;

use deadpool_postgres::Object;
use futures_util::future::join_all;
use nuage_model::{CollectionPath, GroupPath, RecordPath, Signature};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::postgres::errors::Fault;
use crate::postgres::overlay::{Effects, Joined};
use crate::postgres::read::{Names, collection_names};
use crate::postgres::rows::one_record_to_lock;
use crate::rules::Residents;

/// Nothing is written where a guess was wrong.
macro_rules! if_fit {
    () => {
        " WHERE current_setting('nuage.fit', true) IS DISTINCT FROM 'no'"
    };
}

const FLUSH: &str = "
    DELETE FROM records; DELETE FROM gone; DELETE FROM signatures;
    DELETE FROM signature_principals; DELETE FROM members; DELETE FROM directory_groups;
    DELETE FROM directory_collections; DELETE FROM collections; DELETE FROM views";
const RENEW: &str = "
    UPDATE meta SET value = replace(gen_random_uuid()::text, '-', '') WHERE key = 'store'";
const DROP_BUCKETS: &[&str] = &[
    "DELETE FROM records WHERE bucket = ANY($1)",
    "DELETE FROM gone WHERE bucket = ANY($1)",
    "DELETE FROM signatures WHERE bucket = ANY($1)",
    "DELETE FROM signature_principals WHERE bucket = ANY($1)",
    "DELETE FROM directory_collections WHERE bucket = ANY($1)",
    "DELETE FROM directory_groups WHERE bucket = ANY($1)",
    "DELETE FROM members WHERE bucket = ANY($1)",
    "DELETE FROM views WHERE bucket = ANY($1)",
    "UPDATE collections SET live = 0, tombstones = 0, chosen = 0, gone = 0, dropped = true
     WHERE bucket = ANY($1)",
];
macro_rules! drop_collections {
    ($table:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " t USING unnest($1::text[], $2::text[]) AS k (bucket, collection)
            WHERE t.bucket = k.bucket AND t.collection = k.collection"
        )
    };
}
const DROP_COLLECTIONS: &[&str] = &[
    drop_collections!("records"),
    drop_collections!("gone"),
    drop_collections!("signatures"),
    drop_collections!("signature_principals"),
    drop_collections!("directory_collections"),
];
/// Rows by their names, which stay where they are as long as their collections are locked. In a
/// join the planner could take any index that begins with bucket and collection.
macro_rules! these_records {
    () => {
        concat!(
            " WHERE bucket = ANY ($1) AND ctid = ANY (ARRAY(SELECT r.place
            FROM unnest($1::text[], $2::text[], $3::text[]) AS k (bucket, collection, id)
            CROSS JOIN LATERAL (",
            one_record_to_lock!("ctid AS place", "k.bucket", "k.collection", "k.id"),
            ") r))"
        )
    };
}
const FREE: &str = concat!("UPDATE records SET timestamp = NULL", these_records!());
const ERASE: &str = concat!("DELETE FROM records", these_records!());
const FORGET: &str = "
    DELETE FROM gone g
    USING unnest($1::text[], $2::text[], $3::bigint[]) AS k (bucket, collection, seq)
    WHERE g.bucket = k.bucket AND g.collection = k.collection AND g.seq <= k.seq";
const FORGET_ENDED: &str = "
    DELETE FROM gone g
    USING unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
        AS k (bucket, collection, seq, id)
    WHERE g.bucket = k.bucket AND g.collection = k.collection AND g.seq = k.seq AND g.id = k.id";
const PROLONG_ENDED: &str = "
    UPDATE gone g SET entered = k.entered
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])
        AS k (bucket, collection, seq, id, entered)
    WHERE g.bucket = k.bucket AND g.collection = k.collection AND g.seq = k.seq AND g.id = k.id";
/// Signatures that no record and no ended residency has any more, with their principals. What
/// is compared twice makes the planner take the index that has signatures.
const FORGET_SIGNATURES: &str = "
    WITH unused AS (
        DELETE FROM signatures s
        USING unnest($1::text[], $2::text[]) AS k (bucket, collection)
        WHERE s.bucket = k.bucket AND s.collection = k.collection AND s.live = 0
        AND NOT EXISTS (SELECT 1 FROM records WHERE bucket = s.bucket
            AND collection = s.collection AND signature >= s.signature
            AND signature <= s.signature ORDER BY signature OFFSET 0)
        AND NOT EXISTS (SELECT 1 FROM gone WHERE bucket = s.bucket
            AND collection = s.collection AND signature >= s.signature
            AND signature <= s.signature ORDER BY signature OFFSET 0)
        RETURNING s.bucket, s.collection, s.signature)
    DELETE FROM signature_principals WHERE bucket = ANY ($1)
    AND ctid = ANY (ARRAY(SELECT p.place FROM unused u
        CROSS JOIN LATERAL (SELECT ctid AS place FROM signature_principals
            WHERE bucket = u.bucket AND collection = u.collection
            AND signature >= u.signature AND signature <= u.signature
            ORDER BY signature OFFSET 0) p))";
const FORGET_VIEWS: &str = "
    DELETE FROM views v USING unnest($1::text[], $2::bigint[]) AS k (bucket, before)
    WHERE v.bucket = k.bucket AND v.used < k.before";
/// What is used each minute is noted once a day: 86,400,000 ms.
const KEEP_VIEWS: &str = "
    INSERT INTO views (bucket, person, name, groups, used)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bigint[])
    ON CONFLICT (bucket, person, name) DO UPDATE SET used = excluded.used
    WHERE views.used <= excluded.used - 86400000";
const WRITE: &str = concat!(
    "
    INSERT INTO records (bucket, collection, id, seq, timestamp, signature, entered, dead,
        permissions, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bytea[], $7::bigint[], $8::boolean[], $9::text[], $10::text[])",
    if_fit!(),
    "
    ON CONFLICT (bucket, collection, id) DO UPDATE SET
        seq = excluded.seq, timestamp = excluded.timestamp, signature = excluded.signature,
        entered = excluded.entered, dead = excluded.dead, permissions = excluded.permissions,
        body = excluded.body"
);
const DEPART: &str = concat!(
    "
    INSERT INTO gone (bucket, collection, id, seq, signature, entered)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[],
        $6::bigint[])",
    if_fit!()
);
const COUNT: &str = concat!(
    "
    INSERT INTO signatures (bucket, collection, signature, live, digest)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[])",
    if_fit!(),
    "
    ON CONFLICT (bucket, collection, signature) DO UPDATE SET
        live = signatures.live + excluded.live,
        digest = (signatures.digest + excluded.digest) % (1::bigint << 48)"
);
const REGISTER: &str = concat!(
    "
    INSERT INTO signature_principals (bucket, collection, principal, signature)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])",
    if_fit!(),
    "
    ON CONFLICT DO NOTHING"
);
const LIST_COLLECTIONS: &str = concat!(
    "
    INSERT INTO directory_collections (principal, bucket, collection)
    SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[])",
    if_fit!(),
    "
    ON CONFLICT DO NOTHING"
);
const JOIN: &str = "
    INSERT INTO members (bucket, grp, member)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
    ON CONFLICT DO NOTHING";
const LIST_GROUPS: &str = "
    INSERT INTO directory_groups (member, bucket)
    SELECT DISTINCT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT DO NOTHING";
const LEAVE: &str = "
    DELETE FROM members m
    USING unnest($1::text[], $2::text[], $3::text[]) AS k (bucket, grp, member)
    WHERE m.bucket = k.bucket AND m.grp = k.grp AND m.member = k.member";
const UNLIST_GROUPS: &str = "
    DELETE FROM directory_groups d
    USING unnest($1::text[], $2::text[]) AS k (member, bucket)
    WHERE d.member = k.member AND d.bucket = k.bucket AND NOT EXISTS (
        SELECT 1 FROM members m WHERE m.bucket = k.bucket AND m.member = k.member)";
const SEQUENCES: &str = concat!(
    "
    INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live,
        tombstones, chosen, gone, dropped)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[])",
    if_fit!(),
    "
    ON CONFLICT (bucket, collection) DO UPDATE SET
        incarnation = excluded.incarnation, seq = excluded.seq, timestamp = excluded.timestamp,
        gc_seq = excluded.gc_seq, live = excluded.live, tombstones = excluded.tombstones,
        chosen = excluded.chosen, gone = excluded.gone, dropped = excluded.dropped"
);

/// Writes the effects and commits, in one round trip.
pub(super) async fn commit(client: &Object, effects: &Effects) -> Result<(), Fault> {
    Steps::of(client, effects).await?.run().await
}

type Parameter<'a> = Box<dyn ToSql + Sync + Send + 'a>;
type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;

enum Step<'a> {
    Plain(&'static str),
    Prepared(Statement, Vec<Parameter<'a>>),
}

/// Statements that are ready to be sent.
pub(super) struct Steps<'a> {
    client: &'a Object,
    steps: Vec<Step<'a>>,
}

impl<'a> Steps<'a> {
    /// All that writes the effects, and the commit.
    pub(super) async fn of(client: &'a Object, effects: &'a Effects) -> Result<Self, Fault> {
        let mut steps = Self { client, steps: Vec::new() };
        if effects.flush {
            steps.steps.push(Step::Plain(FLUSH));
        }
        if effects.flush || effects.renew {
            steps.steps.push(Step::Plain(RENEW));
        }
        steps.drops(effects).await?;
        steps.rows(effects).await?;
        steps.signatures(effects).await?;
        steps.compacted(effects).await?;
        steps.members(effects).await?;
        steps.views(effects).await?;
        steps.sequences(effects).await?;
        steps.steps.push(Step::Plain("COMMIT"));
        Ok(steps)
    }

    /// Sends everything, then waits for the answers. The first failure is the cause of the others.
    pub(super) async fn run(self) -> Result<(), Fault> {
        let client = self.client;
        let sent = self.steps.iter().map(|step| -> Sent<'_> {
            match step {
                Step::Plain(sql) => Box::pin(client.batch_execute(sql)),
                Step::Prepared(statement, parameters) => Box::pin(async move {
                    let parameters: Vec<&(dyn ToSql + Sync)> =
                        parameters.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect();
                    client.execute(statement, &parameters).await.map(|_| ())
                }),
            }
        });
        for answer in join_all(sent).await {
            answer?;
        }
        Ok(())
    }

    async fn add(&mut self, sql: &str, parameters: Vec<Parameter<'a>>) -> Result<(), Fault> {
        let statement = self.client.prepare_cached(sql).await?;
        self.steps.push(Step::Prepared(statement, parameters));
        Ok(())
    }

    async fn add_names(&mut self, sql: &str, paths: &'a BTreeSet<RecordPath>) -> Result<(), Fault> {
        if paths.is_empty() {
            return Ok(());
        }
        let Names { buckets, collections, ids } = Names::of(paths);
        self.add(sql, vec![Box::new(buckets), Box::new(collections), Box::new(ids)]).await
    }

    async fn drops(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        if !effects.dropped_buckets.is_empty() {
            for sql in DROP_BUCKETS {
                let buckets: Vec<&str> =
                    effects.dropped_buckets.iter().map(|bucket| bucket.as_str()).collect();
                self.add(sql, vec![Box::new(buckets)]).await?;
            }
        }
        if !effects.dropped_collections.is_empty() {
            let paths: Vec<&CollectionPath> = effects.dropped_collections.iter().collect();
            for sql in DROP_COLLECTIONS {
                let (buckets, names) = collection_names(&paths);
                self.add(sql, vec![Box::new(buckets), Box::new(names)]).await?;
            }
        }
        Ok(())
    }

    async fn rows(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        self.add_names(FREE, &effects.freed).await?;
        self.add_names(ERASE, &effects.erased).await?;
        if !effects.forgotten.is_empty() {
            let paths: Vec<&CollectionPath> = effects.forgotten.keys().collect();
            let (buckets, names) = collection_names(&paths);
            let positions: Vec<i64> = effects.forgotten.values().map(|seq| seq.0).collect();
            self.add(FORGET, vec![Box::new(buckets), Box::new(names), Box::new(positions)]).await?;
        }
        self.joined(effects).await?;
        if !effects.written.is_empty() {
            let Names { buckets, collections, ids } = Names::of(effects.written.keys());
            let rows = || effects.written.values();
            let parameters: Vec<Parameter<'a>> = vec![
                Box::new(buckets),
                Box::new(collections),
                Box::new(ids),
                column(rows().map(|one| one.row.seq.0)),
                column(rows().map(|one| one.row.chosen)),
                column(rows().map(|one| &one.row.signature.0[..])),
                column(rows().map(|one| one.row.entered.0)),
                column(rows().map(|one| one.row.dead)),
                column(rows().map(|one| one.permissions.as_str())),
                column(rows().map(|one| one.body.as_str())),
            ];
            self.add(WRITE, parameters).await?;
        }
        if !effects.gone.is_empty() {
            let paths: Vec<&CollectionPath> = effects.gone.keys().map(|(path, _)| path).collect();
            let (buckets, names) = collection_names(&paths);
            let gone = || effects.gone.values();
            let parameters: Vec<Parameter<'a>> = vec![
                Box::new(buckets),
                Box::new(names),
                column(gone().map(|gone| gone.id.as_str())),
                column(gone().map(|gone| gone.seq.0)),
                column(gone().map(|gone| &gone.signature.0[..])),
                column(gone().map(|gone| gone.entered.0)),
            ];
            self.add(DEPART, parameters).await?;
        }
        Ok(())
    }

    async fn joined(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        let all = || {
            effects.joined_ended.iter().map(|((path, seq), (id, joined))| {
                let begins = match joined {
                    Joined::Removed => None,
                    Joined::Begins(entered) => Some(entered.0),
                };
                ((path.bucket.as_str(), path.name.as_str(), seq.0, id.as_str()), begins)
            })
        };
        let removed = || all().filter(|(_, begins)| begins.is_none()).map(|(key, _)| key);
        if removed().next().is_some() {
            let parameters: Vec<Parameter<'a>> = vec![
                column(removed().map(|key| key.0)),
                column(removed().map(|key| key.1)),
                column(removed().map(|key| key.2)),
                column(removed().map(|key| key.3)),
            ];
            self.add(FORGET_ENDED, parameters).await?;
        }
        let prolonged = || all().filter_map(|(key, begins)| Some((key, begins?)));
        if prolonged().next().is_some() {
            let parameters: Vec<Parameter<'a>> = vec![
                column(prolonged().map(|(key, _)| key.0)),
                column(prolonged().map(|(key, _)| key.1)),
                column(prolonged().map(|(key, _)| key.2)),
                column(prolonged().map(|(key, _)| key.3)),
                column(prolonged().map(|(_, begins)| begins)),
            ];
            self.add(PROLONG_ENDED, parameters).await?;
        }
        Ok(())
    }

    async fn views(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        if !effects.forgotten_views.is_empty() {
            let parameters: Vec<Parameter<'a>> = vec![
                column(effects.forgotten_views.keys().map(|bucket| bucket.as_str())),
                column(effects.forgotten_views.values().map(|before| before.0)),
            ];
            self.add(FORGET_VIEWS, parameters).await?;
        }
        if !effects.views.is_empty() {
            let views = || effects.views.values();
            let parameters: Vec<Parameter<'a>> = vec![
                column(views().map(|view| view.bucket.as_str())),
                column(views().map(|view| view.person.as_str())),
                column(views().map(|view| &view.name[..])),
                column(views().map(|view| view.groups.as_str())),
                column(views().map(|view| view.used.0)),
            ];
            self.add(KEEP_VIEWS, parameters).await?;
        }
        Ok(())
    }

    async fn signatures(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        // A signature that is known, and that as many records got as lost.
        let is_idle = |key: &(CollectionPath, Signature), more: Residents| {
            more == Residents::default() && !effects.principals.contains_key(key)
        };
        let counts: Vec<_> =
            effects.signatures.iter().filter(|(key, more)| !is_idle(key, **more)).collect();
        if !counts.is_empty() {
            let parameters: Vec<Parameter<'a>> = vec![
                column(counts.iter().map(|((path, _), _)| path.bucket.as_str())),
                column(counts.iter().map(|((path, _), _)| path.name.as_str())),
                column(counts.iter().map(|((_, signature), _)| &signature.0[..])),
                column(counts.iter().map(|(_, more)| more.live)),
                column(counts.iter().map(|(_, more)| more.digest())),
            ];
            self.add(COUNT, parameters).await?;
        }
        let named = || {
            effects.principals.iter().flat_map(|((path, signature), readers)| {
                let principals = readers.principals().iter();
                principals.map(move |principal| (path, signature, principal.as_str()))
            })
        };
        if named().next().is_none() {
            return Ok(());
        }
        let parameters: Vec<Parameter<'a>> = vec![
            column(named().map(|(path, _, _)| path.bucket.as_str())),
            column(named().map(|(path, _, _)| path.name.as_str())),
            column(named().map(|(_, _, principal)| principal)),
            column(named().map(|(_, signature, _)| &signature.0[..])),
        ];
        self.add(REGISTER, parameters).await?;
        let parameters: Vec<Parameter<'a>> = vec![
            column(named().map(|(_, _, principal)| principal)),
            column(named().map(|(path, _, _)| path.bucket.as_str())),
            column(named().map(|(path, _, _)| path.name.as_str())),
        ];
        self.add(LIST_COLLECTIONS, parameters).await
    }

    // After everything that signatures could be needed for was written.
    async fn compacted(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        if effects.compacted.is_empty() {
            return Ok(());
        }
        let paths: Vec<&CollectionPath> = effects.compacted.iter().collect();
        let (buckets, names) = collection_names(&paths);
        self.add(FORGET_SIGNATURES, vec![Box::new(buckets), Box::new(names)]).await
    }

    async fn members(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        let changes = [(&effects.left, LEAVE, UNLIST_GROUPS), (&effects.joined, JOIN, LIST_GROUPS)];
        for (changed, change, list) in changes {
            if changed.is_empty() {
                continue;
            }
            let bucket = |(group, _): &'a (GroupPath, String)| group.bucket.as_str();
            let group = |(group, _): &'a (GroupPath, String)| group.group.as_str();
            let member = |(_, member): &'a (GroupPath, String)| member.as_str();
            let parameters: Vec<Parameter<'a>> = vec![
                column(changed.iter().map(bucket)),
                column(changed.iter().map(group)),
                column(changed.iter().map(member)),
            ];
            self.add(change, parameters).await?;
            let parameters: Vec<Parameter<'a>> =
                vec![column(changed.iter().map(member)), column(changed.iter().map(bucket))];
            self.add(list, parameters).await?;
        }
        Ok(())
    }

    async fn sequences(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        if effects.sequences.is_empty() {
            return Ok(());
        }
        let paths: Vec<&CollectionPath> = effects.sequences.keys().collect();
        let (buckets, names) = collection_names(&paths);
        let rows = || effects.sequences.values();
        let parameters: Vec<Parameter<'a>> = vec![
            Box::new(buckets),
            Box::new(names),
            column(rows().map(|one| &one.incarnation[..])),
            column(rows().map(|one| one.seq.0)),
            column(rows().map(|one| one.shown())),
            column(rows().map(|one| one.gc_seq.0)),
            column(rows().map(|one| one.live)),
            column(rows().map(|one| one.tombstones)),
            column(rows().map(|one| one.chosen)),
            column(rows().map(|one| one.gone)),
            column(rows().map(|one| one.dropped)),
        ];
        self.add(SEQUENCES, parameters).await
    }
}

fn column<'a, T>(values: impl Iterator<Item = T>) -> Parameter<'a>
where
    Vec<T>: ToSql + Sync + Send + 'a,
{
    Box::new(values.collect::<Vec<T>>())
}
