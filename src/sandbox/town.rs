//! A small town of stand-ins that know the same people and the same tenants: where the demo plays, and the tests.
//!
//! It tells stepherd about itself only by settings, as an administrator would.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use secrecy::SecretString;
use serde_json::{Map, json};
use url::Url;

use super::argocd::{AppSeed, ArgoCd, ArgoOptions};
use super::dcr::{Dcr, DcrOptions};
use super::discord::{Discord, DiscordOptions, Member};
use super::github::{AppOptions, GitHub, Level, Options};
use super::jira::{Flavour, Jira, JiraOptions, JiraUser, Signing, Status, Transition, Workflow};
use super::keys::AppKeys;
use super::{NotPossible, Now};

/// The repository that holds the tenants' deployment.
pub const REPO: &str = "acme/deployment";
/// The repository of the data center `ams1`'s cluster.
pub const CLUSTER_REPO: &str = "acme/clusterconfig-ams1";
/// The ticket that waits for approval.
pub const TICKET: &str = "SREPROV-3072";
/// A second ticket for the same tenant.
pub const SECOND_TICKET: &str = "SREPROV-3073";
/// The repository with what is usual for all tenants.
pub const CONFIG_REPO: &str = "acme/configuration";
/// The repository of all instances.
pub const INSTANCES_REPO: &str = "acme/instances";
/// A ticket of another project, where approval starts nothing.
pub const PROVISION_TICKET: &str = "PROV-7";
/// The data center.
pub const DC: &str = "ams1";
/// The tenant.
pub const TENANT: &str = "comcast";
/// Its application in Argo CD.
pub const APP: &str = "dcr-comcast";
/// Another tenant, whose rebuild needs five farmers.
pub const OTHER_TENANT: &str = "globex";
/// The Discord server.
pub const GUILD: &str = "300";
/// The channel where rebuilds are followed.
pub const CHANNEL: &str = "400";

const APP_ID: u64 = 7;
const DISCORD_APP: &str = "900";
const GITHUB_SECRET: &str = "github-webhook-secret";
const GITHUB_SECRET_BEFORE: &str = "github-webhook-secret-before";
const GITHUB_TOKEN: &str = "ghp_stepherd";
const GITHUB_BOT: &str = "stepherd-bot";
const JIRA_SECRET: &str = "jira-webhook-secret";
const JIRA_TOKEN: &str = "jira-api-token";
const DISCORD_TOKEN: &str = "discord-bot-token";
const ARGOCD_TOKEN: &str = "argocd-token";
const DCR_TOKEN: &str = "dcr-token";
const API_TOKEN: &str = "stepherd-api-token";
const DISCORD_SEED: [u8; 32] = [7; 32];

/// A tenant's history, as it is first.
const HISTORY: &str = "# What happened to this tenant's cache.\nrebuilds: {}\n";
/// What holds for tenants that say nothing else.
const USUAL: &str = "# What is usual for all tenants.\nfarmers:\n  min: 4\n";
const POM: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<project>
  <!-- One module per instance. -->
  <modules>
    <module>instances/globex</module>
  </modules>
</project>
"#;
const INSTANCES: &str = r#"{
  "ams1": {
    "globex": { "tier": "large" }
  }
}
"#;

/// The stand-ins.
pub struct Town {
    /// GitHub, with `REPO` and the logins `ada` (may do everything), `bea` (approves), `grace` (operator by a team), `eve`
    /// (nobody).
    pub github: GitHub,
    /// Jira Cloud, with `TICKET` open and the accounts `557058:ada`, `557058:bea` and `557058:eve`.
    pub jira: Jira,
    /// Discord, with `CHANNEL`.
    pub discord: Discord,
    /// Argo CD, with the applications of both tenants.
    pub argocd: ArgoCd,
    /// The cache-rebuild service, with both tenants.
    pub dcr: Dcr,
    keys: AppKeys,
}

/// How a town lives.
#[derive(Clone)]
pub struct TownOptions {
    /// Its time.
    pub now: Now,
    /// The machine's time, by which tokens are judged.
    pub auth_now: Now,
    /// Webhooks go out, and syncs advance when they are looked at, by themselves.
    pub lively: bool,
    /// The GitHub App's keys; made on the spot if absent, which takes a moment.
    pub keys: Option<AppKeys>,
}

