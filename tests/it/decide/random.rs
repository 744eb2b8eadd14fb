//! Any pipeline, and anything that may happen to it in any order: valid, stale, repeated, of strangers.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use stepherd::domain::card;
use stepherd::domain::command::Action;
use stepherd::domain::decide::{Asked, Event, Known, NoRun, SaidAt, decide};
use stepherd::domain::doc::Button;
use stepherd::domain::effect::{Act, Deed, Effect, Outcome};
use stepherd::domain::ids::Percent;
use stepherd::domain::pipeline::{OnFailure, Pipeline, StepKind, StepSpec};
use stepherd::domain::policy::Permission;
use stepherd::domain::run::{FailureClass, Happened, Observation, ObservedState, Phase, RunState};
use stepherd::domain::standing;

use super::kit::{
    A_THIRD, Script, ask, by, change, facts, granted, invocation, merge, name, opened, other, plan, said, sha,
    start_facts, step, tell, via, work,
};
use super::laws;
use super::sets::POLICIES;

/// A step in the making; a merge takes the nearest change before it.
#[derive(Debug, Clone)]
enum Kind {
    Change,
    Merge,
    Work { on_failure: OnFailure, jobs: Vec<bool> },
    Ask,
    Tell { moves: bool, notes: bool },
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Change),
        Just(Kind::Merge),
        (prop::sample::select(POLICIES.to_vec()), vec(any::<bool>(), 1..4))
            .prop_map(|(on_failure, jobs)| Kind::Work { on_failure, jobs }),
        Just(Kind::Ask),
        (any::<bool>(), any::<bool>()).prop_map(|(moves, notes)| Kind::Tell {
            moves,
            notes: notes || !moves
        }),
    ]
}

fn pipeline() -> impl Strategy<Value = Pipeline> {
    let steps = vec((kind(), 0..3_u32, 60..900_u64), 1..6);
    (steps, any::<bool>()).prop_map(|(kinds, shown)| {
        let mut steps: Vec<StepSpec> = Vec::new();
        for (index, (kind, auto_retries, timeout)) in kinds.into_iter().enumerate() {
            let made = step(&format!("S{index}"), made(&kind, &steps));
            steps.push(StepSpec {
                auto_retries,
                timeout: Some(Duration::from_secs(timeout)),
                ..made
            });
        }
        let last = steps.last().map(|step| step.name.clone());
        Pipeline {
            progress_of: last.filter(|_| shown),
            ..plan(steps)
        }
    })
}

