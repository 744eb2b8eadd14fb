//! THE HANDS: one folder per outside system, behind the few ports below.
//!
//! An adapter turns a vendor's wire format into domain types and back. It never decides: what to do with a
//! signal, an outcome or an observation is the domain's business. It never touches the store, and it never reads
//! the clock: callers pass `now`.

pub mod again;
pub mod argocd;
pub mod dcr;
pub mod discord;
pub mod github;
pub mod http;
pub mod jira;
pub mod json;
pub mod mask;
pub mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::decide::HeadThen;
use crate::domain::doc::Doc;
use crate::domain::effect::{ChangeIntent, JobIntent, MergeIntent, MoveIntent, Outcome};
use crate::domain::ids::{BackendName, Platform, PrRef, Repo, Sha, ThreadRef};
use crate::domain::places::Within;
use crate::domain::policy::{Grant, Lookup};
use crate::domain::run::{CheckTarget, FailureClass, Observation};
pub use crate::domain::signal::Proof;
use crate::domain::signal::{Account, Actor, MessageRef, ReplyHandle, Said, Signal, TicketMoved};

/// A request as it came in. Nothing in it is believed before `Door::verify` said so.
#[derive(Clone)]
pub struct RawRequest {
    /// `POST`.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Headers, names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl RawRequest {
    /// The header's value; `None` if absent, not text or sent twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        values.next().filter(|_| values.next().is_none())
    }
}

/// A request that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The platform's id for this delivery, the same when it is delivered again.
    pub delivery_id: String,
    /// What kind of event the platform says it is, for lists: `issue_comment.created`.
    pub kind: String,
    /// How it proved itself. It is stored with the delivery, and reading goes by it.
    pub proof: Proof,
    /// What to answer.
    pub answer: DoorAnswer,
    /// How soon after the request began to come in the answer must be on its way: later the platform has told people
    /// that nothing happened, and nothing may.
    pub answer_within: Option<Duration>,
}

/// What a door answers once the delivery is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorAnswer {
    /// 202, empty.
    Accepted,
    /// 200 with this JSON; the delivery is stored first.
    Json(String),
    /// 200 with this JSON; nothing to store (Discord's PING).
    JsonOnly(String),
    /// 200 with suggestions for a half-typed argument; nothing to store.
    Suggest(Box<HalfTyped>),
}

/// A structured command that somebody is still typing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfTyped {
    /// Who types it.
    pub actor: Actor,
    /// Where.
    pub thread: ThreadRef,
    /// Where that thread lies.
    pub within: Within,
    /// Command name without the slash; not yet known to exist.
    pub command: String,
    /// Verb; not yet known to exist.
    pub verb: String,
    /// The argument being typed.
    pub arg: String,
    /// What stands there so far.
    pub typed: String,
}

/// Why a request is turned away before anything else is done with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// It did not prove itself: 401. The text says which proof was missing or wrong, never what was expected.
    #[error("{0}")]
    Forged(String),
    /// It proved itself but cannot even be stored as a delivery (no delivery id): 400.
    #[error("{0}")]
    Malformed(String),
    /// Its content type is not one this door takes: 415.
    #[error("{0}")]
    UnsupportedType(String),
}

/// A verified delivery that makes no sense: it is parked, listed and can be replayed after an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Where a platform's deliveries come in.
pub trait Door: Send + Sync {
    /// Judges what a request's head alone can show; the body is not there yet. A request that offers no proof, or one
    /// that fails whatever the body may be, is turned away here, so that nobody can make stepherd read a body without
    /// at least claiming to have signed it. Passing proves nothing: `verify` decides.
    fn check_head(&self, head: &RawRequest, now: Timestamp) -> Result<(), TurnedAway>;
    /// Proves the request by its raw bytes. No parsing beyond what the proof itself needs, no look-ups, no calls.
    fn verify(&self, request: &RawRequest, now: Timestamp) -> Result<Verified, TurnedAway>;
    /// What a verified delivery has to stay in order with, of all that its body tells of: what happens in one thread is
    /// dealt with in the order of arrival. `None` if nothing depends on its place among others.
    fn thread(&self, request: &RawRequest) -> Option<String>;
    /// Reads what a stored, verified delivery means. Called later, possibly several times. What its proof does not
    /// cover is not believed.
    fn read(&self, request: &RawRequest, proof: Proof, received_at: Timestamp) -> Result<Vec<Signal>, Unreadable>;
    /// The headers that `read` needs, names in lower case. No others are stored: they may hold credentials.
    fn kept_headers(&self) -> &'static [&'static str];
    /// The answer to `DoorAnswer::Suggest`: values with labels, best first.
    fn suggestions(&self, choices: &[(String, String)]) -> String {
        let _ = choices;
        String::new()
    }
}

