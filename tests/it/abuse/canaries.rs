//! A hunt for secrets. Every secret that can be configured is a canary; a story with forgeries, refusals, and vendors
//! whose error pages quote what they were sent is played to its end; then everything that anybody can read is searched.

mod hunt;
mod story;

use secrecy::SecretString;
use serde_json::json;
use stepherd::adapters::CallError;
use stepherd::adapters::mask::Mask;
use stepherd::domain::run::FailureClass;

use crate::cli::kit::Folder;

const EVERY_SECRET: [&str; 15] = [
    "SERVER__API_TOKEN",
    "GITHUB__WEBHOOK_SECRET",
    "GITHUB__WEBHOOK_SECRET_PREVIOUS",
    "GITHUB__PRIVATE_KEY",
    "GITHUB__TOKEN",
    "JIRA__WEBHOOK_SECRET",
    "JIRA__WEBHOOK_SECRET_PREVIOUS",
    "JIRA__CONNECT_SHARED_SECRET",
    "JIRA__OAUTH_CLIENT_SECRET",
    "JIRA__AUTOMATION_SECRET",
    "JIRA__TOKEN",
    "DISCORD__TOKEN",
    "ARGOCD__TOKEN",
    "DCR__TOKEN",
    "DATABASE__URL",
];

fn value_of(key: &str) -> String {
    match key {
        "DATABASE__URL" => "sqlite:stepherd.db".to_owned(),
        _ => format!("canary-{}", key.to_lowercase()),
    }
}

#[test]
fn the_list_of_secrets_is_whole() {
    let schema: serde_json::Value = stepherd::catalog::schema::all()
        .into_iter()
        .find(|(name, _)| *name == "stepherd.schema.json")
        .map(|(_, text)| serde_json::from_str(&text).unwrap())
        .unwrap();
    let mut known = EVERY_SECRET.iter().filter(|key| **key != "DATABASE__URL").count();
    for (section, form) in schema["properties"].as_object().unwrap() {
        for (key, form) in form["properties"].as_object().unwrap() {
            if form.to_string().contains("x-secret") {
                let key = format!("{section}__{key}").to_uppercase();
                assert!(EVERY_SECRET.contains(&key.as_str()), "{key} is hunted by no test");
                known -= 1;
            }
        }
    }
    assert_eq!(known, 0, "something is hunted that is no setting");
}

#[test]
fn settings_show_no_secret_in_debug_output() {
    let mut folder = Folder::new();
    for key in EVERY_SECRET {
        folder.set(key, &value_of(key));
    }
    for (key, value) in [
        ("GITHUB__APP_ID", "7"),
        ("JIRA__BASE_URL", "https://acme.atlassian.net"),
        ("JIRA__EMAIL", "bot@acme.example"),
        ("DISCORD__APPLICATION_ID", "900"),
        (
            "DISCORD__PUBLIC_KEY",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        ("ARGOCD__BASE_URL", "https://argocd.example"),
        ("DCR__BASE_URL", "https://dcr.example"),
    ] {
        folder.set(key, value);
    }
    let catalog = stepherd::catalog::load(&folder.path("config"), &folder.env).unwrap_or_else(|e| panic!("{e}"));
    let shown = format!("{:?} {:#?}", catalog.settings, catalog.settings);
    assert!(
        shown.contains("acme.atlassian.net"),
        "there is something to look through"
    );
    assert!(!shown.contains("canary-"), "{shown}");
    let discord = stepherd::wiring::discord_config(&catalog.settings).unwrap();
    assert!(!format!("{discord:?}").contains("canary-"), "{discord:?}");
    for args in [&["check"] as &[&str], &["check", "--json"], &["--help"]] {
        let ran = folder.run(args);
        assert!(!format!("{ran:?}").contains("canary-"), "{ran:?}");
    }
}

#[test]
fn an_address_of_a_database_shows_no_password() {
    let settings = |url: &str| {
        let url = url.to_owned();
        format!("{:?}", stepherd::catalog::settings::Database { url: url.into() })
    };
    for url in [
        "postgres://user:canary@db.example/stepherd",
        "postgres://user:can@ary@db.example:5432/stepherd?sslmode=require",
        "postgres://canary@db.example/stepherd",
        "postgres://db.example/stepherd?user=u&password=canary",
        "postgresql://user:canary%40x@[::1]/stepherd",
    ] {
        let shown = settings(url);
        assert!(!shown.contains("canary") && !shown.contains("can@ary"), "{shown}");
    }
}

#[test]
fn a_mask_hides_secrets_in_every_form_and_leaves_the_rest() {
    let secret = |text: &str| SecretString::from(text);
    let mask = Mask::new([
        secret("s3cret/with+signs"),
        secret("s3cret/with+signs-and-more"),
        secret("short"),
    ]);
    for (text, shown) in [
        (
            "no secret in here, nor a short one",
            "no secret in here, nor a short one",
        ),
        ("token s3cret/with+signs-and-more refused", "token [secret] refused"),
        (
            "GET /x?token=s3cret%2Fwith%2Bsigns HTTP/1.1",
            "GET /x?token=[secret] HTTP/1.1",
        ),
        ("s3cret/with+signss3cret/with+signs", "[secret][secret]"),
        (
            "Bad credentials: ghs_0123456789abcdefABCDEF",
            "Bad credentials: [secret]",
        ),
        (
            "github_pat_11ABCDEFG0123456789_abcdef, ghp_0123456789abcdef0",
            "[secret], [secret]",
        ),
        (
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiI3In0.c2lnbmF0dXJl!",
            "Bearer [secret]!",
        ),
        (
            "keyJhbGciOiJIUzI1NiJ9 ghs_short eyJ",
            "keyJhbGciOiJIUzI1NiJ9 ghs_short eyJ",
        ),
    ] {
        assert_eq!(mask.text(text), shown);
    }
    let mut body =
        json!({ "message": "s3cret/with+signs", "errors": [{ "of": ["ghs_0123456789abcdefABCDEF"] }], "n": 1 });
    let mut good = body.clone();
    mask.refusal(&mut body);
    assert_eq!(
        body,
        json!({ "message": "[secret]", "errors": [{ "of": ["[secret]"] }], "n": 1 })
    );
    mask.answer(&mut good);
    assert_eq!(good["message"], "[secret]");
    assert_eq!(
        good["errors"][0]["of"][0], "ghs_0123456789abcdefABCDEF",
        "what people wrote is read as they wrote it"
    );
    let class = FailureClass::Permission;
    let why = || "s3cret/with+signs".to_owned();
    let hidden = mask.error(CallError::Permanent { why: why(), class });
    assert_eq!(hidden.to_string(), "[secret]");
    let hidden = mask.error(CallError::Retry {
        why: why(),
        after: None,
        class,
    });
    assert_eq!(hidden.to_string(), "[secret]");
}
