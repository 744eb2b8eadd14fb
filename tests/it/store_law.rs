//! What every engine under the store must keep. Each law takes an empty store; an engine is one line in `laws!`.

pub(crate) mod backup;
mod commits;
mod cursors;
mod deliveries;
mod effects;
mod engine;
mod files;
mod golden;
mod golden_values;
mod memory;
mod order;
mod plans;
mod queues;
mod replicas;
mod retention;
pub(crate) mod samples;
mod server;
mod stalls;
mod upgrade;

use stepherd::store::Store;

use crate::postgres::Database;
use tempfile::TempDir;

/// An engine with an empty database, kept alive as long as the test runs.
pub(crate) struct Engine {
    pub(crate) store: Store,
    _dir: Option<TempDir>,
    database: Option<Database>,
}

impl Engine {
    async fn end(self) {
        self.store.close().await;
        if let Some(database) = self.database {
            database.drop().await;
        }
    }
}

async fn sqlite_file() -> Engine {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&samples::url(&dir)).await.unwrap();
    Engine {
        store,
        _dir: Some(dir),
        database: None,
    }
}

async fn sqlite_memory() -> Engine {
    let store = Store::open("sqlite::memory:").await.unwrap();
    Engine {
        store,
        _dir: None,
        database: None,
    }
}

async fn postgres() -> Engine {
    let database = Database::new().await;
    let store = database.store().await;
    Engine {
        store,
        _dir: None,
        database: Some(database),
    }
}

macro_rules! laws {
    ($($module:ident: $($law:ident)+;)+) => {
        laws!(@engine sqlite_file, $($module: $($law)+;)+);
        laws!(@engine sqlite_memory, $($module: $($law)+;)+);
        laws!(@engine postgres, $($module: $($law)+;)+);
    };
    (@engine $engine:ident, $($module:ident: $($law:ident)+;)+) => {
        mod $engine {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    let engine = super::$engine().await;
                    super::$module::$law(engine.store.clone()).await;
                    engine.end().await;
                }
            )+)+
        }
    };
}

laws! {
    deliveries:
        a_delivery_is_recorded_once_per_platform
        deliveries_are_claimed_in_the_order_of_arrival_and_by_one_worker
        an_expired_lease_lets_the_next_worker_in_and_fences_the_first_one_off
        a_delivery_keeps_its_kind_of_proof_for_ever
        a_delivery_to_be_tried_again_waits_until_it_is_due
        a_parked_delivery_stays_until_it_is_replayed
        deliveries_are_listed_and_found_as_they_came
        what_comes_too_late_is_not_stored_and_takes_nothing_with_it;
    cursors:
        hastened_work_is_due_unless_somebody_does_it
        what_was_begun_once_is_not_begun_again
        what_was_accepted_is_known_by_the_whole_parts_of_its_key;
    commits:
        a_commit_stores_all_of_its_parts
        a_key_is_accepted_once_and_settles_the_effect_all_the_same
        a_key_of_a_commit_that_failed_is_still_free
        a_stale_version_leaves_nothing_behind
        a_taken_run_id_leaves_nothing_behind
        a_queue_that_moved_leaves_nothing_behind
        a_lost_lease_leaves_nothing_behind
        a_commit_that_contradicts_itself_is_refused
        of_two_commits_on_one_version_one_wins
        writers_that_reload_and_decide_again_lose_nothing
        a_commit_that_is_dropped_half_way_is_done_whole_or_not_at_all
        every_write_of_a_run_gets_the_next_change_number
        runs_are_found_by_what_they_are_about
        live_runs_of_a_thread_are_all_found_however_many_there_are;
    queues:
        locks_are_held_in_the_order_of_joining
        leaving_marks_the_runs_that_share_a_queue_as_changed
        runs_ahead_are_named_once_with_holders_first
        joining_a_queue_again_keeps_the_place;
    effects:
        effects_are_claimed_by_lane_then_age
        an_effect_that_happens_once_is_never_asked_for_twice
        a_report_asked_for_again_is_due_again
        a_report_asked_for_while_it_is_carried_out_is_carried_out_once_more
        a_failing_report_asked_for_again_is_due_at_once
        a_claim_settles_once_only
        an_expired_effect_lease_says_that_it_may_have_been_done
        a_failed_effect_waits_counts_and_may_have_been_done
        an_effect_that_is_too_early_has_not_failed
        a_parked_effect_stays_until_it_is_released
        effects_of_a_run_are_listed_with_it
        an_effect_behind_another_waits_as_long_as_that_one;
    memory:
        a_sent_message_is_remembered_per_run_thread_and_purpose
        a_thread_opened_with_a_message_leads_to_the_run
        the_head_before_a_time_is_the_newest_one_then_known
        what_keeps_failing_is_overdue_since_it_first_had_to_wait
        everything_is_counted;
    order:
        nobody_overtakes_in_a_thread
        who_claims_at_the_same_time_hands_out_a_thread_once
        what_waits_for_the_outside_holds_its_thread_back_for_two_minutes
        who_is_behind_many_waits_no_longer_than_behind_one
        what_was_heard_early_and_has_to_wait_is_heard_early_again
        what_was_only_put_back_has_not_been_tried
        what_waits_for_room_is_left_until_there_is_some
        a_start_that_was_stopped_while_it_waited_is_not_committed
        effects_are_claimed_as_far_as_there_is_room
        what_goes_to_one_place_is_claimed_by_one_at_a_time;
    replicas:
        shards_are_shared_out_fairly_and_taken_over_when_a_lease_ends
        one_who_slept_through_its_lease_gets_back_only_what_nobody_took
        a_run_is_woken_by_whoever_holds_its_shard
        a_renewed_lease_keeps_others_out_and_a_lost_one_is_not_renewed
        who_serves_alone_takes_up_at_once_what_a_dead_one_held
        one_process_at_a_time_does_what_is_done_for_all
        a_pause_is_known_to_all_and_never_shortened
        runs_are_found_by_their_pull_requests
        what_outside_text_holds_can_be_stored
        many_deliveries_at_once_are_each_stored_once_and_answered;
    retention:
        finished_runs_go_with_all_that_is_theirs_and_others_stay_as_they_are
        a_run_without_end_goes_in_pieces
        deliveries_that_were_dealt_with_go_with_their_bodies
        what_was_replayed_counts_from_then
        pieces_are_small_and_what_is_kept_hides_nothing
        answers_outside_any_run_go_when_they_were_given
        after_a_restore_every_effect_may_have_been_carried_out;
}