/// Why a call to the outside did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It may work later: 429, secondary limits, 5xx, time-outs, cut connections, and 401: a credential of stepherd's own
    /// that is refused says nothing about what was asked. The call may have taken effect.
    #[error("{why}")]
    Retry {
        /// What happened, without secrets.
        why: String,
        /// The least time to wait, if the vendor said.
        after: Option<Duration>,
        /// What kind of failure it is if it never works.
        class: FailureClass,
    },
    /// It will not work by itself.
    #[error("{why}")]
    Permanent {
        /// What happened, without secrets.
        why: String,
        /// What kind of failure.
        class: FailureClass,
    },
}

/// Repositories and pull requests.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Whose limits calls count against.
    fn platform(&self) -> Platform;
    /// A file of the default branch; `None` if absent.
    async fn read_file(&self, repo: &Repo, path: &str) -> Result<Option<String>, CallError>;
    /// Makes the change and its pull request, or finds them. Outcomes: `ChangeOpened`, `ChangeAlreadyMerged`,
    /// `ChangeUnneeded`, `ChangeClosed`, `Failed`.
    async fn change(&self, intent: &ChangeIntent) -> Result<Outcome, CallError>;
    /// Looks whether the change was made, by its branch, and makes nothing that lasts. Outcomes: those of `change`, and
    /// `NotDone` if there is no pull request.
    async fn find_change(&self, intent: &ChangeIntent) -> Result<Outcome, CallError>;
    /// Merges or looks. Outcomes: `Merged`, `MergeWaits`, `MergeConflicts`, `ChangeClosed`, `Failed`. What must not take
    /// up by itself what is merged has been looked at by then.
    async fn merge(&self, intent: &MergeIntent) -> Result<Outcome, CallError>;
    /// Whether what comes from forks may be started.
    fn takes_forks(&self) -> bool {
        false
    }
    /// The pull request as it is now.
    async fn pull_request(&self, pr: &PrRef) -> Result<PrSeen, CallError>;
    /// Whether this is one of the pull request's own commits. That it can be read from the repository proves nothing:
    /// forks share their commits with it.
    async fn has_commit(&self, pr: &PrRef, commit: &Sha) -> Result<bool, CallError>;
    /// Where the pull request's branch stood at that time, by the forge's own record of pushes.
    async fn head_at(&self, seen: &PrSeen, at: Timestamp) -> Result<HeadThen, CallError>;
    /// Makes the commit's check show this.
    async fn check(&self, target: &CheckTarget, show: &CheckShow) -> Result<(), CallError>;
}

/// A pull request as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrSeen {
    /// Which one, by the name that its repository has now.
    pub pr: PrRef,
    /// The repository that its commits come from: another one for forks, none once that was deleted.
    pub head_repo: Option<Repo>,
    /// The branch there.
    pub branch: String,
    /// The newest of its commits.
    pub head: Sha,
}

/// What a check shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckShow {
    /// The check's name: `stepherd/dcr`.
    pub name: String,
    /// Names the run for ever; a check made before is found by it.
    pub external_id: String,
    /// Its state.
    pub state: CheckState,
    /// One line.
    pub title: String,
    /// The card.
    pub doc: Doc,
    /// Where "Details" leads.
    pub url: Option<String>,
}

/// The state of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// Not begun.
    Queued,
    /// Under way.
    InProgress,
    /// Ended well.
    Success,
    /// Ended badly.
    Failure,
    /// Canceled.
    Canceled,
}

/// What a tracker's own record says about a move that was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveSeen {
    /// It stands. This is the move as the tracker has it; nothing else is obeyed.
    Stands(Box<TicketMoved>),
    /// It does not, or not any more: why, for lists.
    Not(String),
    /// The tracker's record does not have it, or not all of it: why, for lists. A move of a moment ago may still come.
    Absent(String),
}

/// What a platform's own record says about something that was said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WordSeen {
    /// It stands.
    Stands(WordStands),
    /// It does not, or not any more: why, for lists.
    Not(String),
    /// The platform does not show it: why, for lists. It may be deleted, and what is a moment old may still come, because
    /// not all of a platform's servers know of it at once.
    Absent(String),
}

/// A word that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordStands {
    /// When it was written, by the platform's record.
    pub at: Timestamp,
    /// What the platform's clock said when it was looked at, to the second, if the answer told.
    pub clock: Option<Timestamp>,
    /// The thread it stands in.
    pub thread: ThreadRef,
    /// What that is within, as `Said` has it.
    pub within: Vec<String>,
}

