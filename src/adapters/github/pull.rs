//! Pull requests as the API has them.

use serde::Deserialize;

use super::Github;
use super::client::{Reply, undocumented};
use super::place::Place;
use super::token::{Need, Scope};
use crate::adapters::CallError;
use crate::domain::effect::Outcome;
use crate::domain::ids::{PrRef, Repo, Sha};
use crate::domain::run::{FailureClass, OpenedPr};

/// A pull request; the fields that single ones and listed ones have in common, and `merged`, which lists lack.
#[derive(Debug, Deserialize)]
pub(super) struct Pull {
    pub(super) number: u64,
    #[serde(default)]
    pub(super) title: String,
    state: String,
    #[serde(default)]
    merged: bool,
    #[serde(default)]
    merged_at: Option<String>,
    #[serde(default)]
    merge_commit_sha: Option<Sha>,
    /// Whether it fits the base branch without conflict. Absent while GitHub does not know, and in lists.
    #[serde(default)]
    pub(super) mergeable: Option<bool>,
    pub(super) head: Head,
    base: Base,
    #[serde(default)]
    html_url: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub(super) r#ref: String,
    pub(super) sha: Sha,
    /// Absent once a fork was deleted.
    repo: Option<HeadRepo>,
}

#[derive(Debug, Deserialize)]
struct HeadRepo {
    full_name: String,
}

#[derive(Debug, Deserialize)]
struct Base {
    r#ref: String,
    repo: BaseRepo,
}

#[derive(Debug, Deserialize)]
struct BaseRepo {
    default_branch: String,
    /// Its name in GraphQL.
    #[serde(default)]
    node_id: String,
}

/// Where a pull request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    Merged(Sha),
    Closed,
}

impl Pull {
    /// # Errors
    /// When GitHub contradicts itself or says something new.
    pub(super) fn standing(&self) -> Result<Standing, CallError> {
        let call = format!("pull request #{}", self.number);
        if self.merged || self.merged_at.is_some() {
            let commit = self.merge_commit_sha.clone();
            return commit
                .map(Standing::Merged)
                .ok_or_else(|| undocumented(&call, "it is merged and has no merge commit"));
        }
        match self.state.as_str() {
            "open" => Ok(Standing::Open),
            "closed" => Ok(Standing::Closed),
            other => Err(undocumented(&call, &format!("its state is `{other}`"))),
        }
    }

    /// Why it must not count, if people have pointed it at another branch: stepherd's always go to the default one.
    pub(super) fn strays(&self) -> Option<String> {
        let (base, default) = (&self.base.r#ref, &self.base.repo.default_branch);
        (base != default).then(|| {
            format!(
                "#{} goes to `{base}`, not to the default branch `{default}`; somebody changed its base",
                self.number
            )
        })
    }

    /// The name of its repository in GraphQL.
    pub(super) fn repository_node(&self) -> &str {
        &self.base.repo.node_id
    }

    /// Whether its commits come from this very repository and branch, not from a fork's branch of that name.
    pub(super) fn comes_from(&self, repo: &Repo, branch: &str) -> bool {
        let home = self.head.repo.as_ref();
        self.head.r#ref == branch && home.is_some_and(|r| r.full_name.eq_ignore_ascii_case(&repo.to_string()))
    }
}

impl Github {
    pub(super) async fn pull(&self, pr: &PrRef) -> Result<Pull, CallError> {
        let target = format!("/repos/{}/pulls/{}", pr.repo, pr.number);
        self.client
            .get(Scope::Repo(&pr.repo, Need::ReadPulls), &target)
            .await
            .and_then(Reply::json)
    }

    /// The pull request as a step records it.
    pub(super) fn opened(&self, repo: &Repo, pull: Pull) -> OpenedPr {
        let pr = PrRef {
            repo: repo.clone(),
            number: pull.number,
        };
        let url = match &self.web_url {
            Some(web) => format!("{web}/{repo}/pull/{}", pull.number),
            None => pull.html_url,
        };
        OpenedPr {
            thread: Place::of(pr.clone()).thread(),
            pr,
            branch: pull.head.r#ref,
            head: pull.head.sha,
            url,
            merged: None,
        }
    }
}

/// Someone else's commits on a branch of stepherd's.
pub(super) fn head_moved(number: u64, expected: &Sha, found: &Sha) -> String {
    format!("head of #{number} moved: expected {expected}, found {found}; someone pushed to stepherd's branch")
}

/// An outcome that people have to look at.
pub(super) fn failed(reason: String) -> Outcome {
    Outcome::Failed {
        reason,
        class: FailureClass::User,
    }
}
