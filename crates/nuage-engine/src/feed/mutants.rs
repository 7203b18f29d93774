//! Faults to order, for tests of the tests: each leaves out one rule of the feed, and a check that
//! does not notice is no check. The released program has none of this: the feature `mutants` is off,
//! and [`is`] is the constant `false`.
//!
//! A fault holds for one task, while a future runs inside [`with`]; nothing else is touched.

/// A rule that is left out, or done in another way that is as good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code, unreachable_pub))]
pub enum Mutant {
    /// What a device held is judged by the present view, not by the one it was given under.
    PresentViewOnly,
    /// A departure is told whenever the old signature was visible, however late it was entered.
    NoEntered,
    /// Lost signatures are retracted by the last change of a record instead of by its entry.
    RetractBySeq,
    /// Lost signatures are retracted with all that they hold, also what came after the token.
    RetractAllOfLost,
    /// Tokens from before the horizon are taken.
    NoHorizonCheck,
    /// The horizon is compared with the cursor of a run instead of with where it stands.
    CursorInsteadOfFloor,
    /// Removals are told of records that are visible (again).
    RemovalsOfVisible,
    /// The last phase begins where the run ends, not where the device was.
    TailFromEnd,
    /// Tokens are good for everybody.
    TokenNotBound,
    /// A run goes to where it began, not to where its first phase ends.
    UntilIsBase,
    /// The last phase goes on to the head, and the run ends in the moment before.
    TailToHead,
    /// The last phase goes on to the head, and the run ends there.
    HeadIsBase,
    /// No removal is told of what is visible now, though it came after the end of the run.
    WithheldIfVisible,
    /// A group that was not in the view before counts as one that was no name then.
    GainedWereNoNames,
    /// A lost group is not retracted.
    LostGroupIgnored,
    /// At rest the former view stays in the token where nothing was lost or gained.
    KeepOldView,
    /// Records are told that the run's view sees, whether the present one does or not.
    SentWithoutPresent,
    /// Records are told that the present view sees, whether the run's one does or not.
    SentWithoutRun,
    /// What was not visible in all pages of a run counts as sent.
    KeepNotNarrowed,
    /// What was lost during a run counts as not held before it.
    MayNarrowed,
    /// The first phase goes on where it was, though more was lost.
    RetractingGoesOn,
    /// What is gained during the first phase is told by the same run.
    GrowsWhileRetracting,
    /// What is lost during the first phase is not retracted by it.
    FixedWhileRetracting,
    /// What ended after the base is taken back if the run's view saw it.
    FormerRule,
    /// Runs end at positions that are no moments, also inside of commits.
    BaseInsideCommit,
    /// A view that is not kept any more counts as that of somebody without groups.
    LostViewIsEmpty,
    /// No fault: all views with groups are kept in the store, whatever their size.
    NoOrdinals,
    /// No fault: tokens at rest have the former format.
    FormerTokens,
}

#[cfg(feature = "mutants")]
tokio::task_local! {
    static PRESENT: Vec<Mutant>;
}

/// Whether this rule is left out at present.
#[cfg(feature = "mutants")]
pub fn is(mutant: Mutant) -> bool {
    PRESENT.try_with(|present| present.contains(&mutant)).unwrap_or(false)
}

/// Whether this rule is left out at present: never.
#[cfg(not(feature = "mutants"))]
#[allow(dead_code)]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

/// Runs a future with these rules left out.
#[cfg(feature = "mutants")]
pub async fn with<F: Future>(mutants: Vec<Mutant>, future: F) -> F::Output {
    PRESENT.scope(mutants, future).await
}

/// The rules that are left out at present, to be left out on another thread as well.
pub(crate) struct Carried(#[cfg(feature = "mutants")] Vec<Mutant>);

impl Carried {
    /// What is left out here.
    pub(crate) fn along() -> Self {
        Self(
            #[cfg(feature = "mutants")]
            PRESENT.try_with(Clone::clone).unwrap_or_default(),
        )
    }

    /// Runs a future with them left out.
    pub(crate) async fn into<F: Future>(self, future: F) -> F::Output {
        #[cfg(feature = "mutants")]
        let future = with(self.0, future);
        future.await
    }
}
