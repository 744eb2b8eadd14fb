//! GitHub: deliveries, pull requests, comments, checks and rights, on github.com and Enterprise Server.
//!
//! Which server to talk to comes from configuration alone, never from a payload. Nothing here retries or decides:
//! what a call's failure means for a run is for others to say.

mod catchup;
mod change;
mod check;
mod client;
mod door;
mod files;
mod markdown;
mod merge;
mod pick;
mod place;
mod pull;
mod read;
mod redeliver;
mod rights;
mod seen;
mod threads;
mod token;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::OnceCell;

pub use catchup::GithubCatchup;
pub use door::{GithubDoor, OwnIdentity};
pub use markdown::render;

use self::change::Making;
use super::{CallError, CheckShow, Forge, Marker, Posted, PrSeen, Threads, WordSeen};
use crate::domain::decide::HeadThen;
use crate::domain::doc::Doc;
use crate::domain::effect::{ChangeIntent, MergeIntent, Outcome};
use crate::domain::ids::{Platform, PrRef, Repo, Sha, ThreadRef};
use crate::domain::policy::{Grant, Lookup};
use crate::domain::run::CheckTarget;
use crate::domain::signal::{Account, MessageRef, Said};
use client::Client;

/// The name of the platform.
pub const PLATFORM: &str = "github";

/// What the adapter needs to know.
#[derive(Clone)]
pub struct GithubConfig {
    /// The API's address: `https://api.github.com`, or `https://host/api/v3` for Enterprise Server.
    pub api_url: String,
    /// Where people see GitHub, if links should lead elsewhere than GitHub itself says: `https://github.com`.
    pub web_url: Option<String>,
    /// The current webhook secret and, while it is being replaced, the previous one.
    pub webhook_secrets: Vec<SecretString>,
    /// How calls are authorised.
    pub credentials: Credentials,
    /// The number of the token's account, if configuration tells it.
    pub own_account_id: Option<u64>,
    /// Whether what comes from forks may be started.
    pub allow_forks: bool,
    /// Whether the branches of merged steps are deleted.
    pub delete_merged_branches: bool,
}

/// How calls are authorised.
#[derive(Clone)]
pub enum Credentials {
    /// As a GitHub App, through its installation at each repository's owner. Shows check runs.
    App {
        /// The app's number.
        app_id: u64,
        /// The app's RSA key in PEM.
        private_key: SecretString,
    },
    /// With an account's token. Shows commit statuses, because only apps may make check runs.
    Token(SecretString),
}

/// The forge and the threads on GitHub.
pub struct Github {
    client: Client,
    /// The API's host.
    instance: String,
    /// The app's number, if stepherd acts as an app.
    app_id: Option<u64>,
    /// The number of the token's account, as configured.
    configured_account: Option<u64>,
    allow_forks: bool,
    delete_merged_branches: bool,
    web_url: Option<String>,
    webhook_secrets: Vec<SecretString>,
    /// Who stepherd is there, once it was asked for.
    own_account: Arc<OnceCell<rights::OwnAccount>>,
}

impl Github {
    /// Must be called within a tokio runtime. Makes no calls yet.
    ///
    /// # Errors
    /// When the address is no URL, the key is no RSA key, or TLS cannot be set up.
    pub fn new(config: GithubConfig) -> Result<Arc<Self>, String> {
        let client = Client::new(&config)?;
        let app_id = match config.credentials {
            Credentials::App { app_id, .. } => Some(app_id),
            Credentials::Token(_) => None,
        };
        Ok(Arc::new(Self {
            client,
            instance: instance(&config.api_url),
            app_id,
            configured_account: config.own_account_id,
            allow_forks: config.allow_forks,
            delete_merged_branches: config.delete_merged_branches,
            web_url: config.web_url.map(|url| url.trim_end_matches('/').to_owned()),
            webhook_secrets: config.webhook_secrets,
            own_account: Arc::default(),
        }))
    }

    /// The door that goes with this configuration. It knows the token's account as soon as GitHub has told it; until
    /// then, `Threads::is_own` asks again before anything is obeyed.
    pub fn door(&self) -> GithubDoor {
        let own = OwnIdentity {
            instance: self.instance.clone(),
            app_id: self.app_id,
            account_id: self.configured_account,
        };
        GithubDoor::knowing(self.webhook_secrets.clone(), own, self.own_account.clone())
    }
}

/// The host of the API, with its port if it has one.
fn instance(api_url: &str) -> String {
    let host = |url: &url::Url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}", url.host_str()?))
    };
    url::Url::parse(api_url)
        .ok()
        .as_ref()
        .and_then(host)
        .unwrap_or_default()
}

#[async_trait]
impl Forge for Github {
    fn platform(&self) -> Platform {
        place::platform()
    }

    async fn read_file(&self, repo: &Repo, path: &str) -> Result<Option<String>, CallError> {
        self.read_default(repo, path).await
    }

    async fn change(&self, intent: &ChangeIntent) -> Result<Outcome, CallError> {
        self.make_change(intent, Making::All).await
    }

    async fn find_change(&self, intent: &ChangeIntent) -> Result<Outcome, CallError> {
        self.make_change(intent, Making::Nothing).await
    }

    async fn merge(&self, intent: &MergeIntent) -> Result<Outcome, CallError> {
        self.merge_pull(intent).await
    }

    fn takes_forks(&self) -> bool {
        self.allow_forks
    }

    async fn pull_request(&self, pr: &PrRef) -> Result<PrSeen, CallError> {
        self.see_pull(pr).await
    }

    async fn has_commit(&self, pr: &PrRef, commit: &Sha) -> Result<bool, CallError> {
        self.pull_has(pr, commit).await
    }

    async fn head_at(&self, seen: &PrSeen, at: Timestamp) -> Result<HeadThen, CallError> {
        self.head_then(seen, at).await
    }

    async fn check(&self, target: &CheckTarget, show: &CheckShow) -> Result<(), CallError> {
        self.show_check(target, show).await
    }
}

#[async_trait]
impl Threads for Github {
    async fn post(
        &self,
        thread: &ThreadRef,
        marker: &Marker,
        doc: &Doc,
        _title: Option<&str>,
        maybe_there: bool,
    ) -> Result<Posted, CallError> {
        self.post_comment(thread, marker, doc, maybe_there).await
    }

    async fn withdraw_second(&self, message: &MessageRef, marker: &Marker) -> Result<bool, CallError> {
        self.withdraw_second_comment(message, marker).await
    }

    async fn edit(&self, message: &MessageRef, marker: &Marker, doc: &Doc) -> Result<bool, CallError> {
        self.edit_comment(message, marker, doc).await
    }

    async fn acknowledge(&self, message: &MessageRef) -> Result<(), CallError> {
        self.react(message).await
    }

    async fn know_self(&self) -> Result<(), CallError> {
        let own = self.ask_own().await?;
        // What is known stays.
        let _ = self.own_account.set(own);
        Ok(())
    }

    async fn is_own(&self, account: &Account) -> Result<bool, CallError> {
        self.is_own_account(account).await
    }

    async fn still_stands(&self, said: &Said) -> Result<WordSeen, CallError> {
        self.comment_stands(said).await
    }

    async fn answer_lookup(&self, lookup: &Lookup) -> Result<bool, CallError> {
        self.look_up(lookup).await
    }

    async fn listed(&self, grant: &Grant) -> Result<Vec<Account>, CallError> {
        self.holders(grant).await
    }
}