impl Town {
    /// Builds it.
    ///
    /// # Errors
    /// When a port cannot be had, or the town contradicts itself.
    pub async fn start(options: TownOptions) -> Result<Self, String> {
        let keys = options.keys.map_or_else(AppKeys::generate, Ok)?;
        let said = |e: std::io::Error| format!("a stand-in cannot be served: {e}");
        let mut github = Options::new(options.now.clone());
        github.auth_now = options.auth_now.clone();
        github.auto = options.lively;
        github.app = Some(AppOptions {
            id: APP_ID,
            slug: "stepherd".into(),
            public_key_pem: Some(keys.public_pem.clone()),
        });
        let github = GitHub::start(github).await.map_err(said)?;
        let jira = JiraOptions {
            now: options.now.clone(),
            flavour: Flavour::Cloud,
            bot: JiraUser {
                app: true,
                ..JiraUser::person("stepherd", "stepherd")
            },
            token: JIRA_TOKEN.into(),
            webhook: None,
            signing: Signing::Admin {
                secret: JIRA_SECRET.into(),
            },
            auto: options.lively,
        };
        let discord = DiscordOptions {
            now: options.now.clone(),
            application_id: DISCORD_APP.into(),
            bot_token: DISCORD_TOKEN.into(),
            key_seed: DISCORD_SEED,
            endpoint: None,
            channel_limit: None,
            strict_user_agent: true,
        };
        let argocd = ArgoOptions {
            token: ARGOCD_TOKEN.into(),
            now: options.now.clone(),
            reads_advance: options.lively,
        };
        let town = Self {
            github,
            jira: Jira::start(jira, 0).await.map_err(said)?,
            discord: Discord::start(discord, 0).await.map_err(said)?,
            argocd: ArgoCd::start(argocd, 0).await.map_err(said)?,
            dcr: Dcr::start(DcrOptions::new(DCR_TOKEN, options.now), 0)
                .await
                .map_err(said)?,
            keys,
        };
        town.settle_github().map_err(|e| e.to_string())?;
        town.settle_jira().map_err(|e| e.to_string())?;
        town.settle_others();
        Ok(town)
    }

    fn settle_github(&self) -> Result<(), super::github::Refusal> {
        let github = &self.github;
        for login in ["ada", "grace", "eve"] {
            github.add_user(login);
        }
        github.add_bot("renovate[bot]");
        github.add_user("bea");
        github.add_org("acme");
        github.add_team_member("acme", "sre", "grace", true)?;
        github.add_repo(
            REPO,
            &[
                ("README.md", "# Deployment\n"),
                ("tenants/comcast/farm.yaml", &farm(3, CHANNEL)),
                ("tenants/comcast/history.yaml", HISTORY),
                ("tenants/globex/farm.yaml", &farm(5, CHANNEL)),
                ("tenants/globex/history.yaml", HISTORY),
            ],
        )?;
        github.add_repo(CONFIG_REPO, &[("rebuild.yaml", USUAL)])?;
        let lightning =
            "# Who has Lightning.\ntenants:\n  globex: # the first one\n    enabled: true\n    tier: large\n";
        github.add_repo(
            CLUSTER_REPO,
            &[("README.md", "# Cluster of ams1\n"), ("lightning.yaml", lightning)],
        )?;
        github.add_repo(
            INSTANCES_REPO,
            &[
                ("pom.xml", POM),
                ("instances.json", INSTANCES),
                ("requests/comcast.yaml", "tenant: comcast\n"),
            ],
        )?;
        for repo in [REPO, CONFIG_REPO, CLUSTER_REPO, INSTANCES_REPO] {
            github.set_permission(repo, "ada", Level::Admin)?;
            github.set_permission(repo, "grace", Level::Write)?;
            github.set_permission(repo, "eve", Level::Read)?;
            github.set_permission(repo, "bea", Level::Read)?;
        }
        Ok(())
    }

    fn settle_jira(&self) -> Result<(), NotPossible> {
        self.jira.add_project("SREPROV", "SRE provisioning", workflow());
        self.jira.add_user(JiraUser::person("ada", "Ada"));
        self.jira.add_user(JiraUser::person("eve", "Eve"));
        self.jira.add_user(JiraUser::person("bea", "Bea"));
        self.jira.add_group("sre", &["ada"]);
        for key in [TICKET, SECOND_TICKET] {
            self.add_ticket(key, TENANT)?;
        }
        self.jira.add_project("PROV", "Provisioning", workflow());
        self.jira.add_issue(PROVISION_TICKET, "A tenant for ams1", Map::new())?;
        Ok(())
    }

