//! A run: what passed, at most one attempt under way, the frozen plan. Two active steps are unrepresentable.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::course::{Course, Crew, Doubt};
use super::ids::{
    BackendName, ParamName, Percent, PersonName, PrRef, QuestionId, Repo, RunId, Sha, StepName, ThreadRef, TicketKey,
};
pub use super::observation::{Observation, ObservedState};
use super::pipeline::Pipeline;
use super::question::ClosedQuestion;
use super::signal::Account;

/// A run of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Counts the commits that changed it; the store compares and sets it.
    pub version: u64,
    /// The plan as it was when the run started.
    pub plan: Pipeline,
    /// The parameters' values.
    pub params: BTreeMap<ParamName, String>,
    /// Where they came from; empty in runs stored before this was put down.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<ParamName, Source>,
    /// What it is about.
    pub subject: Subject,
    /// Who asked for it.
    pub asked_by: By,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it was said, by the platform's clock; it may have been a while before it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_at: Option<Timestamp>,
    /// Who said the last `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_by: Option<By>,
    /// Threads that are kept up to date, first the one where it was asked for.
    pub audience: Vec<ThreadRef>,
    /// The steps that passed, in order.
    pub passed: Vec<Passed>,
    /// Pull requests that steps opened, by step. Kept beside `passed`: a step may fail after opening one.
    pub prs: BTreeMap<StepName, OpenedPr>,
    /// How many attempts were made of steps that passed or failed once and are done again. Their new attempts count
    /// on from there, so that an attempt's number never means two things.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tried: BTreeMap<StepName, u32>,
    /// The questions it has asked that are closed, in order. The open one, if any, is the phase of its attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<ClosedQuestion>,
    /// Where it stands.
    pub state: RunState,
    /// When anything about it changed last; absent in runs stored before this was put down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// The number of the newest history entry; the next is one more.
    pub history_len: u64,
}

/// Where a parameter's value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Whoever asked for the run said so.
    Command,
    /// It stood in this file of the repository's default branch.
    File {
        /// The repository.
        repo: Repo,
        /// The path in it.
        path: String,
    },
    /// Nothing else gave one.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => f.write_str("the command"),
            Self::File { repo, path } => write!(f, "{path} in {repo}"),
            Self::Default => f.write_str("the pipeline's default"),
        }
    }
}

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The ticket, if the pipeline has one.
    pub ticket: Option<TicketKey>,
    /// The pull request it was asked on and the commit that was reviewed there; every later step uses that commit.
    pub pinned: Option<Pinned>,
}

/// A pull request and the head commit pinned when the command was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The pull request.
    pub pr: PrRef,
    /// Its head as recorded before the command was given.
    pub head: Sha,
}

/// Who did something, for history and reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The account that acted; absent when stepherd acted by itself.
    pub account: Option<Account>,
    /// The person it is linked to.
    pub person: Option<PersonName>,
    /// The name shown. Outside input.
    pub name: String,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Waits for locks.
    Queued {
        /// Runs that must end first, the holder first; never empty.
        ahead: Vec<RunId>,
    },
    /// One attempt of one step is under way.
    Active(Attempt),
    /// A step failed; the run can be resumed with `retry` or ended with `stop`, and keeps its locks till then.
    Stopped {
        /// Why.
        why: Failure,
        /// The attempt that failed, as it was then.
        attempt: Attempt,
    },
    /// It ended.
    Finished {
        /// How.
        verdict: Verdict,
        /// When.
        at: Timestamp,
        /// How far it was, if it did not complete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reached: Option<Percent>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every step passed.
    Completed,
    /// Somebody stopped it, or answered a question with an option that ends it.
    Canceled {
        /// Who.
        by: By,
    },
}

/// One attempt of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The step's place in the plan.
    pub step: usize,
    /// 1 for the first attempt of this step, then counting up.
    pub number: u32,
    /// How many attempts were made without asking.
    pub auto: u32,
    /// When it began.
    pub since: Timestamp,
    /// What it is doing.
    pub phase: Phase,
    /// Time the back-end spent waiting for something else; the deadline moves by as much.
    pub waited: Duration,
    /// Since when the back-end has been waiting, if it is.
    pub waiting_since: Option<Timestamp>,
    /// When one of its jobs was last seen to get on: another state, progress or count of restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Timestamp>,
    /// What people are asked because it cannot be told by looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// The branch's own number: 1, or more when a pull request that was closed unmerged, or that conflicts with what was
    /// merged since, forced a new branch.
    pub branch: u32,
    /// Whether something of this step was given up after a try that may have got through, here or in an earlier attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclear: bool,
    /// Whether the pull request that is recorded for the step conflicts with what was merged since, so that this attempt
    /// makes the same edits anew and puts another in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

