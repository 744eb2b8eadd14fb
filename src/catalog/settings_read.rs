//! Reads stepherd's settings: the file, the environment over it, and the files that hold secrets. The only place in
//! the catalog that ever touches a secret.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use super::database_url;
use super::diagnose::did_you_mean;
use super::page::{At, Page};
use super::settings::{
    Database, Discord, Engine, Github, Jira, JiraFlavor, Log, LogFormat, Retention, Secret, Server, Service, Settings,
};
use super::settings_raw::{
    RawArgocd, RawDatabase, RawDcr, RawDiscord, RawFlavor, RawGithub, RawJira, RawLogFormat, RawRetention, RawSecret,
    RawServer, RawSettings,
};

/// The settings. `dir` is the folder of the file: relative paths of files and folders start there.
pub(super) fn compile(page: &mut Page, raw: RawSettings, dir: &Path) -> Settings {
    let mut reader = Reader { page, dir };
    let commands = raw
        .paths
        .commands
        .as_ref()
        .map_or("../commands", |at| at.get().as_str());
    let engine = Engine::default();
    let settings = Settings {
        server: reader.server(&raw.server),
        database: reader.database(&raw.database),
        github: reader.github(&raw.github),
        jira: reader.jira(&raw.jira),
        discord: reader.discord(&raw.discord),
        argocd: reader.argocd(&raw.argocd),
        dcr: reader.dcr(&raw.dcr),
        engine: Engine {
            edit_spacing: seconds(raw.engine.edit_spacing_s, engine.edit_spacing),
            repair_interval: seconds(raw.engine.repair_interval_s, engine.repair_interval),
            command_max_age: seconds(raw.engine.command_max_age_s, engine.command_max_age),
            answers_max: raw.engine.answers_max.unwrap_or(engine.answers_max),
        },
        retention: reader.retention(&raw.retention),
        log: Log {
            format: match raw.log.format {
                None | Some(RawLogFormat::Text) => LogFormat::Text,
                Some(RawLogFormat::Json) => LogFormat::Json,
            },
            level: reader.level(raw.log.level.as_ref()),
        },
        commands_dir: dir.join(commands),
    };
    check_on(reader.page, &raw.github, &raw.jira, &raw.discord, &settings);
    settings
}

/// What is switched on has what it needs; otherwise stepherd does not start.
fn check_on(page: &mut Page, github: &RawGithub, jira: &RawJira, discord: &RawDiscord, settings: &Settings) {
    let asked = [
        (
            "github",
            &github.enabled,
            settings.github.webhook_secret.is_some(),
            "`webhook_secret`",
        ),
        (
            "jira",
            &jira.enabled,
            settings.jira.can_prove(),
            "a secret that proves webhooks",
        ),
        ("discord", &discord.enabled, settings.discord.token.is_some(), "`token`"),
    ];
    for (name, enabled, has_secret, secret) in asked {
        if let Some(at) = enabled.as_ref().filter(|at| *at.get() && !has_secret) {
            let section = name.to_uppercase();
            page.say_hint(
                at.span(),
                format!("{name} is to be on, but {secret} is not given"),
                format!("give it as STEPHERD__{section}__… or by its _file key, or remove `enabled`"),
            );
        }
    }
    check_needs(page, github, jira, discord, settings);
}

