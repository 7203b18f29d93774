//! `nuage renew`: says that the data went back, where Nuage cannot notice it by itself.

use anyhow::{Result, anyhow};
use nuage_model::{Batch, Store, Write};
use uuid::Uuid;

use crate::config::Settings;
use crate::data;
use crate::out::{complain, say};
use crate::server::now;

/// Begins a new epoch in the data.
pub(crate) async fn perform(settings: &Settings, json: bool) -> Result<()> {
    let storage = &settings.storage;
    data::expect_database(storage)?;
    let store = data::open(storage).await?;
    let begun = begin_epoch(store.as_ref()).await;
    store.close().await;
    let place = &storage.place;
    begun.map_err(|error| anyhow!("{place} cannot be renewed: {error}."))?;
    match json {
        true => say(&serde_json::json!({ "renewed": place.to_string() }).to_string()),
        false => complain(&format!("{place} is renewed: devices that follow feeds begin afresh.")),
    }
    Ok(())
}

/// What devices were told before counts no more: they are to begin afresh.
pub(crate) async fn begin_epoch(store: &dyn Store) -> Result<(), nuage_model::ApplyError> {
    let epoch = Uuid::new_v4().simple().to_string();
    let batch = Batch::new(now(), vec![Write::Renew { epoch }]);
    store.apply(batch).await.map(drop)
}
