//! Makes a history that fails as short as it can be, and still fail.

use std::time::{Duration, Instant};

use crate::oracle::play::play;
use crate::oracle::step::Step;
use crate::oracle::subject::Stage;

/// Longest time that is spent on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest history found that fails as this one does, however it then fails, and the
/// transcript of it; none if it does not fail when it is played alone.
pub async fn shrink<S: Stage>(
    stage: &S,
    seed: u64,
    steps: Vec<Step>,
) -> Option<(Vec<Step>, Vec<String>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut shortest = steps;
    let mut size = shortest.len().div_ceil(2);
    while size > 0 {
        let mut found = false;
        let mut end = shortest.len();
        while end > 0 && Instant::now() < deadline {
            let begin = end.saturating_sub(size);
            let mut shorter = shortest.clone();
            shorter.drain(begin..end);
            if fails(stage, seed, &shorter).await {
                shortest = shorter;
                found = true;
            }
            end = begin;
        }
        // Once more with single steps as long as that helps.
        size = if size == 1 && found && Instant::now() < deadline { 1 } else { size / 2 };
    }
    thin_batches(stage, seed, &mut shortest, deadline).await;
    let mut transcript = Vec::new();
    let failed = play(&mut stage.subject(seed).await, &shortest, &mut transcript).await.is_err();
    failed.then_some((shortest, transcript))
}

async fn thin_batches<S: Stage>(stage: &S, seed: u64, shortest: &mut Vec<Step>, deadline: Instant) {
    for at in 0..shortest.len() {
        while let Step::Change(changes) = &shortest[at]
            && changes.len() > 1
            && Instant::now() < deadline
        {
            let mut thinner = None;
            for without in 0..changes.len() {
                let mut changes = changes.clone();
                changes.remove(without);
                let mut tried = shortest.clone();
                tried[at] = Step::Change(changes);
                if fails(stage, seed, &tried).await {
                    thinner = Some(tried);
                    break;
                }
            }
            match thinner {
                Some(tried) => *shortest = tried,
                None => break,
            }
        }
    }
}

async fn fails<S: Stage>(stage: &S, seed: u64, steps: &[Step]) -> bool {
    play(&mut stage.subject(seed).await, steps, &mut Vec::new()).await.is_err()
}
