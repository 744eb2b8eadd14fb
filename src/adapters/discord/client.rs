//! Cards, notes and answers over Discord's REST API, with the bot's token.
//!
//! Discord has no hidden text in messages. What keeps a message from being posted twice is the `nonce` with
//! `enforce_nonce`, which Discord honours for a few minutes; for longer gaps every message ends in a footer
//! `stepherd · {marker}` that is looked for among the channel's last messages of ours before posting again.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use serenity::builder::{CreateAllowedMentions, CreateMessage, EditInteractionResponse, EditMessage};
use serenity::model::channel::Nonce;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::markdown::{plain, render};
use super::read::is_token;
use super::{is_snowflake, thread};
use crate::adapters::http::{Answered, Api, Auth, permanent};
use crate::adapters::{CallError, Direct, Marker, Posted, Threads, WordSeen, WordStands};
use crate::domain::doc::Doc;
use crate::domain::ids::ThreadRef;
use crate::domain::policy::Lookup;
use crate::domain::run::FailureClass;
use crate::domain::signal::{MessageRef, ReplyHandle, Said};

const NONCE_CHARS: usize = 25;
const MARKER_CHARS_MAX: usize = 80;
const MARKER_HEAD: usize = 30;
const LOOK_BACK: u32 = 50;
const TITLE_MAX: usize = 100;
const ARCHIVE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

// Error codes of Discord's "JSON Error Codes" list.
const UNKNOWN_MESSAGE: i64 = 10_008;
const UNKNOWN_WEBHOOK: i64 = 10_015;
const THREAD_IS_ARCHIVED: i64 = 50_083;
const THREAD_EXISTS: i64 = 160_004;

/// What the adapter needs to know.
#[derive(Debug, Clone)]
pub struct DiscordConfig {
    /// `https://discord.com/api/v10`.
    pub api_url: String,
    /// The application's id, which is also its bot's user id.
    pub application_id: String,
    /// The application's public key, 64 hexadecimal digits.
    pub public_key: String,
    /// The bot's token.
    pub token: SecretString,
}

/// Discord's REST API.
pub struct Discord {
    api: Api,
    application_id: String,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    author: Option<Author>,
    #[serde(default)]
    embeds: Vec<Embed>,
    thread: Option<Opened>,
}

#[derive(Deserialize)]
struct Author {
    id: String,
}

#[derive(Deserialize)]
struct Embed {
    footer: Option<Footer>,
}

#[derive(Deserialize)]
struct Footer {
    text: String,
}

#[derive(Deserialize)]
struct Opened {
    id: String,
}

impl Discord {
    /// # Errors
    /// When the address, the application's id or the token cannot be right.
    pub fn new(config: &DiscordConfig) -> Result<Self, String> {
        if !is_snowflake(&config.application_id) {
            return Err("Discord: the application id must be a number".to_owned());
        }
        let auth = Auth::Bot {
            token: config.token.clone(),
            page: format!("https://discord.com/developers/applications/{}", config.application_id),
        };
        Ok(Self {
            api: Api::new("Discord", &config.api_url, &auth)?,
            application_id: config.application_id.clone(),
        })
    }

    /// Registers the commands of `registration`, in one server or, without one, everywhere. Replaces what was
    /// registered there before.
    ///
    /// # Errors
    /// When Discord does not take them.
    pub async fn register(&self, guild: Option<&str>, commands: &Value) -> Result<(), CallError> {
        let scope = match guild {
            None => String::new(),
            Some(guild) => format!("/guilds/{}", snowflake(guild, "server")?),
        };
        let target = format!("/applications/{}{scope}/commands", self.application_id);
        let answered = self.api.call(Method::PUT, &target, Some(commands)).await?;
        answered.json::<Vec<IgnoredAny>>().map(|_| ())
    }

    async fn create(&self, channel: &str, marker: &Marker, doc: &Doc) -> Result<Message, CallError> {
        let shown = render(doc, Some(&footer(marker)));
        let message = CreateMessage::new()
            .embed(shown.embed)
            .components(shown.rows)
            .allowed_mentions(CreateAllowedMentions::new())
            .nonce(Nonce::String(nonce(channel, marker)))
            .enforce_nonce(true);
        let target = format!("/channels/{channel}/messages");
        let answered = self.api.call(Method::POST, &target, Some(&body(&message)?)).await?;
        let message: Message = answered.json()?;
        snowflake(&message.id, "message")?;
        Ok(message)
    }

