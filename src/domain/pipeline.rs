//! A pipeline: an ordered list of steps of five kinds. A run freezes its own copy, so editing configuration never
//! alters a run in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::edit::Edit;
use super::ids::{BackendName, CommandName, ParamName, PipelineName, RoleName, StepName};
use super::template::Template;

/// A pipeline as configuration declares it, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its name.
    pub name: PipelineName,
    /// What people call it.
    pub title: String,
    /// The chat command that drives it, for the "type this next" lines.
    pub command: CommandName,
    /// What a run needs to know, in the order in which values are resolved.
    pub params: Vec<Param>,
    /// Locks a run holds from start to end; runs that want the same one queue.
    pub locks: Vec<Template>,
    /// Threads beside the one where the run was asked for, as `platform:place`; one whose place renders empty is
    /// left out.
    pub audience: Vec<Template>,
    /// The step whose progress stands for the run's; without it, steps passed of all.
    pub progress_of: Option<StepName>,
    /// The steps, in order; at least one.
    pub steps: Vec<StepSpec>,
}

/// A parameter of a pipeline. Its value is the command's argument of the same name, else the value in the last of its
/// files that has one, else the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Its name in commands and templates.
    pub name: ParamName,
    /// What values it takes.
    pub kind: ParamKind,
    /// One line for help.
    pub help: String,
    /// Where its value may stand when the command says nothing: what is usual first, and what overrides it later. Plans
    /// stored by older versions have at most one.
    #[serde(default, alias = "file", deserialize_with = "one_or_several")]
    pub files: Vec<ParamFile>,
    /// The value when nothing else gives one; without it the parameter must be given.
    pub default: Option<Template>,
}

/// What values a parameter or an argument takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParamKind {
    /// Text of letters, digits and `-_./`, not starting with `-` or `.`: safe in branch names, paths and URLs.
    Word,
    /// Lower-case letters, digits and `-`, not at the ends, at most 63: a DNS label, and so safe as a part of Kubernetes
    /// names, host names, branch names and paths.
    Name,
    /// Free text, one line.
    Text,
    /// A whole number within bounds.
    Int {
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// `true` or `false`; `yes`, `no`, `on` and `off` are understood.
    Bool,
    /// One of these.
    Choice(Vec<String>),
    /// A ticket key; at most one parameter of a pipeline has this kind, and it names the run's ticket.
    Ticket,
    /// A run id.
    Run,
    /// A full commit SHA.
    Sha,
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ParamFile>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Several(Vec<ParamFile>),
        One(Option<ParamFile>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Several(files) => files,
        Stored::One(file) => file.into_iter().collect(),
    })
}

/// A value in a file of a repository's default branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamFile {
    /// The repository.
    pub repo: Template,
    /// The path in it; YAML, JSON or TOML by its ending.
    pub path: Template,
    /// JSON pointer (RFC 6901) to the value. An absent file or value means "not given".
    pub pointer: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name, unique in the pipeline; part of its branch's name.
    pub name: StepName,
    /// What people call it.
    pub title: String,
    /// How long one attempt may take, not counting time the back-end spends waiting for something else. `Work` steps
    /// may be bounded by a stall alone.
    pub timeout: Option<Duration>,
    /// How many further attempts are made without asking, for failures that are not the user's.
    pub auto_retries: u32,
    /// What it does.
    pub kind: StepKind,
    /// What it leaves behind in the world if the run is stopped after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<Leaves>,
}

/// What a step that has passed leaves behind, for people who stop the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaves {
    /// What it is and what undoes it, in words.
    pub says: Template,
    /// The later step after which nothing of it is left.
    pub until: Option<StepName>,
}

/// The five kinds of step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// Edit files in a repository on a branch of this step; open or find the pull request.
    Change(ChangeSpec),
    /// Merge, or wait for the merge of, the pull request that an earlier step opened.
    Merge(MergeSpec),
    /// One job or a parallel set of jobs on back-ends.
    Work(WorkSpec),
    /// A question with options to named roles.
    Ask(AskSpec),
    /// Move a ticket, post a note.
    Tell(TellSpec),
}

/// What a `Change` step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSpec {
    /// The repository, in any of the forms `Repo` reads.
    pub repo: Template,
    /// The edits, made in order on the then-current default branch as one commit.
    pub edits: Vec<Edit<Template>>,
    /// The pull request's title, also the commit's first line.
    pub title: Template,
    /// The pull request's body, Markdown.
    pub body: Template,
}

