//! The questions that a run asks: which one is open, how the others were closed, and when an answer must say which
//! one it means.
//!
//! At most one question of a run is open: it is the phase of the attempt under way, or what that attempt is in doubt
//! about. Every other one is closed, and
//! the run remembers how, so that a late answer can be told what became of its question.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{QuestionId, StepName};
use super::pipeline::{AskOption, AskSpec, StepKind, StepSpec};
use super::run::{Attempt, By, Happened, History, Phase, Run, RunState};
use super::template::Template;

/// A question that is no longer open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedQuestion {
    /// Its id.
    pub id: QuestionId,
    /// The step that asked.
    pub step: StepName,
    /// The question, rendered.
    pub text: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it was closed.
    pub closed_at: Timestamp,
    /// How.
    pub how: Closing,
}

/// How a question was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closing {
    /// Somebody answered it.
    Answered {
        /// Who.
        by: By,
        /// The option's value.
        value: String,
    },
    /// Nobody answered in time.
    Expired,
    /// Somebody stopped the run.
    Stopped {
        /// Who.
        by: By,
    },
    /// The run went on without an answer.
    Withdrawn,
}

/// The question that a run asks now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Its id.
    pub id: &'a QuestionId,
    /// The step that asks.
    pub step: &'a StepSpec,
    /// What the step says about it.
    pub spec: &'a AskSpec,
    /// The question, rendered.
    pub text: &'a str,
    /// When it was asked.
    asked_at: Timestamp,
    /// The attempt that asks.
    attempt: &'a Attempt,
}

impl Open<'_> {
    /// When it was asked.
    pub fn asked_at(&self) -> Timestamp {
        self.asked_at
    }
}

/// The answer that says that an end is this run's.
pub const THIS_RUNS: &str = "this";

/// What people may answer when it cannot be told whose end a back-end shows. Whoever may answer at all may answer this.
static WHOSE: LazyLock<AskSpec> = LazyLock::new(|| {
    let option = |value: &str, label: &str| AskOption {
        value: value.to_owned(),
        label: label.to_owned(),
        go_on: true,
    };
    AskSpec {
        question: Template::new(""),
        options: vec![
            option(THIS_RUNS, "It is this run's: go on"),
            option("wait", "An earlier one's: keep waiting"),
        ],
        roles: Vec::new(),
        not_the_asker: false,
    }
});

/// The options of the questions that a step asks.
pub fn options(step: &StepSpec) -> &[AskOption] {
    match &step.kind {
        StepKind::Ask(ask) => &ask.options,
        StepKind::Work(_) => &WHOSE.options,
        _ => &[],
    }
}

/// The question that the run asks now.
pub fn open(run: &Run) -> Option<Open<'_>> {
    let RunState::Active(attempt) = &run.state else {
        return None;
    };
    let step = &run.plan.steps[attempt.step];
    let (id, text, asked_at, spec) = match (&attempt.phase, &step.kind, &attempt.doubt) {
        (Phase::Asking { id, question }, StepKind::Ask(spec), _) => (id, question, attempt.since, spec),
        (Phase::Watching { .. }, StepKind::Work(_), Some(doubt)) => (&doubt.id, &doubt.question, doubt.since, &*WHOSE),
        _ => return None,
    };
    Some(Open {
        id,
        step,
        spec,
        text,
        asked_at,
        attempt,
    })
}

/// Whether the run asks or asked the question with this id, in any case.
pub fn is_of(run: &Run, id: &str) -> bool {
    open(run).is_some_and(|open| open.id.as_str().eq_ignore_ascii_case(id)) || closed(run, id).is_some()
}

/// The closed question with this id, in any case.
pub fn closed<'a>(run: &'a Run, id: &str) -> Option<&'a ClosedQuestion> {
    run.questions
        .iter()
        .rev()
        .find(|q| q.id.as_str().eq_ignore_ascii_case(id))
}

/// Whether an earlier question of the run offered this answer too. Then the bare word may be meant for that one, and an
/// answer counts only if it names its question. Told from the plan and the attempts, so that questions asked before
/// questions had ids count as well.
pub fn was_offered_before(run: &Run, open: &Open<'_>, value: &str) -> bool {
    run.plan.steps.iter().any(|step| {
        let asked_before = (step.name == open.step.name && open.attempt.number > 1)
            || run.tried.contains_key(&step.name)
            || run.passed.iter().any(|passed| passed.step == step.name);
        let offers = |ask: &AskSpec| ask.options.iter().any(|o| o.value.eq_ignore_ascii_case(value));
        asked_before && matches!(&step.kind, StepKind::Ask(ask) if offers(ask))
    }) || run.questions.iter().any(|closed| {
        let step = run.plan.step(&closed.step).map(|(_, step)| step);
        let work = step.filter(|step| matches!(step.kind, StepKind::Work(_)));
        work.is_some_and(|step| options(step).iter().any(|o| o.value.eq_ignore_ascii_case(value)))
    })
}

/// Whether an answer that was said at this time can be about a question asked at that time: nobody answers what is not
/// asked yet. Platforms tell times in whole seconds.
pub fn can_mean(said_at: Timestamp, asked_at: Timestamp) -> bool {
    said_at.as_second() >= asked_at.as_second()
}

/// The questions of a run that a change has opened or closed, with the run as it is afterwards. Whatever ends a
/// question, it is put down here how: no part of a decision can forget it.
pub(super) fn changed(before: Option<&Run>, after: &mut Run, told: &[History], now: Timestamp) -> Vec<QuestionId> {
    let was = before.and_then(open);
    let is = open(after).map(|open| open.id.clone());
    if was.map(|was| was.id) == is.as_ref() {
        return Vec::new();
    }
    let mut changed = Vec::new();
    if let Some(was) = was {
        changed.push(was.id.clone());
        after.questions.push(ClosedQuestion {
            id: was.id.clone(),
            step: was.step.name.clone(),
            text: was.text.to_owned(),
            asked_at: was.asked_at(),
            closed_at: now,
            how: how_closed(told),
        });
    }
    changed.extend(is);
    changed
}

/// How a question was closed by a change that told this.
fn how_closed(told: &[History]) -> Closing {
    let how = told.iter().find_map(|entry| match &entry.what {
        Happened::Answered { by, value, .. } => Some(Closing::Answered {
            by: by.clone(),
            value: value.clone(),
        }),
        Happened::StopAsked { by } => Some(Closing::Stopped { by: by.clone() }),
        Happened::Failed(_) | Happened::AutoRetried(_) => Some(Closing::Expired),
        _ => None,
    });
    how.unwrap_or(Closing::Withdrawn)
}
