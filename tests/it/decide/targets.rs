//! Which run a command means when it names none: never a guess between several.

use stepherd::domain::command::Action;
use stepherd::domain::decide::{NoRun, target};
use stepherd::domain::effect::Outcome;
use stepherd::domain::ids::RunId;
use stepherd::domain::run::{FailureClass, Run};

use super::kit::{Script, ask, at, change, other, plan, step, went_wrong};

fn run(number: u64, stands: &str) -> Run {
    let mut script = match stands {
        "asks" | "answered" | "asked long ago" => {
            Script::start(&plan(vec![step("Sure", ask()), step("Edit", change())]))
        }
        _ => Script::start(&plan(vec![step("Edit", change())])),
    };
    match stands {
        "failed" => drop(script.came(went_wrong(FailureClass::User))),
        "answered" => drop(script.says(Action::Answer, &[("value", "yes")])),
        "asked long ago" => drop(script.wait(-3601).says_at(0, Action::Answer, &[("value", "yes")])),
        "ended" => drop(script.came(Outcome::ChangeUnneeded)),
        _ => {}
    }
    Run {
        id: other(number),
        ..script.run().clone()
    }
}

#[test]
fn the_run_that_is_meant_is_the_only_one_it_could_be() {
    let some = |number: u64| Ok(other(number));
    let several = |numbers: &[u64]| Err(NoRun::Several(numbers.iter().map(|n| other(*n)).collect()));
    let table: Vec<(&[&str], Action, Result<RunId, NoRun>)> = vec![
        (&[], Action::Status, Err(NoRun::NoneHere)),
        (&[], Action::Retry, Err(NoRun::NoneHere)),
        (&["runs"], Action::Retry, some(0)),
        (&["ended", "ended"], Action::Status, some(0)),
        (&["ended", "ended"], Action::Retry, some(0)),
        (&["ended", "failed"], Action::Status, some(1)),
        (&["ended", "runs"], Action::Stop, some(1)),
        (&["runs", "runs"], Action::Status, several(&[0, 1])),
        (&["runs", "failed"], Action::Stop, several(&[0, 1])),
        (&["runs", "failed", "ended"], Action::Retry, some(1)),
        (&["failed", "failed"], Action::Retry, several(&[0, 1])),
        (&["runs", "asks"], Action::Answer, some(1)),
        (&["asks", "asks"], Action::Answer, several(&[0, 1])),
        (&["asks", "failed"], Action::Retry, some(1)),
        (&["asks", "failed"], Action::Answer, some(0)),
        (&["asks", "failed"], Action::Why, several(&[0, 1])),
        // A bare answer may still be meant for what somebody else has just answered.
        (&["asks", "answered"], Action::Answer, several(&[0, 1])),
        (&["asks", "asked long ago"], Action::Answer, some(0)),
        (&["runs", "answered"], Action::Answer, some(1)),
        (&["asks", "answered"], Action::Status, several(&[0, 1])),
    ];
    for (stand, action, expected) in table {
        let here: Vec<Run> = stand
            .iter()
            .zip(0..)
            .map(|(stands, number)| run(number, stands))
            .collect();
        let meant = target(action, &here, at(0)).map(|run| run.id.clone());
        assert_eq!(meant, expected, "{action:?} over {stand:?}");
    }
}
