//! Whose token a call is made with. An app asks for one for each repository and need, with no more permissions than
//! that need takes, so that a token that gets out opens one door of one repository for an hour at most.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use octocrab::Octocrab;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use super::client::{Home, Reply, Verb, send};
use crate::adapters::CallError;
use crate::adapters::http::permanent;
use crate::domain::ids::Repo;
use crate::domain::run::FailureClass;

/// A token that lapses so soon is not used any more: a call may take a while.
const MARGIN: Duration = Duration::from_secs(120);
/// How long a token is used whose answer does not say when it lapses: GitHub's live an hour.
const LIFETIME: Duration = Duration::from_secs(45 * 60);

/// What a call needs to be allowed to (GitHub docs, "Permissions required for GitHub Apps").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// To know the repository, and what people may do with it.
    Metadata,
    /// To read files, commits, branches and what happened to them.
    ReadContents,
    /// To make commits and branches, and to merge.
    WriteContents,
    /// The same where a workflow's file is among what changes.
    WriteWorkflows,
    /// To read pull requests and what is said on them.
    ReadPulls,
    /// To open pull requests, comment and react.
    WritePulls,
    /// To find check runs.
    ReadChecks,
    /// To make and change check runs.
    WriteChecks,
    /// To know who is in the organisation's teams.
    Members,
}

impl Need {
    fn permissions(self) -> Value {
        match self {
            Self::Metadata => json!({ "metadata": "read" }),
            Self::ReadContents => json!({ "contents": "read" }),
            Self::WriteContents => json!({ "contents": "write" }),
            Self::WriteWorkflows => json!({ "contents": "write", "workflows": "write" }),
            Self::ReadPulls => json!({ "pull_requests": "read" }),
            Self::WritePulls => json!({ "pull_requests": "write" }),
            Self::ReadChecks => json!({ "checks": "read" }),
            Self::WriteChecks => json!({ "checks": "write" }),
            Self::Members => json!({ "members": "read" }),
        }
    }

    /// What a refused call may take besides. What was refused has had no effect, so trying again repeats nothing.
    fn wider(self) -> Option<Self> {
        (self == Self::WriteContents).then_some(Self::WriteWorkflows)
    }
}

/// Through which installation of the app a call goes, and what for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// The one that covers this repository.
    Repo(&'a Repo, Need),
    /// The one of this organisation, about its teams.
    Org(&'a str),
    /// The one of this number, about which repositories it covers.
    Installation(u64),
    /// None: the app itself. A token's account is always only itself.
    Own,
}

impl Scope<'_> {
    fn need(self) -> Need {
        match self {
            Self::Repo(_, need) => need,
            Self::Org(_) => Need::Members,
            Self::Installation(_) | Self::Own => Need::Metadata,
        }
    }

    fn place(self) -> String {
        match self {
            Self::Repo(repo, _) => repo.to_string().to_ascii_lowercase(),
            Self::Org(org) => org.to_ascii_lowercase(),
            Self::Installation(id) => format!("#{id}"),
            Self::Own => String::new(),
        }
    }

    /// Where GitHub tells the installation.
    fn installation(self) -> String {
        match self {
            Self::Repo(repo, _) => format!("/repos/{repo}/installation"),
            Self::Org(org) => format!("/orgs/{org}/installation"),
            Self::Installation(id) => format!("/app/installations/{id}"),
            Self::Own => "/app".to_owned(),
        }
    }
}

/// Where an installation was found.
#[derive(Clone, Copy)]
struct Found {
    installation: u64,
    /// The repository's number, if its name does not do: it has another one now, or is written otherwise.
    number: Option<u64>,
}

struct Held {
    client: Arc<Octocrab>,
    /// Runs down while the token lives.
    lapses: Pin<Box<Sleep>>,
}

/// What is known for one repository or organisation. Locked while a token is asked for, so that only one is.
#[derive(Default)]
struct Place {
    found: Option<Found>,
    tokens: BTreeMap<Need, Held>,
}

/// The tokens of an app.
pub(super) struct Tokens {
    app: Octocrab,
    home: Arc<Home>,
    places: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Place>>>>,
}

impl Tokens {
    pub(super) fn new(app: Octocrab, home: Arc<Home>) -> Self {
        Self {
            app,
            home,
            places: Mutex::default(),
        }
    }