    /// The channel's latest messages.
    async fn latest(&self, channel: &str) -> Result<Answered, CallError> {
        let target = format!("/channels/{channel}/messages?limit={LOOK_BACK}");
        self.api.call(Method::GET, &target, None).await
    }

    /// Our message with this marker among these, other than `but`.
    fn find(&self, latest: Answered, marker: &Marker, but: Option<&str>) -> Result<Option<Message>, CallError> {
        let wanted = footer(marker);
        let ours = |message: &Message| {
            let by_us = message.author.as_ref().is_some_and(|a| a.id == self.application_id);
            let marked = message.embeds.iter().filter_map(|embed| embed.footer.as_ref());
            by_us
                && but != Some(&message.id)
                && is_snowflake(&message.id)
                && marked.into_iter().any(|footer| footer.text == wanted)
        };
        Ok(latest.json::<Vec<Message>>()?.into_iter().find(ours))
    }

    async fn show(&self, channel: &str, message: &str, marker: &Marker, doc: &Doc) -> Result<bool, CallError> {
        let shown = render(doc, Some(&footer(marker)));
        let edit = EditMessage::new()
            .embed(shown.embed)
            .components(shown.rows)
            .allowed_mentions(CreateAllowedMentions::new());
        let edit = body(&edit)?;
        let target = format!("/channels/{channel}/messages/{message}");
        let mut answered = self.api.call(Method::PATCH, &target, Some(&edit)).await?;
        if code(&answered) == Some(THREAD_IS_ARCHIVED) {
            self.api
                .call(
                    Method::PATCH,
                    &format!("/channels/{channel}"),
                    Some(&json!({"archived": false})),
                )
                .await?;
            answered = self.api.call(Method::PATCH, &target, Some(&edit)).await?;
        }
        if answered.status == 404 && code(&answered) == Some(UNKNOWN_MESSAGE) {
            return Ok(false);
        }
        answered.json::<Message>().map(|_| true)
    }

    /// Opens the message's thread or finds it open; its id is the message's. Where no thread can be opened (inside
    /// another thread, without the right) the run goes on in the channel.
    async fn open(&self, channel: &str, message: &Message, title: &str) -> Result<Option<ThreadRef>, CallError> {
        if let Some(opened) = message.thread.as_ref().filter(|opened| is_snowflake(&opened.id)) {
            return Ok(Some(thread(&opened.id)));
        }
        let name = Some(plain(title, TITLE_MAX)).filter(|name| !name.is_empty());
        let request = json!({
            "name": name.unwrap_or_else(|| "run".to_owned()),
            "auto_archive_duration": ARCHIVE_AFTER.as_secs() / 60,
        });
        let target = format!("/channels/{channel}/messages/{}/threads", message.id);
        let answered = self.api.call(Method::POST, &target, Some(&request)).await?;
        if code(&answered) == Some(THREAD_EXISTS) {
            return Ok(Some(thread(&message.id)));
        }
        if !answered.is_success() {
            warn!(why = answered.describe(), "no thread was opened");
            return Ok(None);
        }
        let opened: Opened = answered.json()?;
        Ok(Some(thread(snowflake(&opened.id, "thread")?)))
    }
}

#[async_trait]
impl Threads for Discord {
    async fn post(
        &self,
        thread: &ThreadRef,
        marker: &Marker,
        doc: &Doc,
        title: Option<&str>,
        maybe_there: bool,
    ) -> Result<Posted, CallError> {
        let channel = snowflake(&thread.place, "channel")?;
        let mut there = None;
        if maybe_there {
            let latest = self.latest(channel).await?;
            if !latest.is_success() {
                // That is no reason not to post: the nonce still guards.
                warn!(why = latest.describe(), "cannot look for an earlier message");
            } else if let Some(found) = self.find(latest, marker, None)?
                // What was found may show an older state.
                && self.show(channel, &found.id, marker, doc).await?
            {
                there = Some(found);
            }
        }
        let message = match there {
            Some(found) => found,
            None => self.create(channel, marker, doc).await?,
        };
        let opened = match title {
            Some(title) => self.open(channel, &message, title).await?,
            None => None,
        };
        let message = MessageRef {
            thread: thread.clone(),
            id: message.id,
        };
        Ok(Posted { message, opened })
    }

