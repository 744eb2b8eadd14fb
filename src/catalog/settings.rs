//! stepherd's own settings, as the rest of the program sees them: typed, complete, secrets never shown. How they
//! are read: `settings_read`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use crate::domain::ids::Repo;

/// A secret: never shown, never logged, wiped when dropped.
pub type Secret = SecretString;

/// Platforms there are adapters for.
pub const PLATFORMS: [&str; 3] = ["github", "jira", "discord"];
/// Back-ends there are adapters for, and what their jobs are told.
pub const BACKENDS: [BackendForm; 2] = [
    BackendForm {
        name: "argocd",
        required: &["app", "project"],
        optional: &["revision", "prune", "app_namespace"],
        words: &[("prune", &["true", "false"])],
        defers: &["app", "project"],
        defers_optional: &["app_namespace"],
        never_started: None,
    },
    BackendForm {
        name: "dcr",
        required: &["tenant"],
        optional: &["watch", "min_farmers", "farm_size", "link"],
        words: &[("watch", &["rebuild", "farmers"])],
        defers: &[],
        defers_optional: &[],
        never_started: Some(
            "a rebuild begins by itself once the farmers are there, and the service restarts it by itself",
        ),
    },
];

/// What a back-end's jobs are told under `with`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendForm {
    /// The back-end's name.
    pub name: &'static str,
    /// Keys that every job needs.
    pub required: &'static [&'static str],
    /// Keys that a job may have as well.
    pub optional: &'static [&'static str],
    /// Keys whose values are one of a few words.
    pub words: &'static [(&'static str, &'static [&'static str])],
    /// Keys that name an application whose taking up of what is merged can be deferred; none if the back-end has no such
    /// applications.
    pub defers: &'static [&'static str],
    /// Keys that may be given with them.
    pub defers_optional: &'static [&'static str],
    /// Why its jobs are only watched, if they cannot be started.
    pub never_started: Option<&'static str>,
}

/// stepherd's settings. Every one has a value; secrets never show in `Debug`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The web server.
    pub server: Server,
    /// The database.
    pub database: Database,
    /// GitHub.
    pub github: Github,
    /// Jira.
    pub jira: Jira,
    /// Discord.
    pub discord: Discord,
    /// Argo CD.
    pub argocd: Service,
    /// The cache-rebuild service.
    pub dcr: Service,
    /// The engine.
    pub engine: Engine,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// Logs.
    pub log: Log,
    /// The folder of commands.
    pub commands_dir: PathBuf,
}

/// The web server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Where the outside reaches it, without a slash at the end; its path is the base path of a Jira Connect app.
    pub public_url: Option<String>,
    /// Opens the JSON API; without it the API is closed.
    pub api_token: Option<Secret>,
    /// The largest request body, in bytes.
    pub body_limit_bytes: usize,
    /// What all request bodies that are being taken may hold together, in bytes.
    pub body_budget_bytes: usize,
    /// How many connections there may be at once.
    pub connections_max: usize,
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    pub read_timeout: Duration,
    /// How many bytes of its body a client must send in a second, on average.
    pub body_rate_min: u32,
    /// The proxies in front; absent: not told, so that senders are not told apart.
    pub trusted_proxies: Option<Vec<IpNet>>,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is: `sqlite:` and a path, or `postgres://user:password@host/database`.
    pub url: Secret,
}

/// GitHub.
#[derive(Debug, Clone)]
pub struct Github {
    /// On or off; absent: on if `webhook_secret` is given.
    pub enabled: Option<bool>,
    /// The API's address, without a slash at the end.
    pub api_url: String,
    /// Signs webhooks.
    pub webhook_secret: Option<Secret>,
    /// The webhook secret before the last change, accepted as well.
    pub webhook_secret_previous: Option<Secret>,
    /// The GitHub App's id.
    pub app_id: Option<u64>,
    /// The GitHub App's private key, PEM.
    pub private_key: Option<Secret>,
    /// An access token, instead of a GitHub App.
    pub token: Option<Secret>,
    /// The account that `token` belongs to: what it writes is never obeyed.
    pub own_account_id: Option<u64>,
    /// Whether pull requests from forks may be started.
    pub allow_forks: bool,
    /// Whether the branches of merged steps are deleted.
    pub delete_merged_branches: bool,
    /// The only repositories that are looked through for comments no webhook told; all if empty.
    pub repositories: Vec<Repo>,
}

/// Jira.
#[derive(Debug, Clone, Default)]
pub struct Jira {
    /// On or off; absent: on if a secret that proves webhooks is given.
    pub enabled: Option<bool>,
    /// The site's address, without a slash at the end; there whenever Jira is on.
    pub base_url: Option<String>,
    /// Cloud or Data Center.
    pub flavor: JiraFlavor,
    /// Signs the webhooks that an administrator set up.
    pub webhook_secret: Option<Secret>,
    /// The webhook secret before the last change, accepted as well.
    pub webhook_secret_previous: Option<Secret>,
    /// The shared secret of a Connect app.
    pub connect_shared_secret: Option<Secret>,
    /// The `clientKey` that a Connect token's `iss` must be.
    pub connect_client_key: Option<String>,
    /// The client secret of an OAuth 2.0 app.
    pub oauth_client_secret: Option<Secret>,
    /// The header value that an Automation rule sends.
    pub automation_secret: Option<Secret>,
    /// stepherd's own accountId (Cloud) or user key (Data Center): what it writes is never obeyed.
    pub own_account_id: Option<String>,
    /// The e-mail address (Cloud) or user name (Data Center) that the token belongs to.
    pub email: Option<String>,
    /// Cloud: the API token. Data Center: a personal access token.
    pub token: Option<Secret>,
    /// Keys of the only projects that are looked at for what no webhook told; all if empty.
    pub projects: Vec<String>,
}

