//! Many histories at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::oracle::choose::{MIXES, Mix, history};
use crate::oracle::play::{Minimum, Tally, play};
use crate::oracle::shrink::shrink;
use crate::oracle::step::Step;
use crate::oracle::subject::Stage;

/// Which histories, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The seed of the first one; the others have the numbers after it.
    pub seed: u64,
    /// How many, or without end.
    pub histories: Option<u64>,
    /// The time after which no other is begun, unless too few were.
    pub time: Duration,
    /// What must be tried, however long it takes.
    pub least: Minimum,
    /// How many steps each has.
    pub steps: usize,
    /// How many are played at a time.
    pub workers: usize,
    /// What they are about; one thing after the other if nothing is said.
    pub mix: Option<Mix>,
    /// Whether what fails is made short.
    pub shrink: bool,
    /// How often `progress` is told of what was tried.
    pub every: Duration,
}

impl Campaign {
    /// The history of a seed.
    pub fn history(&self, seed: u64) -> Vec<Step> {
        let mix = self.mix.unwrap_or(MIXES[(seed % MIXES.len() as u64) as usize]);
        history(seed, mix, self.steps)
    }
}

/// Plays them all. The error holds the first one that failed, as short as it can be.
///
/// # Errors
///
/// What was wrong, after what; or that too little was tried.
pub async fn campaign<S: Stage>(
    stage: Arc<S>,
    campaign: Campaign,
    progress: impl Fn(Tally),
) -> Result<Tally, String> {
    let next = Arc::new(AtomicU64::new(0));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut workers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..campaign.workers {
        let (stage, next, tally) = (Arc::clone(&stage), Arc::clone(&next), Arc::clone(&tally));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let is_enough = campaign.histories.is_some_and(|histories| number >= histories);
                let is_late = start.elapsed() > campaign.time;
                if is_enough || is_late && number >= campaign.least.histories {
                    return None;
                }
                let seed = campaign.seed.wrapping_add(number);
                let mut subject = stage.subject(seed).await;
                let mut transcript = Vec::new();
                match play(&mut subject, &campaign.history(seed), &mut transcript).await {
                    Ok(tried) => tally.lock().await.add(tried),
                    Err(why) => return Some((seed, why, transcript)),
                }
            }
        });
    }
    let mut failed: Option<(u64, String, Vec<String>)> = None;
    let mut told = Instant::now();
    loop {
        let left = campaign.every.saturating_sub(told.elapsed());
        match tokio::time::timeout(left, workers.join_next()).await {
            Ok(None) => break,
            Ok(Some(Ok(None))) => {}
            Ok(Some(Ok(Some(found)))) => {
                failed = Some(failed.map_or(found.clone(), |first| first.min(found)));
                workers.abort_all();
            }
            Ok(Some(Err(error))) if error.is_cancelled() => {}
            Ok(Some(Err(error))) => return Err(format!("a worker stopped: {error}")),
            Err(_) => {
                progress(*tally.lock().await);
                told = Instant::now();
            }
        }
    }
    let Some((seed, why, transcript)) = failed else {
        let tally = *tally.lock().await;
        return tally.reaches(campaign.least).map(|()| tally);
    };
    if !campaign.shrink {
        return Err(format!("replay with NUAGE_SEED={seed}: {why}"));
    }
    Err(match shrink(&*stage, seed, campaign.history(seed)).await {
        Some((shortest, transcript)) => {
            let (steps, transcript) = (shortest.len(), transcript.join("\n"));
            format!("replay with NUAGE_SEED={seed}: {why}\n\nin {steps} steps:\n{transcript}")
        }
        None => {
            let transcript = transcript.join("\n");
            format!("replay with NUAGE_SEED={seed}: {why}\n\nonly beside others:\n{transcript}")
        }
    })
}
