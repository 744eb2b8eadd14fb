//! Comments that no webhook told: all of a repository's since a moment, in the shape of the webhook that each would
//! have been, so that the door reads both alike.
//!
//! The lists are GitHub's "List issue comments for a repository" and "List review comments in a repository". What a
//! comment means, and whether it counts, is not judged here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Github;
use super::client::undocumented;
use super::place::{Kind, platform};
use super::token::{Need, Scope};
use crate::adapters::{CallError, Catchup, Missed, MissedDelivery, Ours};
use crate::domain::ids::{Platform, PrRef, Repo};
use crate::domain::run::FailureClass;

/// So many repositories are looked through, those with the newest pushes first: two calls each, out of the five
/// thousand an hour that GitHub allows at least.
const REPOSITORIES_MAX: usize = 100;

/// Looks for what was missed on GitHub.
pub struct GithubCatchup {
    pub(super) github: Arc<Github>,
    /// The only repositories to look through; all that stepherd may see if empty.
    repositories: Vec<Repo>,
    /// How often which failed delivery was asked for again. Forgetting costs a few more tries.
    pub(super) asked: Mutex<BTreeMap<String, u32>>,
}

/// After so many repositories that could not be looked through it is GitHub that is in trouble, and the rest can wait.
const TROUBLES_MAX: usize = 3;

/// A repository as lists of them have it.
#[derive(Debug, Deserialize)]
struct Listed {
    full_name: String,
    #[serde(default)]
    pushed_at: Option<Timestamp>,
    #[serde(default)]
    archived: bool,
}

impl Listed {
    fn owner(&self) -> &str {
        self.full_name.split('/').next().unwrap_or_default()
    }
}

/// Where the app is installed.
#[derive(Debug, Deserialize)]
struct Installation {
    id: u64,
    account: Option<Account>,
    suspended_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(default)]
    login: String,
}

impl Installation {
    /// Whose repositories it is for. An enterprise has no login, and no repositories of its own either.
    fn login(&self) -> Option<&str> {
        let account = self.account.as_ref().filter(|account| !account.login.is_empty());
        account.map(|account| account.login.as_str())
    }
}

/// A comment and when it was made.
type Found = (Timestamp, MissedDelivery);

impl GithubCatchup {
    /// Looks through these repositories, or through all that stepherd may see if none are named.
    pub fn new(github: Arc<Github>, repositories: Vec<Repo>) -> Self {
        Self {
            github,
            repositories,
            asked: Mutex::default(),
        }
    }

    async fn repositories(&self, ours: &Ours, installations: Option<&[Installation]>) -> Result<Vec<Repo>, CallError> {
        if !self.repositories.is_empty() {
            return Ok(self.repositories.clone());
        }
        let mut listed = match installations {
            Some(installations) => self.installed_on(installations).await?,
            None => self.listed(Scope::Own, "/user/repos?sort=pushed").await?,
        };
        listed.retain(|repo| !repo.archived && ours.is_one(repo.owner()));
        listed.sort_by(|a, b| (b.pushed_at, &b.full_name).cmp(&(a.pushed_at, &a.full_name)));
        if listed.len() > REPOSITORIES_MAX {
            tracing::warn!(
                seen = listed.len(),
                looked_through = REPOSITORIES_MAX,
                "more repositories than are looked through for missed comments: name those that matter in \
                 github.repositories"
            );
            listed.truncate(REPOSITORIES_MAX);
        }
        let names = listed.iter().map(|repo| repo.full_name.parse());
        names
            .collect::<Result<_, _>>()
            .map_err(|e| undocumented("GET repositories", &format!("{e}")))
    }

