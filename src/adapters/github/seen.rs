//! Pull requests as a start sees them: whose commits they bring, and what was pushed when.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Github;
use super::client::{Reply, undocumented};
use super::token::{Need, Scope};
use crate::adapters::http::permanent;
use crate::adapters::{CallError, PrSeen};
use crate::domain::decide::HeadThen;
use crate::domain::ids::{PrRef, Repo, Sha};
use crate::domain::run::FailureClass;
use crate::domain::signal::{PrNow, PrState};

/// The most that GitHub puts on a page. Whoever pushed more often than this since the command was given is asked which
/// commit was meant.
const PUSHES_MAX: usize = 100;
/// GitHub lists no more commits of a pull request than this (GitHub docs, "List commits on a pull request").
const COMMITS_LISTED_MAX: usize = 250;

impl Github {
    pub(super) async fn see_pull(&self, pr: &PrRef) -> Result<PrSeen, CallError> {
        #[derive(Deserialize)]
        struct Pull {
            state: String,
            merged: bool,
            /// Absent where drafts are not known.
            #[serde(default)]
            draft: bool,
            labels: Vec<Label>,
            head: Head,
            base: Base,
        }
        #[derive(Deserialize)]
        struct Label {
            name: String,
        }
        #[derive(Deserialize)]
        struct Head {
            r#ref: String,
            sha: Sha,
            /// Absent once the fork was deleted.
            repo: Option<Named>,
        }
        #[derive(Deserialize)]
        struct Base {
            r#ref: String,
            repo: Named,
        }
        #[derive(Deserialize)]
        struct Named {
            full_name: Repo,
        }
        let target = format!("/repos/{}/pulls/{}", pr.repo, pr.number);
        let scope = Scope::Repo(&pr.repo, Need::ReadPulls);
        let pull: Pull = self.client.get(scope, &target).await.and_then(Reply::json)?;
        let state = match (pull.state.as_str(), pull.merged) {
            ("open", false) => PrState::Open,
            ("closed", true) => PrState::Merged,
            ("closed", false) => PrState::Closed,
            (other, merged) => {
                return Err(undocumented(
                    &target,
                    &format!("its state is `{other}`, merged: {merged}"),
                ));
            }
        };
        Ok(PrSeen {
            pr: PrRef {
                repo: pull.base.repo.full_name,
                number: pr.number,
            },
            head_repo: pull.head.repo.map(|repo| repo.full_name),
            branch: pull.head.r#ref,
            now: PrNow {
                state,
                draft: pull.draft,
                head: pull.head.sha,
                base: pull.base.r#ref,
                labels: pull.labels.into_iter().map(|label| label.name).collect(),
            },
        })
    }

    /// By the pull request's own list: a commit of any fork can be read through the repository it was forked from.
    pub(super) async fn pull_has(&self, pr: &PrRef, commit: &Sha) -> Result<bool, CallError> {
        #[derive(Deserialize)]
        struct Listed {
            sha: Sha,
        }
        let list = format!("/repos/{}/pulls/{}/commits", pr.repo, pr.number);
        let mut told = 0;
        let search = |page: Vec<Value>| {
            told += page.len();
            for item in page {
                let listed: Listed = serde_json::from_value(item).map_err(|e| undocumented(&list, &e.to_string()))?;
                if listed.sha == *commit {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        };
        let scope = Scope::Repo(&pr.repo, Need::ReadPulls);
        if self.client.find(scope, &list, search).await?.is_some() {
            return Ok(true);
        }
        if told >= COMMITS_LISTED_MAX {
            let why = format!(
                "GitHub lists no more than {COMMITS_LISTED_MAX} commits of a pull request, and {} is not among them, so \
                 that stepherd cannot tell whether it belongs there. Say it again with the newest commit, the head.",
                commit.short()
            );
            return Err(permanent(why, FailureClass::User));
        }
        Ok(false)
    }

    /// By the repository's list of activities, which Enterprise Server has only lately, and whose older branches it knows
    /// nothing of. A list that is there and does not lead to the head as it was seen is not as good as none.
    pub(super) async fn head_then(&self, seen: &PrSeen, at: Timestamp) -> Result<HeadThen, CallError> {
        #[derive(Deserialize)]
        struct Activity {
            after: Sha,
            timestamp: Timestamp,
        }
        let Some(repo) = &seen.head_repo else {
            return Ok(HeadThen::NoRecord);
        };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("ref", &format!("refs/heads/{}", seen.branch))
            .append_pair("per_page", &PUSHES_MAX.to_string())
            .finish();
        let target = format!("/repos/{repo}/activity?{query}");
        let reply = match self.client.get(Scope::Repo(repo, Need::ReadContents), &target).await {
            Ok(reply) if reply.is_success() => reply,
            // Not there, or not for stepherd.
            Ok(_) | Err(CallError::Permanent { .. }) => return Ok(HeadThen::NoRecord),
            Err(error) => return Err(error),
        };
        let Ok(newest_first) = reply.json::<Vec<Activity>>() else {
            return Ok(HeadThen::Unclear);
        };
        match newest_first.first() {
            None => return Ok(HeadThen::NoRecord),
            // It has not caught up yet, or the branch has moved on since it was seen.
            Some(last) if last.after != seen.now.head => return Ok(HeadThen::Behind),
            Some(_) => {}
        }
        let then = newest_first.into_iter().find(|activity| activity.timestamp <= at);
        Ok(then.map_or(HeadThen::Unclear, |activity| HeadThen::Commit(activity.after)))
    }
}
