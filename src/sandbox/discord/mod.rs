//! The stand-in for Discord: channels, threads, messages, application commands, and interactions that are really
//! signed and really sent to the interactions endpoint.
//!
//! There is no gateway. Menus and modals are refused, so that nobody believes that they work here.
//! Shapes: Discord's OpenAPI document and developer documentation, API version 10.

mod commands;
mod people;
mod routes;
mod rules;
mod state;
mod webhooks;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use serde_json::json;
use url::Url;

pub use self::people::Interacted;
pub use self::state::{Button, Member};

use self::state::{Channel, EPHEMERAL, LOADING, Message, State, TEXT_CHANNEL};
use super::stage::{Fault, Served, Stage, serve};
use super::wire::{hook_client, lock};
use super::{Now, SandboxMessage};

/// How the application is set up.
#[derive(Clone)]
pub struct DiscordOptions {
    /// The time.
    pub now: Now,
    /// The application's id: digits. Its bot has the same id.
    pub application_id: String,
    /// The bot's token. Made up, hence plain text.
    pub bot_token: String,
    /// What the key is made of that signs interactions.
    pub key_seed: [u8; 32],
    /// The interactions endpoint; nothing can be said to the application without.
    pub endpoint: Option<Url>,
    /// The most messages that may be written or edited per channel, and in which time; no limit without.
    pub channel_limit: Option<(usize, Duration)>,
    /// Calls need a `User-Agent` that begins with `DiscordBot`, as the documentation's "User Agent" demands.
    pub strict_user_agent: bool,
}

/// A message as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// The channel or thread it is in.
    pub channel: String,
    /// Its author's name.
    pub author: String,
    /// What people read: text, embeds, buttons.
    pub text: String,
    /// How often it was edited.
    pub edits: u32,
    /// The bot's reactions on it.
    pub reactions: Vec<String>,
    /// The buttons under it.
    pub buttons: Vec<Button>,
    /// It still says that the application is thinking.
    pub pending: bool,
    /// Only the person who asked sees it.
    pub ephemeral: bool,
    /// It rang somebody's bell, now or in an earlier wording.
    pub pings: bool,
}

struct Inner {
    options: DiscordOptions,
    key: SigningKey,
    endpoint: Mutex<Option<Url>>,
    state: Mutex<State>,
    interactions: Mutex<Vec<people::Sent>>,
    answered: tokio::sync::Notify,
    client: reqwest::Client,
}

/// Discord, being served.
pub struct Discord {
    /// `http://127.0.0.1:port`; the API is there and under `/api/v10`.
    pub url: String,
    /// What was asked of it, and how it misbehaves.
    pub stage: Arc<Stage>,
    inner: Arc<Inner>,
    _served: Served,
}