    /// The app's installations on accounts of ours; `None` if stepherd is no app. Anybody may install one that is public,
    /// and would have their own repositories looked through instead of ours.
    async fn installations(&self, ours: &Ours) -> Result<Option<Vec<Installation>>, CallError> {
        if self.github.app_id.is_none() {
            return Ok(None);
        }
        let list = "/app/installations";
        let mut all: Vec<Installation> = Vec::new();
        let collect = |page| collect(list, page, &mut all);
        self.github.client.find(Scope::Own, list, collect).await?;
        let seen = all.len();
        all.retain(|installation| installation.login().is_none_or(|login| ours.is_one(login)));
        if all.len() < seen {
            tracing::info!(
                left_out = seen - all.len(),
                "installations on accounts that neither configuration nor any run names are not looked through for \
                 missed comments"
            );
        }
        Ok(Some(all))
    }

    /// The repositories of these installations. One that was suspended, or whose account is gone, does not keep the
    /// others from being looked through.
    async fn installed_on(&self, installations: &[Installation]) -> Result<Vec<Listed>, CallError> {
        let mut all = Vec::new();
        for installation in installations.iter().filter(|i| i.suspended_at.is_none()) {
            let Some(login) = installation.login() else {
                continue;
            };
            let scope = Scope::Installation(installation.id);
            match self.listed(scope, "/installation/repositories").await {
                Ok(listed) => all.extend(listed),
                Err(CallError::Permanent { why, .. }) => {
                    tracing::warn!(account = login, %why, "its repositories cannot be looked through for missed comments");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn listed(&self, scope: Scope<'_>, list: &str) -> Result<Vec<Listed>, CallError> {
        let mut listed = Vec::new();
        let collect = |page| collect(list, page, &mut listed);
        self.github.client.find(scope, list, collect).await?;
        Ok(listed)
    }

    /// The comments of one kind made in a repository since then.
    async fn comments(&self, repo: &Repo, kind: Kind, since: Timestamp) -> Result<Vec<Found>, CallError> {
        let path = match kind {
            Kind::Issue => "issues",
            Kind::Review => "pulls",
        };
        // Sorted by what never changes, so that no comment slips from one page to the one before.
        let list = format!("/repos/{repo}/{path}/comments?since={since}&sort=created&direction=asc");
        let mut found = Vec::new();
        let collect = |page: Vec<Value>| {
            for comment in page {
                found.extend(delivery(kind, comment, since).map_err(|why| undocumented(&list, &why))?);
            }
            Ok(None::<()>)
        };
        self.github
            .client
            .find(Scope::Repo(repo, Need::ReadPulls), &list, collect)
            .await?;
        Ok(found)
    }

    /// Everything said in a repository since then; what cannot be read by anybody is told and left out.
    async fn look_through(&self, repo: &Repo, since: Timestamp, found: &mut Vec<Found>) -> Result<(), CallError> {
        for kind in [Kind::Issue, Kind::Review] {
            match self.comments(repo, kind, since).await {
                Ok(comments) => found.extend(comments),
                Err(CallError::Permanent { why, .. }) => {
                    tracing::warn!(%repo, %why, "cannot be looked through for missed comments");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Catchup for GithubCatchup {
    fn platform(&self) -> Platform {
        platform()
    }

    async fn missed(&self, ours: &Ours, since: Timestamp, now: Timestamp) -> Missed {
        let mut ours = ours.clone();
        for repo in &self.repositories {
            ours.add(repo);
        }
        // GitHub tells whole seconds.
        let since_second = Timestamp::from_second(since.as_second()).unwrap_or(since);
        let mut missed = Missed {
            deliveries: Vec::new(),
            redelivered: 0,
            seen_to: now,
            trouble: None,
        };
        let installations = match self.installations(&ours).await {
            Ok(installations) => installations,
            Err(error) => {
                missed.trouble = Some(error);
                missed.seen_to = since;
                return missed;
            }
        };
        let installed: BTreeSet<u64> = installations.iter().flatten().map(|i| i.id).collect();
        let again = self.redeliver(since_second, &installed).await;
        missed.redelivered = again.asked;
        missed.trouble = again.trouble;
        if again.wait_for_it {
            // They come in order and with what happened around them: a comment on a push that stepherd has not heard
            // of yet could not be obeyed. What they do not bring is found the next time.
            missed.seen_to = since;
            return missed;
        }
        let mut found = Vec::new();
        match self.repositories(&ours, installations.as_deref()).await {
            Err(error) => worst(&mut missed.trouble, error),
            Ok(repositories) => {
                let mut troubles = 0;
                for repo in &repositories {
                    if missed.trouble.as_ref().is_some_and(is_limit) || troubles == TROUBLES_MAX {
                        break;
                    }
                    if let Err(error) = self.look_through(repo, since_second, &mut found).await {
                        worst(&mut missed.trouble, error);
                        troubles += 1;
                    }
                }
            }
        }
        found.sort_by_key(|(at, _)| *at);
        missed.deliveries = found.into_iter().map(|(_, delivery)| delivery).collect();
        if missed.trouble.is_some() {
            missed.seen_to = since;
        }
        missed
    }
}

/// A comment in the shape of its webhook. `None` if it was made before, or on an issue that is no pull request.
fn delivery(kind: Kind, comment: Value, since: Timestamp) -> Result<Option<Found>, String> {
    let text = |name: &str| comment.get(name).and_then(Value::as_str);
    let need = |name: &str| text(name).ok_or_else(|| format!("`{name}` is missing"));
    let id = comment.get("id").and_then(Value::as_u64).ok_or("`id` is missing")?;
    let created: Timestamp = need("created_at")?
        .parse()
        .map_err(|_| "`created_at` is not a time".to_owned())?;
    // Accounts that were closed say nothing any more.
    let Some(sender) = comment.get("user").filter(|user| user.is_object()).cloned() else {
        return Ok(None);
    };
    if created < since {
        return Ok(None);
    }
    let home = match kind {
        Kind::Issue => "issue_url",
        Kind::Review => "pull_request_url",
    };
    // The list tells the name as it is now written, which a webhook tells too and configuration need not.
    let pr = home_of(need(home)?).ok_or_else(|| format!("`{home}` names no pull request"))?;
    if kind == Kind::Issue && !need("html_url")?.contains(&format!("/pull/{}#", pr.number)) {
        return Ok(None);
    }
    let (event, about, what, place) = match kind {
        Kind::Issue => {
            let issue = json!({ "number": pr.number, "pull_request": {} });
            ("issue_comment", issue, "comment", "issue")
        }
        Kind::Review => {
            let pull = json!({ "number": pr.number });
            ("pull_request_review_comment", pull, "review_comment", "pull_request")
        }
    };
    let body = json!({
        "action": "created", place: about, "comment": comment,
        "repository": { "full_name": pr.repo.to_string() }, "sender": sender,
    });
    let delivery = MissedDelivery {
        what,
        delivery_id: format!("repair-{}-{id}", what.replace('_', "-")),
        kind: format!("{event}.created"),
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-github-event".to_owned(), event.to_owned()),
        ],
        body: body.to_string().into_bytes(),
    };
    Ok(Some((created, delivery)))
}

/// `…/repos/owner/name/issues/12`, `…/repos/owner/name/pulls/12`. Only read: nothing is ever sent there.
fn home_of(address: &str) -> Option<PrRef> {
    let (_, rest) = address.rsplit_once("/repos/")?;
    let mut parts = rest.split('/');
    let repo = format!("{}/{}", parts.next()?, parts.next()?).parse().ok()?;
    let number = parts.nth(1)?.parse().ok()?;
    Some(PrRef { repo, number })
}

fn collect<T: serde::de::DeserializeOwned>(
    list: &str,
    page: Vec<Value>,
    into: &mut Vec<T>,
) -> Result<Option<()>, CallError> {
    for item in page {
        into.push(serde_json::from_value(item).map_err(|e| undocumented(list, &e.to_string()))?);
    }
    Ok(None)
}

/// A limit is what the engine must hear of; otherwise the first trouble stands for all.
fn worst(trouble: &mut Option<CallError>, error: CallError) {
    if trouble.is_none() || is_limit(&error) {
        *trouble = Some(error);
    }
}

fn is_limit(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Retry {
            class: FailureClass::RateLimit,
            ..
        }
    )
}
