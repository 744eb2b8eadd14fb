//! Acts that were given up without an outcome: their run goes on to where people see it.

use stepherd::domain::command::Action;
use stepherd::domain::decide::Event;
use stepherd::domain::effect::{Effect, Outcome};
use stepherd::domain::pipeline::OnFailure;
use stepherd::domain::run::FailureClass;

use super::kit::{Script, change, merge, opened, plan, running, sha, step, tell, work};

/// The newest act is given up.
fn given_up(script: &mut Script) {
    let act = script.acts.last().expect("something is on its way").clone();
    let key = Effect::Act(act).key(Some(&script.run().id));
    let reason = "nobody can read it".to_owned();
    script.play("given up", &Event::Parked { key, reason });
}

fn last_words(script: &Script) -> String {
    let last = script
        .history
        .last()
        .map(|entry| stepherd::domain::card::happened(&entry.what));
    last.expect("something has happened")
}

#[test]
fn a_part_of_the_step_under_way_that_is_given_up_fails_it() {
    let mut edits = Script::start(&plan(vec![step("Edit", change())]));
    let mut starts = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["a"]))]));
    let mut merges = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    merges.came(Outcome::ChangeOpened(opened(7, "b")));
    for (script, stands) in [
        (&mut edits, "stopped in Edit#1 (Infrastructure): nobody can read it"),
        (&mut starts, "stopped in Sync#1 (Infrastructure): nobody can read it"),
        (&mut merges, "stopped in Land#1 (Infrastructure): nobody can read it"),
    ] {
        given_up(script);
        assert_eq!(script.state(), stands);
        given_up(script);
        assert!(script.last.is_nothing(), "it is told once");
    }
}

/// Its job is not confirmed, and a retry has asked for it again.
fn asked_again() -> Script {
    let mut script = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["a"]))]));
    script.came(unclear()).says(Action::Retry, &[]);
    script
}

fn unclear() -> Outcome {
    Outcome::Unclear {
        reason: "cut".to_owned(),
        class: FailureClass::Infrastructure,
    }
}

#[test]
fn a_start_that_was_asked_for_again_and_is_given_up_fails_its_step_at_once() {
    let mut script = asked_again();
    given_up(&mut script);
    assert_eq!(script.state(), "stopped in Sync#2 (Infrastructure): nobody can read it");
    given_up(&mut script);
    assert!(script.last.is_nothing(), "it is told once");
    let mut script = asked_again();
    script.says(Action::Stop, &[]);
    given_up(&mut script);
    assert_eq!(
        last_words(&script),
        "stopped by Ada: a: may run; whether its start got through is not known"
    );
}

#[test]
fn an_act_that_was_given_up_is_looked_at_when_somebody_says_stop() {
    let mut merges = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    merges.came(Outcome::ChangeOpened(opened(7, "b")));
    let mut edits = Script::start(&plan(vec![step("Edit", change())]));
    let mut moves = Script::start(&plan(vec![step("Close", tell(Some("{{ ticket }}"), None))]));
    for (script, outcome, words) in [
        (
            &mut merges,
            Outcome::Merged { commit: sha('b') },
            "Edit: acme/deploy#7 stays merged as bbbbbbb",
        ),
        (
            &mut edits,
            Outcome::ChangeOpened(opened(7, "b")),
            "Edit: acme/deploy#7 is left as it is",
        ),
        (
            &mut moves,
            Outcome::TicketMoved,
            "Close: SREPROV-3072 was moved to Done, which is not undone",
        ),
    ] {
        given_up(script);
        script.says(Action::Stop, &[]);
        given_up(script);
        assert!(
            script.last.is_nothing(),
            "it has been told of already, and is being looked at"
        );
        script.came(outcome);
        assert_eq!(last_words(script), format!("stopped by Ada: {words}"));
    }
}

#[test]
fn a_request_to_end_that_is_given_up_keeps_no_run_from_ending() {
    let mut script = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["a"]))]));
    script
        .job_started("a")
        .saw("a", running(42.0, 0))
        .says(Action::Stop, &[]);
    given_up(&mut script);
    assert_eq!(
        last_words(&script),
        "stopped by Ada: a: was told to end at 42 %, but may still run"
    );
}

#[test]
fn a_merge_that_is_given_up_while_the_run_is_being_stopped_may_have_been_made() {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    script
        .came(Outcome::ChangeOpened(opened(7, "b")))
        .says(Action::Stop, &[]);
    given_up(&mut script);
    assert_eq!(
        last_words(&script),
        "stopped by Ada: Edit: acme/deploy#7 may have been merged: nobody can read it"
    );
}
