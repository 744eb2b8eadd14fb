//! A pull request that conflicts with what was merged since, and what steps leave behind when the run is stopped.

use stepherd::domain::command::Action;
use stepherd::domain::effect::{Deed, Outcome};
use stepherd::domain::ids::PrRef;
use stepherd::domain::pipeline::{Leaves, Pipeline, StepSpec};
use stepherd::domain::run::{FailureClass, Happened, RunState};
use stepherd::domain::standing;
use stepherd::domain::template::Template;

use super::kit::{Script, change, merge, name, opened, plan, sha, step, tell, went_wrong};

fn edit_and_land() -> Pipeline {
    plan(vec![
        step("Edit", change()),
        step("Note", tell(None, Some("Edited."))),
        step("Land", merge("Edit")),
    ])
}

fn pr(number: u64) -> PrRef {
    opened(number, "b").pr
}

fn conflicts(number: u64, people: Option<&str>) -> Outcome {
    Outcome::MergeConflicts {
        pr: pr(number),
        people: people.map(str::to_owned),
    }
}

/// The branch of the newest change, and the pull request that it takes the place of.
fn branch(script: &Script) -> (String, Option<u64>) {
    match &script.acts.last().expect("something is on its way").what {
        Deed::Change(intent) => {
            let old = intent.recorded.as_ref().filter(|_| intent.replaces);
            (intent.branch.clone(), old.map(|old| old.pr.number))
        }
        other => panic!("no change: {other:?}"),
    }
}

#[test]
fn a_conflict_is_resolved_by_making_the_same_edits_anew() {
    let mut script = Script::start(&edit_and_land());
    let (first, _) = branch(&script);
    script.came(Outcome::ChangeOpened(opened(1, &first)));
    script.take();
    script.came(conflicts(1, None));
    insta::assert_snapshot!(script.take(), @r"
    0s Land#1 merge acme/deploy#1 -> acme/deploy#1 conflicts; nobody touched it
       = Edit#2 acts
       9. Edit: acme/deploy#1 conflicts with what was merged since; the same edits are made anew
       10. Edit: attempt 2 began
       > Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit_2
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#1
    ");
    let (second, replaced) = branch(&script);
    assert_eq!((second, replaced), (format!("{first}_2"), Some(1)));
    // A failure on the way is tried again on the same branch, and still knows what gives way.
    script.came(went_wrong(FailureClass::User)).says(Action::Retry, &[]);
    assert_eq!(branch(&script), (format!("{first}_2"), Some(1)));
    assert!(
        script.run().prs.values().any(|opened| opened.pr == pr(1)),
        "it is still there"
    );
    script.came(Outcome::ChangeOpened(opened(2, &format!("{first}_2"))));
    assert_eq!(script.state(), "Land#2 acts");
    assert_eq!(script.run().prs[&name("Edit")].pr, pr(2));
    // Somebody else was faster again.
    script.came(conflicts(2, None));
    assert_eq!(branch(&script), (format!("{first}_3"), Some(2)));
    script
        .came(Outcome::ChangeOpened(opened(3, &format!("{first}_3"))))
        .came(Outcome::Merged { commit: sha('b') });
    assert_eq!(script.state(), "completed");
    let anew = script
        .history
        .iter()
        .filter(|entry| matches!(entry.what, Happened::MadeAnew { .. }));
    assert_eq!(anew.count(), 2);
}

#[test]
fn a_conflict_that_people_had_a_hand_in_is_left_to_them() {
    let mut script = Script::start(&edit_and_land());
    let (first, _) = branch(&script);
    script.came(Outcome::ChangeOpened(opened(1, &first)));
    script.came(conflicts(1, Some("ada reviewed it")));
    let why = standing::failure(script.run()).expect("it has failed");
    assert!(why.reason.contains("ada reviewed it"), "{}", why.reason);
    assert_eq!(
        (why.class, why.link.clone()),
        (FailureClass::User, Some(opened(1, "b").url))
    );
    // They closed it: then a retry makes a new one, as for any that people close.
    script
        .says(Action::Retry, &[])
        .came(Outcome::ChangeClosed { pr: pr(1) });
    assert_eq!(branch(&script), (first, None));
}

#[test]
fn edits_that_are_there_by_now_leave_nothing_to_merge() {
    let mut script = Script::start(&edit_and_land());
    let (first, _) = branch(&script);
    script
        .came(Outcome::ChangeOpened(opened(1, &first)))
        .came(conflicts(1, None))
        .came(Outcome::ChangeUnneeded);
    assert_eq!(script.state(), "completed");
    assert!(script.run().prs.is_empty());
}

#[test]
fn what_was_merged_all_the_same_counts() {
    let mut script = Script::start(&edit_and_land());
    let (first, _) = branch(&script);
    script
        .came(Outcome::ChangeOpened(opened(1, &first)))
        .came(conflicts(1, None))
        .came(Outcome::ChangeAlreadyMerged { merged: sha('c') });
    assert_eq!(script.state(), "Land#2 acts");
    assert_eq!(script.run().prs[&name("Edit")].merged, Some(sha('c')));
}

#[test]
fn it_does_not_go_on_for_ever() {
    let mut script = Script::start(&edit_and_land());
    let mut rounds = 0;
    while matches!(script.run().state, RunState::Active(_)) {
        rounds += 1;
        assert!(rounds < 50, "{}", script.state());
        let (branch, _) = branch(&script);
        script.came(Outcome::ChangeOpened(opened(rounds, &branch)));
        script.came(conflicts(rounds, None));
    }
    assert_eq!(rounds, 20);
    let why = standing::failure(script.run()).expect("it has failed");
    assert_eq!(why.class, FailureClass::User);
}

#[test]
fn a_run_that_is_being_stopped_makes_nothing_anew() {
    let mut script = Script::start(&edit_and_land());
    let (first, _) = branch(&script);
    script.came(Outcome::ChangeOpened(opened(1, &first)));
    script.says(Action::Stop, &[]);
    script.came(conflicts(1, None));
    assert_eq!(script.state(), "canceled by Ada");
    match &script.history.last().expect("an entry").what {
        Happened::Finished { left, .. } => assert_eq!(left, &["Edit: acme/deploy#1 stays open"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_step_leaves_behind_is_told_until_it_is_undone() {
    let leaves = |until: Option<&str>| {
        Some(Leaves {
            says: Template::new("the farm of {{ ticket }} stays on"),
            until: until.map(name),
        })
    };
    let note = |called: &str| step(called, tell(Some("OPS-1"), None));
    let farm = |until| {
        plan(vec![
            StepSpec {
                leaves: leaves(until),
                ..note("On")
            },
            note("Off"),
            note("Last"),
        ])
    };
    let told = |plan: &Pipeline, passed: usize| {
        let mut script = Script::start(plan);
        for _ in 0..passed {
            script.came(Outcome::TicketMoved);
        }
        script.came(went_wrong(FailureClass::User)).says(Action::Stop, &[]);
        match &script.history.last().expect("an entry").what {
            Happened::Finished { left, .. } => left.iter().any(|line| line == "the farm of SREPROV-3072 stays on"),
            other => panic!("{other:?}"),
        }
    };
    assert!(!told(&farm(Some("Off")), 0), "it is not on yet");
    assert!(told(&farm(Some("Off")), 1));
    assert!(!told(&farm(Some("Off")), 2), "it is off again");
    assert!(told(&farm(None), 2), "nothing undoes it");
}
