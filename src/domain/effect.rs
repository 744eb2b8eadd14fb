//! What a decision wants done in the world, and what comes back. Every effect is carried out at least once and is
//! safe to repeat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::doc::Doc;
use super::edit::Edit;
use super::ids::{BackendName, PrRef, QuestionId, Repo, RunId, Sha, StepName, ThreadRef, TicketKey};
use super::pipeline::MergeMethod;
use super::run::{CheckTarget, FailureClass, OpenedPr};
use super::signal::{MessageRef, ReplyHandle};

/// Something to do in the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Part of a step; its outcome comes back as an event.
    Act(Act),
    /// Make this thread's card show the run as it is when this is carried out.
    Report {
        /// The thread.
        thread: ThreadRef,
    },
    /// Post what this history entry says, once, as a new message.
    Notice {
        /// The thread.
        thread: ThreadRef,
        /// The entry.
        seq: u64,
    },
    /// Make this thread show the question as it is when this is carried out: open, or closed and how.
    Question {
        /// The thread.
        thread: ThreadRef,
        /// The question.
        id: QuestionId,
    },
    /// Make this commit's check show the run.
    Check(CheckTarget),
    /// Answer somebody.
    Reply(Reply),
    /// Show that a message was accepted (👀).
    Acknowledge {
        /// The message.
        message: MessageRef,
    },
}

/// A direct answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The invocation's key and its place in the message: names this answer for ever.
    pub key: String,
    /// Where.
    pub thread: ThreadRef,
    /// The platform's right to answer directly, if it gave one.
    pub handle: Option<ReplyHandle>,
    /// What.
    pub doc: Doc,
    /// Whether it is only for who asked, by the platform's right to answer directly, and never for the thread: people
    /// without a role do not make stepherd write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct_only: bool,
}

/// A part of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The step.
    pub step: StepName,
    /// The attempt that asked for it. An outcome for another attempt changes nothing, but for starts and cancellations:
    /// those belong to the job that their marker names.
    pub attempt: u32,
    /// What to do.
    pub what: Deed,
}

/// What a part of a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Make the edits on the branch and open or find the pull request.
    Change(ChangeIntent),
    /// Merge the pull request, or see whether people have.
    Merge(MergeIntent),
    /// Start a job unless it is already there.
    StartJob(JobIntent),
    /// Cancel a job.
    CancelJob(JobIntent),
    /// Move a ticket.
    MoveTicket(MoveIntent),
}

/// Edits on a branch of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeIntent {
    /// The repository.
    pub repo: Repo,
    /// The branch, unique to run and step.
    pub branch: String,
    /// The edits, rendered.
    pub edits: Vec<Edit<String>>,
    /// Title of the pull request and first line of the commit.
    pub title: String,
    /// Body of the pull request, Markdown of our own making (templates escape outside input).
    pub body: String,
    /// What this step already recorded; the only ground for "already merged".
    pub recorded: Option<OpenedPr>,
    /// Whether what is recorded conflicts with what was merged since: unless it is merged all the same, another pull
    /// request takes its place, and it is closed with a word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

/// Merging what a step opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeIntent {
    /// The pull request.
    pub pr: PrRef,
    /// The head that was recorded; another head is never merged.
    pub head: Sha,
    /// How; absent when people merge and stepherd only looks.
    pub method: Option<MergeMethod>,
    /// Applications that must not take up by themselves what is merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<DeferredApp>,
}

/// An application that takes up what is merged only when somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredApp {
    /// The back-end that has it.
    pub backend: BackendName,
    /// What the back-end needs to know to find it.
    pub with: BTreeMap<String, String>,
}

impl MergeIntent {
    /// The same, but only to see where the pull request stands.
    pub fn only_look(&self) -> Self {
        Self {
            method: None,
            deferred: Vec::new(),
            ..self.clone()
        }
    }
}

/// One job on one back-end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIntent {
    /// The back-end.
    pub backend: BackendName,
    /// The job's name in its step.
    pub job: String,
    /// What the back-end is told.
    pub with: BTreeMap<String, String>,
    /// Names this run, step, attempt and job in the back-end: `URMO7YZ2/Rebuild/1/rebuild`. Looked for before starting.
    pub marker: String,
}

