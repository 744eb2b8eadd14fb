//! `stepherd send`: signs a payload as its platform would and posts it to a running server. For trying things out.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;

use super::{Exit, failed, load};
use crate::adapters::signature::hmac_sha256_hex;
use crate::catalog::Settings;
use crate::catalog::settings::Secret;
use crate::clock::{Clock as _, SystemClock};

/// What to send.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// Whose webhook it is
    #[arg(value_parser = ["github", "jira", "discord"])]
    platform: String,
    /// A file with the JSON payload; `-` reads standard input
    payload: PathBuf,
    /// Where stepherd listens; as configured if not given
    #[arg(long)]
    url: Option<String>,
    /// GitHub: the event's name, like `issue_comment`; guessed from the payload if not given
    #[arg(long)]
    event: Option<String>,
    /// The delivery id; a new one if not given. Send twice with the same to see that it takes effect once
    #[arg(long)]
    id: Option<String>,
    /// Discord: a file with the private key (64 hexadecimal digits) whose public key is configured
    #[arg(long)]
    key_file: Option<PathBuf>,
}

/// Sends it and says what was answered.
pub async fn run(config: &Path, args: SendArgs) -> Exit {
    let catalog = match load(config) {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    let body = match read(&args.payload) {
        Ok(body) => body,
        Err(why) => {
            anstream::eprintln!("stepherd: {why}");
            return Exit::BadInput;
        }
    };
    let headers = match headers(&args, &catalog.settings, &body) {
        Ok(headers) => headers,
        Err(why) => return failed(why),
    };
    let base = args
        .url
        .clone()
        .unwrap_or_else(|| format!("http://{}", catalog.settings.server.listen));
    let url = format!("{}/webhooks/{}", base.trim_end_matches('/'), args.platform);
    let mut request = reqwest::Client::new()
        .post(&url)
        .header("content-type", "application/json")
        .body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(response) => {
            let status = response.status();
            let text = response.text().await.unwrap_or_default();
            say!("{status} {}", text.trim());
            if status.is_success() { Exit::Good } else { Exit::Failed }
        }
        Err(error) => failed(format!(
            "cannot reach {url}: {}. Is `stepherd serve` running?",
            error.without_url()
        )),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let body = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
            .map(String::into_bytes)
            .map_err(|e| format!("standard input: {e}"))?
    } else {
        std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?
    };
    serde_json::from_slice::<Value>(&body).map_err(|e| format!("{}: not JSON: {e}", path.display()))?;
    Ok(body)
}

fn headers(args: &SendArgs, settings: &Settings, body: &[u8]) -> Result<Vec<(&'static str, String)>, String> {
    let id = args
        .id
        .clone()
        .unwrap_or_else(|| format!("sent-{:016x}", SystemClock.random()));
    let secret = |secret: &Option<Secret>, key: &str| {
        secret
            .clone()
            .ok_or_else(|| format!("{key} is not configured, so nothing can be signed with it"))
    };
    match args.platform.as_str() {
        "github" => {
            let secret = secret(&settings.github.webhook_secret, "github.webhook_secret")?;
            let event = args
                .event
                .clone()
                .or_else(|| guess_event(body))
                .ok_or("which event is it? Say it with --event, like --event issue_comment")?;
            Ok(vec![
                ("x-github-event", event),
                ("x-github-delivery", id),
                (
                    "x-hub-signature-256",
                    format!("sha256={}", hmac_sha256_hex(&secret, body)),
                ),
            ])
        }
        "jira" => {
            let secret = secret(&settings.jira.webhook_secret, "jira.webhook_secret")?;
            Ok(vec![
                ("x-atlassian-webhook-identifier", id),
                ("x-hub-signature", format!("sha256={}", hmac_sha256_hex(&secret, body))),
            ])
        }
        _ => {
            let path = args
                .key_file
                .as_ref()
                .ok_or("Discord's payloads are signed with a private key: name its file with --key-file")?;
            let key = signing_key(path)?;
            let timestamp = SystemClock.now().as_second().to_string();
            let signed = [timestamp.as_bytes(), body].concat();
            let signature = hex::encode(key.sign(&signed).to_bytes());
            Ok(vec![
                ("x-signature-timestamp", timestamp),
                ("x-signature-ed25519", signature),
            ])
        }
    }
}

fn signing_key(path: &Path) -> Result<SigningKey, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut seed = [0_u8; 32];
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|_| format!("{}: must hold 64 hexadecimal digits", path.display()))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// GitHub's payloads do not name their event; what they hold tells.
fn guess_event(body: &[u8]) -> Option<String> {
    let payload: Value = serde_json::from_slice(body).ok()?;
    let has = |key: &str| payload.get(key).is_some();
    let event = match () {
        () if has("zen") => "ping",
        () if has("comment") && has("issue") => "issue_comment",
        () if has("comment") && has("pull_request") => "pull_request_review_comment",
        () if has("check_run") => "check_run",
        () if has("workflow_run") => "workflow_run",
        () if has("pull_request") => "pull_request",
        () => return None,
    };
    Some(event.to_owned())
}
