//! Merging exactly the commit that a step recorded. GitHub is told the commit and checks it itself, so a push
//! between looking and merging is caught.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Github;
use super::client::{Verb, undocumented};
use super::pull::{Pull, Standing, failed, head_moved};
use super::threads::Author;
use super::token::{Need, Scope};
use crate::adapters::CallError;
use crate::domain::effect::{MergeIntent, Outcome};
use crate::domain::ids::{PrRef, Sha};
use crate::domain::pipeline::MergeMethod;

impl Github {
    pub(super) async fn merge_pull(&self, intent: &MergeIntent) -> Result<Outcome, CallError> {
        let pull = self.pull(&intent.pr).await?;
        let outcome = self.merge_open(intent, &pull).await?;
        if self.delete_merged_branches && matches!(outcome, Outcome::Merged { .. }) {
            self.delete_branch(intent, &pull).await;
        }
        Ok(outcome)
    }

    async fn merge_open(&self, intent: &MergeIntent, pull: &Pull) -> Result<Outcome, CallError> {
        if let Some(outcome) = settled(intent, pull)? {
            return Ok(outcome);
        }
        if pull.mergeable == Some(false) {
            return self.conflicts(intent).await;
        }
        match intent.method {
            None => Ok(Outcome::MergeWaits {
                why: format!("waiting for people to merge #{}", intent.pr.number),
            }),
            Some(method) => self.press_merge(intent, pull, method).await,
        }
    }

    async fn press_merge(&self, intent: &MergeIntent, pull: &Pull, method: MergeMethod) -> Result<Outcome, CallError> {
        #[derive(Deserialize)]
        struct Done {
            merged: bool,
            sha: Sha,
        }
        let pr = &intent.pr;
        let target = format!("/repos/{}/pulls/{}/merge", pr.repo, pr.number);
        let mut body = json!({ "sha": intent.head, "merge_method": word(method) });
        // Rebased commits keep their own titles.
        if method != MergeMethod::Rebase {
            body["commit_title"] = format!("{} (#{})", pull.title, pr.number).into();
        }
        let reply = self
            .client
            .call(
                Scope::Repo(&pr.repo, Need::WriteContents),
                Verb::Put,
                &target,
                Some(&body),
            )
            .await?;
        match reply.status {
            // Reviews and checks may still come; a method that the repository forbids will not work by waiting.
            405 if reply.message().contains("not allowed on this repository") => Ok(failed(format!(
                "{} (#{}; the pipeline's merge method is `{}`)",
                reply.message(),
                pr.number,
                word(method)
            ))),
            405 => Ok(Outcome::MergeWaits { why: reply.message() }),
            409 | 422 => {
                let waits = reply.status == 409;
                // Most often the head moved or somebody merged at the same moment; the pull request tells.
                let now = self.pull(pr).await?;
                Ok(match settled(intent, &now)? {
                    Some(outcome) => outcome,
                    None if now.mergeable == Some(false) => self.conflicts(intent).await?,
                    // The base branch moved while GitHub was merging, or it does not know yet.
                    None if waits => Outcome::MergeWaits { why: reply.message() },
                    None => failed(reply.describe()),
                })
            }
            _ => {
                let done: Done = reply.json()?;
                if done.merged {
                    Ok(Outcome::Merged { commit: done.sha })
                } else {
                    Err(undocumented(&format!("PUT {target}"), "200 without having merged"))
                }
            }
        }
    }

    /// A step's branch is of no use once it is merged. GitHub itself compares where it is, so what people have pushed
    /// since stays. That it could not be deleted keeps nothing from going on.
    async fn delete_branch(&self, intent: &MergeIntent, pull: &Pull) {
        const MUTATION: &str = "mutation($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }";
        let repo = &intent.pr.repo;
        let branch = &pull.head.r#ref;
        if !pull.comes_from(repo, branch) {
            return;
        }
        let update = json!({
            "name": format!("refs/heads/{branch}"),
            "beforeOid": intent.head,
            "afterOid": "0".repeat(intent.head.as_str().len()),
        });
        let input = json!({ "repositoryId": pull.repository_node(), "refUpdates": [update] });
        let scope = Scope::Repo(repo, Need::WriteContents);
        let variables = json!({ "input": input });
        for again in [true, false] {
            match self.client.graphql(scope, MUTATION, variables.clone()).await {
                Ok(_) => return,
                // To ask twice deletes nothing twice: the second time it is not there.
                Err(CallError::Retry { .. }) if again => {}
                Err(error) => {
                    tracing::info!(%repo, branch, %error, "a merged branch stays");
                    return;
                }
            }
        }
    }
}

impl Github {
    async fn conflicts(&self, intent: &MergeIntent) -> Result<Outcome, CallError> {
        Ok(Outcome::MergeConflicts {
            pr: intent.pr.clone(),
            people: self.people_on(&intent.pr).await?,
        })
    }

    /// What people did with a pull request of stepherd's that is at stepherd's own commit: reviews, and comments on its
    /// lines. Programs that review everything are no people.
    pub(super) async fn people_on(&self, pr: &PrRef) -> Result<Option<String>, CallError> {
        #[derive(Deserialize)]
        struct Item {
            /// Absent once the account was deleted.
            user: Option<Author>,
        }
        for (what, did) in [("reviews", "reviewed it"), ("comments", "commented on its lines")] {
            let list = format!("/repos/{}/pulls/{}/{what}", pr.repo, pr.number);
            let mut authors: Vec<Option<Author>> = Vec::new();
            let collect = |page: Vec<Value>| {
                for item in page {
                    let item: Item = serde_json::from_value(item).map_err(|e| undocumented(&list, &e.to_string()))?;
                    authors.push(item.user);
                }
                Ok(None::<()>)
            };
            let scope = Scope::Repo(&pr.repo, Need::ReadPulls);
            self.client.find(scope, &list, collect).await?;
            for author in authors {
                let Some(author) = author else {
                    return Ok(Some(format!("somebody whose account is gone {did}")));
                };
                if author.r#type != "Bot" && !self.is_own(&author).await? {
                    return Ok(Some(format!("{} {did}", author.login)));
                }
            }
        }
        Ok(None)
    }
}

/// What can be said without merging; `None` if it is open at the recorded head.
fn settled(intent: &MergeIntent, pull: &Pull) -> Result<Option<Outcome>, CallError> {
    let moved = || Some(failed(head_moved(intent.pr.number, &intent.head, &pull.head.sha)));
    Ok(match pull.standing()? {
        Standing::Closed => Some(Outcome::ChangeClosed { pr: intent.pr.clone() }),
        _ if pull.head.sha != intent.head => moved(),
        standing => match (pull.strays(), standing) {
            (Some(reason), _) => Some(failed(reason)),
            (None, Standing::Merged(commit)) => Some(Outcome::Merged { commit }),
            (None, _) => None,
        },
    })
}

fn word(method: MergeMethod) -> &'static str {
    match method {
        MergeMethod::Merge => "merge",
        MergeMethod::Squash => "squash",
        MergeMethod::Rebase => "rebase",
    }
}
