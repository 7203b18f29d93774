//! The engine over a real store: units of work, judgement, consequences.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod consequences;
mod feeds;
mod feeds_at_rest;
mod followers;
mod forgetting;
mod going_back;
mod groups_in_groups;
mod houses;
mod long_runs;
mod notes;
mod premises_that_change;
mod presumed;
mod refusals;
mod schemas;
mod unapplied_changes;
