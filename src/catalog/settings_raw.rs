//! `config/stepherd.toml` as it is written. Every key may be absent; what absence means is in `settings`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::Deserialize;

use super::page::At;

/// stepherd's own settings. Every key can also be given as an environment variable: `STEPHERD__SECTION__KEY`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSettings {
    pub(super) paths: RawPaths,
    pub(super) server: RawServer,
    pub(super) database: RawDatabase,
    pub(super) github: RawGithub,
    pub(super) jira: RawJira,
    pub(super) discord: RawDiscord,
    pub(super) argocd: RawArgocd,
    pub(super) dcr: RawDcr,
    pub(super) engine: RawEngine,
    pub(super) retention: RawRetention,
    pub(super) log: RawLog,
}

/// Where other files are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPaths {
    /// The folder of commands, from the folder of this file. Default: "../commands".
    pub(super) commands: Option<At<String>>,
}

/// The web server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    /// Address and port to listen on. Default: "127.0.0.1:8080".
    pub(super) listen: Option<At<String>>,
    /// Where the outside reaches it; its path is the base path of a Jira Connect app. Without it, no path.
    pub(super) public_url: Option<At<String>>,
    /// Secret: opens the JSON API. Without it, the API is closed.
    pub(super) api_token: Option<At<RawSecret>>,
    /// A file that holds `api_token`.
    pub(super) api_token_file: Option<At<String>>,
    /// The largest request body, in bytes. Default: 26214400 (25 MiB, what GitHub may send).
    #[schemars(range(min = 1024, max = 104_857_600))]
    pub(super) body_limit_bytes: Option<u32>,
    /// What all request bodies that are being taken may hold together, in bytes; at least four times
    /// `body_limit_bytes`. More is answered 503. Bodies above 64 KiB take three quarters of it at most, one platform's
    /// a half, one sender's a quarter (see `trusted_proxies`). Default: 134217728 (128 MiB), or more where
    /// `body_limit_bytes` needs it.
    #[schemars(range(min = 1024, max = 4_294_967_295_u32))]
    pub(super) body_budget_bytes: Option<At<u32>>,
    /// How many connections there may be at once; fewer if the system allows fewer open files. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) connections_max: Option<u32>,
    /// How long a client may take to send its headers, in seconds. Default: 10.
    #[schemars(range(min = 1, max = 600))]
    pub(super) header_timeout_s: Option<u32>,
    /// How long a client may take to send its body, in seconds. Default: 30.
    #[schemars(range(min = 1, max = 600))]
    pub(super) read_timeout_s: Option<u32>,
    /// How many bytes of its body a client must send in a second, on average; the first sixth of `read_timeout_s` is free.
    /// Default: 16384.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub(super) body_rate_min: Option<u32>,
    /// The proxies in front of stepherd, as addresses or networks (10.0.0.0/8): their X-Forwarded-For, read from the
    /// right, says who sends a request, and no sender takes more than a quarter of `body_budget_bytes`, or of
    /// `connections_max` with requests that are still being read. An empty list: there are none, whoever connects is the
    /// sender. Without it senders are not told apart.
    pub(super) trusted_proxies: Option<Vec<At<String>>>,
}

/// The database.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDatabase {
    /// Where it is: sqlite: and a path, which starts at the working directory if it is relative, or
    /// postgres://user@host/database. With a password only as a variable or in `url_file`. Default:
    /// "sqlite:stepherd.db".
    pub(super) url: Option<At<String>>,
    /// A file that holds `url`.
    pub(super) url_file: Option<At<String>>,
}

