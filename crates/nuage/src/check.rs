//! `nuage check`: what is wrong in the data, in sentences.

use anyhow::Result;
use nuage_model::Finding;

use crate::config::Settings;
use crate::data;
use crate::failure::{Exit, Failure};
use crate::out::{complain, say};

/// Checks the data.
pub(crate) async fn perform(settings: &Settings, json: bool) -> Result<()> {
    data::expect_database(&settings.storage)?;
    let (store, _) = data::open_to_read(&settings.storage).await?;
    let findings = store.check().await;
    store.close().await;
    tell(&findings?, &settings.storage.place.to_string(), json)
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
