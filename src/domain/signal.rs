//! What a delivery means once a platform's adapter has read it: the same few shapes for every platform.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{Platform, PrRef, Repo, Sha, ThreadRef, TicketKey};
use super::places::Within;

/// How a delivery proved where it comes from, and thereby how much of it is proved. The weakest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// A fixed secret that a rule sends along with a body of its own making: it names no account but the rule's.
    Automation,
    /// A token that says who calls but not what is sent: the body is a hint until it is read again.
    Token,
    /// A signature that covers the body.
    BodySigned,
    /// stepherd read it from the platform itself.
    Repaired,
}

impl Proof {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Automation, Self::Token, Self::BodySigned, Self::Repaired];

    /// Whether it proves who did what is told.
    pub fn tells_who(self) -> bool {
        match self {
            Self::Automation | Self::Token => false,
            Self::BodySigned | Self::Repaired => true,
        }
    }

    /// Its name where it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Automation => "automation",
            Self::Token => "token",
            Self::BodySigned => "body_signed",
            Self::Repaired => "repaired",
        }
    }

    /// The proof of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.name() == name)
    }
}

/// An account on a platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The platform it belongs to.
    pub platform: Platform,
    /// The platform's stable id for it (a number, an `accountId`, a snowflake), never a user name.
    pub id: String,
}

/// Who did something, as the verified payload says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The account.
    pub account: Account,
    /// The name shown to people. Outside input: escaped wherever it lands, never used to authorise.
    pub name: String,
    /// A person, another bot, or stepherd itself.
    pub kind: ActorKind,
    /// Role ids of that platform that the verified payload itself carries (Discord's `member.roles`).
    pub roles: Vec<String>,
    /// The platform's verified payload says that they belong to the place where they act, as GitHub's
    /// `author_association` does. A hint about who is likely to have a role; it never gives one.
    pub insider: bool,
}

/// Whether an actor may be listened to at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorKind {
    /// A person.
    Human,
    /// Another program: never obeyed.
    Bot,
    /// stepherd itself: never obeyed.
    Ours,
}

/// What a verified delivery means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Somebody wrote text that may hold commands.
    Said(Said),
    /// Somebody used a structured command or a button.
    Invoked(Invoked),
    /// A ticket changed its status.
    TicketMoved(TicketMoved),
    /// A pull request was opened, got a new head, was merged or closed.
    PrChanged(PrChanged),
    /// Something changed about a commit of a repository: whoever watches it should look now.
    Hint(Hint),
    /// Verified and understood, and of no interest (`ping`, an edited comment): why, for the log.
    Nothing(String),
}

/// Text somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who wrote it.
    pub actor: Actor,
    /// Where.
    pub thread: ThreadRef,
    /// Where that thread lies.
    pub within: Within,
    /// What.
    pub text: Text,
    /// Whether the platform sent the text when it was written. One that was looked up later may have been edited before.
    pub as_written: bool,
    /// When, by the platform's clock.
    pub at: Timestamp,
    /// Names this text for ever, whatever the delivery id: `github:acme/deploy:issue_comment:123`.
    pub key: String,
    /// The message itself, for re-reading it and acknowledging it.
    pub message: MessageRef,
    /// The pull request it was said on, if any.
    pub pr: Option<PrRef>,
}

/// Text in the form its platform has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// CommonMark source: commands count only where a top-level paragraph line starts.
    Markdown(String),
    /// Lines that an adapter already reduced to the starts of top-level paragraph lines (ADF, wiki text).
    Lines(Vec<String>),
}

/// One message on a platform. `id` is the adapter's own notation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageRef {
    /// The thread it stands in.
    pub thread: ThreadRef,
    /// The platform's id for it.
    pub id: String,
}

/// A structured command: a slash command's options or a button's id, already taken apart by the adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// Who.
    pub actor: Actor,
    /// Where.
    pub thread: ThreadRef,
    /// Where that thread lies.
    pub within: Within,
    /// Command name without the slash; not yet known to exist.
    pub command: String,
    /// Verb; not yet known to exist.
    pub verb: String,
    /// Arguments by name; not yet known to exist or to be valid.
    pub args: Vec<(String, String)>,
    /// When, by the platform's clock.
    pub at: Timestamp,
    /// Names this invocation for ever: `discord:interaction:1`.
    pub key: String,
    /// How to answer it directly while the platform still allows.
    pub handle: Option<ReplyHandle>,
}

/// A platform's short-lived right to answer one invocation (Discord's interaction token).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyHandle {
    /// The adapter's notation; secret while it lives.
    pub token: String,
    /// After this the answer goes to the thread instead.
    pub until: Timestamp,
}

