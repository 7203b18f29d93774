//! Interim.
use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use nuage_model::Finding;
pub(super) async fn check(pool: &Pool) -> Result<Vec<Finding>, Fault> {
    let _ = pool.get().await?;
    Ok(Vec::new())
}