/// GitHub or GitHub Enterprise Server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGithub {
    /// On or off. Without it: on if `webhook_secret` is given.
    pub(super) enabled: Option<At<bool>>,
    /// The API's address; for GitHub Enterprise Server, https://HOST/api/v3. Default: "https://api.github.com".
    pub(super) api_url: Option<At<String>>,
    /// Secret: signs webhooks.
    pub(super) webhook_secret: Option<At<RawSecret>>,
    /// A file that holds `webhook_secret`.
    pub(super) webhook_secret_file: Option<At<String>>,
    /// Secret: the webhook secret before the last change, accepted as well.
    pub(super) webhook_secret_previous: Option<At<RawSecret>>,
    /// A file that holds `webhook_secret_previous`.
    pub(super) webhook_secret_previous_file: Option<At<String>>,
    /// The GitHub App's id; needs `private_key`.
    #[schemars(range(min = 1))]
    pub(super) app_id: Option<At<u32>>,
    /// Secret: the GitHub App's private key, PEM.
    pub(super) private_key: Option<At<RawSecret>>,
    /// A file that holds `private_key`.
    pub(super) private_key_file: Option<At<String>>,
    /// Secret: an access token, instead of a GitHub App.
    pub(super) token: Option<At<RawSecret>>,
    /// A file that holds `token`.
    pub(super) token_file: Option<At<String>>,
    /// The number of the account that `token` belongs to: what it writes is never obeyed.
    #[schemars(range(min = 1))]
    pub(super) own_account_id: Option<u32>,
    /// Whether commits that come from forks may be started. Whoever may read a repository can make a fork of it and
    /// push there.
    pub(super) allow_forks: Option<bool>,
    /// Whether the branch of a step is deleted once its pull request is merged. One that people have pushed to since
    /// stays. Default: true.
    pub(super) delete_merged_branches: Option<bool>,
    /// The only repositories (owner/name) that are looked through for comments that no webhook told. Without it: all
    /// that stepherd may see of the owners whom places, pipelines, triggers or runs name, up to a hundred.
    pub(super) repositories: Option<Vec<At<String>>>,
}

/// Jira Cloud or Data Center. One of the four secrets that prove webhooks switches it on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawJira {
    /// On or off. Without it: on if a secret that proves webhooks is given.
    pub(super) enabled: Option<At<bool>>,
    /// The site's address: https://acme.atlassian.net.
    pub(super) base_url: Option<At<String>>,
    /// Cloud or Data Center. Default: "cloud".
    pub(super) flavor: Option<At<RawFlavor>>,
    /// Secret: signs the webhooks that an administrator set up.
    pub(super) webhook_secret: Option<At<RawSecret>>,
    /// A file that holds `webhook_secret`.
    pub(super) webhook_secret_file: Option<At<String>>,
    /// Secret: the webhook secret before the last change, accepted as well.
    pub(super) webhook_secret_previous: Option<At<RawSecret>>,
    /// A file that holds `webhook_secret_previous`.
    pub(super) webhook_secret_previous_file: Option<At<String>>,
    /// Secret: the shared secret of a Connect app.
    pub(super) connect_shared_secret: Option<At<RawSecret>>,
    /// A file that holds `connect_shared_secret`.
    pub(super) connect_shared_secret_file: Option<At<String>>,
    /// The `clientKey` of the Connect app's installation. With it, tokens of any other installation are refused.
    pub(super) connect_client_key: Option<At<String>>,
    /// Secret: the client secret of an OAuth 2.0 app.
    pub(super) oauth_client_secret: Option<At<RawSecret>>,
    /// A file that holds `oauth_client_secret`.
    pub(super) oauth_client_secret_file: Option<At<String>>,
    /// Secret: the header value that an Automation rule sends.
    pub(super) automation_secret: Option<At<RawSecret>>,
    /// A file that holds `automation_secret`.
    pub(super) automation_secret_file: Option<At<String>>,
    /// stepherd's own accountId (Cloud) or user key (Data Center): what it writes is never obeyed.
    pub(super) own_account_id: Option<At<String>>,
    /// The e-mail address (Cloud) or user name (Data Center) that the token belongs to. Data Center: without it the
    /// token is taken for a personal access token.
    pub(super) email: Option<At<String>>,
    /// Secret: Cloud, the API token; Data Center, a personal access token.
    pub(super) token: Option<At<RawSecret>>,
    /// A file that holds `token`.
    pub(super) token_file: Option<At<String>>,
    /// Keys of the only projects that are looked at for comments and transitions that no webhook told. Without it: all
    /// that stepherd may see.
    pub(super) projects: Option<Vec<At<String>>>,
}

