//! Faults to order, for tests of the tests: each leaves out one rule of the feed, and a check that
//! does not notice is no check. The released program has none of this: the feature `mutants` is off,
//! and [`is`] is the constant `false`.
//!
//! A fault holds for one task, while a future runs inside [`with`]; nothing else is touched.

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code, unreachable_pub))]
pub enum Mutant {
    /// What a device held is judged by the present view, not by the one it was given under.
    PresentViewOnly,
    /// A departure is told whenever the old signature was visible, however late it was entered.
    NoEntered,
    /// What a run itself may have sent is not taken back when it goes during the run.
    NoT0Rule,
    /// What ended is taken back if the present view saw it, also what ended before the run.
    T0RuleWithoutT0,
    /// Lost signatures are retracted by the last change of a record instead of by its entry.
    RetractBySeq,
    /// Lost signatures are retracted with all that they hold, also what came after the token.
    RetractAllOfLost,
    /// The store keeps one departure of each record, the last.
    OneDeparturePerId,
    /// Tokens from before the horizon are taken.
    NoHorizonCheck,
    /// The horizon is compared with the cursor of a run instead of with where it stands.
    CursorInsteadOfFloor,
    /// A run goes on although the view has changed meanwhile.
    ViewChangeInRunIgnored,
    /// Removals are told of records that are visible (again).
    RemovalsOfVisible,
    /// The last phase begins where the run began, not where the device was.
    TailFromT0,
    /// Tokens are good for everybody.
    TokenNotBound,
    /// A record that comes back after a deletion keeps its residency.
    RevivedKeepsResidency,
    /// A run goes on although memberships moved meanwhile, if the view is the same again.
    NoMembershipCounter,
}

#[cfg(feature = "mutants")]
tokio::task_local! {
    static PRESENT: Mutant;
}

/// Whether this rule is left out at present.
#[cfg(feature = "mutants")]
pub fn is(mutant: Mutant) -> bool {
    PRESENT.try_with(|present| *present == mutant).unwrap_or(false)
}

/// Whether this rule is left out at present: never.
#[cfg(not(feature = "mutants"))]
#[allow(dead_code)]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

/// Runs a future with a rule left out.
#[cfg(feature = "mutants")]
pub async fn with<F: Future>(mutant: Mutant, future: F) -> F::Output {
    PRESENT.scope(mutant, future).await
}

/// The rule that is left out at present, to be left out on another thread as well.
#[derive(Clone, Copy)]
pub(crate) struct Carried(#[cfg(feature = "mutants")] Option<Mutant>);

impl Carried {
    /// What is left out here.
    pub(crate) fn along() -> Self {
        Self(
            #[cfg(feature = "mutants")]
            PRESENT.try_with(|present| *present).ok(),
        )
    }

    /// Runs a future with it left out.
    pub(crate) async fn into<F: Future>(self, future: F) -> F::Output {
        #[cfg(feature = "mutants")]
        if let Some(mutant) = self.0 {
            return with(mutant, future).await;
        }
        future.await
    }
}
