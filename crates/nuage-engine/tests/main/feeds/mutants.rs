//! An oracle that would not notice what a feed does wrong: each rule that is left out must be
//! found by histories whose seeds are always the same.

use std::sync::Arc;
use std::time::Duration;

use nuage_engine::mutants::Mutant;
use nuage_testkit::backend::{Backend, block_on};
use nuage_testkit::oracle::{Campaign, Minimum, Mix, campaign};

use crate::feeds::forgetful::Lapse;
use crate::feeds::subject::{Engines, Fault};
use crate::feeds::{Place, WORKERS};

/// Histories that are tried before a mutant counts as unnoticed.
const HISTORIES: u64 = 400;
const STEPS: usize = 60;

/// What is left out, and what histories must be about to notice it soon.
const MUTANTS: [(Fault, Mix); 1] = [
    (Fault::Rule(Mutant::PresentViewOnly), Mix::Groups),
];

#[test]
fn the_oracle_notices_each_rule_that_is_left_out() {
    block_on(async {
        let place = Place::new(Backend::Sqlite).await;
        for (fault, mix) in MUTANTS {
            let stage = Arc::new(Engines::new(Arc::clone(&place.store), fault));
            let tried = Campaign {
                seed: 1,
                histories: Some(HISTORIES),
                time: Duration::MAX,
                least: Minimum::default(),
                steps: STEPS,
                workers: WORKERS,
                mix: Some(mix),
                shrink: false,
                every: Duration::from_secs(3_600),
            };
            match campaign(stage, tried, |_| ()).await {
                Ok(tally) => panic!("{fault:?} goes unnoticed: {tally:?}"),
                Err(why) => eprintln!("{fault:?}: {why}"),
            }
        }
    });
}