impl Discord {
    /// Serves it on this port; 0 picks a free one.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(options: DiscordOptions, port: u16) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            key: SigningKey::from_bytes(&options.key_seed),
            endpoint: Mutex::new(options.endpoint.clone()),
            state: Mutex::default(),
            interactions: Mutex::default(),
            answered: tokio::sync::Notify::new(),
            client: hook_client(),
            options,
        });
        let stage = Arc::new(Stage::default());
        let served = serve(routes::routes(Arc::clone(&inner)), Arc::clone(&stage), port).await?;
        Ok(Self {
            url: served.url.clone(),
            stage,
            inner,
            _served: served,
        })
    }

    /// The public key that interactions are verified with: 64 hexadecimal digits.
    pub fn public_key_hex(&self) -> String {
        hex::encode(self.inner.key.verifying_key().to_bytes())
    }

    /// Where interactions go from now on, unproven; see `Discord::check_endpoint`.
    pub fn set_endpoint(&self, url: Option<Url>) {
        *lock(&self.inner.endpoint) = url;
    }

    /// Adds a guild with the bot in it.
    pub fn add_guild(&self, guild: &str) {
        lock(&self.inner.state).guilds.entry(guild.to_owned()).or_default();
    }

    /// Adds a member to a guild, or changes one.
    pub fn set_member(&self, guild: &str, member: Member) {
        let mut state = lock(&self.inner.state);
        state
            .guilds
            .entry(guild.to_owned())
            .or_default()
            .insert(member.id.clone(), member);
    }

    /// Adds a text channel to a guild.
    pub fn add_channel(&self, guild: &str, id: &str, name: &str) {
        let channel = Channel {
            id: id.to_owned(),
            kind: TEXT_CHANNEL,
            guild: guild.to_owned(),
            name: name.to_owned(),
            parent: None,
            owner: String::new(),
            archive_minutes: 0,
            archived: false,
            locked: false,
            closed: false,
            created: (self.inner.options.now)(),
        };
        lock(&self.inner.state).channels.insert(id.to_owned(), channel);
    }

    /// The bot may no longer write in the channel, or may again.
    pub fn close_channel(&self, channel: &str, closed: bool) {
        if let Some(found) = lock(&self.inner.state).channels.get_mut(channel) {
            found.closed = closed;
        }
    }

    /// The thread is archived; a locked one does not open again by itself.
    pub fn archive_thread(&self, thread: &str, locked: bool) {
        if let Some(found) = lock(&self.inner.state).channels.get_mut(thread) {
            found.archived = true;
            found.locked = locked;
        }
    }

    /// The channel or thread is deleted with all that is in it.
    pub fn delete_channel(&self, channel: &str) {
        let mut state = lock(&self.inner.state);
        state
            .channels
            .retain(|id, c| id != channel && c.parent.as_deref() != Some(channel));
        let State { channels, messages, .. } = &mut *state;
        messages.retain(|m| channels.contains_key(&m.channel));
    }

    /// A person deletes a message, anybody's.
    pub fn delete_message(&self, id: &str) {
        lock(&self.inner.state).messages.retain(|m| m.id != id);
    }

    /// A person writes an ordinary message. Returns its id. The application does not hear of it.
    pub fn say(&self, member: &Member, channel: &str, text: &str) -> String {
        let now = (self.inner.options.now)();
        let mut state = lock(&self.inner.state);
        let id = state.new_id(now);
        let mut message = Message::new(id.clone(), channel, member.user_json(), now);
        message.content = text.to_owned();
        state.messages.push(message);
        id
    }

    /// The next calls that match are answered 429, with the body and headers of Discord's limits.
    pub fn limit(&self, method: &str, path: &str, times: u32, retry_after_s: f64, global: bool) {
        let body = json!({"message": "You are being rate limited.", "retry_after": retry_after_s, "global": global});
        let whole = retry_after_s.ceil();
        let mut headers = vec![
            ("retry-after".to_owned(), format!("{whole}")),
            ("x-ratelimit-reset-after".to_owned(), format!("{retry_after_s}")),
            (
                "x-ratelimit-scope".to_owned(),
                if global { "global" } else { "user" }.to_owned(),
            ),
        ];
        if global {
            headers.push(("x-ratelimit-global".to_owned(), "true".to_owned()));
        }
        self.stage
            .misbehave(Fault::answer(method, path, times, 429, headers, &body.to_string()));
    }

    /// What stands in a channel and in its threads: each thread's messages come after the message it hangs from.
    pub fn messages(&self, channel: &str) -> Vec<Shown> {
        let state = lock(&self.inner.state);
        let mut shown = Vec::new();
        for message in state.messages.iter().filter(|m| m.channel == channel) {
            shown.push(show(message));
            let in_thread = state.messages.iter().filter(|m| m.channel == message.id);
            shown.extend(in_thread.map(show));
        }
        shown
    }

    /// What the application has made of its first answer to an interaction, by the interaction's token.
    pub fn answer_to(&self, token: &str) -> Option<Shown> {
        let state = lock(&self.inner.state);
        let ticket = state.tickets.iter().find(|t| t.token == token)?;
        state.message(ticket.original.as_deref()?).map(show)
    }

    /// The channel's messages without what makes them Discord's.
    pub fn plain_messages(&self, channel: &str) -> Vec<SandboxMessage> {
        let all = self.messages(channel).into_iter();
        all.map(|m| SandboxMessage {
            author: m.author,
            body: m.text,
            edits: m.edits,
            reactions: m.reactions,
        })
        .collect()
    }

    /// The names of the threads in a channel, with their ids.
    pub fn threads(&self, channel: &str) -> Vec<(String, String)> {
        let state = lock(&self.inner.state);
        let threads = state.channels.values().filter(|c| c.parent.as_deref() == Some(channel));
        threads.map(|c| (c.id.clone(), c.name.clone())).collect()
    }

    /// The names of the commands registered for a guild, or globally if empty.
    pub fn commands(&self, guild: &str) -> Vec<String> {
        let state = lock(&self.inner.state);
        let all = state.commands.get(guild).into_iter().flatten();
        all.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    }
}

fn show(message: &Message) -> Shown {
    Shown {
        id: message.id.clone(),
        channel: message.channel.clone(),
        author: message.author["username"].as_str().unwrap_or_default().to_owned(),
        text: message.text(),
        edits: message.edits,
        reactions: message.reactions.clone(),
        buttons: message.buttons(),
        pending: message.flags & LOADING != 0,
        ephemeral: message.flags & EPHEMERAL != 0,
        pings: message.pings,
    }
}
