//! Stopping: what runs is told to end and waited for, and the last word says what was undone and what was not.

use stepherd::domain::command::Action;
use stepherd::domain::decide::{Look, Wanted, glance, wanted};
use stepherd::domain::effect::{Act, Outcome};
use stepherd::domain::pipeline::OnFailure;
use stepherd::domain::run::{FailureClass, Happened, Observation, ObservedState, RunState};

use super::kit::{
    Script, acts, change, failed, merge, opened, other, plan, running, seen, sha, start_facts, step, tell, went_wrong,
    work,
};

fn left(script: &Script) -> String {
    let last = script.history.last().map(|entry| entry.what.clone());
    match last {
        Some(Happened::Finished { left, .. }) => left.join("; "),
        other => panic!("it has not ended: {other:?}"),
    }
}

fn set(jobs: &[&str]) -> Script {
    let plan = plan(vec![step("Edit", change()), step("Sync", work(OnFailure::Leave, jobs))]);
    let mut script = Script::start(&plan);
    let merged = Some(sha('b'));
    script.came(Outcome::ChangeOpened(stepherd::domain::run::OpenedPr {
        merged,
        ..opened(7, "b")
    }));
    script.take();
    script
}

#[test]
fn a_queued_run_just_leaves() {
    let plan = plan(vec![step("Edit", change())]);
    let mut script = Script::started(start_facts(&plan, "SREPROV-3072", &[("zap/one", &[other(1)])]));
    script.says(Action::Stop, &[]);
    assert_eq!(left(&script), "nothing had been changed anywhere");
}

#[test]
fn a_change_on_its_way_is_waited_for_so_that_its_pull_request_is_known() {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("More", change())]));
    script.take();
    script
        .says(Action::Stop, &[])
        .came(Outcome::ChangeOpened(opened(7, "b")));
    insta::assert_snapshot!(script.take(), @r#"
    0s stop
       = Edit#1 is being stopped
       3. Ada said stop
       > report to jira:SREPROV-3072 discord:400
    0s Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit -> opened acme/deploy#7
       = canceled by Ada
       4. Edit: acme/deploy#7 on branch b
       5. stopped by Ada: Edit: acme/deploy#7 is left as it is
       > check aaaaaaa
       > notice 5 to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > leave the locks
    "#);
}

