//! What people may say: the declared commands, and the grammar that finds them in text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{CommandName, ParamName, PipelineName, Platform, RoleName, TicketKey, VerbName};
use super::pipeline::ParamKind;
use super::places::ControlPlace;
use super::signal::{PrChange, PrChanged, TicketStatus};
use super::since::FieldsUsed;
use super::template::Template;

/// A declared chat command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name without the slash.
    pub name: CommandName,
    /// One line for help.
    pub summary: String,
    /// The pipeline its verbs act on.
    pub pipeline: PipelineName,
    /// Its verbs, in the order of the file.
    pub verbs: Vec<Verb>,
    /// What starts it without words.
    pub triggers: Vec<Trigger>,
    /// Where runs may be started and all of them may be spoken of. Elsewhere a command reaches only the runs of the
    /// thread that it is given in.
    pub control: Vec<ControlPlace>,
}

/// A verb of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verb {
    /// Its name.
    pub name: VerbName,
    /// One line for help.
    pub help: String,
    /// What it does.
    pub action: Action,
    /// Its arguments. Required ones may be given by position, in this order; all by `name=value`.
    pub args: Vec<Arg>,
    /// Who may: any of these roles. Empty means nobody.
    pub roles: Vec<RoleName>,
    /// The platforms it may be said on; empty means nowhere.
    pub places: Vec<Platform>,
    /// An example of its use, with the slash.
    pub example: String,
}

/// What verbs do. Closed: a new one leads through `decide` and `policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Start a run.
    Start,
    /// Show where a run stands.
    Status,
    /// Resume a run that stopped.
    Retry,
    /// Cancel what runs and end the run.
    Stop,
    /// List runs.
    List,
    /// Say what can be said.
    Help,
    /// Say why a run stands where it does: its decisions, by whom and under which role.
    Why,
    /// Answer a run's question.
    Answer,
}

/// An argument of a verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: ParamName,
    /// What it takes.
    pub kind: ParamKind,
    /// One line for help.
    pub help: String,
    /// Whether it must be given.
    pub required: bool,
}

/// What starts a verb without words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// What must happen.
    pub on: TriggerOn,
    /// The verb it means.
    pub verb: VerbName,
    /// The verb's arguments, rendered over the event's fields (`ticket`, `fields.…`; `pr.repo`, `pr.number`, …).
    pub args: BTreeMap<ParamName, Template>,
}

impl Trigger {
    /// The fields of a ticket that decide what it means.
    pub fn fields_used(&self) -> FieldsUsed {
        FieldsUsed::of(self.args.values())
    }
}

/// What must happen for a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerOn {
    /// A ticket reaches a status.
    Ticket {
        /// Project key; empty means any.
        project: String,
        /// Status id or name.
        to: String,
    },
    /// A pull request changes.
    Pr {
        /// `owner/name`; empty means any.
        repo: String,
        /// The change.
        change: PrChange,
        /// The label that must be present; empty means none needed.
        label: String,
    },
}

impl TriggerOn {
    /// Whether it means this ticket's reaching this status. Ids are told apart from names by being equal or not:
    /// names are compared without case, because trackers show them in several.
    pub fn means_ticket(&self, ticket: &TicketKey, status: &TicketStatus) -> bool {
        match self {
            Self::Ticket { project, to } => {
                let of_project = project.is_empty() || ticket.project() == project;
                of_project && (*to == status.id || to.eq_ignore_ascii_case(&status.name))
            }
            Self::Pr { .. } => false,
        }
    }

    /// Whether it means this change of a pull request.
    pub fn means_pr(&self, changed: &PrChanged) -> bool {
        match self {
            Self::Pr { repo, change, label } => {
                (repo.is_empty() || *repo == changed.pr.repo.to_string())
                    && change.means(changed.change)
                    && (label.is_empty() || changed.labels.contains(label))
            }
            Self::Ticket { .. } => false,
        }
    }
}

/// A command somebody gave, valid in form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The command.
    pub command: CommandName,
    /// The verb.
    pub verb: VerbName,
    /// What it does.
    pub action: Action,
    /// Its arguments, valid by kind and in canonical form.
    pub args: BTreeMap<ParamName, String>,
}

/// Text that starts like a command of ours but is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// The command it was taken for.
    pub command: CommandName,
    /// What is wrong, for people; may quote outside input.
    pub problem: String,
    /// What was probably meant, ready to type.
    pub suggestion: Option<String>,
}
