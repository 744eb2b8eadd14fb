//! Commands that come late: what they may still do.

use std::time::Duration;

use stepherd::domain::command::Action;
use stepherd::domain::decide::{Known, SaidAt, clock_ahead};
use stepherd::domain::effect::Effect;
use stepherd::domain::pipeline::OnFailure;
use stepherd::domain::run::{Phase, RunState};

use super::kit::{HOUR, Script, ask, at, failed, first_line, plan, start_facts, step, work};

/// What was answered, where nothing else came of it.
fn only_answered(script: &Script) -> String {
    match script.last.effects.as_slice() {
        [Effect::Reply(reply)] if script.last.run.is_none() => first_line(&reply.doc),
        other => panic!("{other:?}"),
    }
}

fn starts() -> Script {
    Script::empty()
}

fn start(script: &mut Script) {
    let known = start_facts(&plan(vec![step("Go", ask())]), "SREPROV-3072", &[]);
    script.asks(Action::Start, &[], Known::Start(Box::new(known)));
}

fn stopped() -> Script {
    let mut script = Script::start(&plan(vec![step("Sync", work(OnFailure::Leave, &["a"]))]));
    script.job_started("a").saw("a", failed(42.0, "broken"));
    assert!(matches!(script.run().state, RunState::Stopped { .. }));
    script
}

fn asking() -> Script {
    let script = Script::start(&plan(vec![step("Go", ask())]));
    assert!(matches!(&script.run().state, RunState::Active(a) if matches!(a.phase, Phase::Asking { .. })));
    script
}

#[test]
fn what_would_begin_something_is_obeyed_for_an_hour_and_then_only_answered() {
    for (what, action) in [
        ("start", Action::Start),
        ("retry", Action::Retry),
        ("answer", Action::Answer),
    ] {
        for (age, obeyed) in [(0, true), (3600, true), (3601, false), (561_600, false)] {
            let mut script = match action {
                Action::Start => starts(),
                Action::Retry => stopped(),
                _ => asking(),
            };
            script.wait(600_000);
            script.said_seconds = Some(600_000 - age);
            match action {
                Action::Start => start(&mut script),
                _ => {
                    script.says(action, &[("value", "yes")]);
                }
            }
            assert_eq!(script.last.run.is_some(), obeyed, "{what} {age} s old");
            if !obeyed {
                let told = only_answered(&script);
                assert!(told.starts_with("Nothing was done: Ada did this at 2027-01-"), "{told}");
                assert!(told.contains(&format!("say it again: `/zap {what}")), "{told}");
            }
        }
    }
}

#[test]
fn a_clock_that_is_ahead_makes_nothing_old() {
    for ahead in [1, 90, 86_400] {
        let mut script = stopped();
        script.wait(600_000);
        script.said_seconds = Some(600_000 + ahead);
        script.says(Action::Retry, &[]);
        assert!(script.last.run.is_some(), "{ahead} s ahead");
    }
    let said = SaidAt {
        at: at(5),
        counts_for: Some(Duration::ZERO),
    };
    assert!(!said.is_too_old(Action::Start, at(0)));
    assert!(said.is_too_old(Action::Start, at(6)));
}

#[test]
fn what_still_stands_and_what_only_shows_something_is_never_too_old() {
    let mut script = starts();
    script.wait(600_000);
    (script.said_seconds, script.counts_for) = (Some(0), None);
    start(&mut script);
    assert!(script.last.run.is_some(), "a ticket that stands where it was moved");
    let old = SaidAt {
        at: at(0),
        counts_for: Some(HOUR),
    };
    for action in [Action::Status, Action::List, Action::Help, Action::Why, Action::Stop] {
        assert!(!old.is_too_old(action, at(600_000)), "{action:?}");
    }
}

#[test]
fn a_stop_counts_if_its_run_had_been_asked_for_when_it_was_said() {
    // Said at 1000 s and only accepted at 5000 s.
    let accepted_late = || {
        let mut script = starts();
        script.wait(5000);
        script.said_seconds = Some(1000);
        script.counts_for = None;
        start(&mut script);
        script.counts_for = Some(HOUR);
        script
    };
    for (said, args, stops) in [
        (1001, &[] as &[(&str, &str)], true),
        // Platforms' clocks differ by a little.
        (996, &[], true),
        (900, &[], false),
        // Whoever names a run knew it.
        (900, &[("run", "URMO7YZ2")], true),
    ] {
        let mut script = accepted_late();
        script.wait(600_000);
        script.said_seconds = Some(said);
        script.says(Action::Stop, args);
        assert_eq!(script.last.run.is_some(), stops, "said at {said} {args:?}");
        if !stops {
            insta::assert_snapshot!(only_answered(&script), @"Nothing was stopped: you said this at 2027-01-15 08:15 UTC, before Zap · SREPROV-3072 · URMO7YZ2 was asked for. To stop it: `/zap stop run=URMO7YZ2`");
        }
    }
}

#[test]
fn a_clock_is_apart_by_no_less_than_its_answer_shows() {
    for (told, before, after, ahead) in [
        // Whole seconds, and the time that the answer took, explain it.
        (100, 100, 100, 0),
        (100, 98, 103, 0),
        (99, 100, 100, 0),
        // Nothing else does.
        (130, 100, 100, 30),
        (130, 100, 104, 26),
        (70, 100, 100, -29),
        (70, 100, 104, -29),
    ] {
        let found = clock_ahead(at(told), at(before), at(after));
        assert_eq!(found.as_secs(), ahead, "{told} told between {before} and {after}");
    }
}
