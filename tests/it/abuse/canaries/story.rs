//! The stories: one turned by hand, with all the library's own logs; one of the real program at level trace.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use stepherd::clock::{Clock as _, SystemClock};
use stepherd::domain::run::RunState;
use stepherd::sandbox::stage::{Fault, Stage};
use stepherd::sandbox::town::{APP, CHANNEL, GUILD, REPO, TENANT, TICKET, Town, TownOptions, now_from};
use tracing_subscriber::fmt::MakeWriter;

use super::hunt::Hunt;
use crate::cli::kit::Folder;
use crate::stored::everything;
use crate::stories::dcr::{approved, minutes};
use crate::world::World;

/// What an installation's token looks like; the real ones are made on the way.
const MINTED: &str = "ghs_canary0000000000000000000000000000";
const JIRA_TOKEN: &str = "jira-api-token";
const EXTRA: [(&str, &str); 4] = [
    (
        "JIRA__CONNECT_SHARED_SECRET",
        "connect-shared-secret-canary-of-some-length",
    ),
    ("JIRA__OAUTH_CLIENT_SECRET", "oauth-client-secret-canary-of-some-length"),
    ("JIRA__AUTOMATION_SECRET", "automation-secret-canary"),
    ("JIRA__WEBHOOK_SECRET_PREVIOUS", "jira-webhook-secret-canary-before"),
];

fn add_extra(env: &mut BTreeMap<String, String>) {
    for (key, value) in EXTRA {
        env.insert(format!("STEPHERD__{key}"), value.to_owned());
    }
}

/// Every secret of the town and of the extra settings.
fn secrets(env: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let is_secret = |key: &str| ["SECRET", "TOKEN", "PRIVATE_KEY"].iter().any(|word| key.contains(word));
    let mut all: Vec<(String, String)> = env
        .iter()
        .filter(|(key, _)| is_secret(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert!(all.len() >= 13, "{all:?}");
    let (email, token) = (&env["STEPHERD__JIRA__EMAIL"], &env["STEPHERD__JIRA__TOKEN"]);
    all.push(("Jira's login".to_owned(), format!("{email}:{token}")));
    all.push(("an installation's token".to_owned(), MINTED.to_owned()));
    all
}

fn hunt(env: &BTreeMap<String, String>) -> Hunt {
    let all = secrets(env);
    Hunt::new(all.iter().map(|(name, secret)| (name.as_str(), secret.as_str())))
}

/// The vendor answers so many calls of this kind with its status, and quotes what it was sent in every way it can.
fn quotes(stage: &Stage, method: &str, path: &str, times: u32, status: u16, secret: &str) {
    let sent = if secret == JIRA_TOKEN {
        STANDARD.encode(format!("stepherd@example.com:{secret}"))
    } else {
        secret.to_owned()
    };
    let body = serde_json::json!({
        "message": format!("refused: Authorization: {sent}, {MINTED}"),
        "error": format!("at https://x.example/?token={secret}"),
        "errorMessages": [format!("token {secret} is not good")],
        "errors": { "token": secret },
    });
    stage.misbehave(Fault::answer(
        method,
        path,
        times,
        status,
        Vec::new(),
        &body.to_string(),
    ));
}

/// Requests that carry secrets to the wrong places: the proof of one platform at the door of another, right secrets in
/// wrong headers, half a proof.
async fn forgeries(http: &reqwest::Client, url: &str, env: &BTreeMap<String, String>) -> Vec<String> {
    let mut answers = Vec::new();
    for (key, secret) in secrets(env) {
        // A header holds one line.
        let secret = secret.lines().next_back().unwrap_or_default().to_owned();
        for platform in ["github", "jira", "discord"] {
            for (name, value) in [
                ("x-hub-signature-256", format!("sha256={secret}")),
                ("x-hub-signature", secret.clone()),
                ("x-signature-ed25519", secret.clone()),
                ("authorization", format!("Bearer {secret}")),
                ("authorization", format!("JWT {secret}")),
                ("cookie", format!("token={secret}")),
            ] {
                let answer = http
                    .post(format!("{url}/webhooks/{platform}"))
                    .header("content-type", "application/json")
                    .header("x-github-delivery", "forged")
                    .header("x-github-event", "ping")
                    .header("x-signature-timestamp", "1")
                    .header(name, value)
                    .body(format!("{{\"zen\":\"{secret}\"}}"))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status().as_u16(), 401, "{key} in {name} at {platform}");
                answers.push(answer.text().await.unwrap());
            }
        }
        if !key.ends_with("API_TOKEN") {
            let answer = http
                .get(format!("{url}/api/v1/runs?ticket={secret}"))
                .bearer_auth(&secret)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status().as_u16(), 401, "{key}");
            answers.push(answer.text().await.unwrap());
        }
    }
    answers
}

