//! How GitHub's threads and messages are written: `owner/name#12` is a pull request's conversation,
//! `owner/name#12/r345` the review thread that began with comment 345; `issue_comment/678` and
//! `review_comment/678` are messages in them.

use crate::adapters::CallError;
use crate::adapters::http::permanent;
use crate::domain::ids::{Platform, PrRef, Repo, ThreadRef};
use crate::domain::run::FailureClass;
use crate::domain::signal::MessageRef;

/// A thread on a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pr: PrRef,
    /// The comment that a review thread began with; absent for the conversation.
    pub(super) root: Option<u64>,
}

/// The two kinds of comments, which live under different addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Issue,
    Review,
}

/// One comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) repo: Repo,
    pub(super) kind: Kind,
    pub(super) id: u64,
}

/// `github`.
pub(super) fn platform() -> Platform {
    match super::PLATFORM.parse() {
        Ok(platform) => platform,
        Err(_) => unreachable!("`github` is a platform's name"),
    }
}

impl Place {
    pub(super) fn of(pr: PrRef) -> Self {
        Self { pr, root: None }
    }

    pub(super) fn thread(&self) -> ThreadRef {
        let place = match self.root {
            None => self.pr.to_string(),
            Some(root) => format!("{}/r{root}", self.pr),
        };
        ThreadRef {
            platform: platform(),
            place,
        }
    }

    pub(super) fn parse(thread: &ThreadRef) -> Result<Self, CallError> {
        Self::read(&thread.place)
            .filter(|_| thread.platform == platform())
            .ok_or_else(|| permanent(format!("`{thread}` is no thread on GitHub"), FailureClass::User))
    }

    fn read(place: &str) -> Option<Self> {
        let (repo, rest) = place.split_once('#')?;
        let (number, root) = match rest.split_once("/r") {
            None => (rest, None),
            Some((number, root)) => (number, Some(whole(root)?)),
        };
        let pr = PrRef {
            repo: repo.parse().ok()?,
            number: whole(number)?,
        };
        Some(Self { pr, root })
    }

    pub(super) fn message(&self, id: u64) -> MessageRef {
        let kind = if self.root.is_some() { Kind::Review } else { Kind::Issue };
        MessageRef {
            thread: self.thread(),
            id: format!("{}/{id}", kind.word()),
        }
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Issue => "issue_comment",
            Self::Review => "review_comment",
        }
    }
}

impl Comment {
    pub(super) fn parse(message: &MessageRef) -> Result<Self, CallError> {
        let repo = Place::parse(&message.thread)?.pr.repo;
        let read = || {
            let (word, id) = message.id.split_once('/')?;
            let kind = [Kind::Issue, Kind::Review].into_iter().find(|k| k.word() == word)?;
            Some((kind, whole(id)?))
        };
        let (kind, id) =
            read().ok_or_else(|| permanent(format!("`{}` is no comment on GitHub", message.id), FailureClass::User))?;
        Ok(Self { repo, kind, id })
    }

    /// Where the API has it.
    pub(super) fn target(&self) -> String {
        let list = match self.kind {
            Kind::Issue => "issues",
            Kind::Review => "pulls",
        };
        format!("/repos/{}/{list}/comments/{}", self.repo, self.id)
    }
}

/// A positive number in its one canonical form, so that a place has one notation only.
fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|n: &u64| *n > 0 && n.to_string() == text)
}