/// Tickets.
#[async_trait]
pub trait Tracker: Send + Sync {
    /// Whose limits calls count against.
    fn platform(&self) -> Platform;
    /// Moves the ticket by whichever transition leads there now, or finds it moved. Outcomes: `TicketMoved`, `Failed`.
    async fn move_ticket(&self, intent: &MoveIntent) -> Result<Outcome, CallError>;
    /// Whether the ticket is where it was to be moved. Moves nothing.
    async fn is_moved(&self, intent: &MoveIntent) -> Result<bool, CallError>;
    /// Looks whether a move that was told of is the ticket's newest one, by whom it was said to be, and whether the
    /// ticket is still where it led. A move that names no change is the newest one to that status; then whoever told
    /// of it remains the actor. Not to know is an error.
    async fn move_stands(&self, told: &TicketMoved) -> Result<MoveSeen, CallError>;
}

/// Names a message of ours for ever: run and purpose. Adapters hide it in the message (or use it as the nonce), so
/// that after a crash or an unclear time-out the message is found instead of posted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker(pub String);

/// A message that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The message.
    pub message: MessageRef,
    /// A thread that was opened with it, where the platform opens one; later messages of the run go there.
    pub opened: Option<ThreadRef>,
}

/// What became of a direct answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    /// It was given.
    Answered,
    /// The platform does not know the right to it: it learns of it with the door's answer, which may still be on its
    /// way, or never got through.
    NotKnown,
    /// The right has lapsed.
    Lapsed,
}

/// Messages in threads.
#[async_trait]
pub trait Threads: Send + Sync {
    /// Posts a message, or finds it by its marker where `maybe_there` says an earlier try may have got through.
    /// `title` names a thread that is opened with the message, for platforms that do so; only for cards.
    async fn post(
        &self,
        thread: &ThreadRef,
        marker: &Marker,
        doc: &Doc,
        title: Option<&str>,
        maybe_there: bool,
    ) -> Result<Posted, CallError>;
    /// Makes the message show this. `false` if the message is gone (deleted by people).
    async fn edit(&self, message: &MessageRef, marker: &Marker, doc: &Doc) -> Result<bool, CallError>;
    /// Takes this message of ours back if another one of ours with its marker stands in the thread; whether it did. For
    /// whoever posted so late that somebody else may have taken over.
    async fn withdraw_second(&self, message: &MessageRef, marker: &Marker) -> Result<bool, CallError>;
    /// Uses a platform's short-lived right to answer directly.
    async fn answer(&self, handle: &ReplyHandle, doc: &Doc) -> Result<Direct, CallError> {
        let _ = (handle, doc);
        Ok(Direct::Lapsed)
    }
    /// Shows that the message was accepted. Platforms without reactions do nothing.
    async fn acknowledge(&self, message: &MessageRef) -> Result<(), CallError> {
        let _ = message;
        Ok(())
    }
    /// Asks the platform who stepherd is there, which also tells whether it takes the credentials. Platforms where
    /// nobody has to know need not ask.
    async fn know_self(&self) -> Result<(), CallError> {
        Ok(())
    }
    /// Whether this is the account that stepherd acts with there. Nobody is obeyed before that is known, or stepherd
    /// might obey itself. Platforms where it cannot be taken for a person need not answer.
    async fn is_own(&self, account: &Account) -> Result<bool, CallError> {
        let _ = account;
        Ok(false)
    }
    /// Looks whether the message still says what it said, unedited, by the same author. Not to know is an error.
    async fn still_stands(&self, said: &Said) -> Result<WordSeen, CallError>;
    /// Whether the account has the right that is asked about.
    ///
    /// # Errors
    /// `Retry` if the platform answers later (a limit, a 5xx, a time-out): nobody is refused for that. `Permanent` if
    /// it cannot tell, which counts as no.
    async fn answer_lookup(&self, lookup: &Lookup) -> Result<bool, CallError>;
    /// The accounts that the platform lists as having this grant, as far as it does. Nobody gets a right from it: it only
    /// tells who need not wait behind strangers.
    ///
    /// # Errors
    /// As for `answer_lookup`.
    async fn listed(&self, grant: &Grant) -> Result<Vec<Account>, CallError> {
        let _ = grant;
        Ok(Vec::new())
    }
}

