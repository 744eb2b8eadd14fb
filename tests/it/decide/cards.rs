//! What people see: the card and the notices of a run in its main places.

use std::fmt::Write as _;

use stepherd::domain::card;
use stepherd::domain::command::{Action, Arg, Command, Misread, Verb};
use stepherd::domain::decide::{Known, misread};
use stepherd::domain::doc::{Block, Doc};
use stepherd::domain::effect::{Effect, Outcome};
use stepherd::domain::ids::Percent;
use stepherd::domain::pipeline::{OnFailure, ParamKind, Pipeline};
use stepherd::domain::question;
use stepherd::domain::run::{Observation, ObservedState, RunState};

use super::kit::{
    Script, ask, change, failed, first_line, name, opened, other, plain, plan, running, seen, start_facts, step, via,
    work,
};
use super::laws::is_harmless;

fn shown(doc: &Doc) -> String {
    is_harmless(doc);
    let mut text = String::new();
    for block in &doc.blocks {
        let _ = match block {
            Block::Heading(spans) => writeln!(text, "# {}", plain(spans)),
            Block::Paragraph(spans) => writeln!(text, "{}", plain(spans)),
            Block::Progress(progress) => writeln!(text, "[{progress}]"),
            Block::List(lines) => lines.iter().try_for_each(|line| writeln!(text, "- {}", plain(line))),
            Block::Fields(rows) => rows
                .iter()
                .try_for_each(|(label, spans)| writeln!(text, "{label}: {}", plain(spans))),
            Block::Verbatim(words) => writeln!(text, "> {words}"),
        };
    }
    for button in &doc.buttons {
        let _ = writeln!(text, "[{}: {} {:?}]", button.label, button.verb, button.args);
    }
    let _ = writeln!(text, "({:?})", doc.tone);
    text
}

fn rebuild() -> Script {
    let steps = vec![
        step("Edit", change()),
        step("Rebuild", work(OnFailure::Leave, &["dcr"])),
        step("Sure", ask()),
    ];
    let mut script = Script::start(&Pipeline {
        progress_of: Some(name("Rebuild")),
        ..plan(steps)
    });
    script.came(Outcome::ChangeOpened(opened(7, "b"))).job_started("dcr");
    script
}

fn newest_notice(script: &Script) -> String {
    let entry = script
        .last
        .history
        .iter()
        .rev()
        .find_map(|entry| card::notice(script.run(), entry));
    shown(&entry.expect("something was announced"))
}