/// Kinds of Jira.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawFlavor {
    /// On atlassian.net.
    Cloud,
    /// Self-hosted.
    DataCenter,
}

/// Discord.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDiscord {
    /// On or off. Without it: on if `token` is given.
    pub(super) enabled: Option<At<bool>>,
    /// The API's address. Default: "https://discord.com/api/v10".
    pub(super) api_url: Option<At<String>>,
    /// The application's id.
    pub(super) application_id: Option<At<String>>,
    /// The application's public key, 64 hexadecimal digits; proves interactions.
    pub(super) public_key: Option<At<String>>,
    /// Secret: the bot's token.
    pub(super) token: Option<At<RawSecret>>,
    /// A file that holds `token`.
    pub(super) token_file: Option<At<String>>,
}

/// The back-end `argocd`. On if `base_url` and `token` are given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawArgocd {
    /// Argo CD's address.
    pub(super) base_url: Option<At<String>>,
    /// Secret: an API token.
    pub(super) token: Option<At<RawSecret>>,
    /// A file that holds `token`.
    pub(super) token_file: Option<At<String>>,
}

/// The back-end `dcr`: the cache-rebuild service. On if `base_url` and `token` are given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDcr {
    /// The service's address.
    pub(super) base_url: Option<At<String>>,
    /// Secret: the bearer token.
    pub(super) token: Option<At<RawSecret>>,
    /// A file that holds `token`.
    pub(super) token_file: Option<At<String>>,
}

/// The engine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEngine {
    /// The least time between two edits of the same message, in seconds. Default: 5.
    #[schemars(range(min = 0, max = 3600))]
    pub(super) edit_spacing_s: Option<u32>,
    /// How often what no webhook told is looked for, in seconds; 0 means never. Default: 300.
    #[schemars(range(min = 0, max = 86_400))]
    pub(super) repair_interval_s: Option<u32>,
    /// How long after it was said a `start`, `retry` or `answer` is still obeyed, in seconds. Default: 3600.
    #[schemars(range(min = 60, max = 604_800))]
    pub(super) command_max_age_s: Option<u32>,
    /// How many answers one person gets in one thread within ten minutes. Default: 20.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) answers_max: Option<u32>,
}

/// How long what has ended is kept. What is live is never deleted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRetention {
    /// Days that deliveries which are done or parked are kept, with their bodies; 0 means for ever. Default: 30.
    #[schemars(range(min = 0, max = 36_500))]
    pub(super) deliveries_days: Option<At<u32>>,
    /// Days that finished runs are kept, with their history, effects and messages; 0 means for ever. Default: 365.
    #[schemars(range(min = 0, max = 36_500))]
    pub(super) runs_days: Option<u32>,
    /// Days that it is known what has taken effect and which head a pull request had, at least a week longer than
    /// `deliveries_days`; 0 means for ever. Default: 400.
    #[schemars(range(min = 0, max = 36_500))]
    pub(super) accepted_days: Option<At<u32>>,
}

/// Logs, on standard error.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    /// For people or for programs. Default: "text".
    pub(super) format: Option<RawLogFormat>,
    /// What is logged: error, warn, info, debug, trace, or by module as "info,stepherd=debug". Default: "info".
    pub(super) level: Option<At<String>>,
}

/// Forms of logs.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A secret, which only the environment may give.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct RawSecret(pub(super) SecretString);

impl JsonSchema for RawSecret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Editors show the mark as "not allowed"; `shape` finds it by its own name.
        json_schema!({ "type": "string", "x-secret": true, "deprecated": true })
    }
}