    /// A call in this scope, with a token for that and nothing else.
    pub(super) async fn call(
        &self,
        scope: Scope<'_>,
        verb: Verb,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Reply, CallError> {
        if matches!(scope, Scope::Own) {
            return Ok(send(&self.app, &self.home, verb, target, body).await?);
        }
        let need = scope.need();
        let refused = match self.call_for(scope, need, verb, target, body).await {
            Ok(reply) if reply.lacks_permission() => Ok(reply),
            Err(refused) if refused.lacks_permission => Err(refused.error),
            answer => return answer.map_err(CallError::from),
        };
        let Some(wider) = need.wider() else { return refused };
        match self.call_for(scope, wider, verb, target, body).await {
            // The app may not do that either: the first answer says better what was wanted.
            Err(again) if again.lacks_permission => refused,
            answer => answer.map_err(CallError::from),
        }
    }

    async fn call_for(
        &self,
        scope: Scope<'_>,
        need: Need,
        verb: Verb,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Refused> {
        let client = self.client(scope, need).await?;
        match send(&client, &self.home, verb, target, body).await {
            // Revoked before its time. What was refused has had no effect.
            Err(refused) if refused.unauthorized => {
                self.forget(scope, need, &client).await;
                let client = self.client(scope, need).await?;
                send(&client, &self.home, verb, target, body).await
            }
            answer => answer,
        }
    }

    fn place(&self, scope: Scope<'_>) -> Arc<tokio::sync::Mutex<Place>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(scope.place()).or_default())
    }

    async fn client(&self, scope: Scope<'_>, need: Need) -> Result<Arc<Octocrab>, Refused> {
        let place = self.place(scope);
        let mut place = place.lock().await;
        if let Some(held) = place.tokens.get_mut(&need)
            && (&mut held.lapses).now_or_never().is_none()
        {
            return Ok(Arc::clone(&held.client));
        }
        place.tokens.remove(&need);
        let held = match place.found {
            None => None,
            Some(found) => self.mint(scope, need, found).await?,
        };
        let held = match held {
            Some(held) => held,
            // Not known, or gone: installed again it has another number, renamed the repository has another name.
            None => {
                place.found = None;
                let (found, held) = self.find_and_mint(scope, need).await?;
                place.found = Some(found);
                held
            }
        };
        let client = Arc::clone(&held.client);
        place.tokens.insert(need, held);
        Ok(client)
    }

    /// The next call for this need asks for a token again, unless another one already has.
    async fn forget(&self, scope: Scope<'_>, need: Need, client: &Arc<Octocrab>) {
        let place = self.place(scope);
        let mut place = place.lock().await;
        if place
            .tokens
            .get(&need)
            .is_some_and(|held| Arc::ptr_eq(&held.client, client))
        {
            place.tokens.remove(&need);
        }
    }

    async fn find_and_mint(&self, scope: Scope<'_>, need: Need) -> Result<(Found, Held), Refused> {
        let found = self.find(scope).await?;
        if let Some(held) = self.mint(scope, need, found).await? {
            return Ok((found, held));
        }
        let number = match (scope, found.number) {
            (Scope::Repo(repo, _), None) => Some(self.number(repo, found).await?),
            _ => return Err(not_covered(scope)),
        };
        let found = Found { number, ..found };
        let held = self.mint(scope, need, found).await?;
        Ok((found, held.ok_or_else(|| not_covered(scope))?))
    }

    /// The number of a repository whose name is not taken as it is written here.
    async fn number(&self, repo: &Repo, found: Found) -> Result<u64, Refused> {
        #[derive(Deserialize)]
        struct Known {
            id: u64,
        }
        let any = Scope::Installation(found.installation);
        let held = self.mint(any, Need::Metadata, found).await?;
        let held = held.ok_or_else(|| not_covered(any))?;
        let target = format!("/repos/{repo}");
        let reply = send(&held.client, &self.home, Verb::Get, &target, None).await?;
        Ok(reply.json::<Known>()?.id)
    }

    async fn find(&self, scope: Scope<'_>) -> Result<Found, Refused> {
        #[derive(Deserialize)]
        struct Installation {
            id: u64,
        }
        let target = scope.installation();
        let reply = send(&self.app, &self.home, Verb::Get, &target, None).await?;
        if reply.status == 404 {
            return Err(not_covered(scope));
        }
        let number = reply.target.strip_prefix("/repositories/");
        let number = number.and_then(|rest| rest.split('/').next()?.parse().ok());
        let found: Installation = reply.json()?;
        Ok(Found {
            installation: found.id,
            number,
        })
    }

    /// A token for this need alone; `None` if the installation is gone or does not cover the repository by that name.
    async fn mint(&self, scope: Scope<'_>, need: Need, found: Found) -> Result<Option<Held>, Refused> {
        #[derive(Deserialize)]
        struct Minted {
            token: String,
            #[serde(default)]
            expires_at: Option<jiff::Timestamp>,
        }
        let mut body = json!({ "permissions": need.permissions() });
        match (scope, found.number) {
            (Scope::Repo(..), Some(id)) => body["repository_ids"] = json!([id]),
            (Scope::Repo(repo, _), None) => body["repositories"] = json!([repo.name()]),
            (Scope::Org(_) | Scope::Installation(_) | Scope::Own, _) => {}
        }
        let target = format!("/app/installations/{}/access_tokens", found.installation);
        let reply = send(&self.app, &self.home, Verb::Post, &target, Some(&body)).await?;
        if reply.status == 422 && reply.message().contains("permissions") {
            let what = need.permissions();
            let error = permanent(
                format!(
                    "{}: the app is not granted {what} on {}",
                    reply.describe(),
                    scope.place()
                ),
                FailureClass::Permission,
            );
            return Err(Refused {
                error,
                unauthorized: false,
                lacks_permission: true,
            });
        }
        if matches!(reply.status, 404 | 422) {
            return Ok(None);
        }
        let told = reply.date;
        let minted: Minted = reply.json()?;
        let left = minted.expires_at.zip(told).map(|(at, told)| at.duration_since(told));
        let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(LIFETIME);
        let client = self.app.user_access_token(minted.token);
        let client =
            client.map_err(|_| permanent("GitHub: the token cannot be used".to_owned(), FailureClass::User))?;
        Ok(Some(Held {
            client: Arc::new(client),
            lapses: Box::pin(sleep(left.saturating_sub(MARGIN))),
        }))
    }
}

fn not_covered(scope: Scope<'_>) -> Refused {
    let target = scope.installation();
    permanent(
        format!("GitHub GET {target}: the app is not installed there"),
        FailureClass::Permission,
    )
    .into()
}

/// A call that came to nothing.
pub(super) struct Refused {
    pub(super) error: CallError,
    /// The token is not good, or not any more.
    pub(super) unauthorized: bool,
    /// The token, or the app, lacks a permission.
    pub(super) lacks_permission: bool,
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        Self {
            error,
            unauthorized: false,
            lacks_permission: false,
        }
    }
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}