/// Where `Work` runs.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Starts the job unless one with its marker is there. Outcomes: `JobStarted`, `JobWaits`, `Failed`.
    async fn start(&self, intent: &JobIntent) -> Result<Outcome, CallError>;
    /// Whether a job that this asked for is there or was, as far as the back-end remembers. Starts nothing.
    async fn find(&self, intent: &JobIntent) -> Result<bool, CallError>;
    /// Looks. `started` says whether stepherd started the job (with `intent.marker`) or only watches. Where
    /// it did, the end of anything else is no end: then nothing of this run is there, which is `Pending`.
    async fn observe(&self, intent: &JobIntent, started: bool) -> Result<Observation, CallError>;
    /// Asks the job to end if it runs. Outcomes: `JobCanceled`, `Failed`.
    async fn cancel(&self, intent: &JobIntent) -> Result<Outcome, CallError>;
    /// Looks at a job that stepherd started and told to end: as `observe`, but where nothing of it runs any more although
    /// what it was for has not come about, that is `Pending`.
    async fn observe_end(&self, intent: &JobIntent) -> Result<Observation, CallError> {
        self.observe(intent, true).await
    }
    /// Whether the application that this names takes up what is merged only when somebody asks for it. Not to know is an
    /// error.
    async fn deferral(&self, with: &BTreeMap<String, String>) -> Result<Deferral, CallError> {
        let _ = with;
        Err(http::permanent(
            "this back-end has no applications that wait to be synced".to_owned(),
            FailureClass::User,
        ))
    }
}

/// Whether an application takes up by itself what is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferral {
    /// Only when somebody asks for it.
    OnRequest,
    /// By itself: why, in words that go on from "nothing was merged, because".
    ByItself(String),
}

/// Something that no webhook told, or told in vain, in the shape that a delivery of it has: the platform's door reads
/// it as if it had come in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedDelivery {
    /// What it is, for counting: `comment`, `transition`.
    pub what: &'static str,
    /// Names it for ever, so that it is put down once.
    pub delivery_id: String,
    /// What kind of event the platform's webhook would have been.
    pub kind: String,
    /// The headers that reading needs, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a look for missed things came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// All that happened in the time looked at, oldest first; much of it may have been told by webhooks too.
    pub deliveries: Vec<MissedDelivery>,
    /// How many failed deliveries the platform was asked to deliver again. They come in at the door.
    pub redelivered: usize,
    /// Up to when all that happened was found; before `now` if there is more to look at.
    pub seen_to: Timestamp,
    /// What could not be looked at now. What was found counts all the same, but `seen_to` stands still.
    pub trouble: Option<CallError>,
}

/// Whose repositories are known to be ours: the owners that configuration and runs name. On some platforms anybody may
/// have stepherd look at what is theirs, and as much of it as they like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours(BTreeSet<String>);

impl Ours {
    /// The owner of this repository is one of us.
    pub fn add(&mut self, repo: &Repo) {
        self.add_owner(repo.owner());
    }

    /// This owner of repositories is one of us.
    pub fn add_owner(&mut self, owner: &str) {
        self.0.insert(owner.to_ascii_lowercase());
    }

    /// Whether this owner is one of us. Where nobody is known to be, everybody may be.
    pub fn is_one(&self, owner: &str) -> bool {
        self.0.is_empty() || self.0.contains(&owner.to_ascii_lowercase())
    }
}

/// What happened while nobody listened.
#[async_trait]
pub trait Catchup: Send + Sync {
    /// Where it looks.
    fn platform(&self) -> Platform;
    /// Looks for what happened since then, and has failed deliveries delivered again. Where strangers can have it look
    /// at what is theirs, it looks at what is ours only.
    async fn missed(&self, ours: &Ours, since: Timestamp, now: Timestamp) -> Missed;
}

/// Every adapter that is switched on, by what it is asked for. Built by `wiring`, nowhere else.
#[derive(Clone, Default)]
pub struct Hands {
    /// Doors by the last part of their path: `/webhooks/{platform}`.
    pub doors: BTreeMap<Platform, Arc<dyn Door>>,
    /// The forge.
    pub forge: Option<Arc<dyn Forge>>,
    /// The tracker.
    pub tracker: Option<Arc<dyn Tracker>>,
    /// Threads by platform.
    pub threads: BTreeMap<Platform, Arc<dyn Threads>>,
    /// Back-ends by name.
    pub backends: BTreeMap<BackendName, Arc<dyn Backend>>,
    /// Looks for what was missed, by platform.
    pub catchups: BTreeMap<Platform, Arc<dyn Catchup>>,
    /// Platforms and back-ends that are off, and why.
    pub off: BTreeMap<String, String>,
}
