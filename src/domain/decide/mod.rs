//! Deciding: run + event + facts in, new run + effects out. Total and pure; split by event, never by platform.
//!
//! Nothing in here can fail: what a person got wrong becomes a reply, what the world got wrong becomes a
//! [`Failure`](super::run::Failure) of the run, and what no longer matters (an outcome of an old attempt, a second
//! observation of the same thing) becomes a decision that changes nothing.

mod aftermath;
mod age;
mod answering;
mod asked;
mod draft;
mod ending;
mod glance;
mod jobs;
mod outcome;
mod steps;
mod target;
mod watched;
mod what;

use jiff::Timestamp;

use super::command::{Command, Invocation, Misread};
use super::doc::Doc;
use super::effect::{Act, Effect, Outcome};
use super::ids::{LockName, QuestionId, Repo, RunId, Sha};
use super::pipeline::{Pipeline, StepKind};
use super::policy::{Permission, SamePerson};
use super::run::{By, History, Observation, OpenedPr, Run};
use super::signal::{MessageRef, ReplyHandle};
use super::start::Resolved;
use crate::domain::ids::{PrRef, StepName, ThreadRef};

pub use age::{SaidAt, clock_ahead};
pub use answering::answering_roles;
pub use glance::{Glance, Look, Wanted, awaits_act, glance, next_wake, wanted};
pub use target::target;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody gave a command.
    Asked(Box<Asked>),
    /// The queues a run waits in have changed: these runs are before it now.
    LocksChanged {
        /// Runs before it, the holder first; empty when it is its turn.
        ahead: Vec<RunId>,
    },
    /// An act had an outcome.
    Came {
        /// The act.
        act: Act,
        /// Its outcome.
        outcome: Outcome,
    },
    /// An act was given up without an outcome: nobody can read it, or stepherd itself fails on it.
    Parked {
        /// The effect's key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A job was looked at.
    Observed {
        /// The step.
        step: StepName,
        /// The attempt during which it was looked at.
        attempt: u32,
        /// The job.
        job: String,
        /// What was seen.
        seen: Observation,
    },
    /// Time has passed: a deadline may be over.
    Woke,
}

/// A command somebody gave, with what the shell found out about it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What was said.
    pub invocation: Invocation,
    /// Where and how to answer.
    pub via: Via,
    /// Who said it.
    pub by: By,
    /// Whether they may.
    pub permission: Permission,
    /// When it was said.
    pub said: SaidAt,
    /// What else is needed to decide, by action.
    pub known: Known,
}

/// Where a command came from and how to answer it.
#[derive(Debug, Clone)]
pub struct Via {
    /// Names the invocation for ever.
    pub key: String,
    /// The thread.
    pub thread: ThreadRef,
    /// The platform's right to answer directly.
    pub handle: Option<ReplyHandle>,
    /// The message it stood in, if it was a message.
    pub message: Option<MessageRef>,
}

/// What the shell found out for a command.
#[derive(Debug, Clone)]
pub enum Known {
    /// Nothing beyond the run itself, which is `decide`'s first argument.
    Run,
    /// No run is meant: why.
    NoRun(NoRun),
    /// The run's history (`why`, `retry`).
    History(Vec<History>),
    /// What an answer needs.
    Answer(AnswerFacts),
    /// What a start needs.
    Start(Box<StartFacts>),
    /// Runs to list, newest first.
    List(Vec<Run>),
    /// The command that help is asked for.
    Help(Box<Command>),
}

/// What an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerFacts {
    /// Whether whoever answers is who started the run.
    pub starter: SamePerson,
    /// Whether whoever answers is who resumed it last.
    pub resumer: SamePerson,
}

/// Why no run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRun {
    /// This thread belongs to no run.
    NoneHere,
    /// Several runs of this thread are live; one must be named.
    Several(Vec<RunId>),
    /// There is no run with this id, or none that may be spoken of here.
    Unknown(String),
    /// A stop found no live run, but so many starts that waited in this thread and now will not take effect.
    OnlyWaiting(usize),
    /// The command may not be given here.
    NotHere,
}

/// What a start needs.
#[derive(Debug, Clone)]
pub struct StartFacts {
    /// The pipeline as configured now.
    pub plan: Pipeline,
    /// The parameters' values, or what is wrong with them.
    pub params: Result<Resolved, String>,
    /// The queues of the locks it needs, as they are now.
    pub queues: Vec<(LockName, Vec<RunId>)>,
    /// The head to pin.
    pub head: HeadKnown,
}

/// What is known about the head commit of the pull request a start was asked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadKnown {
    /// It was not asked on a pull request.
    NoPr,
    /// The pull request cannot be looked at.
    Unseen {
        /// Which one.
        pr: PrRef,
        /// Why not.
        why: String,
    },
    /// What is recorded of it, and what the forge has just said.
    Seen(Box<PrHead>),
}

