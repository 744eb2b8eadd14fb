//! Where a run stands, in figures: the seven fields in every phase, and overall progress.

use std::fmt::Write as _;

use stepherd::domain::command::Action;
use stepherd::domain::effect::Outcome;
use stepherd::domain::ids::Percent;
use stepherd::domain::pipeline::{OnFailure, Pipeline};
use stepherd::domain::process::{ProcessPhase, ProcessStatus};
use stepherd::domain::run::{Observation, ObservedState, Run};
use stepherd::domain::standing;

use super::kit::{
    Script, ask, change, failed, merge, name, opened, other, plan, running, seen, sha, start_facts, step, work,
};

fn rebuild() -> Pipeline {
    let steps = vec![
        step("Edit", change()),
        step("Land", merge("Edit")),
        step("Rebuild", work(OnFailure::Leave, &["dcr"])),
        step("Close", change()),
    ];
    Pipeline {
        progress_of: Some(name("Rebuild")),
        ..plan(steps)
    }
}

fn line(status: &ProcessStatus) -> String {
    let flag = |flag| if flag { 'T' } else { 'F' };
    let flags: String = [
        status.has_started,
        status.is_running,
        status.has_completed,
        status.has_failed,
    ]
    .map(flag)
    .iter()
    .collect();
    let progress = status.progress.map_or_else(|| "-".to_owned(), |p| p.to_string());
    let reason = status.failure_reason.as_deref().unwrap_or("-");
    format!(
        "{flags} {:?} {progress} restarts={} {reason}",
        status.phase(),
        status.restart_count
    )
}

