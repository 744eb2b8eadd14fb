//! stepherd's own settings: defaults, the environment, secrets, what is on.

use std::time::Duration;

use secrecy::ExposeSecret;
use stepherd::catalog::settings::{JiraFlavor, LogFormat};
use stepherd::catalog::{self, Settings, schema};

use super::{Env, Folder, env, shipped};

#[expect(clippy::too_many_lines, reason = "a table of mistakes and what is said about them")]
#[test]
fn broken_settings_are_told_what_and_where() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("[server]\nlisten = \"localhost\"", &[]),
        ("[server]\nbody_limit_bytes = \"25 MiB\"", &[]),
        ("[server]\nbody_limit_bytes = 1", &[]),
        ("[servr]\nlisten = \"127.0.0.1:1\"", &[]),
        ("[server]\nlissten = \"127.0.0.1:1\"", &[]),
        ("server = 1", &[("STEPHERD__SERVER__LISTEN", "127.0.0.1:1")]),
        ("[database]\nurl = \"postgres://u:hunter2@host/db\"", &[]),
        ("[database]\nurl = \"postgres://u@host/db?password=hunter2\"", &[]),
        ("[database]\nurl = \"mysql://u:hunter2@host/db\"", &[]),
        ("", &[("STEPHERD__DATABASE__URL", "postgres://u:hunter2@:9x/db")]),
        ("", &[("STEPHERD__DATABASE__URL", "postgres://u:hunter2@host/db")]),
        ("[github]\napi_url = \"https://u:hunter2@host\"", &[]),
        ("[github]\napi_url = \"ftp://host\"", &[]),
        ("[github]\nenabled = true", &[]),
        (
            "[discord]\nenabled = true\napplication_id = \"x\"\npublic_key = \"y\"",
            &[],
        ),
        ("[github]\napp_id = 5", &[]),
        ("", &[("STEPHERD__GITHUB__WEBHOOK_SECRET", "hunter2-hunter2-2")]),
        ("", &[("STEPHERD__JIRA__AUTOMATION_SECRET", "hunter2-hunter2-2")]),
        ("", &[("STEPHERD__GITHUB__WEBHOOK_SECERT", "hunter2")]),
        ("", &[("STEPHERD__SERVER", "hunter2")]),
        ("", &[("STEPHERD__ENGINE__EDIT_SPACING_S", "many")]),
        ("", &[("STEPHERD__ENGINE__EDIT_SPACING_S", "9000")]),
        ("[retention]\naccepted_days = 30", &[]),
        ("[retention]\ndeliveries_days = 394", &[]),
        ("[retention]\ndeliveries_days = 0", &[]),
        ("[retention]\ndeliveries_days = 0\naccepted_days = 0", &[]),
        (
            "[retention]\ndeliveries_days = 393",
            &[("STEPHERD__RETENTION__RUNS_DAYS", "90000")],
        ),
        ("", &[("STEPHERD__SERVER__LISTEN", "here")]),
        ("[log]\nformat = \"yaml\"", &[]),
        ("[paths]\ncommands = \"../elsewhere\"", &[]),
        ("[github]\ntoken_file = \"no-such-file\"", &[]),
    ];
    let mut out = String::new();
    for (text, pairs) in cases {
        let problems = Folder::settings(text, pairs).map_or_else(|problems| problems, |_| "no problem".to_owned());
        let given = text
            .lines()
            .chain(pairs.iter().map(|(name, _)| *name))
            .last()
            .unwrap_or_default();
        out.push_str(&format!("> {given}\n{problems}\n\n"));
    }
    insta::assert_snapshot!(out, @r#"
    > listen = "localhost"
    config/stepherd.toml:2:10: `localhost` is no address to listen on
      hint: an IP address and a port: 127.0.0.1:8080, 0.0.0.0:8080, [::]:8080

    > body_limit_bytes = "25 MiB"
    config/stepherd.toml:2:20: `body_limit_bytes` must be a whole number, not text

    > body_limit_bytes = 1
    config/stepherd.toml:2:20: `body_limit_bytes` must be from 1024 to 104857600

    > listen = "127.0.0.1:1"
    config/stepherd.toml:1:2: unknown key `servr`
      hint: did you mean `server`?

    > lissten = "127.0.0.1:1"
    config/stepherd.toml:2:1: unknown key `lissten`
      hint: did you mean `listen`?

    > STEPHERD__SERVER__LISTEN
    config/stepherd.toml:1:10: `server` must be a table, not a whole number

    > url = "postgres://u:hunter2@host/db"
    config/stepherd.toml:2:7: a password must not stand in this file
      hint: give the whole address as STEPHERD__DATABASE__URL, or in a file of its own by url_file

    > url = "postgres://u@host/db?password=hunter2"
    config/stepherd.toml:2:7: a password must not stand in this file
      hint: give the whole address as STEPHERD__DATABASE__URL, or in a file of its own by url_file

    > url = "mysql://u:hunter2@host/db"
    config/stepherd.toml:2:7: `url` must be the address of an SQLite or PostgreSQL database
      hint: sqlite:stepherd.db, or postgres://user@host/database

    > STEPHERD__DATABASE__URL
    environment: STEPHERD__DATABASE__URL: `url` is no address
      hint: postgres://user@host/database

    > STEPHERD__DATABASE__URL
    no problem

    > api_url = "https://u:hunter2@host"
    config/stepherd.toml:2:11: an address must not hold a user name, a password, a query or a fragment

    > api_url = "ftp://host"
    config/stepherd.toml:2:11: this is no web address
      hint: https://host/path

    > enabled = true
    config/stepherd.toml:2:11: github is to be on, but `webhook_secret` is not given
      hint: give it as STEPHERD__GITHUB__… or by its _file key, or remove `enabled`

    > public_key = "y"
    config/stepherd.toml:2:11: discord is to be on, but `token` is not given
      hint: give it as STEPHERD__DISCORD__… or by its _file key, or remove `enabled`
    config/stepherd.toml:3:18: `application_id` is the number from the application's page
    config/stepherd.toml:4:14: `public_key` is the 64 hexadecimal digits from the application's page

    > app_id = 5
    config/stepherd.toml:2:10: `app_id` needs `private_key`

    > STEPHERD__GITHUB__WEBHOOK_SECRET
    environment: STEPHERD__GITHUB__WEBHOOK_SECRET: github is on, because this is given, but it has no `token`, nor `app_id` and `private_key`
      hint: give it under [github], or switch the platform off with enabled = false

    > STEPHERD__JIRA__AUTOMATION_SECRET
    environment: STEPHERD__JIRA__AUTOMATION_SECRET: jira is on, because this is given, but it has no `base_url`
      hint: give it under [jira], or switch the platform off with enabled = false
    environment: STEPHERD__JIRA__AUTOMATION_SECRET: jira is on, because this is given, but it has no `email`, whose the token is
      hint: give it under [jira], or switch the platform off with enabled = false
    environment: STEPHERD__JIRA__AUTOMATION_SECRET: jira is on, because this is given, but it has no `token`
      hint: give it under [jira], or switch the platform off with enabled = false

    > STEPHERD__GITHUB__WEBHOOK_SECERT
    environment: STEPHERD__GITHUB__WEBHOOK_SECERT: there is no such setting
      hint: did you mean STEPHERD__GITHUB__WEBHOOK_SECRET?

    > STEPHERD__SERVER
    environment: STEPHERD__SERVER: there is no such setting
      hint: did you mean STEPHERD__SERVER__LISTEN?

    > STEPHERD__ENGINE__EDIT_SPACING_S
    environment: STEPHERD__ENGINE__EDIT_SPACING_S: the value must be a whole number

    > STEPHERD__ENGINE__EDIT_SPACING_S
    environment: STEPHERD__ENGINE__EDIT_SPACING_S: `edit_spacing_s` must be from 0 to 3600

    > accepted_days = 30
    config/stepherd.toml:2:17: `accepted_days` must be a week longer than `deliveries_days`: a delivery that is replayed when it is not known any more that it took effect would take effect twice
      hint: accepted_days: at least 37, or 0: for ever

    > deliveries_days = 394
    config/stepherd.toml:2:19: `accepted_days` must be a week longer than `deliveries_days`: a delivery that is replayed when it is not known any more that it took effect would take effect twice
      hint: accepted_days: at least 401, or 0: for ever

    > deliveries_days = 0
    config/stepherd.toml:2:19: `accepted_days` must be a week longer than `deliveries_days`: a delivery that is replayed when it is not known any more that it took effect would take effect twice
      hint: accepted_days: 0: for ever, as deliveries are

    > accepted_days = 0
    no problem

    > STEPHERD__RETENTION__RUNS_DAYS
    environment: STEPHERD__RETENTION__RUNS_DAYS: `runs_days` must be from 0 to 36500

    > STEPHERD__SERVER__LISTEN
    environment: STEPHERD__SERVER__LISTEN: `here` is no address to listen on
      hint: an IP address and a port: 127.0.0.1:8080, 0.0.0.0:8080, [::]:8080

    > format = "yaml"
    config/stepherd.toml:2:10: `format` must be one of text, json, not `yaml`

    > commands = "../elsewhere"
    elsewhere: the folder of commands cannot be read: No such file or directory (os error 2)
      hint: set paths.commands in stepherd.toml if they are elsewhere

    > token_file = "no-such-file"
    config/stepherd.toml:2:14: the file config/no-such-file cannot be read: No such file or directory (os error 2)
    "#);
}

