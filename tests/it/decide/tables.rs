//! Every place where a run can stand, and what each thing that can be said does there.

use std::fmt::Write as _;

use stepherd::domain::card;
use stepherd::domain::command::Action;
use stepherd::domain::decide::{Decision, LockChange, Wanted, wanted};
use stepherd::domain::effect::{Effect, Outcome};
use stepherd::domain::pipeline::{OnFailure, StepKind};
use stepherd::domain::run::{FailureClass, ObservedState};

use super::kit::{
    Script, act_text, ask, change, failed, first_line, merge, opened, other, plan, running, seen, sha, start_facts,
    state_text, step, tell, went_wrong, work,
};

/// A run whose only remaining step is of this kind, after a change.
fn at_step(kind: StepKind) -> Script {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Now", kind)]));
    script.came(Outcome::ChangeOpened(opened(7, "b")));
    script
}

fn with(mut script: Script, more: impl FnOnce(&mut Script)) -> Script {
    more(&mut script);
    script
}

fn jobs() -> StepKind {
    work(OnFailure::Drain, &["sync", "pods?"])
}

/// One run for each place where a run can stand.
fn places() -> Vec<(&'static str, Script)> {
    let one = plan(vec![step("Edit", change())]);
    let stop = |script: &mut Script| drop(script.says(Action::Stop, &[]).take());
    let runs = |script: &mut Script| drop(script.job_started("sync").saw("sync", running(10.0, 0)).take());
    let fails = |script: &mut Script| {
        script
            .job_started("sync")
            .saw("pods", seen(ObservedState::Succeeded))
            .saw("sync", failed(42.0, "farmer lost"));
    };
    vec![
        (
            "queued",
            Script::started(start_facts(&one, "SREPROV-3072", &[("zap/one", &[other(1), other(2)])])),
        ),
        ("change on its way", Script::start(&one)),
        ("merge on its way", at_step(merge("Edit"))),
        (
            "merge waits",
            with(at_step(merge("Edit")), |s| {
                s.came(Outcome::MergeWaits { why: "a review".into() });
            }),
        ),
        ("job starting", at_step(jobs())),
        ("job running", with(at_step(jobs()), runs)),
        (
            "looking after a retry",
            with(at_step(jobs()), |s| {
                fails(s);
                s.says(Action::Retry, &[]);
            }),
        ),
        ("asking", at_step(ask())),
        ("moving the ticket", at_step(tell(Some("{{ ticket }}"), None))),
        ("stopping a change", with(Script::start(&one), stop)),
        ("stopping a job", with(with(at_step(jobs()), runs), stop)),
        ("failed in a job", with(at_step(jobs()), fails)),
        (
            "failed in a change",
            with(Script::start(&one), |s| {
                s.came(went_wrong(FailureClass::Permission));
            }),
        ),
        (
            "completed",
            with(at_step(merge("Edit")), |s| {
                s.came(Outcome::Merged { commit: sha('b') });
            }),
        ),
        ("canceled", with(at_step(ask()), stop)),
    ]
}

/// A decision in one line, without what is owed to every thread anyway.
fn brief(decision: &Decision) -> String {
    let mut parts: Vec<String> = decision.run.iter().map(state_text).collect();
    parts.extend(decision.history.iter().map(|entry| card::happened(&entry.what)));
    parts.extend(decision.effects.iter().filter_map(|effect| match effect {
        Effect::Act(act) => Some(format!("> {}", act_text(act))),
        Effect::Reply(reply) => Some(format!("\"{}\"", first_line(&reply.doc))),
        _ => None,
    }));
    parts.extend((decision.locks == LockChange::Leave).then(|| "locks freed".to_owned()));
    parts.join("; ")
}

fn table(action: Action, args: &[(&str, &str)]) -> String {
    let mut table = String::new();
    for (place, mut script) in places() {
        script.says(action, args);
        let _ = writeln!(table, "{place:22} {}", brief(&script.last));
    }
    table
}