/// What an attempt is doing. Which phases a step goes through depends on its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// `Change`, `Merge`, `Tell`: an effect is on its way and its outcome is awaited.
    Acting {
        /// Why the outcome takes long, where that is known ("required review missing").
        waiting_for: Option<String>,
    },
    /// `Work`: after a retry, the world is read again before anything is started.
    Checking {
        /// The jobs as last seen.
        jobs: Vec<Job>,
    },
    /// `Work`: jobs are starting or being observed.
    Watching {
        /// The jobs.
        jobs: Vec<Job>,
    },
    /// `Ask`: waits for an answer.
    Asking {
        /// The question's id: only an answer to this one counts.
        #[serde(default = "QuestionId::of_old")]
        id: QuestionId,
        /// The question, rendered.
        question: String,
    },
    /// `stop` was said: what runs is being canceled, what is in flight is awaited.
    Stopping {
        /// Who said so.
        by: By,
        /// When.
        since: Timestamp,
        /// The jobs being canceled; empty for steps without jobs.
        jobs: Vec<Job>,
        /// Whether it is still to be found out what became of the step's own act (a change, a merge, a ticket's move).
        /// Nothing of it is done any more.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        look: bool,
    },
}

/// One job of a `Work` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name in the step.
    pub name: String,
    /// The back-end.
    pub backend: BackendName,
    /// What the back-end was told, rendered.
    pub with: BTreeMap<String, String>,
    /// Whether stepherd starts it, or only observes what starts by itself.
    pub start: bool,
    /// Names it in the back-end: run, step, the attempt that started it, job.
    pub marker: String,
    /// Where it stands.
    pub state: JobState,
    /// The last observation; absent before the first.
    pub seen: Option<Observation>,
    /// What is known about its course beyond the last observation.
    #[serde(default, skip_serializing_if = "Course::is_unknown")]
    pub course: Course,
}

/// Where a job stands with us. A start and a request to end are addressed to a job by its marker, and wanted only as
/// long as its state says so: a late one can do nothing that the run does not want now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Its start is on its way.
    Starting,
    /// Its start was tried, and whether it got through is not known.
    Unconfirmed,
    /// It was never started.
    NotStarted,
    /// It runs, or starts by itself; it is observed while its step is under way.
    Watched,
    /// The request to end it is on its way.
    Canceling,
    /// The back-end took the request to end it; its end is awaited.
    Ending,
    /// It ended; its last observation says how.
    Ended,
}

impl Job {
    /// Whether its back-end will not start it yet: what was seen of it is what it waits for.
    pub fn waits_to_start(&self) -> bool {
        self.state == JobState::Starting && self.seen.is_some()
    }
}

impl JobState {
    /// Whether the job may run on its back-end, now or in a moment.
    pub fn may_run(self) -> bool {
        match self {
            Self::Starting | Self::Unconfirmed | Self::Watched | Self::Canceling | Self::Ending => true,
            Self::NotStarted | Self::Ended => false,
        }
    }
}

/// A step that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Which.
    pub step: StepName,
    /// How many attempts it took.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
    /// What there is to say about it ("nothing to change", "merged as 1a2b3c4").
    pub note: Option<String>,
    /// How often the back-end restarted its jobs.
    pub restarts: u32,
}

/// A pull request that a step opened, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedPr {
    /// The pull request.
    pub pr: PrRef,
    /// Its branch.
    pub branch: String,
    /// The commit stepherd made; only a merge of exactly this counts as the step's.
    pub head: Sha,
    /// Where a person can look.
    pub url: String,
    /// Its thread.
    pub thread: ThreadRef,
    /// The commit that merged it, once it is merged.
    pub merged: Option<Sha>,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step.
    pub step: StepName,
    /// Which attempt.
    pub attempt: u32,
    /// The number of the history entry that tells of it. It names the failure for `retry`: an attempt that is taken
    /// up again keeps its number and may fail again. 0 in runs stored before failures had numbers.
    #[serde(default)]
    pub seq: u64,
    /// The reason as the back-end gave it. Outside input.
    pub reason: String,
    /// How far it was.
    pub progress: Option<Percent>,
    /// How often the back-end had restarted it by itself.
    pub restarts: u32,
    /// What kind of failure.
    pub class: FailureClass,
    /// Where a person can look.
    pub link: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Jobs of the step that may still run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftJob>,
    /// Who worked on it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crew: Option<Crew>,
}

