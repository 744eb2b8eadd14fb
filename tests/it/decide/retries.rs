//! Going on after a failure: the world is read again before anything is started.

use stepherd::domain::card;
use stepherd::domain::command::Action;
use stepherd::domain::effect::{Deed, Effect, Outcome};
use stepherd::domain::pipeline::{OnFailure, Pipeline, StepSpec};
use stepherd::domain::run::{FailureClass, ObservedState, RunState};

use super::kit::{
    Script, acts, change, failed, first_line, merge, name, opened, plan, running, seen, sha, step, went_wrong, work,
};

/// A set that failed in its job `a`, with `b` told to end or drained, and somebody who says retry.
fn retried(on_failure: OnFailure, jobs: &[&str]) -> Script {
    let mut script = Script::start(&plan(vec![
        step("Sync", work(on_failure, jobs)),
        step("After", change()),
    ]));
    for job in jobs.iter().filter(|job| !job.ends_with('?')) {
        script.job_started(job);
    }
    for job in &jobs[1..] {
        script.saw(job.trim_end_matches('?'), running(50.0, 0));
    }
    script.saw(jobs[0].trim_end_matches('?'), failed(42.0, "farmer-3 lost"));
    script.says(Action::Retry, &[]).take();
    script
}

#[test]
fn a_job_that_failed_is_started_again_as_a_new_attempt() {
    let mut script = retried(OnFailure::Leave, &["a"]);
    script.saw("a", failed(42.0, "farmer-3 lost"));
    insta::assert_snapshot!(script.take(), @r#"
    0s a is Failed at 42 %: farmer-3 lost
       = Sync#2 watches a=Starting/unseen
       5. Sync: attempt 2 began
       > Sync#2 start URMO7YZ2/Sync/2/a
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn a_job_that_still_runs_is_watched_on_and_not_started() {
    let mut script = retried(OnFailure::Leave, &["a"]);
    script
        .saw("a", running(60.0, 1))
        .saw("a", seen(ObservedState::Succeeded));
    insta::assert_snapshot!(script.take(), @r"
    0s a is Running at 60 % after 1 restarts
       = Sync#1 watches a=Watched/Running
       5. Sync: a was restarted by the service (restart 1): it is at 60 %, and how far it was before is not known
       6. Sync: found still running or done; nothing was started
       > notice 5 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    0s a is Succeeded
       = After#1 acts
       7. Sync: passed
       8. After: attempt 1 began
       > After#1 change SREPROV-3072_URMO7YZ2_StepAfter
       > report to jira:SREPROV-3072 discord:400
    ");
}

#[test]
fn a_job_that_has_succeeded_meanwhile_lets_the_run_go_on() {
    let mut script = retried(OnFailure::Leave, &["a"]);
    script.saw("a", seen(ObservedState::Succeeded));
    insta::assert_snapshot!(script.take(), @r"
    0s a is Succeeded
       = After#1 acts
       5. Sync: found still running or done; nothing was started
       6. Sync: passed (had already succeeded)
       7. After: attempt 1 began
       > After#1 change SREPROV-3072_URMO7YZ2_StepAfter
       > report to jira:SREPROV-3072 discord:400
    ");
}

#[test]
fn of_a_mixed_set_only_what_is_neither_running_nor_done_is_started() {
    let mut script = retried(OnFailure::Leave, &["a", "b", "c", "d?"]);
    script
        .saw("b", running(70.0, 0))
        .saw("c", seen(ObservedState::Succeeded))
        .saw("d", running(1.0, 0));
    assert!(acts(&script.last).is_empty(), "not before every job was looked at");
    script.saw("a", failed(42.0, "farmer-3 lost"));
    insta::assert_snapshot!(script.take(), @r#"
    0s b is Running at 70 %
       = Sync#1 checks a=Ended/unseen b=Watched/Running c=Watched/unseen d=Watched/unseen
       > report to jira:SREPROV-3072 discord:400
    0s c is Succeeded
       = Sync#1 checks a=Ended/unseen b=Watched/Running c=Watched/Succeeded d=Watched/unseen
       > report to jira:SREPROV-3072 discord:400
    0s d is Running at 1 %
       = Sync#1 checks a=Ended/unseen b=Watched/Running c=Watched/Succeeded d=Watched/Running
       > report to jira:SREPROV-3072 discord:400
    0s a is Failed at 42 %: farmer-3 lost
       = Sync#2 watches a=Starting/unseen b=Watched/Running c=Ended/Succeeded d=Watched/Running
       5. Sync: attempt 2 began
       > Sync#2 start URMO7YZ2/Sync/2/a
       > report to jira:SREPROV-3072 discord:400
    "#);
    script
        .saw("b", seen(ObservedState::Succeeded))
        .job_started("a")
        .saw("a", seen(ObservedState::Succeeded));
    script.saw("d", seen(ObservedState::Succeeded));
    assert_eq!(script.run().passed.len(), 1, "{}", script.state());
}

#[test]
fn what_cannot_be_read_is_waited_for() {
    let mut script = retried(OnFailure::Leave, &["a"]);
    script.saw("a", seen(ObservedState::Unknown));
    assert!(
        acts(&script.last).is_empty(),
        "not knowing is no ground for a second start"
    );
    script.saw("a", running(43.0, 0));
    assert!(matches!(&script.run().state, RunState::Active(attempt) if attempt.number == 1));
}

#[test]
fn a_job_that_is_only_watched_is_given_another_chance() {
    let mut script = retried(OnFailure::Leave, &["a?"]);
    script
        .saw("a", failed(42.0, "farmer-3 lost"))
        .saw("a", running(43.0, 0));
    insta::assert_snapshot!(script.take(), @r"
    0s a is Failed at 42 %: farmer-3 lost
       = Sync#1 watches a=Watched/unseen
       5. Sync: found still running or done; nothing was started
       > report to jira:SREPROV-3072 discord:400
    0s a is Running at 43 %
       = Sync#1 watches a=Watched/Running
       > report to jira:SREPROV-3072 discord:400
    ");
}

#[test]
fn two_retries_make_one_attempt() {
    let mut script = retried(OnFailure::Leave, &["a"]);
    script.says(Action::Retry, &[]);
    assert!(script.last.run.is_none(), "the second finds nothing to retry");
    script.saw("a", failed(42.0, "farmer-3 lost")).says(Action::Retry, &[]);
    assert!(script.last.run.is_none());
    let starts = script
        .acts
        .iter()
        .filter(|act| matches!(act.what, Deed::StartJob(_)))
        .count();
    assert_eq!(starts, 2, "the first attempt's and the second's");
}

#[test]
fn a_change_that_failed_is_made_again_on_the_same_branch() {
    let mut script = Script::start(&plan(vec![step("Edit", change())]));
    script
        .came(went_wrong(FailureClass::Permission))
        .says(Action::Retry, &[]);
    insta::assert_snapshot!(script.take(), @r#"
    0s start
       = Edit#1 acts
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. Edit: attempt 1 began
       > Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit
       > report to jira:SREPROV-3072 discord:400
       > join zap/one
    0s Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit -> failed (Permission): it broke
       = stopped in Edit#1 (Permission): it broke
       3. Edit: failed: it broke
       > notice 3 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    0s retry
       = Edit#2 acts
       4. resumed by Ada
       5. Edit: attempt 2 began
       > Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit
       > report to jira:SREPROV-3072 discord:400
    "#);
}

fn stubborn(auto_retries: u32) -> Pipeline {
    let edit = StepSpec {
        auto_retries,
        ..step("Edit", change())
    };
    let sync = StepSpec {
        auto_retries,
        ..step("Sync", work(OnFailure::Leave, &["a"]))
    };
    plan(vec![edit, sync])
}

#[test]
fn the_plan_says_how_often_it_is_tried_without_asking() {
    let mut script = Script::start(&stubborn(2));
    for class in [FailureClass::Infrastructure, FailureClass::Flaky] {
        script.came(went_wrong(class));
        assert!(matches!(script.run().state, RunState::Active(_)), "{class:?}");
    }
    script.came(went_wrong(FailureClass::RateLimit));
    assert!(
        matches!(script.run().state, RunState::Stopped { .. }),
        "the third is one too many"
    );
    insta::assert_snapshot!(script.take(), @r#"
    0s start
       = Edit#1 acts
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. Edit: attempt 1 began
       > Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit
       > report to jira:SREPROV-3072 discord:400
       > join zap/one
    0s Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit -> failed (Infrastructure): it broke
       = Edit#2 acts
       3. Edit: failed and was tried again without asking: it broke
       4. Edit: attempt 2 began
       > Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit
       > notice 3 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    0s Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit -> failed (Flaky): it broke
       = Edit#3 acts
       5. Edit: failed and was tried again without asking: it broke
       6. Edit: attempt 3 began
       > Edit#3 change SREPROV-3072_URMO7YZ2_StepEdit
       > notice 5 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    0s Edit#3 change SREPROV-3072_URMO7YZ2_StepEdit -> failed (RateLimit): it broke
       = stopped in Edit#3 (RateLimit): it broke
       7. Edit: failed: it broke
       > notice 7 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn nothing_that_only_a_person_can_mend_is_tried_again_without_one() {
    for class in [FailureClass::User, FailureClass::Permission] {
        let mut script = Script::start(&stubborn(2));
        script.came(went_wrong(class));
        assert!(matches!(script.run().state, RunState::Stopped { .. }), "{class:?}");
    }
}

#[test]
fn a_person_who_says_retry_gives_the_step_its_budget_back() {
    let mut script = Script::start(&stubborn(1));
    script
        .came(went_wrong(FailureClass::Flaky))
        .came(went_wrong(FailureClass::Flaky));
    script.says(Action::Retry, &[]).came(went_wrong(FailureClass::Flaky));
    assert!(matches!(script.run().state, RunState::Active(_)));
    script.came(went_wrong(FailureClass::Flaky));
    assert!(matches!(script.run().state, RunState::Stopped { .. }));
    let numbers: Vec<u32> = script.acts.iter().map(|act| act.attempt).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "attempts are counted on, never anew");
}

#[test]
fn a_job_that_keeps_failing_uses_up_its_budget() {
    let mut script = Script::start(&stubborn(2));
    script.came(Outcome::ChangeUnneeded);
    let mut starts = 0;
    while let RunState::Active(_) = script.run().state {
        script.job_started("a").saw("a", failed(1.0, "farmer lost"));
        starts += 1;
        if let RunState::Active(_) = script.run().state {
            script.saw("a", failed(1.0, "farmer lost"));
        }
        assert!(starts < 9, "it must end some time");
    }
    assert_eq!(starts, 3);
}

#[test]
fn a_pull_request_closed_unmerged_forces_a_new_branch_and_only_that() {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    let first = script.acts[0].clone();
    let closed = Outcome::ChangeClosed { pr: opened(1, "b").pr };
    script.came(closed.clone());
    insta::assert_snapshot!(script.take(), @r#"
    0s start
       = Edit#1 acts
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. Edit: attempt 1 began
       > Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit
       > report to jira:SREPROV-3072 discord:400
       > join zap/one
    0s Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit -> acme/deploy#1 was closed
       = Edit#1 acts
       3. Edit: attempt 1 began
       > Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit_2
       > report to jira:SREPROV-3072 discord:400
    "#);
    script.came_of(first.clone(), closed);
    assert!(script.last.is_nothing(), "the old branch is nobody's concern any more");
    script.came_of(first, Outcome::ChangeOpened(opened(1, "b")));
    assert!(script.last.is_nothing(), "{}", script.state());
    script
        .came(Outcome::ChangeOpened(opened(2, "b_2")))
        .came(Outcome::Merged { commit: sha('b') });
    assert_eq!(script.run().prs[&name("Edit")].pr.number, 2);
}

#[test]
fn people_who_close_every_pull_request_are_believed_in_the_end() {
    let mut script = Script::start(&plan(vec![step("Edit", change())]));
    for _ in 0..20 {
        let pr = opened(1, "b").pr;
        script.came(Outcome::ChangeClosed { pr });
    }
    assert_eq!(
        script.state(),
        "stopped in Edit#1 (User): 20 pull requests of this step were closed without merging"
    );
}

#[test]
fn a_retry_after_people_closed_the_pull_request_goes_back_to_the_change() {
    let steps = vec![
        step("Edit", change()),
        step("Land", merge("Edit")),
        step("More", change()),
    ];
    let mut script = Script::start(&plan(steps));
    script.came(Outcome::ChangeOpened(opened(1, "b"))).take();
    let closed = || Outcome::ChangeClosed { pr: opened(1, "b").pr };
    script.came(closed());
    assert!(
        matches!(script.run().state, RunState::Stopped { .. }),
        "people closed it: that is an answer"
    );
    script.says(Action::Retry, &[]).came(closed());
    script
        .came(closed())
        .came(Outcome::ChangeOpened(opened(2, "b_2")))
        .came(Outcome::Merged { commit: sha('b') });
    insta::assert_snapshot!(script.take(), @r#"
    0s Land#1 merge acme/deploy#1 -> acme/deploy#1 was closed
       = stopped in Land#1 (User): acme/deploy#1 was closed without being merged; a retry opens a new one on a new branch
       6. Land: failed: acme/deploy#1 was closed without being merged; a retry opens a new one on a new branch
       > check aaaaaaa
       > notice 6 to jira:SREPROV-3072 discord:400 github:acme/deploy#1
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1
    0s retry
       = Land#2 acts
       7. resumed by Ada
       8. Land: attempt 2 began
       > Land#2 merge acme/deploy#1
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1
    0s Land#2 merge acme/deploy#1 -> acme/deploy#1 was closed
       = Edit#2 acts
       9. Edit: attempt 2 began
       > Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1
    0s Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit -> acme/deploy#1 was closed
       = Edit#2 acts
       10. Edit: attempt 2 began
       > Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit_2
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1
    0s Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit_2 -> opened acme/deploy#2
       = Land#3 acts
       11. Edit: acme/deploy#2 on branch b_2
       12. Edit: passed (acme/deploy#2 opened)
       13. Land: attempt 3 began
       > Land#3 merge acme/deploy#2
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1 github:acme/deploy#2
    0s Land#3 merge acme/deploy#2 -> merged as bbbbbbb
       = More#1 acts
       14. Land: passed (merged as bbbbbbb)
       15. More: attempt 1 began
       > More#1 change SREPROV-3072_URMO7YZ2_StepMore
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1 github:acme/deploy#2
    "#);
}

/// What the retry button says, and what is to be typed.
fn offered(script: &Script) -> String {
    let buttons = card::card(script.run()).buttons;
    let retry = buttons
        .iter()
        .find(|button| button.verb == "retry")
        .expect("a retry is offered");
    let failure = retry
        .args
        .iter()
        .find(|(name, _)| name == "failure")
        .expect("it names its failure")
        .1
        .clone();
    let notice = script
        .last
        .history
        .iter()
        .find_map(|entry| card::notice(script.run(), entry))
        .unwrap();
    let typed = format!("/zap retry run=URMO7YZ2 failure={failure}");
    assert!(format!("{notice:?}").contains(&typed), "{notice:?}");
    failure
}

fn told(script: &Script) -> String {
    match script.last.effects.as_slice() {
        [Effect::Reply(reply)] => first_line(&reply.doc),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_retry_offered_for_one_failure_does_nothing_to_the_next() {
    let mut script = Script::start(&plan(vec![
        step("Sync", work(OnFailure::Leave, &["a"])),
        step("After", change()),
    ]));
    script.job_started("a").saw("a", failed(42.0, "farmer-3 lost"));
    let first = offered(&script);
    script.wait(60).says(Action::Retry, &[("failure", &first)]);
    assert!(script.last.run.is_some(), "{}", script.state());
    script.says(Action::Retry, &[("failure", &first)]);
    assert!(script.last.run.is_none(), "pressed twice");
    insta::assert_snapshot!(told(&script), @r#"
    This retry was offered for an earlier failure (Sync, attempt 1): Ada resumed it at 2027-01-15 08:01 UTC. Nothing was started now. Where it stands: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Sync: looking at what is running
    "#);
    // The job turns out to run on, and fails again within the same attempt.
    script
        .saw("a", running(50.0, 0))
        .saw("a", failed(51.0, "farmer-4 lost"));
    let second = offered(&script);
    assert_ne!(first, second);
    script.says(Action::Retry, &[("failure", &first)]);
    assert!(script.last.run.is_none(), "offered for the first failure");
    insta::assert_snapshot!(told(&script), @"This retry was offered for an earlier failure (Sync, attempt 1): Ada resumed it at 2027-01-15 08:01 UTC. Nothing was started now. Where it stands: ❌ Zap · SREPROV-3072 · URMO7YZ2 — Sync failed at 51 %. To go on from there: `/zap retry run=URMO7YZ2 failure=6`");
    script.says_at(59, Action::Retry, &[]);
    assert!(script.last.run.is_none(), "said before it failed again");
    insta::assert_snapshot!(told(&script), @"This was said at 2027-01-15 08:00:59 UTC, before Sync (attempt 1) failed at 2027-01-15 08:01:00 UTC. Nothing was started. If you still want it: `/zap retry run=URMO7YZ2 failure=6`");
    script.says(Action::Retry, &[("failure", "999")]);
    insta::assert_snapshot!(told(&script), @r#"
    Zap · SREPROV-3072 · URMO7YZ2 had no failure 999. Where it stands: ❌ Zap · SREPROV-3072 · URMO7YZ2 — Sync failed at 51 %
    "#);
    script.says(Action::Retry, &[("failure", &second)]);
    assert!(script.last.run.is_some(), "{}", script.state());
    script.saw("a", seen(ObservedState::Succeeded));
    script
        .says(Action::Stop, &[])
        .says(Action::Retry, &[("failure", &second)]);
    assert!(script.last.run.is_none());
}

#[test]
fn an_outcome_of_the_attempt_before_says_nothing_about_the_one_under_way() {
    let steps = vec![step("Edit", change()), step("Land", merge("Edit"))];
    let mut script = Script::start(&plan(steps));
    let edit = script.acts[0].clone();
    script.came(went_wrong(FailureClass::User)).says(Action::Retry, &[]);
    script.came_of(edit, Outcome::ChangeUnneeded);
    assert!(script.last.is_nothing(), "{}", script.state());
    script.came(Outcome::ChangeOpened(opened(1, "b")));
    let land = script.acts.last().unwrap().clone();
    script.came(went_wrong(FailureClass::User)).says(Action::Retry, &[]);
    script.came_of(land, went_wrong(FailureClass::User));
    assert!(script.last.is_nothing(), "{}", script.state());
    assert_eq!(script.state(), "Land#2 acts");
}

#[test]
fn a_merge_that_was_tried_again_without_asking_does_not_go_back_to_the_change() {
    let land = StepSpec {
        auto_retries: 1,
        ..step("Land", merge("Edit"))
    };
    let mut script = Script::start(&plan(vec![step("Edit", change()), land]));
    script
        .came(Outcome::ChangeOpened(opened(1, "b")))
        .came(went_wrong(FailureClass::Flaky));
    assert_eq!(script.state(), "Land#2 acts");
    script.came(Outcome::ChangeClosed { pr: opened(1, "b").pr });
    assert!(
        matches!(&script.run().state, RunState::Stopped { why, .. } if why.step == name("Land")),
        "people closed it and nobody said retry: {}",
        script.state()
    );
}

#[test]
fn what_a_look_sees_after_a_retry_tells_whether_a_job_is_started_again() {
    use ObservedState::{Canceled, Failed, Pending, Running, Skipped, Succeeded, Waiting};
    for (state, starts, stands) in [
        (Running, 0, "Sync#1 watches a=Watched/Running"),
        (Waiting, 0, "Sync#1 watches a=Watched/Waiting"),
        (Succeeded, 0, "After#1 acts"),
        (Skipped, 0, "After#1 acts"),
        (Failed, 1, "Sync#2 watches a=Starting/unseen"),
        (Canceled, 1, "Sync#2 watches a=Starting/unseen"),
        (Pending, 1, "Sync#2 watches a=Starting/unseen"),
    ] {
        let mut script = retried(OnFailure::Leave, &["a"]);
        script.saw("a", seen(state));
        let started = acts(&script.last);
        let started = started.iter().filter(|act| matches!(act.what, Deed::StartJob(_)));
        assert_eq!(started.count(), starts, "{state:?}");
        assert_eq!(script.state(), stands, "{state:?}");
    }
}

#[test]
fn a_start_that_was_not_made_before_the_retry_says_nothing_about_the_one_asked_for_since() {
    let mut script = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["a", "b"]))]));
    let start_of_b = script.acts.last().unwrap().clone();
    script.job_started("a").saw("a", failed(42.0, "farmer-3 lost"));
    script.says(Action::Retry, &[]).saw("a", failed(42.0, "farmer-3 lost"));
    assert_eq!(script.state(), "Sync#2 watches a=Starting/unseen b=Starting/unseen");
    script.came_of(start_of_b.clone(), Outcome::NotDone);
    assert!(script.last.is_nothing(), "{}", script.state());
    script.came_of(start_of_b, Outcome::JobStarted);
    assert_eq!(script.state(), "Sync#2 watches a=Starting/unseen b=Watched/unseen");
}