    fn settle_others(&self) {
        self.discord.add_guild(GUILD);
        self.discord.add_channel(GUILD, CHANNEL, "rebuilds");
        self.discord.set_member(GUILD, Self::ada());
        self.discord.set_member(GUILD, Self::eve());
        self.discord.set_member(GUILD, Self::bea());
        for (tenant, farmers) in [(TENANT, 3), (OTHER_TENANT, 5)] {
            self.add_back_ends(tenant, farmers);
        }
    }

    fn add_back_ends(&self, tenant: &str, farmers: u32) {
        self.argocd.add_app(AppSeed {
            name: format!("dcr-{tenant}"),
            project: "dcr".into(),
            labels: BTreeMap::new(),
            repo_url: format!("https://github.com/{REPO}"),
            path: format!("tenants/{tenant}"),
            target_revision: "main".into(),
            head: "0".repeat(40),
        });
        self.dcr.add_tenant(tenant, farmers);
    }

    /// One more tenant, whose rebuilds need so many farmers and are followed in a channel of its own.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn add_tenant(&self, tenant: &str, farmers: u32, channel: &str) -> Result<(), super::github::Refusal> {
        let folder = format!("tenants/{tenant}");
        let (farm_file, history_file) = (format!("{folder}/farm.yaml"), format!("{folder}/history.yaml"));
        let files = [
            (farm_file.as_str(), Some(farm(farmers, channel))),
            (history_file.as_str(), Some(HISTORY.to_owned())),
        ];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_deref()));
        self.github.push("ada", REPO, "main", &files)?;
        self.discord.add_channel(GUILD, channel, tenant);
        self.add_back_ends(tenant, farmers);
        Ok(())
    }

    /// One more ticket for a tenant.
    ///
    /// # Errors
    /// When the key's project is unknown.
    pub fn add_ticket(&self, key: &str, tenant: &str) -> Result<(), NotPossible> {
        let fields = Map::from_iter([("customfield_10042".to_owned(), json!(tenant))]);
        self.jira.add_issue(key, &format!("DCR {tenant}"), fields)
    }

    /// Ada on Discord, who may do everything.
    pub fn ada() -> Member {
        Member {
            id: "5".into(),
            name: "ada".into(),
            roles: Vec::new(),
        }
    }

    /// Eve on Discord, who may do nothing.
    pub fn eve() -> Member {
        Member {
            id: "66".into(),
            name: "eve".into(),
            roles: Vec::new(),
        }
    }

    /// Bea on Discord, who approves what others started.
    pub fn bea() -> Member {
        Member {
            id: "7".into(),
            name: "bea".into(),
            roles: Vec::new(),
        }
    }

    /// Webhooks go to stepherd at this address from now on.
    ///
    /// # Errors
    /// When it is no address.
    pub fn tell(&self, stepherd: &str) -> Result<(), String> {
        let to = |platform: &str| Url::parse(&format!("{stepherd}/webhooks/{platform}")).map_err(|e| e.to_string());
        self.github
            .set_webhook(to("github")?.as_str(), SecretString::from(GITHUB_SECRET), false);
        self.jira.set_webhook(
            Some(to("jira")?),
            Signing::Admin {
                secret: JIRA_SECRET.into(),
            },
        );
        self.discord.set_endpoint(Some(to("discord")?));
        Ok(())
    }

    /// The webhook secret that GitHub used before the last change.
    pub fn github_secret_before() -> SecretString {
        SecretString::from(GITHUB_SECRET_BEFORE)
    }

    /// The private key that signs what Discord sends, in hexadecimal digits.
    pub fn discord_signing_key() -> String {
        hex::encode(DISCORD_SEED)
    }

    /// What opens stepherd's API.
    pub fn api_token() -> &'static str {
        API_TOKEN
    }

    /// The environment that connects stepherd to this town.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let public_key = hex::encode(SigningKey::from_bytes(&DISCORD_SEED).verifying_key().to_bytes());
        [
            ("SERVER__API_TOKEN", API_TOKEN.to_owned()),
            ("GITHUB__API_URL", self.github.url().to_owned()),
            ("GITHUB__WEBHOOK_SECRET", GITHUB_SECRET.to_owned()),
            ("GITHUB__WEBHOOK_SECRET_PREVIOUS", GITHUB_SECRET_BEFORE.to_owned()),
            ("GITHUB__APP_ID", APP_ID.to_string()),
            ("GITHUB__PRIVATE_KEY", self.keys.private_pem.clone()),
            ("JIRA__BASE_URL", self.jira.url.to_owned()),
            ("JIRA__WEBHOOK_SECRET", JIRA_SECRET.to_owned()),
            ("JIRA__EMAIL", "stepherd@example.com".to_owned()),
            ("JIRA__TOKEN", JIRA_TOKEN.to_owned()),
            ("DISCORD__API_URL", self.discord.url.to_owned()),
            ("DISCORD__APPLICATION_ID", DISCORD_APP.to_owned()),
            ("DISCORD__PUBLIC_KEY", public_key),
            ("DISCORD__TOKEN", DISCORD_TOKEN.to_owned()),
            ("ARGOCD__BASE_URL", self.argocd.url.to_owned()),
            ("ARGOCD__TOKEN", ARGOCD_TOKEN.to_owned()),
            ("DCR__BASE_URL", self.dcr.url.to_owned()),
            ("DCR__TOKEN", DCR_TOKEN.to_owned()),
        ]
        .map(|(key, value)| (format!("STEPHERD__{key}"), value))
        .into()
    }

    /// The environment that connects stepherd to this town as `settings` does, but with an account's token instead of
    /// the GitHub App.
    ///
    /// # Errors
    /// When the town contradicts itself.
    pub fn settings_with_token(&self) -> Result<BTreeMap<String, String>, super::github::Refusal> {
        self.github.add_token(&SecretString::from(GITHUB_TOKEN), GITHUB_BOT);
        for repo in [REPO, CONFIG_REPO, CLUSTER_REPO, INSTANCES_REPO] {
            self.github.set_permission(repo, GITHUB_BOT, Level::Write)?;
        }
        let mut settings = self.settings();
        settings.remove("STEPHERD__GITHUB__APP_ID");
        settings.remove("STEPHERD__GITHUB__PRIVATE_KEY");
        settings.insert("STEPHERD__GITHUB__TOKEN".to_owned(), GITHUB_TOKEN.to_owned());
        Ok(settings)
    }

    /// The people of this town, as `people.toml` has them.
    pub fn people_toml(&self) -> String {
        let id = |login| self.github.account_id(login).unwrap_or_default();
        let (ada, bea) = (id("ada"), id("bea"));
        format!(
            "[[person]]\nname = \"ada\"\ngithub = {ada}\njira = \"557058:ada\"\ndiscord = \"5\"\n\n\
             [[person]]\nname = \"bea\"\ngithub = {bea}\njira = \"557058:bea\"\ndiscord = \"7\"\n\n\
             [[role]]\nname = \"viewer\"\npersons = [\"ada\"]\ngithub_permission = {{ repo = \"{REPO}\", at_least = \"write\" }}\n\n\
             [[role]]\nname = \"operator\"\npersons = [\"ada\"]\ngithub_teams = [\"acme/sre\"]\n\n\
             [[role]]\nname = \"approver\"\napproves = true\npersons = [\"ada\", \"bea\"]\n"
        )
    }
}