#[test]
fn the_card_of_a_run_in_line() {
    let queued = Script::started(start_facts(
        &plan(vec![step("Edit", change())]),
        "SREPROV-3072",
        &[("a", &[other(1)])],
    ));
    insta::assert_snapshot!(shown(&card::card(queued.run())), @r#"
    # ⏳ Zap · SREPROV-3072 · URMO7YZ2 — waits in line, 1 before it
    Position: 1st in line; before it: `BAAAAAAA`
    Restarts: 0
    Asked by: Ada, 2027-01-15 08:00 UTC
    - ▫️ The Edit
    It starts by itself when its turn comes. To give up: `/zap stop run=URMO7YZ2`
    (Neutral)
    "#);
}

#[test]
fn the_card_of_a_job_that_runs_and_of_one_that_waits() {
    let mut script = rebuild();
    let doing = Observation {
        detail: Some("draining farmer-2".to_owned()),
        link: Some("https://ci.example/7".to_owned()),
        ..running(42.5, 1)
    };
    script.saw("dcr", doing.clone());
    insta::assert_snapshot!(shown(&card::card(script.run())), @r#"
    # ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Rebuild
    [42.5 %]
    Step: 2 of 3: Rebuild
    Attempt: 1
    Doing: draining farmer-2
    Back-end: open
    Restarts: 1
    Pull requests: acme/deploy#7
    Asked by: Ada, 2027-01-15 08:00 UTC
    - ✅ The Edit — acme/deploy#7 opened
    - ▶️ The Rebuild
    - ▫️ The Sure
    Nothing to do. To cancel: `/zap stop run=URMO7YZ2`
    (Busy)
    "#);
    let waiting = Observation {
        state: ObservedState::Waiting,
        detail: Some("farmers 2 of 3".to_owned()),
        ..doing
    };
    script.saw("dcr", waiting);
    let text = shown(&card::card(script.run()));
    assert!(
        text.contains("The Rebuild: waiting\n") && text.contains("Waiting for: farmers 2 of 3\n"),
        "{text}"
    );
}

#[test]
fn a_failure_says_everything_that_helps() {
    let mut script = rebuild();
    script
        .saw("dcr", running(40.0, 0))
        .saw("dcr", failed(43.0, "farmer-3 lost\nits disk is full"));
    insta::assert_snapshot!(newest_notice(&script), @r#"
    # ❌ Rebuild failed at 43 %
    > farmer-3 lost
    its disk is full
    Progress at failure: 43 %
    Attempt: 1
    Restarts: 0
    Class: infrastructure: a machine, a network or a service
    Back-end: open
    To go on: `/zap retry run=URMO7YZ2 failure=6`. To give up and free its locks: `/zap stop run=URMO7YZ2`
    (Bad)
    "#);
    insta::assert_snapshot!(shown(&card::card(script.run())), @r#"
    # ❌ Zap · SREPROV-3072 · URMO7YZ2 — Rebuild failed at 43 %
    [43 %]
    Step: 2 of 3: Rebuild
    Attempt: 1
    Back-end: open
    Class: infrastructure: a machine, a network or a service
    Restarts: 0
    Pull requests: acme/deploy#7
    Asked by: Ada, 2027-01-15 08:00 UTC
    > farmer-3 lost
    its disk is full
    - ✅ The Edit — acme/deploy#7 opened
    - ❌ The Rebuild
    - ▫️ The Sure
    To go on: `/zap retry run=URMO7YZ2 failure=6`. To give up and free its locks: `/zap stop run=URMO7YZ2`
    [Retry: retry [("failure", "6"), ("run", "URMO7YZ2")]]
    [Stop: stop [("run", "URMO7YZ2")]]
    (Bad)
    "#);
}

#[test]
fn a_restart_a_question_and_both_ends_have_words_of_their_own() {
    let mut script = rebuild();
    script.saw("dcr", running(40.0, 0)).saw("dcr", running(2.0, 1));
    insta::assert_snapshot!(newest_notice(&script), @r"
    # 🔁 Rebuild failed at 40 % and was restarted by the service (restart 1): it began again at 2 %, was 40 %
    Seen: 2027-01-15 08:00 UTC
    The run follows it. Nothing for you to do.
    (Busy)
    ");
    script.saw("dcr", seen(ObservedState::Succeeded));
    let asked = question::open(script.run()).expect("it asks").id.clone();
    let face = |script: &Script| shown(&card::question(script.run(), &asked).expect("it has a face").doc);
    insta::assert_snapshot!(face(&script), @r#"
    ❓ Go on with SREPROV-3072?
    To answer: `/zap answer yes run=URMO7YZ2`, `/zap answer no run=URMO7YZ2`
    [Go on: answer [("value", "yes"), ("question", "6TVIDJ"), ("run", "URMO7YZ2")]]
    [End it: answer [("value", "no"), ("question", "6TVIDJ"), ("run", "URMO7YZ2")]]
    (Busy)
    "#);
    script.says(Action::Answer, &[("value", "yes")]);
    insta::assert_snapshot!(face(&script), @r#"
    ❓ Go on with SREPROV-3072?
    ✅ Answered by Ada: Go on (2027-01-15 08:00 UTC).
    (Neutral)
    "#);
    insta::assert_snapshot!(newest_notice(&script), @r#"
    ✅ Zap · SREPROV-3072 · URMO7YZ2 completed.
    (Good)
    "#);
    let mut stopped = rebuild();
    stopped
        .saw("dcr", running(40.0, 0))
        .says(Action::Stop, &[])
        .saw("dcr", seen(ObservedState::Canceled));
    insta::assert_snapshot!(newest_notice(&stopped), @r#"
    ⏹️ Zap · SREPROV-3072 · URMO7YZ2 was stopped by Ada. What is left:
    - dcr: canceled at 40 %
    - Edit: acme/deploy#7 is left as it is
    (Neutral)
    "#);
}

#[test]
fn a_card_is_the_same_each_time_it_is_drawn() {
    let script = rebuild();
    assert_eq!(card::card(script.run()), card::card(script.run()));
}

#[test]
fn why_tells_the_whole_story() {
    let mut script = rebuild();
    script
        .saw("dcr", failed(43.0, "farmer-3 lost"))
        .says(Action::Retry, &[])
        .saw("dcr", running(50.0, 0));
    insta::assert_snapshot!(shown(&card::why(script.run(), &script.history)), @r"
    # ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Rebuild
    - 2027-01-15 08:00 UTC — accepted from Ada in jira:SREPROV-3072, allowed by the role operator
    - 2027-01-15 08:00 UTC — Edit: attempt 1 began
    - 2027-01-15 08:00 UTC — Edit: acme/deploy#7 on branch b
    - 2027-01-15 08:00 UTC — Edit: passed (acme/deploy#7 opened)
    - 2027-01-15 08:00 UTC — Rebuild: attempt 1 began
    - 2027-01-15 08:00 UTC — Rebuild: failed at 43 %: farmer-3 lost
    - 2027-01-15 08:00 UTC — resumed by Ada
    - 2027-01-15 08:00 UTC — Rebuild: found still running or done; nothing was started
    - ticket = SREPROV-3072
    Plan and parameters as of its start. Asked in jira:SREPROV-3072.
    (Neutral)
    ");
}

fn command() -> Command {
    let verb = |called: &str, action, roles: &[&str], args: Vec<Arg>| Verb {
        name: name(called),
        help: format!("What {called} does."),
        action,
        args,
        roles: roles.iter().map(|role| name(role)).collect(),
        places: vec![name("github")],
        example: format!("/zap {called} comcast"),
    };
    let arg = |called: &str, required| Arg {
        name: name(called),
        kind: ParamKind::Word,
        help: format!("The {called}"),
        required,
    };
    Command {
        name: name("zap"),
        summary: "Zap things".to_owned(),
        pipeline: name("zap"),
        verbs: vec![
            verb(
                "start",
                Action::Start,
                &["operator"],
                vec![arg("tenant", true), arg("ticket", false)],
            ),
            verb("purge", Action::Stop, &[], vec![]),
        ],
        triggers: vec![],
        control: Vec::new(),
    }
}

#[test]
fn help_is_made_from_the_declaration() {
    insta::assert_snapshot!(shown(&card::help(&command(), None)), @r#"
    `/zap` — Zap things
    - `/zap start <tenant> [ticket=…]` — What start does. Who may: operator.
    - `/zap purge` — What purge does. Who may: nobody.
    (Neutral)
    "#);
    insta::assert_snapshot!(shown(&card::help(&command(), Some("start"))), @r#"
    `/zap` — Zap things
    - `/zap start <tenant> [ticket=…]` — What start does. Who may: operator.
    - `tenant` — The tenant
    - `ticket` — The ticket
    For example: `/zap start comcast`
    (Neutral)
    "#);
    assert_eq!(card::help(&command(), Some("nonsense")), card::help(&command(), None));
    let mut script = Script::empty();
    script.asks(Action::Help, &[("verb", "purge")], Known::Help(Box::new(command())));
    assert!(script.log.contains("Zap things"), "{}", script.log);
}

#[test]
fn lists_show_each_run_in_a_line() {
    let mut script = Script::empty();
    script.asks(Action::List, &[], Known::List(vec![rebuild().run().clone()]));
    insta::assert_snapshot!(script.log, @r#"
    0s list
       > reply: ▶️ Zap · SREPROV-3072 · URMO7YZ2 — The Rebuild · 0 % · since 2027-01-15 08:00 UTC
    "#);
    script.asks(Action::List, &[], Known::List(vec![]));
    assert!(script.log.contains("No run is under way."));
}

#[test]
fn text_that_is_almost_a_command_gets_a_suggestion() {
    let text = Misread {
        command: name("zap"),
        problem: "`strat` is no verb".to_owned(),
        suggestion: Some("/zap start".to_owned()),
    };
    let decision = misread(&text, &via("k"));
    let [Effect::Reply(reply)] = decision.effects.as_slice() else {
        panic!("{decision:?}");
    };
    is_harmless(&reply.doc);
    assert_eq!(
        first_line(&reply.doc),
        "`strat` is no verb. Did you mean `/zap start`? What can be said: `/zap help`"
    );
    assert!(decision.run.is_none() && !decision.is_nothing());
}

/// How far the card says that the run is.
fn bar(script: &Script) -> Percent {
    let shown = card::card(script.run())
        .blocks
        .into_iter()
        .find_map(|block| match block {
            Block::Progress(progress) => Some(progress),
            _ => None,
        });
    shown.expect("a bar")
}

#[test]
fn a_run_that_failed_keeps_its_percentage_also_when_somebody_gives_it_up() {
    let silent = Observation {
        progress: None,
        ..failed(0.0, "farmer-3 lost")
    };
    for ends in [failed(43.0, "farmer-3 lost"), silent] {
        for of_step in [true, false] {
            let mut plan = plan(vec![step("Rebuild", work(OnFailure::Leave, &["rebuild"]))]);
            plan.progress_of = of_step.then(|| name("Rebuild"));
            let mut script = Script::start(&plan);
            script.job_started("rebuild").saw("rebuild", running(43.0, 0));
            script.saw("rebuild", ends.clone());
            assert_eq!(bar(&script), Percent::clamped(43.0));
            script.says(Action::Stop, &[]);
            assert!(matches!(script.run().state, RunState::Finished { .. }));
            assert_eq!(bar(&script), Percent::clamped(43.0));
        }
    }
}
