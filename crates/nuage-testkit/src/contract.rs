//! What every store must do, as cases that any backend can run.
//!
//! Each case gets a fresh store and must leave it without findings. Which backend it is, the
//! cases do not know; they speak the port alone.

mod asking;
mod build;
mod compaction;
pub mod law;
mod memberships;
mod moments;
mod names;
mod placing;
mod racing;
mod removing;
pub mod residencies;
mod writing;

use std::sync::Arc;

use nuage_model::{Pending, Store, StoreError};

type Case = fn(Arc<dyn Store>) -> Pending<'static, ()>;

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($case)),
            |store| Box::pin($module::$case(store)),
        )),*]
    };
}

const CASES: &[(&str, Case)] = cases![
    writing::a_record_is_read_as_it_was_written,
    writing::unknown_records_and_collections_are_none,
    writing::later_writes_of_a_batch_see_earlier_ones,
    writing::a_failed_guard_turns_everything_down,
    writing::guards_look_at_the_moment_before_the_batch,
    writing::numbers_are_filled_into_bodies,
    writing::a_deleted_record_is_a_tombstone_until_it_is_written_again,
    writing::deleting_what_is_not_there_changes_nothing,
    writing::it_says_that_it_can_write,
    writing::a_note_is_written_over_what_was_read,
    writing::a_batch_of_other_rules_is_refused,
    writing::applications_may_use_the_names_of_what_is_built_in,
    placing::ordinary_positions_follow_the_clock_or_each_other,
    placing::a_future_time_is_a_position,
    placing::a_past_time_is_shown_without_moving_the_head,
    placing::the_time_of_the_head_counts_as_next,
    placing::a_taken_time_is_raised_to_a_free_one,
    placing::a_record_may_keep_its_own_past_time,
    placing::a_time_is_free_once_its_record_is_gone_or_elsewhere,
    placing::a_time_too_far_ahead_counts_as_next,
    placing::the_first_time_of_a_collection_is_its_head,
    placing::exact_places_are_kept_and_must_lie_ahead,
    placing::an_import_brings_tombstones_of_unknown_records,
    removing::an_erased_record_leaves_no_trace,
    removing::a_dropped_collection_goes_on_at_greater_positions,
    removing::a_dropped_bucket_takes_everything_along,
    removing::the_root_is_not_dropped,
    removing::flush_removes_everything,
    removing::what_comes_after_a_flush_is_all_new,
    asking::newest_first_and_oldest_first,
    asking::pages_say_whether_others_follow,
    asking::pages_cut_by_bytes_leave_nothing_out,
    asking::tombstones_are_shown_when_asked_for,
    asking::chosen_times_are_listed_in_their_place,
    asking::readers_see_what_names_them,
    asking::holders_see_what_names_them_under_that_permission,
    asking::counts_ignore_the_page,
    asking::groups_are_found_by_their_members,
    asking::collections_are_found_by_their_readers,
    asking::collections_are_listed_in_order_and_tallied,
    asking::large_bodies_can_be_left_out,
    asking::who_has_many_signatures_sees_what_names_them,
    asking::names_with_a_character_0_are_of_nothing,
    compaction::the_horizon_takes_what_lies_behind_it,
    compaction::a_horizon_never_goes_back,
    compaction::what_was_forgotten_begins_anew,
    compaction::writes_of_one_batch_see_each_other,
    compaction::sums_follow_every_write,
    compaction::views_that_are_not_used_are_forgotten,
    moments::a_moment_says_where_its_collection_stands,
    moments::a_collection_of_the_same_name_is_another_incarnation,
    moments::an_emptied_or_renewed_store_is_of_another_epoch,
    moments::a_moment_stays_as_it_was,
    moments::moments_are_dropped_wherever_they_are,
    moments::many_signatures_are_read_and_summed,
    moments::heads_of_several_collections_are_told_in_order,
    moments::what_is_overdue_is_the_oldest,
    moments::positions_ahead_of_the_clock_grow_old,
    moments::feeds_end_with_the_store,
    moments::views_are_kept_by_bucket_person_and_name,
    memberships::groups_are_looked_into_from_above,
    memberships::standings_of_groups_move_with_them,
    memberships::more_groups_inside_than_wanted_are_told_as_such,
    memberships::random_groups_are_found_as_they_are,
    names::a_name_stays_while_anything_has_a_signature_of_it,
    names::names_of_one_batch_come_and_go_in_order,
    names::what_comes_back_from_behind_the_horizon_is_counted,
    names::names_end_with_their_collection_and_are_counted_on,
    names::a_signature_names_each_of_its_groups_and_nothing_else,
    names::groups_that_come_into_groups_or_go_are_counted,
    names::a_batch_that_names_too_many_groups_is_turned_down,
    racing::concurrent_writes_get_positions_of_their_own,
    racing::of_two_that_read_the_same_one_is_turned_down,
    racing::what_is_acknowledged_is_seen,
    racing::dropped_requests_do_no_harm,
    racing::after_closing_everything_says_so,
];

/// Runs every case on a store of its own, made by `make`.
pub async fn contract<F>(make: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Store>>,
{
    for (name, case) in CASES {
        let store = make().await;
        case(store.clone()).await;
        match store.admin().check().await {
            Ok(findings) => assert!(findings.is_empty(), "{name} left behind: {findings:?}"),
            Err(StoreError::Closed) => {}
            Err(error) => panic!("{name} left a store that cannot be checked: {error}"),
        }
        store.close().await;
    }
}
