//! `nuage check`: what is wrong in the data, in sentences.

use anyhow::Result;
use nuage_model::{Finding, Store, StoreError};

use crate::config::Settings;
use crate::data;
use crate::failure::{Exit, Failure};
use crate::out::{complain, say};

/// Checks the data.
pub(crate) async fn perform(settings: &Settings, json: bool) -> Result<()> {
    data::expect_database(&settings.storage)?;
    let (store, _) = data::open_to_read(&settings.storage).await?;
    let findings = findings(store.as_ref()).await;
    store.close().await;
    tell(&findings?, &settings.storage.place.to_string(), json)
}

/// Everything that is wrong, as far as it can be read.
pub(crate) async fn findings(store: &dyn Store) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for found in [store.admin().check().await, nuage_engine::check(store).await] {
        match found {
            Ok(found) => findings.extend(found),
            // Most likely it was told already.
            Err(StoreError::Corrupt(_)) if !findings.is_empty() => {}
            Err(StoreError::Corrupt(why)) => {
                findings.push(Finding(format!("not everything can be read: {why}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// Tells what was found. Findings are a failure.
pub(crate) fn tell(findings: &[Finding], what: &str, json: bool) -> Result<()> {
    if json {
        let sentences: Vec<&str> = findings.iter().map(|finding| finding.0.as_str()).collect();
        say(&serde_json::json!({ "sound": findings.is_empty(), "findings": sentences }).to_string());
    } else {
        for finding in findings {
            say(&finding.to_string());
        }
    }
    match findings.len() {
        0 if json => Ok(()),
        0 => {
            complain(&format!("{what} is sound."));
            Ok(())
        }
        1 => Err(Failure::new(Exit::Negative, format!("{what} has one fault.")).into()),
        n => Err(Failure::new(Exit::Negative, format!("{what} has {n} faults.")).into()),
    }
}