/// Kinds of Jira.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JiraFlavor {
    /// On atlassian.net.
    #[default]
    Cloud,
    /// Self-hosted.
    DataCenter,
}

/// Discord.
#[derive(Debug, Clone)]
pub struct Discord {
    /// On or off; absent: on if `token` is given.
    pub enabled: Option<bool>,
    /// The API's address, without a slash at the end.
    pub api_url: String,
    /// The application's id; there whenever Discord is on.
    pub application_id: Option<String>,
    /// The application's public key, 64 hexadecimal digits; there whenever Discord is on.
    pub public_key: Option<String>,
    /// The bot's token.
    pub token: Option<Secret>,
}

/// A service that jobs run on.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Its address, without a slash at the end.
    pub base_url: Option<String>,
    /// Its token.
    pub token: Option<Secret>,
}

/// The engine.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The least time between two edits of the same message.
    pub edit_spacing: Duration,
    /// How often what no webhook told is looked for; zero: never.
    pub repair_interval: Duration,
    /// How long after it was said a start, a retry or an answer is still obeyed.
    pub command_max_age: Duration,
    /// How many answers one person gets in one thread within ten minutes.
    pub answers_max: u32,
}

/// How long what has ended is kept, in days; 0: for ever.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Deliveries that are done or parked, with their bodies, and answers outside any run.
    pub deliveries_days: u32,
    /// Finished runs, with all that belongs to them.
    pub runs_days: u32,
    /// Keys of what has taken effect, and heads that pull requests had.
    pub accepted_days: u32,
}

/// Logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// Their form.
    pub format: LogFormat,
    /// What is logged, as a filter: `info`, `info,stepherd=debug`.
    pub level: String,
}

/// Forms of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether a platform or a back-end is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformStatus {
    /// Its name.
    pub name: &'static str,
    /// Whether it is on.
    pub on: bool,
    /// Why it is on or off, for people; never holds a secret.
    pub why: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            api_token: None,
            body_limit_bytes: 25 * 1024 * 1024,
            body_budget_bytes: 128 * 1024 * 1024,
            connections_max: 10_000,
            header_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            body_rate_min: 16 * 1024,
            trusted_proxies: None,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "sqlite:stepherd.db".into(),
        }
    }
}

impl Default for Github {
    fn default() -> Self {
        Self {
            enabled: None,
            api_url: "https://api.github.com".to_owned(),
            webhook_secret: None,
            webhook_secret_previous: None,
            app_id: None,
            private_key: None,
            token: None,
            own_account_id: None,
            allow_forks: false,
            delete_merged_branches: true,
            repositories: Vec::new(),
        }
    }
}

impl Default for Discord {
    fn default() -> Self {
        Self {
            enabled: None,
            api_url: "https://discord.com/api/v10".to_owned(),
            application_id: None,
            public_key: None,
            token: None,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            edit_spacing: Duration::from_secs(5),
            repair_interval: Duration::from_secs(300),
            command_max_age: Duration::from_secs(3600),
            answers_max: 20,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            deliveries_days: 30,
            runs_days: 365,
            accepted_days: 400,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: "info".to_owned(),
        }
    }
}

impl Jira {
    /// Whether anything is there that proves webhooks.
    pub(super) fn can_prove(&self) -> bool {
        let proofs = [
            &self.webhook_secret,
            &self.connect_shared_secret,
            &self.oauth_client_secret,
        ];
        proofs.into_iter().chain([&self.automation_secret]).any(Option::is_some)
    }
}

impl Settings {
    /// Which platforms and back-ends are on, and why.
    pub fn platforms(&self) -> Vec<PlatformStatus> {
        let github = self.github.webhook_secret.is_some();
        vec![
            status("github", self.github.enabled, github, "webhook_secret"),
            status(
                "jira",
                self.jira.enabled,
                self.jira.can_prove(),
                "secret that proves webhooks",
            ),
            status("discord", self.discord.enabled, self.discord.token.is_some(), "token"),
            self.argocd.status("argocd"),
            self.dcr.status("dcr"),
        ]
    }

    /// Whether this platform or back-end is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.platforms().iter().any(|status| status.name == name && status.on)
    }
}

impl Service {
    fn status(&self, name: &'static str) -> PlatformStatus {
        let (on, why) = match (&self.base_url, &self.token) {
            (Some(_), Some(_)) => (true, "base_url and token are given"),
            (Some(_), None) => (false, "no token"),
            (None, _) => (false, "no base_url"),
        };
        PlatformStatus {
            name,
            on,
            why: why.to_owned(),
        }
    }
}

fn status(name: &'static str, enabled: Option<bool>, has_secret: bool, secret: &str) -> PlatformStatus {
    let (on, why) = match (enabled, has_secret) {
        (Some(false), _) => (false, "enabled = false".to_owned()),
        (_, false) => (false, format!("no {secret}")),
        (Some(true), true) => (true, "enabled = true".to_owned()),
        (None, true) => (true, format!("{secret} is given")),
    };
    PlatformStatus { name, on, why }
}
