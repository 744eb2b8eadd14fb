//! What holds for every decision, whatever the pipeline and whatever happened. Every script and every random play
//! is held to it.

use std::collections::BTreeSet;

use stepherd::domain::card;
use stepherd::domain::decide::{Decision, LockChange, Look, glance};
use stepherd::domain::doc::{Block, Doc, Span};
use stepherd::domain::effect::Effect;
use stepherd::domain::ids::{StepName, ThreadRef};
use stepherd::domain::process::ProcessPhase;
use stepherd::domain::question;
use stepherd::domain::run::{Attempt, Happened, Run, RunState, Verdict};
use stepherd::domain::standing;

pub fn hold(before: Option<&Run>, decision: &Decision) {
    let keys: BTreeSet<String> = decision
        .effects
        .iter()
        .map(|effect| effect.key(decision.run.as_ref().map(|r| &r.id)))
        .collect();
    assert_eq!(
        keys.len(),
        decision.effects.len(),
        "the store keeps one unfinished effect per key"
    );
    for effect in &decision.effects {
        if let Effect::Reply(reply) = effect {
            is_harmless(&reply.doc);
        }
    }
    let Some(after) = &decision.run else {
        assert!(decision.history.is_empty(), "history belongs to a changed run");
        assert_eq!(decision.locks, LockChange::Keep);
        let only_answers = decision.effects.iter().all(|effect| matches!(effect, Effect::Reply(_)));
        assert!(
            only_answers,
            "nothing is done for a run that does not change: {:?}",
            decision.effects
        );
        return;
    };
    what_never_changes(before, after);
    the_count_goes_on(before, decision, after);
    steps_pass_in_order(after);
    locks_are_joined_and_left_once(before, decision, after);
    acts_belong_to_the_present_attempt(decision, after);
    questions_open_and_close(before, decision, after);
    everybody_hears(decision, after);
    it_can_be_shown(decision, after);
}

fn what_never_changes(before: Option<&Run>, after: &Run) {
    let Some(before) = before else { return };
    assert!(!matches!(before.state, RunState::Finished { .. }), "finished is final");
    assert_eq!(
        (
            &before.id,
            &before.plan,
            &before.params,
            &before.subject,
            &before.asked_by,
            &before.asked_at,
            &before.said_at
        ),
        (
            &after.id,
            &after.plan,
            &after.params,
            &after.subject,
            &after.asked_by,
            &after.asked_at,
            &after.said_at
        ),
    );
    assert!(
        after.audience.starts_with(&before.audience),
        "nobody is dropped from the audience"
    );
    // Only a pull request that people closed takes a step back: to the change that opens another.
    assert!(
        after.passed.starts_with(&before.passed) || before.passed.starts_with(&after.passed),
        "what passed stays passed"
    );
}

fn the_count_goes_on(before: Option<&Run>, decision: &Decision, after: &Run) {
    assert_eq!(after.version, before.map_or(0, |run| run.version) + 1);
    let first = before.map_or(0, |run| run.history_len) + 1;
    let numbers: Vec<u64> = decision.history.iter().map(|entry| entry.seq).collect();
    assert_eq!(
        numbers,
        (first..first + numbers.len() as u64).collect::<Vec<_>>(),
        "numbers have no gaps"
    );
    assert_eq!(after.history_len, first - 1 + numbers.len() as u64);
}

fn steps_pass_in_order(run: &Run) {
    let passed: Vec<&StepName> = run.passed.iter().map(|passed| &passed.step).collect();
    let planned: Vec<&StepName> = run.plan.steps.iter().map(|step| &step.name).collect();
    assert!(planned.starts_with(&passed), "{passed:?} is not how {planned:?} begins");
    match &run.state {
        RunState::Queued { ahead } => assert!(passed.is_empty() && !ahead.is_empty()),
        RunState::Active(attempt) | RunState::Stopped { attempt, .. } => {
            assert_eq!(
                attempt.step,
                passed.len(),
                "the step under way follows those that passed"
            );
            assert!(attempt.number >= 1 && attempt.branch >= 1);
        }
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => assert_eq!(passed, planned),
        RunState::Finished { .. } => {}
    }
}

fn locks_are_joined_and_left_once(before: Option<&Run>, decision: &Decision, after: &Run) {
    let ended = matches!(after.state, RunState::Finished { .. });
    match (&decision.locks, before) {
        (LockChange::Join(_), None) => assert!(!ended, "what ends at once must not stay in line"),
        (LockChange::Join(_), Some(_)) => panic!("a run joins its queues when it is made, and never again"),
        (LockChange::Leave, _) => assert!(ended, "locks are kept until the end"),
        (LockChange::Keep, _) => assert!(!ended, "the end frees the locks"),
    }
}

fn acts_belong_to_the_present_attempt(decision: &Decision, after: &Run) {
    for effect in &decision.effects {
        let Effect::Act(act) = effect else { continue };
        let attempt = standing::attempt(after).expect("only a run with an attempt does anything");
        assert_eq!(
            (&act.step, act.attempt),
            (step_of(after, attempt), attempt.number),
            "{effect:?}"
        );
    }
    for look in &glance(after).looks {
        let attempt = standing::attempt(after).expect("only a run with an attempt is looked at");
        let looked = match look {
            Look::Job { step, attempt, .. } => (step, *attempt),
            Look::Merge { act, .. } | Look::Done(act) => (&act.step, act.attempt),
        };
        assert_eq!(looked, (step_of(after, attempt), attempt.number));
    }
}

fn step_of<'a>(run: &'a Run, attempt: &Attempt) -> &'a StepName {
    &run.plan.steps[attempt.step].name
}