/// A tenant's farm, which says how many farmers it needs and where its rebuilds are followed.
fn farm(farmers: u32, channel: &str) -> String {
    format!(
        "# Farmers warm the cache before it is rebuilt.\nfarmers:\n  enabled: false # switched on by the rebuild\n  \
         min: {farmers}\ndiscord:\n  channel: \"{channel}\"\n"
    )
}

/// `Open → Approved → Done | Failed`.
fn workflow() -> Workflow {
    let status = |id: &str, name: &str| Status {
        id: id.into(),
        name: name.into(),
    };
    let way = |id: &str, name: &str, from: &str, to: &str| Transition {
        id: id.into(),
        name: name.into(),
        from: vec![from.into()],
        to: to.into(),
    };
    Workflow {
        statuses: vec![
            status("10010", "Open"),
            status("10011", "Approved"),
            status("10013", "Done"),
            status("10014", "Failed"),
        ],
        transitions: vec![
            way("11", "Approve", "10010", "10011"),
            way("31", "Finish", "10011", "10013"),
            way("41", "Give up", "10011", "10014"),
            way("51", "Reopen", "10011", "10010"),
        ],
    }
}

/// A shared clock function from any clock.
pub fn now_from<F>(now: F) -> Now
where
    F: Fn() -> jiff::Timestamp + Send + Sync + 'static,
{
    Arc::new(now)
}