/// The head of a pull request, now and when the command was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrHead {
    /// The pull request.
    pub pr: PrRef,
    /// Where its commits come from.
    pub origin: Origin,
    /// The head now.
    pub live: Sha,
    /// The head that was recorded before the command was given.
    pub recorded: Option<Sha>,
    /// The head before the command was given, by the forge's own record.
    pub at_command: HeadThen,
    /// Whether the commit that the command names, or else the recorded one, is among the pull request's own.
    pub belongs: bool,
}

/// The head of a pull request at some time, by the forge's own record of pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadThen {
    /// This commit.
    Commit(Sha),
    /// The record does not lead to the head as it is: it lags.
    Behind,
    /// The record does not lead back to that time, or cannot be read.
    Unclear,
    /// The forge keeps no record, or none that stepherd may see.
    NoRecord,
}

/// Where the commits of a pull request come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From its own repository, or from a fork where those are allowed.
    Trusted,
    /// From a fork, which may have been deleted.
    Fork(Option<Repo>),
    /// The pull request is in a repository of another name now.
    Moved(PrRef),
}

/// Why it is not known which commit was reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No head was recorded in time, and the forge's record of pushes cannot be read.
    Untold,
    /// Something was pushed since the command was given, or in the same second.
    Pushed,
    /// By the forge's record the branch stood elsewhere than what was recorded.
    Unheard,
    /// A head was recorded in time, but whether it was still the head then cannot be told.
    Unsure,
}

/// What every decision may use.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time of deciding.
    pub now: Timestamp,
    /// An id for a run that may be started.
    pub new_run: RunId,
    /// An id for a question that may be asked; no decision asks more than one.
    pub new_question: QuestionId,
}

/// What was decided.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// The run as it shall be; absent when nothing about it changes.
    pub run: Option<Run>,
    /// Entries for its history.
    pub history: Vec<History>,
    /// What to do in the world.
    pub effects: Vec<Effect>,
    /// What happens to its locks.
    pub locks: LockChange,
}

/// What happens to a run's locks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LockChange {
    /// Nothing.
    #[default]
    Keep,
    /// The run joins the end of these queues, each of which holds exactly these runs, holder first; if one has
    /// changed meanwhile the decision is stale.
    Join(Vec<(LockName, Vec<RunId>)>),
    /// The run leaves all its queues.
    Leave,
}

impl Decision {
    /// Whether nothing at all is to be written or done.
    pub fn is_nothing(&self) -> bool {
        self.run.is_none() && self.effects.is_empty() && self.locks == LockChange::Keep
    }
}

/// Decides what follows from an event. `run` is the run the event is about; a start has none yet.
pub fn decide(run: Option<&Run>, event: &Event, facts: &Facts) -> Decision {
    match (run, event) {
        (_, Event::Asked(asked)) => asked::decide(run, asked, facts),
        (Some(run), Event::LocksChanged { ahead }) => watched::locks_changed(run, ahead, facts),
        (Some(run), Event::Came { act, outcome }) => outcome::decide(run, act, outcome, facts),
        (Some(run), Event::Parked { key, reason }) => outcome::parked(run, key, reason, facts),
        (
            Some(run),
            Event::Observed {
                step,
                attempt,
                job,
                seen,
            },
        ) => watched::observed(run, step, *attempt, job, seen, facts),
        (Some(run), Event::Woke) => watched::woke(run, facts),
        (None, _) => Decision::default(),
    }
}

/// Answers text that starts like a command but is none.
pub fn misread(misread: &Misread, via: &Via) -> Decision {
    reply_with(via, super::card::misread(misread))
}

/// Answers with this, and nothing else.
pub fn reply_with(via: &Via, doc: Doc) -> Decision {
    Decision {
        effects: vec![asked::reply(via, doc)],
        ..Decision::default()
    }
}

/// Values that templates of a step use beside the parameters: what earlier steps opened and merged. A change that
/// had nothing to change has empty values.
fn steps_context(run: &Run) -> serde_json::Value {
    let value = |opened: &OpenedPr| {
        let merged = opened.merged.as_ref().map_or("", |sha| sha.as_str());
        serde_json::json!({
            "pr": opened.pr.number, "branch": opened.branch, "head": opened.head.as_str(), "url": opened.url, "merged": merged,
        })
    };
    let nothing = || serde_json::json!({ "pr": "", "branch": "", "head": "", "url": "", "merged": "" });
    let changes = run
        .plan
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::Change(_)));
    let steps = changes.map(|step| {
        (
            step.name.to_string(),
            run.prs.get(&step.name).map_or_else(nothing, value),
        )
    });
    serde_json::Value::Object(steps.collect())
}