    async fn withdraw_second(&self, message: &MessageRef, marker: &Marker) -> Result<bool, CallError> {
        let channel = snowflake(&message.thread.place, "channel")?;
        let ours = snowflake(&message.id, "message")?;
        let latest = self.latest(channel).await?;
        if !latest.is_success() {
            return Err(latest.refusal());
        }
        if self.find(latest, marker, Some(ours))?.is_none() {
            return Ok(false);
        }
        let target = format!("/channels/{channel}/messages/{ours}");
        let answered = self.api.call(Method::DELETE, &target, None).await?;
        if answered.is_success() || answered.status == 404 {
            Ok(true)
        } else {
            Err(answered.refusal())
        }
    }

    async fn edit(&self, message: &MessageRef, marker: &Marker, doc: &Doc) -> Result<bool, CallError> {
        let channel = snowflake(&message.thread.place, "channel")?;
        self.show(channel, snowflake(&message.id, "message")?, marker, doc)
            .await
    }

    async fn answer(&self, handle: &ReplyHandle, doc: &Doc) -> Result<Direct, CallError> {
        let parts = handle.token.split_once('/');
        let Some((application, token)) = parts.filter(|(app, token)| is_snowflake(app) && is_token(token)) else {
            return Ok(Direct::Lapsed);
        };
        let shown = render(doc, None);
        let edit = EditInteractionResponse::new()
            .embed(shown.embed)
            .components(shown.rows)
            .allowed_mentions(CreateAllowedMentions::new());
        let target = format!("/webhooks/{application}/{token}/messages/@original");
        let result = self.api.call(Method::PATCH, &target, Some(&body(&edit)?)).await;
        let answered = result.map_err(|e| without(token, e))?;
        if answered.status == 404 && code(&answered) == Some(UNKNOWN_WEBHOOK) {
            // Discord knows no token before it has read our deferred answer in time.
            return Ok(Direct::NotKnown);
        }
        if matches!(answered.status, 401 | 404) {
            return Ok(Direct::Lapsed);
        }
        let given = answered.json::<Message>().map(|_| Direct::Answered);
        given.map_err(|e| without(token, e))
    }

    /// An interaction is signed and cannot be edited.
    async fn still_stands(&self, said: &Said) -> Result<WordSeen, CallError> {
        Ok(WordSeen::Stands(WordStands {
            at: said.at,
            clock: None,
            thread: said.thread.clone(),
            within: said.within.clone(),
        }))
    }

    /// Roles come with every interaction, so there is nothing to look up.
    async fn answer_lookup(&self, lookup: &Lookup) -> Result<bool, CallError> {
        let _ = lookup;
        let why = "Discord has no groups or repositories to ask about".to_owned();
        Err(permanent(why, FailureClass::User))
    }
}

/// The same message always has the same nonce. Discord compares nonces per author, not per channel.
fn nonce(channel: &str, marker: &Marker) -> String {
    let digest = Sha256::new_with_prefix(channel)
        .chain_update([0])
        .chain_update(&marker.0);
    let mut nonce = hex::encode(digest.finalize());
    nonce.truncate(NONCE_CHARS);
    nonce
}

/// What a message's footer says. A marker too long for it is told apart by a digest.
fn footer(marker: &Marker) -> String {
    let text = plain(&marker.0, usize::MAX);
    if text.encode_utf16().count() <= MARKER_CHARS_MAX {
        return format!("stepherd · {text}");
    }
    let digest = hex::encode(Sha256::digest(&marker.0));
    let head: String = text.chars().take(MARKER_HEAD).collect();
    format!("stepherd · {}… {}", head.trim_end(), &digest[..16])
}

fn snowflake<'a>(text: &'a str, what: &str) -> Result<&'a str, CallError> {
    if is_snowflake(text) {
        Ok(text)
    } else {
        Err(permanent(
            format!("Discord: this {what} has no valid id"),
            FailureClass::User,
        ))
    }
}

fn code(answered: &Answered) -> Option<i64> {
    answered.body.get("code").and_then(Value::as_i64)
}

fn body(message: &impl serde::Serialize) -> Result<Value, CallError> {
    serde_json::to_value(message).map_err(|e| {
        permanent(
            format!("Discord: the message cannot be written: {e}"),
            FailureClass::User,
        )
    })
}

/// The failure's text names the path, and with it the interaction's token.
fn without(token: &str, error: CallError) -> CallError {
    let clean = |why: String| why.replace(token, "…");
    match error {
        CallError::Retry { why, after, class } => CallError::Retry {
            why: clean(why),
            after,
            class,
        },
        CallError::Permanent { why, class } => CallError::Permanent { why: clean(why), class },
    }
}