/// Everything that people can read in the town.
fn read_by_people(town: &Town) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for pull in town.github.pulls(REPO).unwrap() {
        all.push((format!("pull request {}", pull.number), format!("{pull:?}")));
        all.push((
            format!("thread {}", pull.number),
            format!("{:?}", town.github.thread(REPO, pull.number).unwrap()),
        ));
    }
    all.push((
        "the checks".into(),
        format!("{:?}", town.github.check_runs(REPO).unwrap()),
    ));
    all.push(("the ticket".into(), format!("{:?}", town.jira.comments(TICKET))));
    all.push(("the channel".into(), format!("{:?}", town.discord.messages(CHANNEL))));
    for (thread, _) in town.discord.threads(CHANNEL) {
        all.push(("a thread".into(), format!("{:?}", town.discord.messages(&thread))));
    }
    all
}

/// Where the library's logs go while a story is played.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_story_full_of_failures_tells_no_secret_anywhere() {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(logs.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let world = World::with_settings(|_| {}, add_extra).await;
    let mut env = world.town.settings();
    add_extra(&mut env);
    let town = &world.town;
    // Each vendor quotes, at first and for a while, what it was sent.
    quotes(town.github.stage(), "POST", "/git/", 2, 502, MINTED);
    quotes(town.github.stage(), "POST", "/comments", 1, 403, MINTED);
    quotes(&town.jira.stage, "POST", "/comment", 2, 500, JIRA_TOKEN);
    quotes(&town.jira.stage, "PUT", "/comment", 1, 401, JIRA_TOKEN);
    quotes(&town.discord.stage, "POST", "/messages", 2, 500, "discord-bot-token");
    quotes(&town.discord.stage, "PATCH", "/messages", 1, 403, "discord-bot-token");
    quotes(&town.argocd.stage, "GET", "", 2, 503, "argocd-token");
    quotes(&town.dcr.stage, "", "", 2, 429, "dcr-token");
    town.dcr.set_farmers(TENANT, 0);
    approved(&world).await;
    minutes(&world, 15).await;
    let merged = town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    town.argocd.git_moved(APP, &merged);
    town.argocd.finish(APP);
    minutes(&world, 5).await;
    town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 5).await;
    town.dcr.advance(TENANT, 42.0);
    town.dcr.fail(TENANT, "farmer-3 lost");
    minutes(&world, 5).await;
    // A reason that quotes the token comes with a good answer.
    town.dcr.auto_restart(TENANT);
    town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
    minutes(&world, 2).await;
    town.dcr.fail(
        TENANT,
        "refused: Bearer dcr-token, see https://dcr.example/?t=dcr-token",
    );
    minutes(&world, 2).await;
    let stopped = world.run().await;
    assert!(matches!(stopped.state, RunState::Stopped { .. }), "{:?}", stopped.state);
    let mut pages = forgeries(&world.http, &world.url, &env).await;
    town.github.comment(REPO, 1, "eve", "/dcr stop").unwrap();
    town.discord
        .slash(&Town::eve(), GUILD, CHANNEL, "dcr", "list", &[])
        .await
        .unwrap();
    quotes(&town.argocd.stage, "", "", 3, 403, "argocd-token");
    quotes(&town.dcr.stage, "", "", 3, 403, "dcr-token");
    town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
    minutes(&world, 5).await;
    let run = world.run().await.id;
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/runs",
        &format!("/api/v1/runs/{run}"),
        "/api/v1/runs/x",
        "/x",
    ] {
        for token in [Some(Town::api_token()), None] {
            pages.push(world.get(path, token).await.1);
        }
    }
    for effect in world.store.effects(None, 500).await.unwrap() {
        pages.push(format!("{effect:?}"));
    }
    let hunt = hunt(&env);
    for page in &pages {
        hunt.search("an answer", page.as_bytes());
    }
    for (place, text) in read_by_people(town) {
        assert!(text.len() > 20, "{place} has something to look through");
        hunt.search(&place, text.as_bytes());
    }
    for (place, text) in everything(&world.database()).await {
        hunt.search(&place, text.as_bytes());
    }
    let log = logs.0.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&log);
    assert!(
        text.contains("a request was turned away") && text.contains("TRACE"),
        "all is logged"
    );
    hunt.search("the log", &log);
    for start in ["ghs_", "eyJ"] {
        assert!(!text.contains(start), "a token that was made on the way is in the log");
    }
    let quoted = ["[secret]"]
        .iter()
        .any(|hidden| format!("{:?}", read_by_people(town)).contains(hidden));
    assert!(quoted, "something was quoted, and hidden");
}