#[test]
fn the_seven_fields_are_honest_in_every_phase() {
    let mut table = String::new();
    let mut note = |place: &str, run: &Run| {
        let _ = writeln!(table, "{place:20} {}", line(&standing::process_status(run)));
    };
    let mut script = Script::started(start_facts(&rebuild(), "SREPROV-3072", &[("zap/one", &[other(1)])]));
    note("queued", script.run());
    script.locks(&[]);
    note("first step", script.run());
    script.came(Outcome::ChangeOpened(opened(7, "b")));
    note("second step", script.run());
    script.came(Outcome::Merged { commit: sha('b') });
    note("rebuild starts", script.run());
    script.job_started("dcr").saw("dcr", running(42.5, 1));
    note("rebuild runs", script.run());
    script.saw("dcr", failed(43.0, "farmer-3 lost"));
    note("rebuild failed", script.run());
    script.says(Action::Retry, &[]);
    note("looks again", script.run());
    script.saw("dcr", running(44.0, 1));
    note("found running", script.run());
    script.saw("dcr", seen(ObservedState::Succeeded));
    note("after the rebuild", script.run());
    script.came(Outcome::ChangeUnneeded);
    note("completed", script.run());
    let mut canceled = Script::start(&rebuild());
    canceled.says(Action::Stop, &[]);
    note("being stopped", canceled.run());
    canceled.came(Outcome::ChangeUnneeded);
    note("stopped by a person", canceled.run());
    let steps = vec![
        step("Edit", change()),
        step("Land", merge("Edit")),
        step("Approve", ask()),
        step("Sync", work(OnFailure::Leave, &["a", "b?"])),
        step("Rebuild", work(OnFailure::Leave, &["dcr?"])),
    ];
    let mut waits = Script::start(&Pipeline {
        progress_of: Some(name("Rebuild")),
        ..plan(steps)
    });
    waits.came(Outcome::ChangeOpened(opened(7, "b")));
    note("merging", waits.run());
    waits.came(Outcome::MergeWaits {
        why: "a review is missing".to_owned(),
    });
    note("waits for a review", waits.run());
    waits.came(Outcome::Merged { commit: sha('b') });
    note("asks", waits.run());
    waits.says(Action::Answer, &[("value", "yes")]);
    waits.job_started("a").saw("b", seen(ObservedState::Pending));
    note("one of two waits", waits.run());
    waits.saw("a", seen(ObservedState::Waiting));
    note("both wait", waits.run());
    waits.saw("a", seen(ObservedState::Succeeded));
    note("the last one waits", waits.run());
    waits
        .saw("b", seen(ObservedState::Succeeded))
        .saw("dcr", running(42.0, 0));
    note("rebuild runs again", waits.run());
    waits.saw(
        "dcr",
        Observation {
            progress: Some(Percent::clamped(42.0)),
            ..seen(ObservedState::Waiting)
        },
    );
    note("farmers went away", waits.run());
    waits.says(Action::Stop, &[]);
    note("stopped at 42 %", waits.run());
    insta::assert_snapshot!(table, @r#"
    queued               FFFF Waiting 0 % restarts=0 -
    first step           TFFF Starting 0 % restarts=0 -
    second step          TTFF Running 0 % restarts=0 -
    rebuild starts       TTFF Running 0 % restarts=0 -
    rebuild runs         TTFF Running 42.5 % restarts=1 -
    rebuild failed       TFFT Failed 43 % restarts=0 farmer-3 lost
    looks again          TTFF Running 0 % restarts=0 -
    found running        TTFF Running 44 % restarts=1 -
    after the rebuild    TTFF Running 100 % restarts=0 -
    completed            TFTF Done 100 % restarts=0 -
    being stopped        TTFF Running 0 % restarts=0 -
    stopped by a person  TFFT Failed 0 % restarts=0 stopped by Ada
    merging              TTFF Running 0 % restarts=0 -
    waits for a review   TFFF Starting 0 % restarts=0 -
    asks                 TFFF Starting 0 % restarts=0 -
    one of two waits     TTFF Running 0 % restarts=0 -
    both wait            TFFF Starting 0 % restarts=0 -
    the last one waits   TFFF Starting 0 % restarts=0 -
    rebuild runs again   TTFF Running 42 % restarts=0 -
    farmers went away    TFFF Starting 42 % restarts=0 -
    stopped at 42 %      TFFT Failed 42 % restarts=0 stopped by Ada
    "#);
}

#[test]
fn a_second_attempt_of_the_first_step_is_no_fresh_start() {
    let mut script = Script::start(&rebuild());
    assert_eq!(standing::process_status(script.run()).phase(), ProcessPhase::Starting);
    script
        .came(super::kit::went_wrong(stepherd::domain::run::FailureClass::User))
        .says(Action::Retry, &[]);
    assert_eq!(standing::process_status(script.run()).phase(), ProcessPhase::Running);
}

#[test]
fn without_a_step_that_stands_for_it_steps_passed_are_counted() {
    let steps = vec![
        step("Edit", change()),
        step("Sync", work(OnFailure::Drain, &["a"])),
        step("More", change()),
        step("Last", change()),
    ];
    let mut script = Script::start(&plan(steps));
    let progress = |script: &Script| standing::progress(script.run()).as_f64();
    assert_eq!(progress(&script), 0.0);
    script.came(Outcome::ChangeUnneeded);
    assert_eq!(progress(&script), 25.0);
    script.job_started("a").saw("a", running(50.0, 0));
    assert_eq!(
        progress(&script),
        37.5,
        "a job's own progress counts for its step's share"
    );
    script
        .saw("a", seen(ObservedState::Succeeded))
        .came(Outcome::ChangeUnneeded)
        .came(Outcome::ChangeUnneeded);
    assert_eq!(progress(&script), 100.0);
}

#[test]
fn a_failed_run_shows_how_far_it_was() {
    let mut script = Script::start(&plan(vec![
        step("Sync", work(OnFailure::Drain, &["a"])),
        step("Edit", change()),
    ]));
    script.job_started("a").saw("a", failed(60.0, "no"));
    assert_eq!(standing::progress(script.run()).as_f64(), 30.0);
    assert_eq!(
        standing::failure(script.run()).map(|why| why.progress),
        Some(Some(stepherd::domain::ids::Percent::clamped(60.0)))
    );
}

/// Row 1 of the facts: all sixteen combinations of the four flags.
#[test]
fn of_sixteen_combinations_of_flags_five_mean_something() {
    let meant = [
        ("FFFF", ProcessPhase::Waiting),
        ("TFFF", ProcessPhase::Starting),
        ("TTFF", ProcessPhase::Running),
        ("TFFT", ProcessPhase::Failed),
        ("TFTF", ProcessPhase::Done),
    ];
    for bits in 0..16_u8 {
        let flag = |place: u8| bits >> (3 - place) & 1 == 1;
        let status = ProcessStatus {
            has_started: flag(0),
            is_running: flag(1),
            has_completed: flag(2),
            has_failed: flag(3),
            progress: None,
            failure_reason: None,
            restart_count: 0,
        };
        let flags: String = (0..4).map(|place| if flag(place) { 'T' } else { 'F' }).collect();
        let expected = meant
            .iter()
            .find(|(known, _)| *known == flags)
            .map_or(ProcessPhase::Inconsistent, |(_, phase)| *phase);
        assert_eq!(status.phase(), expected, "{flags}");
        assert_eq!(ProcessStatus::from_json(&status.to_json()), Ok(status));
    }
}