fn made(kind: &Kind, before: &[StepSpec]) -> StepKind {
    let earlier = before
        .iter()
        .rev()
        .find(|step| matches!(step.kind, StepKind::Change(_)));
    match (kind, earlier) {
        (Kind::Merge, Some(step)) => merge(step.name.as_str()),
        (Kind::Change | Kind::Merge, _) => change(),
        (Kind::Work { on_failure, jobs }, _) => {
            let names: Vec<String> = jobs
                .iter()
                .enumerate()
                .map(|(i, start)| format!("j{i}{}", if *start { "" } else { "?" }))
                .collect();
            work(*on_failure, &names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        (Kind::Ask, _) => ask(),
        (Kind::Tell { moves, notes }, _) => {
            tell(moves.then_some("{{ ticket }}"), notes.then_some("Done with {{ run }}."))
        }
    }
}

/// Something that happens. Numbers choose among what there is at that moment.
#[derive(Debug, Clone)]
enum Happens {
    /// An act of long ago, of just now, or the newest has an outcome.
    Came {
        which: usize,
        outcome: usize,
    },
    /// A job of this attempt or another is seen.
    Seen {
        job: usize,
        seen: Observation,
        off: u32,
        stranger: bool,
    },
    Asked {
        action: Action,
        value: usize,
        allowed: bool,
        told: bool,
    },
    Locks(Vec<u64>),
    Woke,
    Passes(i64),
}

const ACTIONS: [Action; 8] = [
    Action::Start,
    Action::Status,
    Action::Retry,
    Action::Stop,
    Action::List,
    Action::Help,
    Action::Why,
    Action::Answer,
];

fn observation() -> impl Strategy<Value = Observation> {
    let states = prop::sample::select(vec![
        ObservedState::Pending,
        ObservedState::Starting,
        ObservedState::Running,
        ObservedState::Running,
        ObservedState::Waiting,
        ObservedState::Succeeded,
        ObservedState::Succeeded,
        ObservedState::Failed,
        ObservedState::Canceled,
        ObservedState::Skipped,
        ObservedState::Unknown,
    ]);
    let said = || prop::option::of("[a-z@#<`*:. ]{0,12}(rate limit|denied|flaky|invalid)?");
    (states, prop::option::of(0.0..100.0_f64), said(), said(), 0..4_u32).prop_map(
        |(state, progress, detail, reason, restarts)| Observation {
            progress: progress.map(Percent::clamped),
            detail,
            reason,
            restarts,
            link: Some("https://ci.example/1".to_owned()),
            ..Observation::of(state)
        },
    )
}

fn happens() -> impl Strategy<Value = Happens> {
    let came = || {
        (prop_oneof![3 => Just(0), 1 => 0..9_usize], 0..16_usize)
            .prop_map(|(which, outcome)| Happens::Came { which, outcome })
    };
    let seen = (
        0..3_usize,
        observation(),
        prop_oneof![6 => Just(0), 1 => 1..3_u32],
        prop::bool::weighted(0.05),
    )
        .prop_map(|(job, seen, off, stranger)| Happens::Seen {
            job,
            seen,
            off,
            stranger,
        });
    let asked = (
        prop::sample::select(ACTIONS.to_vec()),
        0..4_usize,
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.95),
    )
        .prop_map(|(action, value, allowed, told)| Happens::Asked {
            action,
            value,
            allowed,
            told,
        });
    prop_oneof![
        6 => came(),
        8 => seen,
        3 => asked,
        1 => vec(1..4_u64, 0..3).prop_map(Happens::Locks),
        1 => Just(Happens::Woke),
        2 => (1..2_000_i64).prop_map(Happens::Passes),
    ]
}

/// The outcome that fits the act, or one of all kinds.
fn outcome(act: &Act, choice: usize) -> Outcome {
    let failed = |class| Outcome::Failed {
        reason: "no".to_owned(),
        class,
    };
    match choice {
        0..=4 => match &act.what {
            Deed::Change(intent) => Outcome::ChangeOpened(opened(u64::from(act.attempt), &intent.branch)),
            Deed::Merge(_) => Outcome::Merged { commit: sha('b') },
            Deed::StartJob(_) => Outcome::JobStarted,
            Deed::CancelJob(_) => Outcome::JobCanceled,
            Deed::MoveTicket(_) => Outcome::TicketMoved,
        },
        5 => failed(FailureClass::Infrastructure),
        6 => failed(FailureClass::User),
        7 => Outcome::MergeWaits {
            why: "a review".to_owned(),
        },
        8 => Outcome::ChangeUnneeded,
        9 => Outcome::ChangeAlreadyMerged { merged: sha('c') },
        10 => Outcome::ChangeClosed { pr: opened(1, "x").pr },
        11 => Outcome::TicketMoved,
        12 => Outcome::NotDone,
        14 => Outcome::MergeConflicts {
            pr: match &act.what {
                Deed::Merge(intent) => intent.pr.clone(),
                _ => opened(1, "x").pr,
            },
            people: None,
        },
        13 => Outcome::Unclear {
            reason: "no answer".to_owned(),
            class: FailureClass::Infrastructure,
        },
        14 => Outcome::JobWaits {
            why: "another operation".to_owned(),
        },
        _ => Outcome::JobStarted,
    }
}

/// What happens as an event, given how things stand; `None` when there is nothing it could be about.
fn event(script: &Script, happens: &Happens) -> Option<Event> {
    let attempt = script.run.as_ref().and_then(standing::attempt);
    match happens {
        Happens::Came { which, outcome: choice } => {
            let back = script.acts.len().checked_sub(1 + which % script.acts.len().max(1))?;
            let act = script.acts[back].clone();
            let outcome = outcome(&act, *choice);
            Some(Event::Came { act, outcome })
        }
        Happens::Seen {
            job,
            seen,
            off,
            stranger,
        } => {
            let (run, attempt) = (script.run.as_ref()?, attempt?);
            let step = if *stranger {
                name("Stranger")
            } else {
                run.plan.steps[attempt.step].name.clone()
            };
            let (attempt, job) = (attempt.number.saturating_sub(*off), format!("j{job}"));
            Some(Event::Observed {
                step,
                attempt,
                job,
                seen: seen.clone(),
            })
        }
        Happens::Asked {
            action,
            value,
            allowed,
            told,
        } => Some(Event::Asked(Box::new(asked(script, *action, *value, *allowed, *told)))),
        Happens::Locks(ahead) => Some(Event::LocksChanged {
            ahead: ahead.iter().map(|n| other(*n)).collect(),
        }),
        Happens::Woke => Some(Event::Woke),
        Happens::Passes(_) => None,
    }
}

fn asked(script: &Script, action: Action, value: usize, allowed: bool, told: bool) -> Asked {
    let value = ["yes", "NO", "perhaps", ""][value];
    let known = match action {
        // A second start is another run: it is not decided over this one.
        Action::Start => Known::NoRun(NoRun::NoneHere),
        Action::List => Known::List(script.run.iter().cloned().collect()),
        Action::Why | Action::Retry => Known::History(script.history.clone()),
        Action::Answer => Known::Answer(A_THIRD),
        _ => Known::Run,
    };
    let refused = Permission::Refused {
        missing: vec![name("operator")],
        unknown: vec!["no answer".to_owned()],
    };
    Asked {
        invocation: invocation(action, &[("value", value)]),
        via: via("random"),
        by: by("Ada"),
        said: SaidAt {
            counts_for: None,
            ..said(9_000_000)
        },
        permission: if allowed { granted() } else { refused },
        known: if told { known } else { Known::Run },
    }
}

/// Plays it all; every decision is held to the laws, and seeing the same twice changes nothing.
fn play(plan: &Pipeline, queued: bool, happenings: &[Happens]) -> Script {
    let holder = [other(1)];
    let ahead: &[_] = if queued { &holder } else { &[] };
    let mut script = Script::started(start_facts(plan, "SREPROV-3072", &[("zap/one", ahead)]));
    for happens in happenings {
        if let Happens::Passes(seconds) = happens {
            script.wait(*seconds);
        }
        let Some(event) = event(&script, happens) else { continue };
        let mut checking = is_checking(&script);
        script.play("", &event);
        checking |= is_checking(&script);
        let told_again = decide(script.run.as_ref(), &event, &facts(0));
        if matches!(event, Event::LocksChanged { .. }) || (matches!(event, Event::Observed { .. }) && !checking) {
            assert!(told_again.is_nothing(), "the second time changes something: {event:?}");
        }
    }
    script
}

/// How far this job of the attempt is known to be, and where to look.
fn figures(script: &Script, job: usize) -> Option<(Option<Percent>, Option<String>)> {
    let (Phase::Checking { jobs } | Phase::Watching { jobs } | Phase::Stopping { jobs, .. }) =
        &standing::attempt(script.run())?.phase
    else {
        return None;
    };
    let seen = jobs.get(job)?.seen.as_ref();
    Some((
        seen.and_then(|seen| seen.progress),
        seen.and_then(|seen| seen.link.clone()),
    ))
}

/// While checking, an observation means something else than before: how things are after the failure.
fn is_checking(script: &Script) -> bool {
    matches!(&script.run().state, RunState::Active(attempt) if matches!(attempt.phase, Phase::Checking { .. }))
}

/// The world does what it can: whatever was asked of it fails, and time passes.
fn everything_ends(script: &mut Script) {
    for act in script.acts.clone() {
        script.came_of(
            act,
            Outcome::Failed {
                reason: "gone".to_owned(),
                class: FailureClass::Infrastructure,
            },
        );
    }
    script.wait(100_000).wakes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_a_law(plan in pipeline(), queued: bool, happenings in vec(happens(), 0..60)) {
        let script = play(&plan, queued, &happenings);
        let numbers: Vec<u64> = script.history.iter().map(|entry| entry.seq).collect();
        prop_assert_eq!(numbers, (1..=script.run().history_len).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_happened_stop_ends_the_run(plan in pipeline(), queued: bool, happenings in vec(happens(), 0..40)) {
        let mut script = play(&plan, queued, &happenings);
        script.says(Action::Stop, &[]);
        everything_ends(&mut script);
        prop_assert!(matches!(script.run().state, RunState::Finished { .. }), "{}", script.state());
        let ends = script.history.iter().filter(|entry| matches!(entry.what, Happened::Finished { .. })).count();
        prop_assert_eq!(ends, 1);
    }

    #[test]
    fn an_outcome_of_another_attempt_or_step_changes_nothing(plan in pipeline(), happenings in vec(happens(), 0..40), choice in 0..16_usize) {
        let script = play(&plan, false, &happenings);
        let now = standing::attempt(script.run()).map(|attempt| (plan.steps[attempt.step].name.clone(), attempt.number));
        for act in &script.acts {
            // Starts and cancellations belong to a job, whichever attempt asked for them: see `sets`.
            let of_a_job = matches!(act.what, Deed::StartJob(_) | Deed::CancelJob(_));
            if !of_a_job && now.as_ref() != Some(&(act.step.clone(), act.attempt)) {
                let late = Event::Came { act: act.clone(), outcome: outcome(act, choice) };
                prop_assert!(decide(script.run.as_ref(), &late, &facts(9)).is_nothing(), "{:?}", late);
            }
        }
    }

    #[test]
    fn a_stale_button_of_any_question_or_failure_does_nothing(plan in pipeline(), happenings in vec(happens(), 0..60)) {
        let mut offered: Vec<Button> = Vec::new();
        let mut script = Script::started(start_facts(&plan, "SREPROV-3072", &[("zap/one", &[])]));
        for happens in &happenings {
            offered.extend(card::card(script.run()).buttons.into_iter().filter(|button| button.verb != "stop"));
            if let Happens::Passes(seconds) = happens {
                script.wait(*seconds);
            }
            if let Some(event) = event(&script, happens) {
                script.play("", &event);
            }
        }
        let live = card::card(script.run()).buttons;
        for button in &offered {
            let args: Vec<_> = button.args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let action = if button.verb == "retry" { Action::Retry } else { Action::Answer };
            let pressed = Asked {
                invocation: invocation(action, &args),
                ..asked(&script, action, 0, true, true)
            };
            let decision = decide(script.run.as_ref(), &Event::Asked(Box::new(pressed)), &facts(0));
            prop_assert_eq!(decision.run.is_some(), live.contains(button), "{:?} on {}", button, script.state());
            prop_assert!(decision.run.is_some() || decision.effects.len() == 1, "it is told what became of it");
        }
    }

    #[test]
    fn a_look_that_tells_nothing_never_passes_a_step_and_forgets_nothing(
        plan in pipeline(), happenings in vec(happens(), 0..40), job in 0..3_usize,
    ) {
        let mut script = play(&plan, false, &happenings);
        let known = |script: &Script| (figures(script, job), standing::restarts(script.run()), script.run().passed.len());
        let before = known(&script);
        let blind = Observation { detail: Some("blind".to_owned()), ..super::kit::seen(ObservedState::Unknown) };
        if let Some(event) = event(&script, &Happens::Seen { job, seen: blind, off: 0, stranger: false }) {
            script.play("", &event);
        }
        prop_assert_eq!(before, known(&script));
    }

    #[test]
    fn no_words_of_others_become_a_command_or_break_a_card(reason in any::<String>(), detail in any::<String>(), who in any::<String>()) {
        prop_assume!([&reason, &detail, &who].iter().all(|text| !text.contains("/zap") && !text.starts_with('/')));
        let mut script = Script::start(&plan(vec![step("Job", work(OnFailure::Leave, &["j0"]))]));
        script.job_started("j0");
        let doing = Observation { detail: Some(detail), restarts: 1, reason: Some(reason.clone()), ..super::kit::seen(ObservedState::Running) };
        script.saw("j0", Observation { restarts: 0, ..doing.clone() }).saw("j0", doing).saw("j0", super::kit::failed(1.0, &reason));
        let stop = Asked { by: by(&who), ..asked(&script, Action::Stop, 0, true, true) };
        script.play("stop", &Event::Asked(Box::new(stop)));
        let ended = matches!(script.run().state, RunState::Finished { .. });
        prop_assert!(ended, "{}", script.state());
    }
}

#[test]
fn the_laws_notice_what_is_wrong() {
    let mut script = Script::start(&plan(vec![step("Job", change())]));
    let before = script.run().clone();
    script.came(Outcome::ChangeOpened(opened(1, "b")));
    let good = script.last.clone();
    let breaks = |spoil: &dyn Fn(&mut stepherd::domain::decide::Decision)| {
        let mut bad = good.clone();
        spoil(&mut bad);
        let held = std::panic::catch_unwind(|| laws::hold(Some(&before), &bad));
        assert!(held.is_err(), "a law that cannot be broken is none");
    };
    laws::hold(Some(&before), &good);
    breaks(&|bad| bad.run.as_mut().unwrap().version += 1);
    breaks(&|bad| drop(bad.history.remove(0)));
    breaks(&|bad| bad.locks = stepherd::domain::decide::LockChange::Keep);
    breaks(&|bad| bad.effects.retain(|effect| !matches!(effect, Effect::Report { .. })));
    breaks(&|bad| bad.effects.retain(|effect| !matches!(effect, Effect::Notice { .. })));
    breaks(&|bad| bad.run.as_mut().unwrap().passed.clear());
    breaks(&|bad| bad.run.as_mut().unwrap().plan.title.push('!'));
    breaks(&|bad| bad.effects.push(Effect::Act(script.acts[0].clone())));
}