/// A job that its failed step left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftJob {
    /// Its name in the step.
    pub job: String,
    /// What is known about it.
    pub how: LeftHow,
    /// How far it was when last seen.
    pub progress: Option<Percent>,
    /// Where a person can look.
    pub link: Option<String>,
}

/// What is known about a job that was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LeftHow {
    /// It was left running.
    Running,
    /// Its start was on its way and may have got through.
    MayRun,
    /// It was told to end.
    ToldToEnd,
}

/// What kind of failure it was, which decides what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// Something a person wrote or configured.
    User,
    /// A machine, a network, a service.
    Infrastructure,
    /// It may pass when tried again.
    Flaky,
    /// stepherd or the person lacks a right.
    Permission,
    /// A vendor's limit.
    RateLimit,
}

/// Something that happened to a run. The newest carries the highest number; numbers are never reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Counts from 1 within the run.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happened {
    /// The run was asked for and accepted.
    Accepted {
        /// By whom.
        by: By,
        /// Where.
        thread: ThreadRef,
        /// The role that allowed it.
        role: String,
    },
    /// It waits for locks behind so many runs.
    Queued {
        /// Its place: 1 is next.
        position: usize,
    },
    /// An attempt of a step began.
    StepStarted {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
    },
    /// A step passed.
    StepPassed(Passed),
    /// A pull request was opened.
    PrOpened {
        /// By which step.
        step: StepName,
        /// Which.
        pr: PrRef,
        /// On which branch.
        branch: String,
    },
    /// A step's pull request conflicts with what was merged since, and nobody but stepherd had a hand in it: the same
    /// edits are made anew on what is there now.
    MadeAnew {
        /// Whose edits.
        step: StepName,
        /// The pull request that gives way.
        pr: PrRef,
    },
    /// A back-end restarted a job by itself after a failure that may never have been seen.
    Restarted {
        /// Which step.
        step: StepName,
        /// Which job.
        job: String,
        /// How many restarts there have been now.
        restarts: u32,
        /// How far it was when last seen before.
        progress: Option<Percent>,
        /// The reason, if the back-end still tells. Outside input.
        reason: Option<String>,
        /// How far it is now: less than before, and it began again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<Percent>,
        /// Who worked on it before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Crew>,
        /// Who works on it now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Crew>,
        /// Whether the run had stopped on the failure before it, and takes no part in what runs now.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unattended: bool,
    },
    /// A job failed, and its back-end will try again by itself; the run waits for that.
    Interrupted {
        /// Which step.
        step: StepName,
        /// Which job.
        job: String,
        /// The reason as the back-end gave it. Outside input.
        reason: String,
        /// How far it was.
        progress: Option<Percent>,
        /// Who is there to work on it.
        crew: Option<Crew>,
        /// Until when the restart is waited for.
        until: Timestamp,
    },
    /// After the run had stopped on its failure, the back-end completed the job by itself.
    DoneSince {
        /// Which step.
        step: StepName,
        /// Which job.
        job: String,
    },
    /// A step failed and the run stopped.
    Failed(Failure),
    /// A step failed and is tried again without asking.
    AutoRetried(Failure),
    /// Somebody resumed the run.
    Retried {
        /// Who.
        by: By,
    },
    /// After a retry the job was found still running; nothing was started.
    Reattached {
        /// Which step.
        step: StepName,
    },
    /// Somebody said stop.
    StopAsked {
        /// Who.
        by: By,
    },
    /// A question was put.
    Asked {
        /// By which step.
        step: StepName,
        /// The question's id.
        #[serde(default = "QuestionId::of_old")]
        id: QuestionId,
        /// The question.
        question: String,
    },
    /// A step's note for everybody.
    Noted {
        /// By which step.
        step: StepName,
        /// What it says.
        text: String,
    },
    /// A question was answered.
    Answered {
        /// The question's id.
        #[serde(default = "QuestionId::of_old")]
        id: QuestionId,
        /// Who.
        by: By,
        /// The option's value.
        value: String,
    },
    /// The run ended.
    Finished {
        /// How.
        verdict: Verdict,
        /// For a canceled run: what was undone and what was not, a line each.
        left: Vec<String>,
    },
}

/// A commit whose check shows a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckTarget {
    /// The repository.
    pub repo: Repo,
    /// The commit.
    pub head: Sha,
}
