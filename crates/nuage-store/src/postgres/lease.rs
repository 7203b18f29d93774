//! Which process looks after a chore.

use nuage_model::Timestamp;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;

/// One statement: of two that ask at a time, the second sees what the first wrote. The text is the
/// end of the lease and then the holder. One that ends an hour later than anybody may ask for was taken
/// by a clock that was wrong.
const LEASE: &str = "
    INSERT INTO meta (key, value) VALUES ('lease.' || $1, $4::text || ' ' || $2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE split_part(meta.value, ' ', 1)::bigint <= $3
    OR ($4 > $3 AND split_part(meta.value, ' ', 1)::bigint - 3600000 - $4 > $4 - $3)
    OR substr(meta.value, strpos(meta.value, ' ') + 1) = $2";

/// Takes or prolongs the right to do a chore, unless another process has it.
pub(super) async fn lease(
    pool: &Pool,
    chore: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Fault> {
    let asked: [(&(dyn ToSql + Sync), Type); 4] =
        [(&chore, Type::TEXT), (&holder, Type::TEXT), (&now.0, Type::INT8), (&until.0, Type::INT8)];
    Ok(pool.get().await?.execute_typed(LEASE, &asked).await? == 1)
}