#[test]
fn retry_does_something_only_for_a_run_that_failed() {
    insta::assert_snapshot!(table(Action::Retry, &[]), @r#"
    queued                 "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    change on its way      "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    merge on its way       "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    merge waits            "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    job starting           "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    job running            "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    looking after a retry  "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    asking                 "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    moving the ticket      "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    stopping a change      "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    stopping a job         "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    failed in a job        Now#1 checks sync=Ended/unseen pods=Ended/unseen; resumed by Ada
    failed in a change     Edit#2 acts; resumed by Ada; Edit: attempt 2 began; > Edit#2 change SREPROV-3072_URMO7YZ2_StepEdit
    completed              "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    canceled               "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:"
    "#);
}

#[test]
fn stop_ends_a_run_wherever_it_stands() {
    insta::assert_snapshot!(table(Action::Stop, &[]), @r#"
    queued                 canceled by Ada; Ada said stop; stopped by Ada: nothing had been changed anywhere; locks freed
    change on its way      Edit#1 is being stopped; Ada said stop
    merge on its way       Now#1 is being stopped; Ada said stop
    merge waits            Now#1 is being stopped; Ada said stop
    job starting           Now#1 is being stopped sync=Starting/unseen pods=Watched/unseen; Ada said stop
    job running            Now#1 is being stopped sync=Canceling/Running pods=Watched/unseen; Ada said stop; > Now#1 cancel URMO7YZ2/Now/1/sync
    looking after a retry  Now#1 is being stopped sync=Canceling/unseen pods=Ended/unseen; Ada said stop; > Now#1 cancel URMO7YZ2/Now/1/sync
    asking                 canceled by Ada; Ada said stop; stopped by Ada: Edit: acme/deploy#7 is left as it is; locks freed
    moving the ticket      Now#1 is being stopped; Ada said stop
    stopping a change      "There is nothing more to stop: ⏹️ Zap · SREPROV-3072 · URMO7YZ2 — The Edit: stopping, asked by Ada"
    stopping a job         "There is nothing more to stop: ⏹️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: stopping, asked by Ada"
    failed in a job        canceled by Ada; Ada said stop; stopped by Ada: sync: ended as failed at 42 %: farmer lost; pods: had already succeeded, which is not undone; Edit: acme/deploy#7 is left as it is; locks freed
    failed in a change     canceled by Ada; Ada said stop; stopped by Ada: nothing had been changed anywhere; locks freed
    completed              "There is nothing more to stop: ✅ Zap · SREPROV-3072 · URMO7YZ2 — completed"
    canceled               "There is nothing more to stop: ⏹️ Zap · SREPROV-3072 · URMO7YZ2 — stopped by Ada"
    "#);
}

#[test]
fn an_answer_counts_only_while_a_question_is_open() {
    insta::assert_snapshot!(table(Action::Answer, &[("value", "YES")]), @r#"
    queued                 "This run asks nothing now: ⏳ Zap · SREPROV-3072 · URMO7YZ2 — waits in line, 2 before it"
    change on its way      "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Edit"
    merge on its way       "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    merge waits            "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: waiting"
    job starting           "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    job running            "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    looking after a retry  "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: looking at what is running"
    asking                 completed; Ada answered yes; Now: passed (Ada: Go on); completed; locks freed
    moving the ticket      "This run asks nothing now: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    stopping a change      "This run asks nothing now: ⏹️ Zap · SREPROV-3072 · URMO7YZ2 — The Edit: stopping, asked by Ada"
    stopping a job         "This run asks nothing now: ⏹️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: stopping, asked by Ada"
    failed in a job        "This run asks nothing now: ❌ Zap · SREPROV-3072 · URMO7YZ2 — Now failed at 42 %"
    failed in a change     "This run asks nothing now: ❌ Zap · SREPROV-3072 · URMO7YZ2 — Edit failed"
    completed              "This run asks nothing now: ✅ Zap · SREPROV-3072 · URMO7YZ2 — completed"
    canceled               "That question is closed: Ada stopped the run at 2027-01-15 08:00 UTC. It was: “Go on with SREPROV-3072?” Your answer changed nothing."
    "#);
}

#[test]
fn status_shows_the_card_everywhere_and_changes_nothing() {
    insta::assert_snapshot!(table(Action::Status, &[]), @r#"
    queued                 "⏳ Zap · SREPROV-3072 · URMO7YZ2 — waits in line, 2 before it"
    change on its way      "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Edit"
    merge on its way       "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    merge waits            "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: waiting"
    job starting           "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    job running            "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    looking after a retry  "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: looking at what is running"
    asking                 "❓ Zap · SREPROV-3072 · URMO7YZ2 — The Now: waits for an answer"
    moving the ticket      "▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Now"
    stopping a change      "⏹️ Zap · SREPROV-3072 · URMO7YZ2 — The Edit: stopping, asked by Ada"
    stopping a job         "⏹️ Zap · SREPROV-3072 · URMO7YZ2 — The Now: stopping, asked by Ada"
    failed in a job        "❌ Zap · SREPROV-3072 · URMO7YZ2 — Now failed at 42 %"
    failed in a change     "❌ Zap · SREPROV-3072 · URMO7YZ2 — Edit failed"
    completed              "✅ Zap · SREPROV-3072 · URMO7YZ2 — completed"
    canceled               "⏹️ Zap · SREPROV-3072 · URMO7YZ2 — stopped by Ada"
    "#);
}

#[test]
fn why_and_a_look_at_the_clock_change_nothing_before_the_deadline() {
    for (place, mut script) in places() {
        script.says(Action::Why, &[]);
        assert!(script.last.run.is_none(), "{place}");
        script.wait(1).wakes();
        assert!(script.last.is_nothing(), "{place}");
    }
}

#[test]
fn time_is_up_in_every_place_that_has_a_deadline() {
    let mut table = String::new();
    for (place, mut script) in places() {
        script.wait(1_000_000).wakes();
        let said = if script.last.is_nothing() {
            "waits on".to_owned()
        } else {
            brief(&script.last)
        };
        let _ = writeln!(table, "{place:22} {said}");
    }
    insta::assert_snapshot!(table, @r"
    queued                 waits on
    change on its way      waits on
    merge on its way       waits on
    merge waits            stopped in Now#1 (User): timed out after 10 minutes; it waited for: a review; Now: failed: timed out after 10 minutes; it waited for: a review
    job starting           waits on
    job running            stopped in Now#1 (Infrastructure): timed out after 10 minutes; Now: failed at 10 %: timed out after 10 minutes; left running: sync
    looking after a retry  stopped in Now#1 (Infrastructure): timed out after 10 minutes; Now: failed: timed out after 10 minutes
    asking                 stopped in Now#1 (User): nobody answered within 10 minutes; Now: failed: nobody answered within 10 minutes
    moving the ticket      waits on
    stopping a change      waits on
    stopping a job         canceled by Ada; stopped by Ada: sync: was told to end at 10 %, but may still run; pods: goes on without stepherd, which only watched it; Edit: acme/deploy#7 is left as it is; locks freed
    failed in a job        waits on
    failed in a change     waits on
    completed              waits on
    canceled               waits on
    ");
}

/// What is still to be done about an act: before it was tried, and after a try that may have got through.
#[test]
fn what_is_no_longer_wanted_is_looked_at_or_undone_but_not_done() {
    let mut table = String::new();
    let mut note = |place: &str, script: &Script| {
        let act = script.acts.last().unwrap();
        let word = |unclear| match wanted(script.run(), act, unclear) {
            Wanted::Yes => "do",
            Wanted::No => "leave",
            Wanted::Look => "look",
            Wanted::Undo(_) => "undo",
        };
        let _ = writeln!(table, "{place:26} {:6} {:6} {}", word(false), word(true), act_text(act));
    };
    let stopped = |mut script: Script| {
        script.says(Action::Stop, &[]);
        script
    };
    note("change", &at_step(change()));
    note("change, stopping", &stopped(at_step(change())));
    note("merge", &at_step(merge("Edit")));
    note("merge, stopping", &stopped(at_step(merge("Edit"))));
    note("move", &at_step(tell(Some("{{ ticket }}"), None)));
    note("move, stopping", &stopped(at_step(tell(Some("{{ ticket }}"), None))));
    let unclear = |mut script: Script| {
        script.came(Outcome::Unclear {
            reason: "no answer".to_owned(),
            class: FailureClass::Infrastructure,
        });
        script
    };
    for (place, kind) in [
        ("change", change()),
        ("merge", merge("Edit")),
        ("move", tell(Some("{{ ticket }}"), None)),
    ] {
        let mut again = unclear(at_step(kind.clone()));
        note(&format!("{place}, given up"), &again);
        again.says(Action::Retry, &[]);
        note(&format!("{place}, again"), &again);
        note(&format!("{place}, again, stopping"), &stopped(again));
        note(&format!("{place}, given up, stopped"), &stopped(unclear(at_step(kind))));
    }
    note("start", &at_step(jobs()));
    note("start, stopping", &stopped(at_step(jobs())));
    let mut running = at_step(jobs());
    running
        .job_started("sync")
        .saw("sync", super::kit::running(10.0, 0))
        .says(Action::Stop, &[]);
    note("cancel, stopping", &running);
    running.saw("sync", seen(ObservedState::Canceled));
    note("cancel, run ended", &running);
    insta::assert_snapshot!(table, @r#"
    change                     do     do     Now#1 change SREPROV-3072_URMO7YZ2_StepNow
    change, stopping           leave  look   Now#1 change SREPROV-3072_URMO7YZ2_StepNow
    merge                      do     do     Now#1 merge acme/deploy#7
    merge, stopping            look   look   Now#1 merge acme/deploy#7
    move                       do     do     Now#1 move SREPROV-3072 to Done
    move, stopping             leave  look   Now#1 move SREPROV-3072 to Done
    change, given up           look   look   Now#1 change SREPROV-3072_URMO7YZ2_StepNow
    change, again              do     do     Now#2 change SREPROV-3072_URMO7YZ2_StepNow
    change, again, stopping    look   look   Now#2 change SREPROV-3072_URMO7YZ2_StepNow
    change, given up, stopped  look   look   Now#1 change SREPROV-3072_URMO7YZ2_StepNow
    merge, given up            look   look   Now#1 merge acme/deploy#7
    merge, again               do     do     Now#2 merge acme/deploy#7
    merge, again, stopping     look   look   Now#2 merge acme/deploy#7
    merge, given up, stopped   look   look   Now#1 merge acme/deploy#7
    move, given up             look   look   Now#1 move SREPROV-3072 to Done
    move, again                do     do     Now#2 move SREPROV-3072 to Done
    move, again, stopping      look   look   Now#2 move SREPROV-3072 to Done
    move, given up, stopped    look   look   Now#1 move SREPROV-3072 to Done
    start                      do     do     Now#1 start URMO7YZ2/Now/1/sync
    start, stopping            leave  look   Now#1 start URMO7YZ2/Now/1/sync
    cancel, stopping           do     do     Now#1 cancel URMO7YZ2/Now/1/sync
    cancel, run ended          leave  leave  Now#1 cancel URMO7YZ2/Now/1/sync
    "#);
}
