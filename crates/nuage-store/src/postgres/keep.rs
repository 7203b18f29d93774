//! Short texts that all processes on one database share, each kept by whoever comes first.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::errors::Fault;

const KEEP: &str = "INSERT INTO meta (key, value) VALUES ('kept.' || $1, $2) \
     ON CONFLICT (key) DO NOTHING";
// In a statement of its own: only then does it see what another process committed meanwhile.
const KEPT: &str = "SELECT value FROM meta WHERE key = 'kept.' || $1";

/// Keeps the text unless one is kept under that name already; gives what is kept.
pub(super) async fn keep(client: &Client, name: &str, value: &str) -> Result<String, Fault> {
    let both: [(&(dyn ToSql + Sync), Type); 2] = [(&name, Type::TEXT), (&value, Type::TEXT)];
    client.execute_typed(KEEP, &both).await?;
    let rows = client.query_typed(KEPT, &both[..1]).await?;
    match rows.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => {
            let why = format!("what was kept under {name} is gone");
            Err(nuage_model::StoreError::Corrupt(why).into())
        }
    }
}
