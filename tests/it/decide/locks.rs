//! Runs that want the same thing stand in line.

use stepherd::domain::card;
use stepherd::domain::effect::Effect;
use stepherd::domain::run::RunState;

use super::kit::{Script, change, name, other, plan, start_facts, step};

fn behind(queues: &[(&str, &[stepherd::domain::ids::RunId])]) -> Script {
    Script::started(start_facts(&plan(vec![step("Edit", change())]), "SREPROV-3072", queues))
}

#[test]
fn a_run_waits_for_everybody_before_it_and_hears_of_its_place() {
    let mut script = behind(&[("zap/one", &[other(1), other(2)])]);
    script.locks(&[other(1), other(2)]).locks(&[other(2)]).locks(&[]);
    insta::assert_snapshot!(script.take(), @r#"
    0s start
       = queued behind BAAAAAAA CAAAAAAA
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. waits in line with 2 before it
       > report to jira:SREPROV-3072 discord:400
       > join zap/one
    0s ahead: BAAAAAAA CAAAAAAA
       nothing
    0s ahead: CAAAAAAA
       = queued behind CAAAAAAA
       3. waits in line with 1 before it
       > report to jira:SREPROV-3072 discord:400
    0s ahead: nobody
       = Edit#1 acts
       4. Edit: attempt 1 began
       > Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn somebody_in_two_queues_counts_once_and_holders_come_first() {
    let script = behind(&[("a", &[other(1), other(3)]), ("b", &[other(2), other(1)]), ("c", &[])]);
    let RunState::Queued { ahead } = &script.run().state else {
        panic!("{}", script.state());
    };
    assert_eq!(*ahead, [other(1), other(2), other(3)]);
}

#[test]
fn free_locks_let_it_begin_at_once_but_it_still_holds_them() {
    let script = behind(&[("a", &[]), ("b", &[])]);
    assert_eq!(script.state(), "Edit#1 acts");
    let joined = stepherd::domain::decide::LockChange::Join(vec![(name("a"), vec![]), (name("b"), vec![])]);
    assert_eq!(script.last.locks, joined);
}

#[test]
fn a_run_under_way_does_not_care_about_queues() {
    let mut script = behind(&[("a", &[])]);
    script.locks(&[other(1)]);
    assert!(script.last.is_nothing());
}

#[test]
fn the_place_is_said_in_words() {
    let ordinals = [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (112, "112th"),
    ];
    for (count, word) in ordinals {
        let ahead: Vec<_> = (1..=count).map(other).collect();
        let script = behind(&[("a", &ahead)]);
        let text = format!("{:?}", card::card(script.run()));
        assert!(text.contains(&format!("{word} in line; before it: ")), "{text}");
        let reports = script
            .last
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Report { .. }));
        assert_eq!(reports.count(), 2);
    }
}