/// What is on can do its work. Told where the secret is given, because that is what switched it on.
fn check_needs(page: &mut Page, github: &RawGithub, jira: &RawJira, discord: &RawDiscord, settings: &Settings) {
    let github_at = place(&github.webhook_secret, &github.webhook_secret_file);
    let jira_at = place(&jira.webhook_secret, &jira.webhook_secret_file)
        .or_else(|| place(&jira.connect_shared_secret, &jira.connect_shared_secret_file))
        .or_else(|| place(&jira.oauth_client_secret, &jira.oauth_client_secret_file))
        .or_else(|| place(&jira.automation_secret, &jira.automation_secret_file));
    let discord_at = place(&discord.token, &discord.token_file);
    let cloud = settings.jira.flavor == JiraFlavor::Cloud;
    let authorised = settings.github.app_id.is_some() || settings.github.token.is_some();
    let (id, key) = (&settings.discord.application_id, &settings.discord.public_key);
    let needs = [
        (
            "github",
            &github_at,
            authorised,
            "`token`, nor `app_id` and `private_key`",
        ),
        ("jira", &jira_at, settings.jira.base_url.is_some(), "`base_url`"),
        ("jira", &jira_at, settings.jira.token.is_some(), "`token`"),
        (
            "jira",
            &jira_at,
            !cloud || settings.jira.email.is_some(),
            "`email`, whose the token is",
        ),
        ("discord", &discord_at, id.is_some(), "`application_id`"),
        ("discord", &discord_at, key.is_some(), "`public_key`"),
    ];
    // What failed to be read was told where it stands; saying that it is missing would be wrong.
    let told = page.count();
    for (name, at, there, what) in needs {
        if !there && settings.is_on(name) && told == 0 {
            page.say_hint(
                at.clone().unwrap_or(0..0),
                format!("{name} is on, because this is given, but it has no {what}"),
                format!("give it under [{name}], or switch the platform off with enabled = false"),
            );
        }
    }
}

/// Where a secret is given.
fn place(value: &Option<At<RawSecret>>, file: &Option<At<String>>) -> Option<Range<usize>> {
    value.as_ref().map(At::span).or_else(|| file.as_ref().map(At::span))
}

fn seconds(given: Option<u32>, usual: Duration) -> Duration {
    given.map_or(usual, |seconds| Duration::from_secs(u64::from(seconds)))
}

struct Reader<'a> {
    page: &'a mut Page,
    dir: &'a Path,
}