#[test]
fn secrets_are_refused_in_the_file_and_never_shown() {
    let folder = Folder::new();
    folder.write(
        "config/stepherd.toml",
        "[server]\nlisten = 5\napi_token = \"hunter2\"\n[github]\nwebhook_secert = \"hunter2\"\n\
         private_key = \"\"\"\nhunter2\nhunter2\n\"\"\"\ntoken = \"hünter2\" # nothing\n[jria]\ntoken = \"hunter2\"\n\
         [zzz]\ny = \"hunter2\"\nx = [\"hunter2\"]\n",
    );
    let problems = folder.load(&Env::new()).expect_err("problems");
    insta::assert_snapshot!(folder.short(&problems.to_string()), @r#"
    config/stepherd.toml:2:10: `listen` must be text, not a whole number
    config/stepherd.toml:3:13: `api_token` is a secret and does not belong in this file
      hint: give it as the environment variable STEPHERD__SERVER__API_TOKEN or as api_token_file = "/run/secrets/…", and treat what stood here as leaked
    config/stepherd.toml:5:1: unknown key `webhook_secert`
      hint: did you mean `webhook_secret`?
    config/stepherd.toml:5:18: `webhook_secret` is a secret and does not belong in this file
      hint: give it as the environment variable STEPHERD__GITHUB__WEBHOOK_SECRET or as webhook_secret_file = "/run/secrets/…", and treat what stood here as leaked
    config/stepherd.toml:6:15: `private_key` is a secret and does not belong in this file
      hint: give it as the environment variable STEPHERD__GITHUB__PRIVATE_KEY or as private_key_file = "/run/secrets/…", and treat what stood here as leaked
    config/stepherd.toml:10:9: `token` is a secret and does not belong in this file
      hint: give it as the environment variable STEPHERD__GITHUB__TOKEN or as token_file = "/run/secrets/…", and treat what stood here as leaked
    config/stepherd.toml:11:2: unknown key `jria`
      hint: did you mean `jira`?
    config/stepherd.toml:12:9: `token` is a secret and does not belong in this file
      hint: give it as the environment variable STEPHERD__JIRA__TOKEN or as token_file = "/run/secrets/…", and treat what stood here as leaked
    config/stepherd.toml:13:2: unknown key `zzz`
      hint: there is: paths, server, database, github, jira, discord, argocd, dcr, engine, retention, log
    "#);
    for shown in [
        problems.render(true),
        problems.render(false),
        problems.to_json(),
        format!("{problems:?}"),
    ] {
        assert!(!shown.contains("nter2"), "{shown}");
    }
    // Not even when the file cannot be parsed, so that nobody knows where its values are.
    folder.write(
        "config/stepherd.toml",
        "[github]\ntoken = \"hunter2\"\nx = = \"hunter2\"\ntoken2 = 'hunter2\n",
    );
    let problems = folder.load(&Env::new()).expect_err("problems");
    for shown in [problems.render(false), problems.to_json(), problems.to_string()] {
        assert!(shown.contains("stepherd.toml") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = Folder::settings(
        "[server]\nlisten = \"127.0.0.1:1\"\nbody_limit_bytes = 2048\n[jira]\nflavor = \"cloud\"\n[engine]\nedit_spacing_s = 7",
        &[
            ("STEPHERD__SERVER__LISTEN", "[::]:9"),
            ("STEPHERD__SERVER__PUBLIC_URL", "https://example.org/stepherd/"),
            ("STEPHERD__JIRA__FLAVOR", "data-center"),
            ("STEPHERD__ENGINE__EDIT_SPACING_S", "0"),
            ("STEPHERD__GITHUB__ENABLED", "false"),
            ("STEPHERD__GITHUB__WEBHOOK_SECRET", "s3cret-s3cret-s3cret\n"),
            ("STEPHERD__LOG__FORMAT", "json"),
            ("STEPHERD__LOG__LEVEL", ""),
        ],
    )
    .expect("valid settings");
    assert_eq!(settings.server.listen.to_string(), "[::]:9");
    assert_eq!(
        settings.server.public_url.as_deref(),
        Some("https://example.org/stepherd")
    );
    assert_eq!(settings.server.body_limit_bytes, 2048);
    assert_eq!(settings.jira.flavor, JiraFlavor::DataCenter);
    assert_eq!(settings.engine.edit_spacing, Duration::ZERO);
    assert_eq!(settings.github.enabled, Some(false));
    let secret = settings.github.webhook_secret.as_ref().expect("the secret");
    assert_eq!(secret.expose_secret(), "s3cret-s3cret-s3cret");
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.level, "info", "an empty variable is none");
    assert!(
        !format!("{settings:?}").contains("s3cret-s3cret-s3cret"),
        "{settings:?}"
    );
}

#[test]
fn secrets_are_read_from_files_and_trimmed() {
    let folder = Folder::new();
    folder.write("config/hook", "from the file\n\n");
    folder.write("config/pem", "-----BEGIN-----\nabc\n-----END-----\n");
    folder.write(
        "config/stepherd.toml",
        "[github]\nwebhook_secret_file = \"hook\"\napp_id = 5\nprivate_key_file = \"pem\"\n\
         webhook_secret_previous_file = \"hook\"",
    );
    let catalog = folder
        .load(&env(&[(
            "STEPHERD__GITHUB__WEBHOOK_SECRET_PREVIOUS",
            "from the environment",
        )]))
        .expect("valid settings");
    let github = &catalog.settings.github;
    let text = |secret: &Option<catalog::settings::Secret>| secret.as_ref().map(|s| s.expose_secret().to_owned());
    assert_eq!(text(&github.webhook_secret).as_deref(), Some("from the file"));
    assert_eq!(
        text(&github.webhook_secret_previous).as_deref(),
        Some("from the environment")
    );
    assert_eq!(
        text(&github.private_key).as_deref(),
        Some("-----BEGIN-----\nabc\n-----END-----")
    );
    assert_eq!(github.app_id, Some(5));
    folder.write("config/hook", " \n");
    let told = folder.problems(&Env::new());
    assert!(
        told.contains("config/stepherd.toml:2:23: the file") && told.contains("is empty"),
        "{told}"
    );
}

#[test]
fn a_platform_is_on_when_its_secret_is_there() {
    let on = |text: &str, pairs: &[(&str, &str)]| {
        let settings = Folder::settings(text, pairs).expect("valid settings");
        settings
            .platforms()
            .into_iter()
            .map(|status| {
                format!(
                    "{} {}: {}",
                    status.name,
                    if status.on { "on" } else { "off" },
                    status.why
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    let all = [
        ("STEPHERD__GITHUB__WEBHOOK_SECRET", "aaaaaaaaaaaaaaaa"),
        ("STEPHERD__GITHUB__TOKEN", "bbbbbbbbbbbbbbbb"),
        ("STEPHERD__JIRA__CONNECT_SHARED_SECRET", "cccccccccccccccc"),
        ("STEPHERD__JIRA__BASE_URL", "https://acme.atlassian.net"),
        ("STEPHERD__JIRA__EMAIL", "bot@example.org"),
        ("STEPHERD__JIRA__TOKEN", "dddddddddddddddd"),
        ("STEPHERD__DISCORD__TOKEN", "eeeeeeeeeeeeeeee"),
        ("STEPHERD__DISCORD__APPLICATION_ID", "5"),
        (
            "STEPHERD__DISCORD__PUBLIC_KEY",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        ("STEPHERD__ARGOCD__BASE_URL", "https://argocd.example.org"),
        ("STEPHERD__ARGOCD__TOKEN", "ffffffffffffffff"),
        ("STEPHERD__DCR__BASE_URL", "https://dcr.example.org"),
    ];
    insta::assert_snapshot!(on("[github]\nenabled = true\n[jira]\nenabled = false\n", &all), @r#"
    github on: enabled = true
    jira off: enabled = false
    discord on: token is given
    argocd on: base_url and token are given
    dcr off: no token
    "#);
    insta::assert_snapshot!(on("", &[]), @r#"
    github off: no webhook_secret
    jira off: no secret that proves webhooks
    discord off: no token
    argocd off: no base_url
    dcr off: no base_url
    "#);
}

#[test]
fn the_shipped_settings_show_every_key_with_its_default() {
    let shown = std::fs::read_to_string(shipped().join("config/stepherd.toml")).expect("the shipped file");
    let schema: serde_json::Value = schema::all()
        .into_iter()
        .find(|(name, _)| *name == "stepherd.schema.json")
        .map(|(_, text)| serde_json::from_str(&text).expect("JSON"))
        .expect("the schema");
    for (section, form) in schema["properties"].as_object().expect("sections") {
        let text = shown
            .split(&format!("\n[{section}]"))
            .nth(1)
            .unwrap_or_else(|| panic!("no [{section}]"));
        let text = text.split("\n[").next().unwrap_or(text);
        for (key, form) in form["properties"].as_object().expect("keys") {
            let secret = form.get("x-secret").is_some();
            let key = if secret { format!("{key}_file") } else { key.clone() };
            assert!(
                text.contains(&format!("\n# {key} = ")),
                "[{section}] does not show {key}"
            );
        }
    }
    // Whatever is shown and has a default shows that default: uncommenting it changes nothing.
    let defaults: String = shown
        .lines()
        .map(|line| {
            let key = line
                .strip_prefix("# ")
                .and_then(|rest| rest.split_once(" = "))
                .map(|(key, _)| key);
            let shows_default = key.is_some_and(|key| {
                !key.contains(' ')
                    && !key.ends_with("_file")
                    && ![
                        "public_url",
                        "base_url",
                        "email",
                        "app_id",
                        "own_account_id",
                        "connect_client_key",
                        "application_id",
                        "repositories",
                        "projects",
                        "trusted_proxies",
                    ]
                    .contains(&key)
                    && !["public_key", "enabled"].contains(&key)
            });
            let line = if shows_default { &line[2..] } else { line };
            format!("{line}\n")
        })
        .collect();
    assert!(defaults.contains("\nedit_spacing_s = 5\n"));
    let uncommented = Folder::settings(&defaults, &[]).expect("valid settings");
    let empty = Folder::settings("", &[]).expect("valid settings");
    let tail = |settings: &Settings| format!("{settings:?}").split("commands_dir").next().map(str::to_owned);
    assert_eq!(tail(&uncommented), tail(&empty));
}