impl std::fmt::Debug for ReplyHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplyHandle(…, until {})", self.until)
    }
}

/// A ticket went from one status to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketMoved {
    /// Who moved it.
    pub actor: Actor,
    /// The ticket's thread.
    pub thread: ThreadRef,
    /// The ticket.
    pub ticket: TicketKey,
    /// The status it left; absent where the platform does not tell (Jira Automation).
    pub from: Option<TicketStatus>,
    /// The status it has now.
    pub to: TicketStatus,
    /// The ticket's fields that are text, numbers or options, flattened: `summary`, `customfield_10042`, `project`.
    pub fields: BTreeMap<String, String>,
    /// The tracker's id of this change; absent where the platform does not tell (Jira Automation).
    pub change: Option<String>,
    /// When, by the platform's clock.
    pub at: Timestamp,
    /// Names this transition for ever: `jira:10001:changelog:89708`.
    pub key: String,
}

/// A status of a ticket: ids are stable, names are translatable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketStatus {
    /// The tracker's id, empty where it tells only the name.
    pub id: String,
    /// The name people see.
    pub name: String,
}

/// A pull request changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrChanged {
    /// Who changed it.
    pub actor: Actor,
    /// Its thread.
    pub thread: ThreadRef,
    /// Which.
    pub pr: PrRef,
    /// What happened.
    pub change: PrChange,
    /// The head commit after it.
    pub head: Sha,
    /// Where it stood after it.
    pub state: PrState,
    /// Whether it was a draft.
    pub draft: bool,
    /// The branch it would change.
    pub base: String,
    /// Its labels; when a label was added, only that one.
    pub labels: Vec<String>,
    /// Its title. Outside input.
    pub title: String,
    /// When, by the platform's clock.
    pub at: Timestamp,
    /// Names this change for ever.
    pub key: String,
}

/// Where a pull request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrState {
    /// Open.
    Open,
    /// Merged.
    Merged,
    /// Closed without merging.
    Closed,
}

impl std::fmt::Display for PrState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Merged => "merged",
            Self::Closed => "closed",
        })
    }
}

/// A pull request as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrNow {
    /// Where it stands.
    pub state: PrState,
    /// Whether it is a draft.
    pub draft: bool,
    /// The newest of its commits.
    pub head: Sha,
    /// The branch it would change.
    pub base: String,
    /// Its labels.
    pub labels: Vec<String>,
}

impl PrChanged {
    /// What of this is still so; nothing, and why, if it was taken back or something else has come over it. Of the
    /// labels those that are still there. A head that has moved on since takes back nothing but a push: which commit is
    /// meant is another question.
    ///
    /// # Errors
    /// Says what is not so any more.
    pub fn as_it_stands(&self, now: &PrNow) -> Result<Self, String> {
        let (pr, gone) = (&self.pr, |label: &&String| !now.labels.contains(label));
        if now.state != self.state {
            return Err(format!("{pr} is {} now, not {}", now.state, self.state));
        }
        if now.draft && !self.draft {
            return Err(format!("{pr} is a draft now"));
        }
        if now.base != self.base {
            return Err(format!("{pr} goes to another branch now"));
        }
        match self.change {
            PrChange::Pushed if now.head != self.head => Err(format!("{pr} has another head now")),
            PrChange::Labeled if self.labels.iter().any(|label| gone(&label)) => {
                Err(format!("{pr} does not have that label any more"))
            }
            _ => Ok(Self {
                labels: self.labels.iter().filter(|label| !gone(label)).cloned().collect(),
                ..self.clone()
            }),
        }
    }
}

/// What happened to a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PrChange {
    /// Opened.
    Opened,
    /// Opened again after it was closed. What was pushed to its branch meanwhile nothing told of.
    Reopened,
    /// New commits.
    Pushed,
    /// A label was added.
    Labeled,
    /// Closed and merged.
    Merged,
    /// Closed without merging.
    Closed,
}

impl PrChange {
    /// Whether the head is new with it, and is that of whoever did it.
    pub fn brings_head(self) -> bool {
        matches!(self, Self::Opened | Self::Pushed)
    }

    /// Whether who waits for this waits for that: what is opened again is opened.
    pub fn means(self, happened: Self) -> bool {
        self == happened || (self, happened) == (Self::Opened, Self::Reopened)
    }
}

/// A commit's checks, workflows or statuses changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The repository.
    pub repo: Repo,
    /// The commit it is about.
    pub head: Sha,
}
