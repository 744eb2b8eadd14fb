//! Looking at jobs: what counts, what counts once, and what never counts.

use std::collections::BTreeMap;

use stepherd::domain::command::Action;
use stepherd::domain::decide::{Event, Wanted, decide, glance, next_wake, wanted};
use stepherd::domain::effect::Outcome;
use stepherd::domain::pipeline::OnFailure;
use stepherd::domain::run::{FailureClass, Happened, Observation, ObservedState, RunState};
use stepherd::domain::standing;

use super::kit::{Script, at, change, facts, failed, name, plan, running, seen, step, went_wrong, work};

fn set(on_failure: OnFailure, jobs: &[&str]) -> Script {
    let plan = plan(vec![step("Sync", work(on_failure, jobs)), step("After", change())]);
    let mut script = Script::start(&plan);
    for job in jobs.iter().filter(|job| !job.ends_with('?')) {
        script.job_started(job);
    }
    script.take();
    script
}

fn one() -> Script {
    set(OnFailure::Leave, &["rebuild"])
}

fn waiting(detail: &str) -> Observation {
    Observation {
        detail: Some(detail.to_owned()),
        ..seen(ObservedState::Waiting)
    }
}

#[test]
fn a_set_passes_when_every_job_did() {
    let mut script = set(OnFailure::Leave, &["a", "b", "c?"]);
    script
        .saw("a", seen(ObservedState::Succeeded))
        .saw("c", seen(ObservedState::Skipped));
    script
        .saw("b", running(10.0, 0))
        .saw("b", seen(ObservedState::Succeeded));
    insta::assert_snapshot!(script.take(), @r#"
    0s a is Succeeded
       = Sync#1 watches a=Ended/Succeeded b=Watched/unseen c=Watched/unseen
       > report to jira:SREPROV-3072 discord:400
    0s c is Skipped
       = Sync#1 watches a=Ended/Succeeded b=Watched/unseen c=Ended/Skipped
       > report to jira:SREPROV-3072 discord:400
    0s b is Running at 10 %
       = Sync#1 watches a=Ended/Succeeded b=Watched/Running c=Ended/Skipped
       > report to jira:SREPROV-3072 discord:400
    0s b is Succeeded
       = After#1 acts
       3. Sync: passed
       4. After: attempt 1 began
       > After#1 change SREPROV-3072_URMO7YZ2_StepAfter
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn cancel_ends_the_siblings_it_started_and_stops_at_once() {
    let mut script = set(OnFailure::Cancel, &["a", "b", "c?"]);
    script
        .saw("b", running(10.0, 0))
        .saw("a", failed(42.0, "farmer-3 lost"));
    insta::assert_snapshot!(script.take(), @r#"
    0s b is Running at 10 %
       = Sync#1 watches a=Watched/unseen b=Watched/Running c=Watched/unseen
       > report to jira:SREPROV-3072 discord:400
    0s a is Failed at 42 %: farmer-3 lost
       = stopped in Sync#1 (Infrastructure): farmer-3 lost
       3. Sync: failed at 42 %: farmer-3 lost; told to end: b
       > Sync#1 cancel URMO7YZ2/Sync/1/b
       > notice 3 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn drain_waits_for_the_siblings_before_it_stops() {
    let mut script = set(OnFailure::Drain, &["a", "b"]);
    script
        .saw("a", failed(42.0, "farmer-3 lost"))
        .saw("b", running(90.0, 0))
        .saw("b", seen(ObservedState::Succeeded));
    insta::assert_snapshot!(script.take(), @r#"
    0s a is Failed at 42 %: farmer-3 lost
       = Sync#1 watches a=Ended/Failed b=Watched/unseen
       > report to jira:SREPROV-3072 discord:400
    0s b is Running at 90 %
       = Sync#1 watches a=Ended/Failed b=Watched/Running
       > report to jira:SREPROV-3072 discord:400
    0s b is Succeeded
       = stopped in Sync#1 (Infrastructure): farmer-3 lost
       3. Sync: failed at 42 %: farmer-3 lost
       > notice 3 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn drain_waits_for_the_siblings_of_a_job_that_cannot_be_started() {
    let plan = plan(vec![step("Sync", work(OnFailure::Drain, &["a", "b"]))]);
    let mut script = Script::start(&plan);
    script.job_started("a").came(went_wrong(FailureClass::Permission));
    assert!(matches!(script.run().state, RunState::Active(_)), "{}", script.state());
    script.saw("a", seen(ObservedState::Succeeded));
    assert_eq!(script.state(), "stopped in Sync#1 (Infrastructure): it broke");
}

#[test]
fn a_retry_begins_with_all_its_patience() {
    let mut script = one();
    script
        .saw("rebuild", waiting("farmers 2 of 3"))
        .wait(300)
        .saw("rebuild", running(1.0, 0))
        .saw("rebuild", waiting("farmers 2 of 3"))
        .wait(100)
        .saw("rebuild", failed(42.0, "farmer-3 lost"))
        .says(Action::Retry, &[])
        .saw("rebuild", running(43.0, 0));
    assert_eq!(
        glance(script.run()).deadline,
        Some(at(400 + 600)),
        "what it waited before counts no more"
    );
}

#[test]
fn a_retry_of_a_wait_that_took_too_long_may_wait_as_long_again() {
    let mut script = one();
    script.saw("rebuild", waiting("farmers 2 of 3")).wait(600).wakes();
    assert!(
        matches!(script.run().state, RunState::Stopped { .. }),
        "{}",
        script.state()
    );
    script
        .says(Action::Retry, &[])
        .saw("rebuild", waiting("farmers 2 of 3"));
    assert_eq!(glance(script.run()).deadline, Some(at(600 + 600)));
}

#[test]
fn a_job_that_would_not_end_and_was_taken_up_again_is_not_ended_late() {
    let mut script = set(OnFailure::Cancel, &["a", "b"]);
    script
        .saw("b", running(10.0, 0))
        .saw("a", failed(42.0, "farmer-3 lost"));
    let cancel = script.acts.last().unwrap().clone();
    assert_eq!(wanted(script.run(), &cancel, false), Wanted::Yes);
    script.came(went_wrong(FailureClass::Permission));
    script.says(Action::Retry, &[]);
    script
        .saw("a", failed(42.0, "farmer-3 lost"))
        .saw("b", running(11.0, 0));
    assert_eq!(script.state(), "Sync#2 watches a=Starting/unseen b=Watched/Running");
    for unclear in [false, true] {
        assert_eq!(wanted(script.run(), &cancel, unclear), Wanted::No);
    }
}

#[test]
fn the_same_observation_twice_changes_nothing() {
    for observation in [
        running(20.0, 1),
        waiting("farmers 1 of 3"),
        seen(ObservedState::Pending),
        seen(ObservedState::Unknown),
    ] {
        let mut script = one();
        script.saw("rebuild", observation.clone());
        assert!(!script.last.is_nothing());
        script.saw("rebuild", observation);
        assert!(
            script.last.is_nothing(),
            "an observation that changes nothing writes nothing"
        );
    }
}

#[test]
fn observations_of_strangers_change_nothing() {
    let mut script = one();
    script.saw("rebuild", running(1.0, 0));
    let ended = seen(ObservedState::Failed);
    let event = |step: &str, attempt, job: &str| Event::Observed {
        step: name(step),
        attempt,
        job: job.to_owned(),
        seen: ended.clone(),
    };
    for stranger in [
        event("Sync", 2, "rebuild"),
        event("Sync", 0, "rebuild"),
        event("After", 1, "rebuild"),
        event("Sync", 1, "other"),
    ] {
        assert!(
            decide(script.run.as_ref(), &stranger, &facts(5)).is_nothing(),
            "{stranger:?}"
        );
    }
    assert!(
        decide(None, &event("Sync", 1, "rebuild"), &facts(5)).is_nothing(),
        "nor of runs that are not there"
    );
}

#[test]
fn a_job_whose_start_is_still_on_its_way_is_not_believed_to_have_ended() {
    let mut script = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["a"]))]));
    script.saw("a", failed(0.0, "an old one"));
    assert!(script.last.is_nothing());
    script.job_started("a").came(Outcome::JobStarted);
    assert!(script.last.is_nothing(), "started twice is started once");
}

#[test]
fn a_restart_that_was_never_seen_failing_is_told_exactly_once() {
    let mut script = one();
    script.saw("rebuild", running(42.0, 0)).take();
    script
        .saw("rebuild", running(3.0, 1))
        .saw("rebuild", running(3.0, 1))
        .saw("rebuild", running(9.0, 1));
    script
        .saw("rebuild", seen(ObservedState::Unknown))
        .saw("rebuild", running(10.0, 1))
        .saw("rebuild", running(10.0, 3));
    insta::assert_snapshot!(script.take(), @r"
    0s rebuild is Running at 3 % after 1 restarts
       = Sync#1 watches rebuild=Watched/Running
       3. Sync: rebuild failed at 42 % and was restarted by the service (restart 1): it began again at 3 %, was 42 %
       > notice 3 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    0s rebuild is Running at 3 % after 1 restarts
       nothing
    0s rebuild is Running at 9 % after 1 restarts
       = Sync#1 watches rebuild=Watched/Running
       > report to jira:SREPROV-3072 discord:400
    0s rebuild is Unknown
       = Sync#1 watches rebuild=Watched/Unknown
       > report to jira:SREPROV-3072 discord:400
    0s rebuild is Running at 10 % after 1 restarts
       = Sync#1 watches rebuild=Watched/Running
       > report to jira:SREPROV-3072 discord:400
    0s rebuild is Running at 10 % after 3 restarts
       = Sync#1 watches rebuild=Watched/Running
       4. Sync: rebuild failed at 10 % and was restarted by the service (restart 3): it goes on at 10 %
       > notice 4 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    ");
    assert_eq!(standing::restarts(script.run()), 3);
}

#[test]
fn restarts_before_the_first_look_are_told_once() {
    let mut script = one();
    script.saw("rebuild", running(42.0, 2)).saw("rebuild", running(43.0, 2));
    let told = script
        .history
        .iter()
        .filter(|entry| matches!(entry.what, Happened::Restarted { .. }));
    assert_eq!(told.count(), 1);
    assert_eq!(standing::restarts(script.run()), 2);
}

#[test]
fn restarts_of_all_jobs_count_and_stay_counted_when_the_step_passes() {
    let mut script = set(OnFailure::Drain, &["a", "b"]);
    script.saw("a", running(1.0, 2)).saw("b", running(1.0, 1));
    assert_eq!(standing::restarts(script.run()), 3);
    let done = |restarts| Observation {
        restarts,
        ..seen(ObservedState::Succeeded)
    };
    script.saw("a", done(2));
    assert_eq!(standing::restarts(script.run()), 3);
    script.saw("b", done(1));
    assert_eq!(standing::restarts(script.run()), 3);
    assert_eq!(script.run().passed[0].restarts, 3);
}

#[test]
fn time_spent_waiting_for_something_else_does_not_count() {
    let mut script = one();
    script
        .saw("rebuild", running(42.0, 0))
        .wait(300)
        .saw("rebuild", waiting("farmers 2 of 3"));
    script.wait(599).wakes();
    assert!(script.last.is_nothing(), "it is waiting, not hung");
    script.saw("rebuild", running(42.0, 0));
    script.wait(299).wakes();
    assert!(
        script.last.is_nothing(),
        "300 of its 600 seconds were left when it began to wait"
    );
    script.wait(1).wakes();
    insta::assert_snapshot!(script.take().lines().rev().take(5).collect::<Vec<_>>().join("\n"), @r#"
          > report to jira:SREPROV-3072 discord:400
          > notice 3 to jira:SREPROV-3072 discord:400
          3. Sync: failed at 42 %: timed out after 10 minutes; left running: rebuild
          = stopped in Sync#1 (Infrastructure): timed out after 10 minutes
    1199s wakes
    "#);
}

#[test]
fn one_wait_may_not_outlast_the_patience_with_the_step() {
    let mut script = one();
    script
        .wait(500)
        .saw("rebuild", waiting("farmers 2 of 3"))
        .wait(600)
        .wakes();
    let reason = standing::failure(script.run()).map(|why| why.reason.clone());
    assert_eq!(
        reason.as_deref(),
        Some("timed out after 10 minutes; last seen: farmers 2 of 3")
    );
}

#[test]
fn one_job_that_runs_keeps_the_clock_going_for_the_set() {
    let mut script = set(OnFailure::Drain, &["a", "b"]);
    script
        .saw("a", running(1.0, 0))
        .saw("b", waiting("a slot"))
        .wait(600)
        .wakes();
    assert!(
        matches!(script.run().state, RunState::Stopped { .. }),
        "{}",
        script.state()
    );
}

#[test]
fn waiting_is_not_hung_even_when_a_look_fails_in_between() {
    let mut script = one();
    script
        .saw("rebuild", waiting("farmers 2 of 3"))
        .wait(500)
        .saw("rebuild", seen(ObservedState::Unknown));
    script.wait(599).wakes();
    assert!(script.last.is_nothing(), "what was waited is not counted");
}

#[test]
fn an_unknown_state_is_never_success_and_keeps_the_figures() {
    let mut script = one();
    let first = Observation {
        link: Some("https://ci.example/1".to_owned()),
        ..running(42.0, 1)
    };
    script
        .saw("rebuild", first)
        .saw("rebuild", seen(ObservedState::Unknown));
    let attempt = standing::attempt(script.run()).unwrap();
    let kept = standing::last_seen(attempt).unwrap();
    assert_eq!(kept.state, ObservedState::Unknown);
    assert_eq!((kept.progress.unwrap().as_f64(), kept.restarts), (42.0, 1));
    assert_eq!(kept.link.as_deref(), Some("https://ci.example/1"));
    assert_eq!(script.run().passed, [], "and the step does not pass");
}

#[test]
fn what_a_job_says_when_it_fails_tells_the_class() {
    let table = [
        ("farmer-3 lost", FailureClass::Infrastructure),
        ("API rate limit exceeded", FailureClass::RateLimit),
        ("quota used up, permission denied", FailureClass::RateLimit),
        ("Permission denied (publickey)", FailureClass::Permission),
        ("403 Forbidden", FailureClass::Permission),
        ("flaky: test_7 failed once", FailureClass::Flaky),
        ("invalid value for farmers", FailureClass::User),
        ("", FailureClass::Infrastructure),
    ];
    for (reason, class) in table {
        let mut script = one();
        script.saw("rebuild", failed(5.0, reason));
        let why = standing::failure(script.run()).unwrap();
        assert_eq!(why.class, class, "{reason}");
        let shown = if reason.is_empty() {
            "the back-end gave no reason"
        } else {
            reason
        };
        assert_eq!(why.reason, shown);
        assert_eq!(why.link.as_deref(), Some("https://ci.example/7"));
        assert_eq!(why.progress.unwrap().as_f64(), 5.0);
    }
}

#[test]
fn canceled_at_the_back_end_is_somebodys_doing() {
    let mut script = one();
    script.saw("rebuild", seen(ObservedState::Canceled));
    let why = standing::failure(script.run()).unwrap();
    assert_eq!(
        (why.class, why.reason.as_str()),
        (FailureClass::User, "it was canceled at the back-end")
    );
}

#[test]
fn a_deadline_names_what_was_seen_last() {
    let mut script = one();
    let doing = Observation {
        detail: Some("draining farmer-2".to_owned()),
        ..running(77.0, 0)
    };
    script.saw("rebuild", doing).wait(600).wakes();
    let why = standing::failure(script.run()).unwrap();
    assert_eq!(why.reason, "timed out after 10 minutes; last seen: draining farmer-2");
    assert_eq!(why.progress.unwrap().as_f64(), 77.0);
    assert_eq!(why.class, FailureClass::Infrastructure);
}

#[test]
fn jobs_are_told_what_their_templates_say() {
    let script = set(OnFailure::Leave, &["a"]);
    let stepherd::domain::effect::Deed::StartJob(intent) = &script.acts[0].what else {
        panic!("{:?}", script.acts);
    };
    assert_eq!(intent.with, BTreeMap::from([("app".to_owned(), "Sync-1".to_owned())]));
    assert_eq!(intent.marker, "URMO7YZ2/Sync/1/a");
}

#[test]
fn a_failure_that_does_not_say_how_far_it_was_was_as_far_as_last_seen() {
    let mut script = one();
    script
        .saw("rebuild", running(42.0, 0))
        .saw("rebuild", seen(ObservedState::Failed));
    let why = standing::failure(script.run()).unwrap();
    assert_eq!(why.progress.map(|progress| progress.as_f64()), Some(42.0));
}

#[test]
fn a_run_is_looked_at_at_once_when_there_is_something_new_to_look_at_and_keeps_its_pace_then() {
    let mut script = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["rebuild"]))]));
    let before = script.run().clone();
    script.job_started("rebuild");
    assert_eq!(
        next_wake(Some(&before), script.run(), at(7)),
        Some(at(7)),
        "for the first time"
    );
    let before = script.run().clone();
    script.saw("rebuild", running(1.0, 0));
    assert_eq!(next_wake(Some(&before), script.run(), at(7)), Some(at(37)));
    // The deadline comes before the next look.
    assert_eq!(next_wake(Some(&before), script.run(), at(590)), Some(at(600)));
}
