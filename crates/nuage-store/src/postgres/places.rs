//! Interim.
use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use nuage_model::*;
use std::collections::BTreeMap;

pub(super) async fn groups_of(pool: &Pool, members: &[Principal]) -> Result<Vec<GroupPath>, Fault> {
    let c = pool.get().await?;
    let who: Vec<&str> = members.iter().map(|m| m.as_str()).collect();
    let rows = c.query("SELECT DISTINCT bucket, grp FROM members WHERE member = ANY($1) ORDER BY 1, 2", &[&who]).await?;
    Ok(rows.iter().map(|r| GroupPath { bucket: r.get::<_, &str>(0).into(), group: r.get::<_, &str>(1).into() }).collect())
}
pub(super) async fn collections_of(pool: &Pool, principals: &[Principal]) -> Result<Vec<CollectionPath>, Fault> {
    let c = pool.get().await?;
    let who: Vec<&str> = principals.iter().map(|m| m.as_str()).collect();
    let rows = c.query("SELECT DISTINCT bucket, collection FROM directory_collections WHERE principal = ANY($1) ORDER BY 1, 2", &[&who]).await?;
    Ok(rows.iter().map(|r| CollectionPath::new(r.get::<_, &str>(0), r.get::<_, &str>(1))).collect())
}
pub(super) async fn collections(pool: &Pool, after: Option<&CollectionPath>, limit: usize) -> Result<Vec<CollectionPath>, Fault> {
    let c = pool.get().await?;
    let (b, n) = after.map_or(("", ""), |p| (p.bucket.as_str(), p.name.as_str()));
    let rows = c.query("SELECT bucket, collection FROM collections WHERE (bucket, collection) > ($1, $2) AND NOT dropped AND live + tombstones > 0 ORDER BY 1, 2 LIMIT $3", &[&b, &n, &(limit as i64)]).await?;
    Ok(rows.iter().map(|r| CollectionPath::new(r.get::<_, &str>(0), r.get::<_, &str>(1))).collect())
}
pub(super) async fn tally(pool: &Pool) -> Result<BTreeMap<Kind, Tally>, Fault> {
    let c = pool.get().await?;
    let rows = c.query("SELECT collection, live, tombstones FROM collections WHERE NOT dropped", &[]).await?;
    let mut out: BTreeMap<Kind, Tally> = BTreeMap::new();
    for r in rows {
        let t = out.entry(CollectionPath::new("", r.get::<_, &str>(0)).kind()).or_default();
        t.live += r.get::<_, i64>(1) as u64;
        t.tombstones += r.get::<_, i64>(2) as u64;
    }
    out.retain(|_, t| *t != Tally::default());
    Ok(out)
}