impl Reader<'_> {
    fn server(&mut self, raw: &RawServer) -> Server {
        let usual = Server::default();
        let body_limit_bytes = raw
            .body_limit_bytes
            .map_or(usual.body_limit_bytes, |bytes| bytes as usize);
        let budget_min = body_limit_bytes.saturating_mul(4);
        if let Some(at) = raw
            .body_budget_bytes
            .as_ref()
            .filter(|at| (*at.get() as usize) < budget_min)
        {
            self.page.say_hint(
                at.span(),
                "`body_budget_bytes` is less than four of the largest bodies",
                format!("at least {budget_min}, four times `body_limit_bytes`"),
            );
        }
        Server {
            listen: self.listen(raw.listen.as_ref()).unwrap_or(usual.listen),
            public_url: self.url(raw.public_url.as_ref()),
            api_token: self.secret(raw.api_token.as_ref(), raw.api_token_file.as_ref()),
            body_limit_bytes,
            body_budget_bytes: raw
                .body_budget_bytes
                .as_ref()
                .map_or(usual.body_budget_bytes.max(budget_min), |at| *at.get() as usize),
            connections_max: raw.connections_max.map_or(usual.connections_max, |max| max as usize),
            header_timeout: seconds(raw.header_timeout_s, usual.header_timeout),
            read_timeout: seconds(raw.read_timeout_s, usual.read_timeout),
            body_rate_min: raw.body_rate_min.unwrap_or(usual.body_rate_min),
            trusted_proxies: raw.trusted_proxies.as_deref().map(|given| self.networks(given)),
        }
    }

    /// Levels, of all or of parts of the program. What is none would be taken for the name of a part, and nothing would
    /// be logged.
    fn level(&mut self, given: Option<&At<String>>) -> String {
        const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
        let usual = Log::default().level;
        let Some(at) = given else { return usual };
        for part in at.get().split(',') {
            let (target, level) = part.rsplit_once('=').map_or((None, part), |(t, l)| (Some(t.trim()), l));
            let level = level.trim().to_ascii_lowercase();
            let is_target =
                |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
            if !LEVELS.contains(&level.as_str()) || target.is_some_and(|target| !is_target(target)) {
                let message = format!("`{}` is no level of logs", part.trim());
                self.page.push(at.span(), message, did_you_mean(&level, LEVELS));
                return usual;
            }
        }
        at.get().clone()
    }

    fn networks(&mut self, given: &[At<String>]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for at in given {
            let text = at.get().as_str();
            match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push(network),
                Err(_) => self.page.say_hint(
                    at.span(),
                    format!("`{text}` is neither an address nor a network"),
                    "an IP address or a network of them: 10.1.2.3, 10.0.0.0/8, fd00::/8",
                ),
            }
        }
        networks
    }

    fn listen(&mut self, given: Option<&At<String>>) -> Option<SocketAddr> {
        let at = given?;
        let parsed = at.get().parse().ok();
        if parsed.is_none() {
            self.page.say_hint(
                at.span(),
                format!("`{}` is no address to listen on", at.get()),
                "an IP address and a port: 127.0.0.1:8080, 0.0.0.0:8080, [::]:8080",
            );
        }
        parsed
    }

    fn database(&mut self, raw: &RawDatabase) -> Database {
        // The address is not shown: it may hold a password.
        let (at, url) = match (&raw.url, &raw.url_file) {
            (Some(at), _) => {
                self.page.hide(at.span());
                (at.span(), at.get().clone().into())
            }
            (None, Some(file)) => match self.hidden(None, Some(file)) {
                Some(url) => (file.span(), url),
                None => return Database::default(),
            },
            (None, None) => return Database::default(),
        };
        let text = url.expose_secret();
        let server = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if !server && text.strip_prefix("sqlite:").is_none_or(str::is_empty) {
            self.page.say_hint(
                at,
                "`url` must be the address of an SQLite or PostgreSQL database",
                "sqlite:stepherd.db, or postgres://user@host/database",
            );
        } else if server && url::Url::parse(text).is_err() {
            self.page
                .say_hint(at, "`url` is no address", "postgres://user@host/database");
        } else if server && let Some(option) = database_url::unknown_option(text) {
            // The driver would leave it out, and with it perhaps the TLS that somebody meant to ask for.
            let hint = did_you_mean(&option, database_url::OPTIONS.iter().copied());
            let message = format!("the address has an option `{option}`, which means nothing here");
            self.page.push(at, message, hint);
        } else if raw.url.is_some() && self.page.variable(&at).is_none() && database_url::has_password(text) {
            self.page.say_hint(
                at,
                "a password must not stand in this file",
                "give the whole address as STEPHERD__DATABASE__URL, or in a file of its own by url_file",
            );
        }
        Database { url }
    }

    /// What has taken effect is known for longer than it can be asked for again: as long as a delivery is kept it
    /// can be replayed, and platforms and looking repeat what is up to a week old.
    fn retention(&mut self, raw: &RawRetention) -> Retention {
        const LONGER: u32 = 7;
        let usual = Retention::default();
        let days = |given: &Option<At<u32>>, usual| given.as_ref().map_or(usual, |at| *at.get());
        let kept = Retention {
            deliveries_days: days(&raw.deliveries_days, usual.deliveries_days),
            runs_days: raw.runs_days.unwrap_or(usual.runs_days),
            accepted_days: days(&raw.accepted_days, usual.accepted_days),
        };
        let deliveries_end = kept.deliveries_days > 0;
        let longer = deliveries_end && kept.accepted_days >= kept.deliveries_days.saturating_add(LONGER);
        if kept.accepted_days > 0 && !longer {
            let at = raw.accepted_days.as_ref().or(raw.deliveries_days.as_ref());
            let least = if deliveries_end {
                format!(
                    "at least {}, or 0: for ever",
                    kept.deliveries_days.saturating_add(LONGER)
                )
            } else {
                "0: for ever, as deliveries are".to_owned()
            };
            self.page.say_hint(
                at.map_or(0..0, At::span),
                "`accepted_days` must be a week longer than `deliveries_days`: a delivery that is replayed when it is \
                 not known any more that it took effect would take effect twice",
                format!("accepted_days: {least}"),
            );
        }
        kept
    }

    fn github(&mut self, raw: &RawGithub) -> Github {
        let usual = Github::default();
        if let Some(app_id) = raw
            .app_id
            .as_ref()
            .filter(|_| raw.private_key.is_none() && raw.private_key_file.is_none())
        {
            self.page.say(app_id.span(), "`app_id` needs `private_key`");
        }
        Github {
            enabled: raw.enabled.as_ref().map(|at| *at.get()),
            api_url: self.vendor(raw.api_url.as_ref()).unwrap_or(usual.api_url),
            webhook_secret: self.secret(raw.webhook_secret.as_ref(), raw.webhook_secret_file.as_ref()),
            webhook_secret_previous: self.secret(
                raw.webhook_secret_previous.as_ref(),
                raw.webhook_secret_previous_file.as_ref(),
            ),
            app_id: raw.app_id.as_ref().map(|at| u64::from(*at.get())),
            private_key: self.secret(raw.private_key.as_ref(), raw.private_key_file.as_ref()),
            token: self.secret(raw.token.as_ref(), raw.token_file.as_ref()),
            own_account_id: raw.own_account_id.map(u64::from),
            allow_forks: raw.allow_forks.unwrap_or(usual.allow_forks),
            delete_merged_branches: raw.delete_merged_branches.unwrap_or(usual.delete_merged_branches),
            repositories: self.names(
                raw.repositories.as_deref(),
                "a repository is written owner/name",
                |name| name.parse().ok(),
            ),
        }
    }

    fn jira(&mut self, raw: &RawJira) -> Jira {
        let client_key = raw.connect_client_key.as_ref();
        if let Some(at) = client_key.filter(|at| at.get().trim().is_empty()) {
            self.page.say(at.span(), "`connect_client_key` is empty");
        }
        if let Some(RawFlavor::DataCenter) = raw.flavor.as_ref().map(|at| *at.get())
            && raw.webhook_secret.is_none()
            && raw.webhook_secret_file.is_none()
            && let Some(at) = &raw.flavor
        {
            self.page.warn(
                at.span(),
                "webhooks of Jira Data Center prove themselves by `webhook_secret` only",
                "give the webhook a secret there, and here. A version that offers none sends webhooks unsigned, which are \
                 refused: then use none, and an Automation rule for transitions; the rest is found by looking, every \
                 engine.repair_interval_s",
            );
        }
        Jira {
            enabled: raw.enabled.as_ref().map(|at| *at.get()),
            base_url: self.vendor(raw.base_url.as_ref()),
            flavor: match raw.flavor.as_ref().map(|at| *at.get()) {
                None | Some(RawFlavor::Cloud) => JiraFlavor::Cloud,
                Some(RawFlavor::DataCenter) => JiraFlavor::DataCenter,
            },
            webhook_secret: self.secret(raw.webhook_secret.as_ref(), raw.webhook_secret_file.as_ref()),
            webhook_secret_previous: self.secret(
                raw.webhook_secret_previous.as_ref(),
                raw.webhook_secret_previous_file.as_ref(),
            ),
            connect_shared_secret: self.secret(
                raw.connect_shared_secret.as_ref(),
                raw.connect_shared_secret_file.as_ref(),
            ),
            connect_client_key: client_key.map(|at| at.get().trim().to_owned()),
            oauth_client_secret: self.secret(raw.oauth_client_secret.as_ref(), raw.oauth_client_secret_file.as_ref()),
            automation_secret: self.secret(raw.automation_secret.as_ref(), raw.automation_secret_file.as_ref()),
            own_account_id: raw.own_account_id.as_ref().map(|at| at.get().clone()),
            email: raw.email.as_ref().map(|at| at.get().clone()),
            token: self.secret(raw.token.as_ref(), raw.token_file.as_ref()),
            projects: self.names(raw.projects.as_deref(), "a project's key is like SREPROV", |name| {
                // They become part of a search.
                let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
                (!name.is_empty() && name.bytes().all(fits)).then(|| name.to_owned())
            }),
        }
    }

    /// The names in a list; what is none is told.
    fn names<T>(&mut self, given: Option<&[At<String>]>, form: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut names = Vec::new();
        for at in given.unwrap_or_default() {
            match read(at.get()) {
                Some(name) => names.push(name),
                None => self.page.say(at.span(), format!("`{}`: {form}", at.get())),
            }
        }
        names
    }

    fn discord(&mut self, raw: &RawDiscord) -> Discord {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let (id, key) = (raw.application_id.as_ref(), raw.public_key.as_ref());
        if let Some(at) = id.filter(|at| !digits(at.get())) {
            self.page
                .say(at.span(), "`application_id` is the number from the application's page");
        }
        if let Some(at) = key.filter(|at| !hex(at.get())) {
            self.page.say(
                at.span(),
                "`public_key` is the 64 hexadecimal digits from the application's page",
            );
        }
        Discord {
            enabled: raw.enabled.as_ref().map(|at| *at.get()),
            api_url: self.vendor(raw.api_url.as_ref()).unwrap_or(Discord::default().api_url),
            application_id: id.map(|at| at.get().clone()),
            public_key: key.map(|at| at.get().clone()),
            token: self.secret(raw.token.as_ref(), raw.token_file.as_ref()),
        }
    }

    fn argocd(&mut self, raw: &RawArgocd) -> Service {
        Service {
            base_url: self.vendor(raw.base_url.as_ref()),
            token: self.secret(raw.token.as_ref(), raw.token_file.as_ref()),
        }
    }

    fn dcr(&mut self, raw: &RawDcr) -> Service {
        Service {
            base_url: self.vendor(raw.base_url.as_ref()),
            token: self.secret(raw.token.as_ref(), raw.token_file.as_ref()),
        }
    }

    /// A vendor's address. What goes there carries a token.
    fn vendor(&mut self, given: Option<&At<String>>) -> Option<String> {
        let at = given?;
        let url = self.url(given)?;
        let host = url::Url::parse(&url).ok().filter(|url| url.scheme() == "http");
        let far = host.filter(|url| match url.host() {
            Some(url::Host::Domain(name)) => name != "localhost",
            Some(url::Host::Ipv4(ip)) => !ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => !ip.is_loopback(),
            None => false,
        });
        if far.is_some() {
            self.page.warn(
                at.span(),
                "whoever is on the way there can read the token: http:// is not encrypted",
                "https://, unless both are in one network that you trust",
            );
        }
        Some(url)
    }

    /// An address of ours or a vendor's, without a slash at the end. User names and passwords have no place in it.
    fn url(&mut self, given: Option<&At<String>>) -> Option<String> {
        let at = given?;
        let url = url::Url::parse(at.get())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            self.page.hide(at.span());
            self.page
                .say_hint(at.span(), "this is no web address", "https://host/path");
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            self.page.hide(at.span());
            self.page.say(
                at.span(),
                "an address must not hold a user name, a password, a query or a fragment",
            );
            return None;
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    /// A secret from the environment, else from its file. One that can be guessed is none.
    fn secret(&mut self, given: Option<&At<RawSecret>>, file: Option<&At<String>>) -> Option<Secret> {
        const LEAST: usize = 8;
        const USUAL: usize = 16;
        let secret = self.hidden(given, file)?;
        let at = given.map(At::span).or_else(|| file.map(At::span)).unwrap_or_default();
        let (length, hint) = (
            secret.expose_secret().chars().count(),
            "make one with: openssl rand -hex 32",
        );
        if length < LEAST {
            let message = format!("a secret of fewer than {LEAST} characters can be guessed");
            self.page.say_hint(at, message, hint);
        } else if length < USUAL {
            let message = format!("a secret of fewer than {USUAL} characters is easily guessed");
            self.page.warn(at, message, hint);
        }
        Some(secret)
    }

    /// What must not be shown, from the environment, else from its file.
    fn hidden(&mut self, given: Option<&At<RawSecret>>, file: Option<&At<String>>) -> Option<Secret> {
        if let Some(at) = given {
            let text = at.get().0.expose_secret().trim();
            if text.is_empty() {
                self.page.say(at.span(), "the secret is empty");
                return None;
            }
            return Some(text.to_owned().into());
        }
        let at = file?;
        let path = self.dir.join(at.get());
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Some(SecretString::from(text.trim().to_owned())),
            Ok(_) => {
                self.page
                    .say(at.span(), format!("the file {} is empty", path.display()));
                None
            }
            Err(error) => {
                self.page.say(
                    at.span(),
                    format!("the file {} cannot be read: {error}", path.display()),
                );
                None
            }
        }
    }
}
