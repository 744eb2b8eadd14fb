//! The only file that names every concrete adapter: settings in, hands out.

use std::sync::Arc;
use std::time::Duration;

use crate::adapters::argocd::{ArgoCd, ArgoCdConfig};
use crate::adapters::dcr::{Dcr, DcrConfig};
use crate::adapters::discord::{Discord, DiscordConfig, DiscordDoor};
use crate::adapters::github::{Credentials, Github, GithubCatchup, GithubConfig};
use crate::adapters::jira::{Flavor, Jira, JiraCatchup, JiraConfig, JiraProofs};
use crate::adapters::{Backend, Hands};
use crate::catalog::Settings;
use crate::catalog::settings::{JiraFlavor, Secret};
use crate::domain::ids::{BackendName, Platform};

/// How old a Discord interaction may be: older ones may be replays.
const DISCORD_FRESHNESS: Duration = Duration::from_secs(300);

/// Builds every adapter that the settings switch on. Calls nobody; must be called within a tokio runtime.
///
/// # Errors
/// What is wrong with the settings of a platform that is on, in words for its administrator.
pub fn hands(settings: &Settings) -> Result<Hands, String> {
    let mut hands = Hands::default();
    for status in settings.platforms().into_iter().filter(|status| !status.on) {
        hands.off.insert(status.name.to_owned(), status.why);
    }
    if settings.is_on("github") {
        github(settings, &mut hands)?;
    }
    if settings.is_on("jira") {
        jira(settings, &mut hands)?;
    }
    if settings.is_on("discord") {
        discord(settings, &mut hands)?;
    }
    if settings.is_on("argocd") {
        let (base_url, token) = service(&settings.argocd, "argocd")?;
        add_backend(
            &mut hands,
            "argocd",
            Arc::new(ArgoCd::new(&ArgoCdConfig { base_url, token })?),
        )?;
    }
    if settings.is_on("dcr") {
        let (base_url, token) = service(&settings.dcr, "dcr")?;
        add_backend(&mut hands, "dcr", Arc::new(Dcr::new(&DcrConfig { base_url, token })?))?;
    }
    Ok(hands)
}

fn github(settings: &Settings, hands: &mut Hands) -> Result<(), String> {
    let set = &settings.github;
    let credentials = match (set.app_id, &set.private_key, &set.token) {
        (Some(app_id), Some(key), _) => Credentials::App {
            app_id,
            private_key: key.clone(),
        },
        (_, _, Some(token)) => Credentials::Token(token.clone()),
        _ => return Err("github is on but has no credentials: give app_id and private_key, or token".to_owned()),
    };
    let github = Github::new(GithubConfig {
        api_url: set.api_url.clone(),
        web_url: None,
        webhook_secrets: given([&set.webhook_secret, &set.webhook_secret_previous]),
        credentials,
        own_account_id: set.own_account_id,
        allow_forks: set.allow_forks,
        delete_merged_branches: set.delete_merged_branches,
    })?;
    let platform = platform("github")?;
    hands.doors.insert(platform.clone(), Arc::new(github.door()));
    hands.threads.insert(platform.clone(), github.clone());
    let catchup = GithubCatchup::new(github.clone(), set.repositories.clone());
    hands.catchups.insert(platform, Arc::new(catchup));
    hands.forge = Some(github);
    Ok(())
}

fn jira(settings: &Settings, hands: &mut Hands) -> Result<(), String> {
    let set = &settings.jira;
    let base_url = set.base_url.clone().ok_or("jira is on but has no base_url")?;
    let token = set.token.clone().ok_or("jira is on but has no token")?;
    let flavor = match set.flavor {
        JiraFlavor::Cloud => Flavor::Cloud,
        JiraFlavor::DataCenter => Flavor::DataCenter,
    };
    let config = JiraConfig {
        base_url,
        flavor,
        email: set.email.clone(),
        token,
        own_account_id: set.own_account_id.clone(),
    };
    let jira = Arc::new(Jira::new(config)?);
    let public_path = settings
        .server
        .public_url
        .as_deref()
        .and_then(|url| url::Url::parse(url).ok());
    let proofs = JiraProofs {
        webhook_secrets: given([&set.webhook_secret, &set.webhook_secret_previous]),
        oauth_client_secret: set.oauth_client_secret.clone(),
        connect_shared_secret: set.connect_shared_secret.clone(),
        connect_client_key: set.connect_client_key.clone(),
        connect_base_path: public_path
            .map(|url| url.path().trim_end_matches('/').to_owned())
            .unwrap_or_default(),
        automation_secret: set.automation_secret.clone(),
    };
    let platform = platform("jira")?;
    hands.doors.insert(platform.clone(), Arc::new(jira.door(proofs)));
    hands.threads.insert(platform.clone(), jira.clone());
    let transitions = set.automation_secret.is_none();
    if !transitions {
        tracing::warn!("Jira's Automation tells of transitions: those that it did not tell are not looked for");
    }
    let catchup = JiraCatchup::new(jira.clone(), set.projects.clone(), transitions);
    hands.catchups.insert(platform, Arc::new(catchup));
    hands.tracker = Some(jira);
    Ok(())
}

fn discord(settings: &Settings, hands: &mut Hands) -> Result<(), String> {
    let config = discord_config(settings)?;
    let door = DiscordDoor::new(&config.public_key, DISCORD_FRESHNESS, &config.application_id)?;
    let platform = platform("discord")?;
    hands.doors.insert(platform.clone(), Arc::new(door));
    hands.threads.insert(platform, Arc::new(Discord::new(&config)?));
    Ok(())
}

/// What the Discord adapter needs, also for registering commands.
///
/// # Errors
/// What is missing.
pub fn discord_config(settings: &Settings) -> Result<DiscordConfig, String> {
    let set = &settings.discord;
    Ok(DiscordConfig {
        api_url: set.api_url.clone(),
        application_id: set.application_id.clone().ok_or("discord has no application_id")?,
        public_key: set.public_key.clone().ok_or("discord has no public_key")?,
        token: set.token.clone().ok_or("discord has no token")?,
    })
}

fn service(set: &crate::catalog::settings::Service, name: &str) -> Result<(String, Secret), String> {
    let base_url = set.base_url.clone().ok_or_else(|| format!("{name} has no base_url"))?;
    let token = set.token.clone().ok_or_else(|| format!("{name} has no token"))?;
    Ok((base_url, token))
}

fn add_backend(hands: &mut Hands, name: &str, backend: Arc<dyn Backend>) -> Result<(), String> {
    let name: BackendName = name.parse().map_err(|e| format!("{e}"))?;
    hands.backends.insert(name, backend);
    Ok(())
}

fn platform(name: &str) -> Result<Platform, String> {
    name.parse().map_err(|e| format!("{e}"))
}

fn given<const N: usize>(secrets: [&Option<Secret>; N]) -> Vec<Secret> {
    secrets.into_iter().flatten().cloned().collect()
}