/// What a `Merge` step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeSpec {
    /// The earlier `Change` step whose recorded pull request is meant.
    pub branch_of: StepName,
    /// Who merges.
    pub by: MergeBy,
    /// How stepherd merges.
    pub method: MergeMethod,
    /// Applications that the merge feeds and that only a later step may bring to a running system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<DeferredSpec>,
}

/// An application that takes up what is merged only when somebody asks for it. One that would do so by itself is not
/// merged for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredSpec {
    /// The back-end that has it.
    pub backend: BackendName,
    /// What the back-end needs to know to find it, by its own keys.
    pub with: BTreeMap<String, Template>,
}

/// Who merges a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeBy {
    /// stepherd, as soon as the forge allows.
    Stepherd,
    /// People; stepherd waits.
    People,
}

/// How a pull request is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeMethod {
    /// A merge commit.
    Merge,
    /// One squashed commit.
    Squash,
    /// Rebased commits.
    Rebase,
}

/// What a `Work` step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkSpec {
    /// The jobs, all at once; at least one. The step passes when every one succeeded.
    pub jobs: Vec<JobSpec>,
    /// What becomes of jobs that still run when the step fails.
    pub on_failure: OnFailure,
    /// How often each job is observed.
    pub every: Duration,
    /// How long the jobs may stay where they are; waits do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Duration>,
    /// How long a job may show what may be an earlier end before people are asked.
    #[serde(default = "half_an_hour", skip_serializing_if = "is_half_an_hour")]
    pub unsure_after: Duration,
    /// How long a back-end that tries again by itself is waited for.
    #[serde(default = "half_an_hour", skip_serializing_if = "is_half_an_hour")]
    pub restart_within: Duration,
    /// Whether a job that its back-end restarted after the step had failed is followed without asking.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow_restarts: bool,
}

/// As long as the rebuild service waits before it tries again.
pub const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

fn half_an_hour() -> Duration {
    HALF_AN_HOUR
}

fn is_half_an_hour(time: &Duration) -> bool {
    *time == HALF_AN_HOUR
}

/// What the first failed job of a set does to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// The step fails at once. Nothing more is started or looked at; what runs is left running, and listed.
    Leave,
    /// The step fails at once, and what stepherd started of it is told to end. Runs stored by older versions say
    /// `FailFast`.
    #[serde(alias = "FailFast")]
    Cancel,
    /// The step fails when the others have ended.
    Drain,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Its name, unique in the step.
    pub name: String,
    /// The back-end it runs on.
    pub backend: BackendName,
    /// Whether stepherd starts it, or only observes what starts by itself.
    pub start: bool,
    /// What the back-end needs to know, by its own keys.
    pub with: BTreeMap<String, Template>,
}

/// What an `Ask` step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskSpec {
    /// The question.
    pub question: Template,
    /// The options, at least two; the first answer wins.
    pub options: Vec<AskOption>,
    /// Who may answer, any of these.
    pub roles: Vec<RoleName>,
    /// Whether neither who started the run nor who resumed it last may answer.
    #[serde(default)]
    pub not_the_asker: bool,
}

/// One option of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskOption {
    /// What to type.
    pub value: String,
    /// What it says.
    pub label: String,
    /// Whether the run goes on; otherwise it ends as canceled.
    pub go_on: bool,
}

/// What a `Tell` step does; all of it is optional, at least one is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellSpec {
    /// Move a ticket.
    pub move_ticket: Option<MoveSpec>,
    /// Post a note to every thread of the audience.
    pub note: Option<Template>,
}

/// Moving a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSpec {
    /// The ticket.
    pub ticket: Template,
    /// The status it should have afterwards: an id or a name. Which transition leads there is found at run time.
    pub to: String,
}

impl Pipeline {
    /// The step with this name and its place in the list.
    pub fn step(&self, name: &StepName) -> Option<(usize, &StepSpec)> {
        self.steps.iter().enumerate().find(|(_, step)| step.name == *name)
    }

    /// The parameter that names the run's ticket.
    pub fn ticket_param(&self) -> Option<&Param> {
        self.params.iter().find(|param| param.kind == ParamKind::Ticket)
    }
}
