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
const MUTANTS: [(Fault, Mix); 31] = [
    (Fault::Rule(Mutant::PresentViewOnly), Mix::Groups),
    (Fault::Rule(Mutant::NoEntered), Mix::Chains),
    (Fault::Rule(Mutant::FormerRule), Mix::Even),
    (Fault::Rule(Mutant::RetractBySeq), Mix::Groups),
    (Fault::Rule(Mutant::RetractAllOfLost), Mix::Groups),
    (Fault::Rule(Mutant::NoHorizonCheck), Mix::Horizons),
    (Fault::Rule(Mutant::CursorInsteadOfFloor), Mix::Horizons),
    (Fault::Rule(Mutant::RemovalsOfVisible), Mix::Even),
    (Fault::Rule(Mutant::TailFromEnd), Mix::Even),
    (Fault::Rule(Mutant::TokenNotBound), Mix::Tokens),
    (Fault::Rule(Mutant::UntilIsBase), Mix::Runs),
    (Fault::Rule(Mutant::TailToHead), Mix::Runs),
    (Fault::Rule(Mutant::HeadIsBase), Mix::Runs),
    (Fault::Rule(Mutant::WithheldIfVisible), Mix::Runs),
    (Fault::Rule(Mutant::GainedWereNoNames), Mix::Groups),
    (Fault::Rule(Mutant::LostGroupIgnored), Mix::Groups),
    (Fault::Rule(Mutant::KeepOldView), Mix::Scenes),
    (Fault::Rule(Mutant::SentWithoutPresent), Mix::Groups),
    (Fault::Rule(Mutant::SentWithoutRun), Mix::Groups),
    (Fault::Rule(Mutant::KeepNotNarrowed), Mix::Runs),
    (Fault::Rule(Mutant::MayNarrowed), Mix::Groups),
    (Fault::Rule(Mutant::RetractingGoesOn), Mix::Runs),
    (Fault::Rule(Mutant::GrowsWhileRetracting), Mix::Runs),
    (Fault::Rule(Mutant::FixedWhileRetracting), Mix::Runs),
    (Fault::Rule(Mutant::BaseInsideCommit), Mix::Even),
    (Fault::Rule(Mutant::LostViewIsEmpty), Mix::Horizons),
    (Fault::Store(Lapse::OneDeparturePerId), Mix::Chains),
    (Fault::Store(Lapse::RevivedKeepsResidency), Mix::Revivals),
    (Fault::Store(Lapse::DeparturesJoined), Mix::Runs),
    (Fault::Store(Lapse::SinceMoves), Mix::Groups),
    (Fault::Store(Lapse::NamesForgotten), Mix::Horizons),
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