/// Moving a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveIntent {
    /// The ticket.
    pub ticket: TicketKey,
    /// Status id or name.
    pub to: String,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pull request is there with the step's commit at its head: made now, or found open or already merged.
    ChangeOpened(OpenedPr),
    /// The step's recorded pull request was already merged at its recorded head.
    ChangeAlreadyMerged {
        /// The merge commit.
        merged: Sha,
    },
    /// The edits change nothing on the current default branch; no pull request was opened.
    ChangeUnneeded,
    /// The step's pull request was closed without merging: a new branch is needed.
    ChangeClosed {
        /// Which.
        pr: PrRef,
    },
    /// The pull request is merged at the recorded head.
    Merged {
        /// The merge commit.
        commit: Sha,
    },
    /// It conflicts with what was merged since.
    MergeConflicts {
        /// Which.
        pr: PrRef,
        /// What people did with it, if they had a hand in it: it is theirs to resolve then.
        people: Option<String>,
    },
    /// It cannot be merged yet; look again later.
    MergeWaits {
        /// What for, as the forge says. Outside input.
        why: String,
    },
    /// The job runs, or did: it was started now or found by its marker.
    JobStarted,
    /// The job cannot be started yet, because of something that ends by itself; nothing was started. Try again later.
    JobWaits {
        /// What for. Outside input.
        why: String,
    },
    /// The back-end took the request to cancel, or there was nothing to cancel.
    JobCanceled,
    /// The ticket has the status.
    TicketMoved,
    /// It did not work and trying again will not help by itself.
    Failed {
        /// Why. Outside input.
        reason: String,
        /// What kind of failure.
        class: FailureClass,
    },
    /// It was given up after a try that may have got through: what is there now is not known.
    Unclear {
        /// Why it was given up. Outside input.
        reason: String,
        /// What kind of failure.
        class: FailureClass,
    },
    /// It was no longer wanted, and nothing of it was done.
    NotDone,
}

impl Effect {
    /// Names the effect within its run. The store keeps one unfinished effect per key: asking again for a report
    /// that is already on its way changes nothing but that it will show the newest state.
    pub fn key(&self, run: Option<&RunId>) -> String {
        let run = run.map_or("-", RunId::as_str);
        match self {
            Self::Act(act) => match &act.what {
                // One job has one start and one cancellation, whichever attempt asks for them.
                what @ (Deed::StartJob(_) | Deed::CancelJob(_)) => format!("act:{run}:{}", what.key()),
                what => format!("act:{run}:{}:{}:{}", act.step, act.attempt, what.key()),
            },
            Self::Report { thread } => format!("report:{run}:{thread}"),
            Self::Notice { thread, seq } => format!("notice:{run}:{seq}:{thread}"),
            Self::Question { thread, id } => format!("question:{run}:{id}:{thread}"),
            Self::Check(target) => format!("check:{run}:{}:{}", target.repo, target.head),
            Self::Reply(reply) => format!("reply:{}", reply.key),
            Self::Acknowledge { message } => format!("ack:{}:{}", message.thread, message.id),
        }
    }

    /// Whose answer it needs: work is bounded for each, so that none that hangs keeps the others waiting. What a platform
    /// does for threads is apart from what it does for pull requests or tickets, and canceling jobs apart from starting
    /// them: neither takes the other's room.
    pub fn room(&self) -> String {
        match self {
            Self::Report { thread } | Self::Notice { thread, .. } | Self::Question { thread, .. } => {
                thread.platform.to_string()
            }
            Self::Reply(reply) => reply.thread.platform.to_string(),
            Self::Acknowledge { message } => message.thread.platform.to_string(),
            Self::Check(_) => "the forge".to_owned(),
            Self::Act(act) => match &act.what {
                Deed::Change(_) | Deed::Merge(_) => "the forge".to_owned(),
                Deed::MoveTicket(_) => "the tracker".to_owned(),
                Deed::StartJob(intent) => intent.backend.to_string(),
                Deed::CancelJob(intent) => format!("{}, canceling", intent.backend),
            },
        }
    }

    /// What it goes to. What goes to one place goes in order.
    pub fn place(&self) -> String {
        match self {
            Self::Report { thread } | Self::Notice { thread, .. } | Self::Question { thread, .. } => thread.to_string(),
            Self::Reply(reply) => reply.thread.to_string(),
            Self::Acknowledge { message } => message.thread.to_string(),
            Self::Check(target) => format!("{}@{}", target.repo, target.head),
            Self::Act(act) => match &act.what {
                Deed::Change(intent) => intent.repo.to_string(),
                Deed::Merge(intent) => intent.pr.repo.to_string(),
                Deed::StartJob(intent) | Deed::CancelJob(intent) => format!("{}/{}", intent.backend, intent.marker),
                Deed::MoveTicket(intent) => intent.ticket.to_string(),
            },
        }
    }

    /// Lower goes first: what changes the world, then checks, then new messages, then edits (a status
    /// must not wait for a comment, nor a comment for an edit), and last what people without a role are told.
    pub fn lane(&self) -> u8 {
        match self {
            Self::Act(_) => 0,
            Self::Reply(reply) if reply.direct_only => 4,
            Self::Check(_) => 1,
            Self::Acknowledge { .. } | Self::Reply(_) | Self::Notice { .. } | Self::Question { .. } => 2,
            Self::Report { .. } => 3,
        }
    }
}

impl Outcome {
    /// What a failure means after a try that may have got through: what was refused the second time may have been done
    /// the first time.
    pub fn after_unclear_try(self) -> Self {
        match self {
            Self::Failed { reason, class } => Self::Unclear { reason, class },
            outcome => outcome,
        }
    }
}

impl Deed {
    fn key(&self) -> String {
        match self {
            Self::Change(intent) => format!("change:{}", intent.branch),
            Self::Merge(_) => "merge".to_owned(),
            Self::StartJob(intent) => format!("start:{}", intent.marker),
            Self::CancelJob(intent) => format!("cancel:{}", intent.marker),
            Self::MoveTicket(_) => "move".to_owned(),
        }
    }
}