/// A question is open or closed, never both and never lost; only an answer to it is an answer; and whatever opens or
/// closes one, every thread is to show it.
fn questions_open_and_close(before: Option<&Run>, decision: &Decision, after: &Run) {
    let was = before.and_then(question::open).map(|open| open.id);
    let is = question::open(after).map(|open| open.id);
    let closed: Vec<_> = after.questions.iter().map(|closed| &closed.id).collect();
    let closed_before = before.map_or(&[][..], |run| &run.questions);
    assert!(
        after.questions.starts_with(closed_before),
        "what is closed stays as it is"
    );
    let newly: Vec<_> = closed[closed_before.len()..].to_vec();
    assert_eq!(
        newly,
        was.into_iter().filter(|was| Some(*was) != is).collect::<Vec<_>>(),
        "a question that is no longer open is closed, and no other"
    );
    assert!(is.is_none_or(|is| !closed.contains(&is)), "an id is never used again");
    for entry in &decision.history {
        match &entry.what {
            Happened::Answered { id, .. } => assert_eq!(Some(id), was, "only the open question is answered"),
            Happened::Asked { id, .. } => assert_eq!(Some(id), is),
            Happened::Failed(failure) => assert_eq!(failure.seq, entry.seq),
            _ => {}
        }
    }
    let changed: BTreeSet<_> = newly.into_iter().chain(is.filter(|_| is != was)).collect();
    for id in &changed {
        let shown = card::question(after, id).expect("a question has a face");
        assert_eq!(shown.open, Some(*id) == is);
        assert_eq!(
            shown.doc.buttons.is_empty(),
            !shown.open,
            "only an open question has buttons"
        );
    }
    let told: BTreeSet<_> = decision
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Question { thread, id } => Some((id, thread)),
            _ => None,
        })
        .collect();
    let everywhere = changed
        .iter()
        .flat_map(|id| after.audience.iter().map(move |thread| (*id, thread)));
    assert_eq!(
        told,
        everywhere.collect::<BTreeSet<_>>(),
        "every face of a question is kept true"
    );
}

/// Each thread's card is brought up to date once, and each thread hears each announcement once.
fn everybody_hears(decision: &Decision, after: &Run) {
    let audience: BTreeSet<&ThreadRef> = after.audience.iter().collect();
    assert_eq!(audience.len(), after.audience.len(), "each thread belongs once");
    let reported: BTreeSet<&ThreadRef> = decision
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Report { thread } => Some(thread),
            _ => None,
        })
        .collect();
    assert_eq!(reported, audience, "a change is shown to all");
    for entry in &decision.history {
        let told: Vec<&ThreadRef> = decision
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notice { thread, seq } if *seq == entry.seq => Some(thread),
                _ => None,
            })
            .collect();
        let expected = if is_announced(&entry.what) { audience.len() } else { 0 };
        assert_eq!(told.len(), expected, "{:?} was told to {told:?}", entry.what);
        assert_eq!(
            told.iter().copied().collect::<BTreeSet<_>>().len(),
            expected,
            "each once"
        );
        let has_words = card::notice(after, entry).is_some();
        assert_eq!(
            has_words,
            is_announced(&entry.what),
            "what is announced has words: {:?}",
            entry.what
        );
    }
}

fn is_announced(what: &Happened) -> bool {
    matches!(
        what,
        Happened::Failed(_)
            | Happened::AutoRetried(_)
            | Happened::Restarted { .. }
            | Happened::Noted { .. }
            | Happened::Finished { .. }
    )
}

fn it_can_be_shown(decision: &Decision, after: &Run) {
    is_harmless(&card::card(after));
    let asked = question::open(after).map(|open| open.id);
    for id in after.questions.iter().map(|closed| &closed.id).chain(asked) {
        is_harmless(&card::question(after, id).expect("a question has a face").doc);
    }
    is_harmless(&card::why(after, &decision.history));
    is_harmless(&card::list(std::slice::from_ref(after)));
    for notice in decision.history.iter().filter_map(|entry| card::notice(after, entry)) {
        is_harmless(&notice);
    }
    let status = standing::process_status(after);
    assert_ne!(status.phase(), ProcessPhase::Inconsistent, "{status:?}");
    assert_eq!(status.to_json().as_object().map(serde_json::Map::len), Some(7));
}

/// The command of the pipelines in these tests; nothing that comes from outside ever holds it.
const COMMAND: &str = "/zap";

/// Commands stand in code spans only, and no other text of ours begins like one.
pub fn is_harmless(doc: &Doc) {
    let lines: Vec<&[Span]> = doc.blocks.iter().flat_map(lines).collect();
    for span in lines.iter().copied().flatten() {
        match span {
            Span::Code(_) => {}
            Span::Text(text) | Span::Strong(text) | Span::Link { label: text, .. } => {
                assert!(!text.contains(COMMAND), "a command outside a code span: {text:?}");
                assert!(!text.starts_with('/'), "this begins like a command: {text:?}");
            }
        }
    }
    for block in &doc.blocks {
        if let Block::Verbatim(text) = block {
            assert!(
                !text.contains(COMMAND),
                "a command of ours in words of others: {text:?}"
            );
        }
    }
}

fn lines(block: &Block) -> Vec<&[Span]> {
    match block {
        Block::Heading(spans) | Block::Paragraph(spans) => vec![spans],
        Block::List(lines) => lines.iter().map(Vec::as_slice).collect(),
        Block::Fields(rows) => rows.iter().map(|(_, spans)| spans.as_slice()).collect(),
        Block::Progress(_) | Block::Verbatim(_) => Vec::new(),
    }
}