/// The lines that a running program logs, as they come.
fn lines_of(stderr: std::process::ChildStderr) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Waits, a line of the log at a time, until this holds.
fn until(lines: &Receiver<String>, log: &mut Vec<String>, what: &str, mut holds: impl FnMut(&str) -> bool) {
    loop {
        let line = lines
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|_| panic!("{what} does not come about"));
        let done = holds(&line);
        log.push(line);
        if done {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_at_level_trace_tells_no_secret() {
    let now = now_from(|| SystemClock.now());
    let town = Town::start(TownOptions {
        now: now.clone(),
        auth_now: now,
        keys: None,
        lively: true,
    })
    .await
    .unwrap();
    let mut env = town.settings();
    add_extra(&mut env);
    let mut folder = Folder::new();
    folder.write("config/people.toml", &town.people_toml());
    folder.env.extend(env.clone());
    folder.set("LOG__LEVEL", "trace");
    folder.set("ENGINE__EDIT_SPACING_S", "0");
    quotes(&town.jira.stage, "", "/myself", 1, 500, JIRA_TOKEN);
    quotes(&town.jira.stage, "", "/comment", 1, 500, JIRA_TOKEN);
    quotes(&town.discord.stage, "", "/messages", 1, 500, "discord-bot-token");
    quotes(town.github.stage(), "POST", "/git/", 1, 502, MINTED);
    quotes(&town.argocd.stage, "POST", "/sync", 10, 403, "argocd-token");
    let mut child = folder.spawn();
    let lines = lines_of(child.stderr.take().unwrap());
    let mut log = Vec::new();
    let mut url = String::new();
    until(&lines, &mut log, "the start", |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let listens = line["fields"]["message"] == "stepherd listens";
        if listens {
            url = format!("http://{}", line["fields"]["address"].as_str().unwrap());
        }
        listens
    });
    town.tell(&url).unwrap();
    let http = reqwest::Client::new();
    let pages = forgeries(&http, &url, &env).await;
    town.jira.transition(TICKET, "557058:ada", "Approved").await.unwrap();
    let failed = |text: &str| text.contains("failed");
    tokio::task::block_in_place(|| {
        until(&lines, &mut log, "the failure of the sync", |_| {
            town.jira
                .comments(TICKET)
                .iter()
                .any(|comment| failed(&format!("{comment:?}")))
        });
    });
    let terminate = format!("kill -TERM {}", child.id());
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &terminate])
            .status()
            .unwrap()
            .success()
    );
    log.extend(lines.iter());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let hunt = hunt(&env);
    let text = log.join("\n");
    assert!(text.contains("\"level\":\"TRACE\""), "all is logged");
    hunt.search("the log", text.as_bytes());
    for start in ["ghs_", "eyJ"] {
        assert!(!text.contains(start), "a token that was made on the way is in the log");
    }
    for page in &pages {
        hunt.search("an answer", page.as_bytes());
    }
    for (place, text) in read_by_people(&town) {
        hunt.search(&place, text.as_bytes());
    }
    let database = format!("sqlite:{}", folder.path("stepherd.db").display());
    for (place, text) in everything(&database).await {
        hunt.search(&place, text.as_bytes());
    }
}