#[test]
fn jobs_are_told_to_end_and_waited_for() {
    let mut script = set(&["a", "b", "c?"]);
    script
        .job_started("a")
        .job_started("b")
        .saw("a", running(42.0, 0))
        .saw("b", seen(ObservedState::Succeeded))
        .take();
    script.says(Action::Stop, &[]);
    let canceled = Observation {
        progress: Some(stepherd::domain::ids::Percent::clamped(43.0)),
        ..seen(ObservedState::Canceled)
    };
    script.came(Outcome::JobCanceled).saw("a", canceled);
    insta::assert_snapshot!(script.take(), @r"
    0s stop
       = Sync#1 is being stopped a=Canceling/Running b=Ended/Succeeded c=Watched/unseen
       6. Ada said stop
       > Sync#1 cancel URMO7YZ2/Sync/1/a
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    0s Sync#1 cancel URMO7YZ2/Sync/1/a -> JobCanceled
       = Sync#1 is being stopped a=Ending/Running b=Ended/Succeeded c=Watched/unseen
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    0s a is Canceled at 43 %
       = canceled by Ada
       7. stopped by Ada: a: canceled at 43 %; b: had already succeeded, which is not undone; c: goes on without stepherd, which only watched it; Edit: acme/deploy#7 stays merged as bbbbbbb
       > check aaaaaaa
       > notice 7 to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > leave the locks
    ");
}

#[test]
fn a_start_on_its_way_is_followed_by_its_cancellation() {
    let mut script = set(&["a"]);
    script.says(Action::Stop, &[]);
    assert!(acts(&script.last).is_empty(), "there may be nothing to cancel yet");
    script.job_started("a").saw("a", seen(ObservedState::Canceled));
    insta::assert_snapshot!(script.take(), @r#"
    0s stop
       = Sync#1 is being stopped a=Starting/unseen
       6. Ada said stop
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    0s Sync#1 start URMO7YZ2/Sync/1/a -> JobStarted
       = Sync#1 is being stopped a=Canceling/unseen
       > Sync#1 cancel URMO7YZ2/Sync/1/a
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    0s a is Canceled
       = canceled by Ada
       7. stopped by Ada: a: canceled; Edit: acme/deploy#7 stays merged as bbbbbbb
       > check aaaaaaa
       > notice 7 to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > leave the locks
    "#);
}

#[test]
fn a_start_that_never_worked_leaves_nothing_to_wait_for() {
    let mut script = set(&["a"]);
    script
        .says(Action::Stop, &[])
        .came(went_wrong(FailureClass::Infrastructure));
    assert_eq!(
        left(&script),
        "a: had not started; Edit: acme/deploy#7 stays merged as bbbbbbb"
    );
}

#[test]
fn a_back_end_that_refuses_to_cancel_is_quoted_as_it_is() {
    let mut script = set(&["a"]);
    script
        .job_started("a")
        .saw("a", running(42.0, 0))
        .says(Action::Stop, &[])
        .came(went_wrong(FailureClass::Permission));
    assert_eq!(
        left(&script),
        "a: was told to end at 42 %, but may still run; Edit: acme/deploy#7 stays merged as bbbbbbb"
    );
}

#[test]
fn a_job_that_started_but_was_never_seen_is_not_said_to_have_never_started() {
    let mut script = set(&["a"]);
    script.job_started("a").says(Action::Stop, &[]).wait(600).wakes();
    assert_eq!(
        left(&script),
        "a: was told to end, but may still run; Edit: acme/deploy#7 stays merged as bbbbbbb"
    );
    let mut refused = set(&["a"]);
    refused
        .job_started("a")
        .says(Action::Stop, &[])
        .came(went_wrong(FailureClass::Permission));
    assert!(
        left(&refused).starts_with("a: was told to end, but may still run"),
        "{}",
        left(&refused)
    );
}

#[test]
fn patience_with_a_job_that_does_not_end_is_limited() {
    let mut script = set(&["a"]);
    script
        .job_started("a")
        .saw("a", running(42.0, 0))
        .says(Action::Stop, &[])
        .wait(599)
        .wakes();
    assert!(script.last.is_nothing());
    script.wait(1).wakes();
    assert!(left(&script).starts_with("a: was told to end at 42 %, but may still run"));
}

#[test]
fn saying_stop_again_does_not_stop_twice() {
    let mut script = set(&["a"]);
    script
        .job_started("a")
        .saw("a", running(42.0, 0))
        .says(Action::Stop, &[])
        .says(Action::Stop, &[]);
    assert!(script.last.run.is_none());
    assert_eq!(
        script
            .history
            .iter()
            .filter(|entry| matches!(entry.what, Happened::StopAsked { .. }))
            .count(),
        1
    );
}

#[test]
fn a_failed_run_ends_at_once_when_nothing_of_it_runs() {
    let mut script = set(&["a"]);
    script
        .job_started("a")
        .saw("a", failed(42.0, "farmer-3 lost"))
        .says(Action::Stop, &[]);
    assert_eq!(
        left(&script),
        "a: ended as failed at 42 %: farmer-3 lost; Edit: acme/deploy#7 stays merged as bbbbbbb"
    );
}

#[test]
fn a_run_that_failed_while_its_job_goes_on_cancels_it_first() {
    let mut script = set(&["a"]);
    script.job_started("a").saw("a", running(42.0, 0)).wait(600).wakes();
    assert!(matches!(script.run().state, RunState::Stopped { .. }));
    script.take();
    script.says(Action::Stop, &[]).saw("a", seen(ObservedState::Canceled));
    insta::assert_snapshot!(script.take(), @r#"
    600s stop
         = Sync#1 is being stopped a=Canceling/Running
         7. Ada said stop
         > Sync#1 cancel URMO7YZ2/Sync/1/a
         > check aaaaaaa
         > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    600s a is Canceled
         = canceled by Ada
         8. stopped by Ada: a: canceled at 42 %; Edit: acme/deploy#7 stays merged as bbbbbbb
         > check aaaaaaa
         > notice 8 to jira:SREPROV-3072 discord:400 github:acme/deploy#7
         > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
         > leave the locks
    "#);
}

#[test]
fn a_job_looked_at_after_a_retry_is_canceled_too() {
    let mut script = set(&["a"]);
    script
        .job_started("a")
        .saw("a", failed(42.0, "farmer-3 lost"))
        .says(Action::Retry, &[])
        .take();
    script.says(Action::Stop, &[]).saw("a", failed(42.0, "farmer-3 lost"));
    insta::assert_snapshot!(script.take(), @r#"
    0s stop
       = Sync#1 is being stopped a=Canceling/unseen
       8. Ada said stop
       > Sync#1 cancel URMO7YZ2/Sync/1/a
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    0s a is Failed at 42 %: farmer-3 lost
       = canceled by Ada
       9. stopped by Ada: a: ended as failed at 42 %: farmer-3 lost; Edit: acme/deploy#7 stays merged as bbbbbbb
       > check aaaaaaa
       > notice 9 to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
       > leave the locks
    "#);
}

#[test]
fn whether_an_unclear_start_got_through_is_found_out_before_the_run_ends() {
    for got_through in [false, true] {
        let mut script = set(&["a"]);
        script.came(unclear("no answer")).says(Action::Stop, &[]);
        let act = acts(&script.last).pop().expect("it is to be found out");
        assert!(wanted(script.run(), &act, false) == Wanted::Look, "and not started");
        if got_through {
            script.came_of(act, Outcome::JobStarted);
            assert_eq!(acts(&script.last).len(), 1, "it is told to end");
            script
                .came(Outcome::JobCanceled)
                .saw("a", seen(ObservedState::Canceled));
            assert!(left(&script).starts_with("a: canceled; "), "{}", left(&script));
        } else {
            script.came_of(act, Outcome::NotDone);
            assert!(left(&script).starts_with("a: had not started; "), "{}", left(&script));
        }
    }
}

#[test]
fn a_run_ends_without_knowing_when_whether_a_start_got_through_cannot_be_found_out() {
    let mut script = set(&["a"]);
    script
        .came(unclear("cut"))
        .says(Action::Stop, &[])
        .came(unclear("no answer"));
    assert!(acts(&script.last).is_empty(), "it is not asked for ever");
    assert!(
        left(&script).starts_with("a: may run; whether its start got through is not known"),
        "{}",
        left(&script)
    );
}

#[test]
fn a_start_that_may_have_got_through_is_undone_when_the_run_has_ended_without_knowing() {
    let mut script = set(&["a"]);
    let act = script.acts.last().unwrap().clone();
    script.says(Action::Stop, &[]).wait(600).wakes();
    assert!(left(&script).starts_with("a: may run; whether its start got through is not known"));
    assert!(matches!(wanted(script.run(), &act, true), Wanted::Undo(_)));
    assert_eq!(wanted(script.run(), &act, false), Wanted::No, "it was never tried");
}

/// A merge that could not be made yet.
fn merging() -> Script {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    script
        .came(Outcome::ChangeOpened(opened(7, "b")))
        .came(Outcome::MergeWaits {
            why: "a review".to_owned(),
        });
    script
}

fn last_look(script: &Script) -> Act {
    let looks = glance(script.run()).looks;
    match looks.as_slice() {
        [Look::Done(act)] => act.clone(),
        other => panic!("it looks at {other:?}"),
    }
}

fn unclear(reason: &str) -> Outcome {
    Outcome::Unclear {
        reason: reason.to_owned(),
        class: FailureClass::Infrastructure,
    }
}

#[test]
fn a_merge_that_waited_is_looked_at_once_more_before_the_end_and_not_made() {
    let no = |reason: &str| (reason.to_owned(), FailureClass::User);
    let ((refused, class), (lost, _)) = (no("a check failed"), no("no answer"));
    let table = [
        (
            Outcome::Merged { commit: sha('b') },
            "Edit: acme/deploy#7 stays merged as bbbbbbb",
        ),
        (
            Outcome::MergeWaits {
                why: "a review".to_owned(),
            },
            "Edit: acme/deploy#7 stays open",
        ),
        (
            Outcome::ChangeClosed { pr: opened(7, "b").pr },
            "Edit: acme/deploy#7 was closed without being merged",
        ),
        (
            Outcome::Failed { reason: refused, class },
            "Edit: acme/deploy#7 was not merged: a check failed",
        ),
        (
            Outcome::Unclear { reason: lost, class },
            "Edit: acme/deploy#7 may have been merged: no answer",
        ),
    ];
    for (outcome, words) in table {
        for failed in [false, true] {
            let mut script = merging();
            if failed {
                script.wait(600).wakes();
                assert!(matches!(script.run().state, RunState::Stopped { .. }));
            }
            script.says(Action::Stop, &[]);
            script.came_of(last_look(&script), outcome.clone());
            assert_eq!(left(&script), words);
        }
    }
    let mut script = merging();
    script.says(Action::Stop, &[]).wait(599).wakes();
    assert!(script.last.is_nothing());
    script.wait(1).wakes();
    let words = "Edit: acme/deploy#7 may have been merged: it could not be looked at within 10 minutes";
    assert_eq!(left(&script), words);
}

#[test]
fn a_merge_on_its_way_is_only_looked_at_when_the_run_is_being_stopped() {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    script
        .came(Outcome::ChangeOpened(opened(7, "b")))
        .says(Action::Stop, &[]);
    let act = script.acts.last().unwrap().clone();
    for unclear in [false, true] {
        assert_eq!(wanted(script.run(), &act, unclear), Wanted::Look);
    }
    script.came(unclear("no answer"));
    assert_eq!(left(&script), "Edit: acme/deploy#7 may have been merged: no answer");
    for unclear in [false, true] {
        assert_eq!(
            wanted(script.run(), &act, unclear),
            Wanted::No,
            "nobody is told any more"
        );
    }
}

fn moving() -> Script {
    Script::start(&plan(vec![step("Close", tell(Some("{{ ticket }}"), None))]))
}

const MOVED: &str = "Close: SREPROV-3072 was moved to Done, which is not undone";
const NOTHING: &str = "nothing had been changed anywhere";

/// What becomes of an act under way when the run is stopped: by its outcome, in the words of each kind of step.
#[test]
fn the_last_word_says_what_became_of_the_act_under_way() {
    let refused = went_wrong(FailureClass::User);
    let closed = Outcome::ChangeClosed { pr: opened(7, "b").pr };
    let table = [
        (tell(Some("{{ ticket }}"), None), Outcome::TicketMoved, MOVED),
        (tell(Some("{{ ticket }}"), None), Outcome::NotDone, NOTHING),
        (
            tell(Some("{{ ticket }}"), None),
            refused.clone(),
            "Close: SREPROV-3072 was not moved to Done: it broke",
        ),
        (
            tell(Some("{{ ticket }}"), None),
            unclear("no answer"),
            "Close: SREPROV-3072 may have been moved to Done: no answer",
        ),
        (
            change(),
            Outcome::ChangeOpened(opened(7, "b")),
            "Close: acme/deploy#7 is left as it is",
        ),
        (change(), Outcome::NotDone, NOTHING),
        (change(), Outcome::ChangeUnneeded, NOTHING),
        (change(), refused, "Close: no pull request was opened: it broke"),
        (
            change(),
            closed,
            "Close: its pull request was closed without being merged",
        ),
        (
            change(),
            unclear("no answer"),
            "Close: its pull request may have been opened: no answer",
        ),
    ];
    for (kind, outcome, words) in table {
        let one = plan(vec![step("Close", kind)]);
        // Stopped while it is under way.
        let mut script = Script::start(&one);
        script.says(Action::Stop, &[]).came(outcome.clone());
        assert_eq!(left(&script), words, "{outcome:?}");
        // Stopped after the step had failed without anybody knowing: it is looked at first.
        let mut script = Script::start(&one);
        script.came(unclear("cut")).says(Action::Stop, &[]);
        assert!(acts(&script.last).is_empty(), "nothing more is done");
        script.came_of(last_look(&script), outcome.clone());
        let words = match outcome {
            Outcome::Failed { .. } => words
                .replace("no pull request was opened", "its pull request may have been opened")
                .replace("was not moved", "may have been moved"),
            _ => words.to_owned(),
        };
        assert_eq!(left(&script), words, "after a failure: {outcome:?}");
    }
}

#[test]
fn what_is_known_to_have_failed_is_not_looked_at_again() {
    for kind in [change(), tell(Some("{{ ticket }}"), None)] {
        let mut script = Script::start(&plan(vec![step("Close", kind)]));
        script.came(went_wrong(FailureClass::User)).says(Action::Stop, &[]);
        assert_eq!(left(&script), NOTHING);
    }
}

#[test]
fn what_an_earlier_attempt_may_have_done_is_looked_at_however_the_last_one_ended() {
    let mut script = moving();
    script
        .came(unclear("cut"))
        .says(Action::Retry, &[])
        .came(went_wrong(FailureClass::Permission))
        .says(Action::Stop, &[])
        .wait(599)
        .wakes();
    assert!(script.last.is_nothing(), "it is still looked at");
    script.wait(1).wakes();
    assert_eq!(
        left(&script),
        "Close: SREPROV-3072 may have been moved to Done: it could not be looked at within 10 minutes"
    );
}

#[test]
fn a_ticket_that_an_earlier_step_moved_is_said_to_have_been_moved() {
    let steps = vec![
        step("Close", tell(Some("{{ ticket }}"), None)),
        step("Note", tell(None, Some("Done."))),
        step("Edit", change()),
    ];
    let mut script = Script::start(&plan(steps));
    script
        .came(Outcome::TicketMoved)
        .says(Action::Stop, &[])
        .came(Outcome::NotDone);
    assert_eq!(left(&script), MOVED);
}

#[test]
fn a_merge_that_lands_after_the_step_has_failed_is_known_when_somebody_says_stop() {
    let mut script = merging();
    let act = script.acts.last().unwrap().clone();
    script.wait(600).wakes();
    script.came_of(act, Outcome::Merged { commit: sha('b') });
    script.says(Action::Stop, &[]);
    assert_eq!(left(&script), "Edit: acme/deploy#7 stays merged as bbbbbbb");
}
