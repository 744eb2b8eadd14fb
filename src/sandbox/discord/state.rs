//! What a Discord server holds: channels, threads, messages, members; and how they look, as JSON and to people.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::rules;

/// Discord's first millisecond: 2015-01-01.
const EPOCH_MS: i64 = 1_420_070_400_000;
pub(super) const EPHEMERAL: u64 = 64;
pub(super) const LOADING: u64 = 128;
const HAS_THREAD: u64 = 32;
pub(super) const TEXT_CHANNEL: u8 = 0;
pub(super) const PUBLIC_THREAD: u8 = 11;

/// A person, or the roles that one has in a guild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user's id: digits.
    pub id: String,
    /// The user's name.
    pub name: String,
    /// The ids of the member's roles.
    pub roles: Vec<String>,
}

impl Member {
    pub(super) fn user_json(&self) -> Value {
        json!({
            "id": self.id, "username": self.name, "global_name": self.name, "discriminator": "0",
            "avatar": null, "public_flags": 0, "bot": false,
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "user": self.user_json(), "roles": self.roles, "nick": null, "avatar": null, "banner": null,
            "joined_at": "2024-01-01T00:00:00.000000+00:00", "premium_since": null, "deaf": false, "mute": false,
            "flags": 0, "pending": false, "communication_disabled_until": null,
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) kind: u8,
    pub(super) guild: String,
    pub(super) name: String,
    pub(super) parent: Option<String>,
    pub(super) owner: String,
    pub(super) archive_minutes: u64,
    pub(super) archived: bool,
    pub(super) locked: bool,
    /// The bot may not write here.
    pub(super) closed: bool,
    pub(super) created: Timestamp,
}

impl Channel {
    pub(super) fn json(&self) -> Value {
        let mut channel = json!({"id": self.id, "type": self.kind, "guild_id": self.guild, "name": self.name});
        channel["parent_id"] = self.parent.clone().into();
        channel["flags"] = 0.into();
        if self.kind == PUBLIC_THREAD {
            channel["owner_id"] = self.owner.clone().into();
            channel["message_count"] = 0.into();
            channel["member_count"] = 1.into();
            channel["total_message_sent"] = 0.into();
            channel["thread_metadata"] = json!({
                "archived": self.archived,
                "auto_archive_duration": self.archive_minutes,
                "archive_timestamp": written(self.created),
                "locked": self.locked,
                "create_timestamp": written(self.created),
            });
        } else {
            channel["position"] = 0.into();
            channel["topic"] = Value::Null;
            channel["nsfw"] = false.into();
            channel["permission_overwrites"] = json!([]);
        }
        channel
    }
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) author: Value,
    pub(super) content: String,
    pub(super) embeds: Vec<Value>,
    pub(super) components: Vec<Value>,
    pub(super) flags: u64,
    pub(super) nonce: Option<Value>,
    pub(super) created: Timestamp,
    pub(super) edited: Option<Timestamp>,
    pub(super) edits: u32,
    pub(super) reactions: Vec<String>,
    pub(super) pings: bool,
}

impl Message {
    pub(super) fn new(id: String, channel: &str, author: Value, now: Timestamp) -> Self {
        Self {
            id,
            channel: channel.to_owned(),
            author,
            content: String::new(),
            embeds: Vec::new(),
            components: Vec::new(),
            flags: 0,
            nonce: None,
            created: now,
            edited: None,
            edits: 0,
            reactions: Vec::new(),
            pings: false,
        }
    }

    /// Takes over the parts that are given. `false` if nothing would be left to show.
    pub(super) fn take(&mut self, said: &Map<String, Value>) -> bool {
        let list = |name: &str| said.get(name).map(|v| v.as_array().cloned().unwrap_or_default());
        let content = said.get("content").map(|v| v.as_str().unwrap_or_default().to_owned());
        let content = content.unwrap_or_else(|| self.content.clone());
        let embeds = list("embeds").unwrap_or_else(|| self.embeds.clone());
        if !rules::shows_something(&content, &embeds) {
            return false;
        }
        self.pings |= rules::pings(&content, said.get("allowed_mentions"));
        self.content = content;
        self.embeds = embeds;
        self.components = list("components").unwrap_or_else(|| self.components.clone());
        self.flags &= !LOADING;
        true
    }

    pub(super) fn json(&self) -> Value {
        let mut message = json!({
            "id": self.id, "type": 0, "channel_id": self.channel, "author": self.author, "content": self.content,
            "embeds": self.embeds, "components": self.components, "attachments": [], "mentions": [],
            "mention_roles": [], "mention_everyone": false, "pinned": false, "tts": false, "flags": self.flags,
            "timestamp": written(self.created), "edited_timestamp": self.edited.map(written),
        });
        if let Some(nonce) = &self.nonce {
            message["nonce"] = nonce.clone();
        }
        if !self.reactions.is_empty() {
            let shown = self
                .reactions
                .iter()
                .map(|r| json!({"count": 1, "me": true, "emoji": {"id": null, "name": r}}));
            message["reactions"] = shown.collect();
        }
        message
    }

    pub(super) fn buttons(&self) -> Vec<Button> {
        let rows = self
            .components
            .iter()
            .filter_map(|r| r["components"].as_array())
            .flatten();
        let text = |b: &Value, name: &str| b[name].as_str().unwrap_or_default().to_owned();
        rows.map(|b| Button {
            label: text(b, "label"),
            custom_id: text(b, "custom_id"),
            url: text(b, "url"),
            disabled: b["disabled"] == true,
        })
        .collect()
    }

    /// As people read it.
    pub(super) fn text(&self) -> String {
        if self.flags & LOADING != 0 {
            return "… is thinking".into();
        }
        let mut lines = vec![self.content.clone()];
        for embed in &self.embeds {
            for part in [&embed["author"]["name"], &embed["title"], &embed["description"]] {
                lines.extend(part.as_str().map(str::to_owned));
            }
            for field in embed["fields"].as_array().into_iter().flatten() {
                let part = |name: &str| field[name].as_str().unwrap_or_default();
                lines.push(format!("{}: {}", part("name"), part("value")));
            }
            lines.extend(embed["footer"]["text"].as_str().map(str::to_owned));
        }
        let buttons = self.buttons();
        let shown = buttons.iter().map(|b| {
            if b.disabled {
                format!("({})", b.label)
            } else {
                format!("[{}]", b.label)
            }
        });
        lines.push(shown.collect::<Vec<_>>().join(" "));
        lines.retain(|l| !l.is_empty());
        lines.join("\n")
    }
}

/// A button under a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What it says.
    pub label: String,
    /// What comes back when it is pressed; empty on links.
    pub custom_id: String,
    /// Where it leads; empty unless it is a link.
    pub url: String,
    /// It cannot be pressed.
    pub disabled: bool,
}

/// The bot's right to answer an interaction.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) token: String,
    pub(super) channel: String,
    pub(super) begun: Timestamp,
    /// The first answer was legal and in time; before that the token opens nothing.
    pub(super) answered: bool,
    /// No legal answer came, so the token never opens anything.
    pub(super) dead: bool,
    /// The message that `@original` means.
    pub(super) original: Option<String>,
}

#[derive(Debug)]
pub(super) struct Nonce {
    pub(super) nonce: Value,
    pub(super) message: String,
    pub(super) at: Timestamp,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) guilds: BTreeMap<String, BTreeMap<String, Member>>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) messages: Vec<Message>,
    /// By guild; the global ones under the empty name.
    pub(super) commands: BTreeMap<String, Vec<Value>>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) nonces: Vec<Nonce>,
    pub(super) writes: BTreeMap<String, Vec<Timestamp>>,
    last_id: u64,
}

impl State {
    /// A snowflake: the time, and never the same twice.
    pub(super) fn new_id(&mut self, now: Timestamp) -> String {
        let by_time = u64::try_from(now.as_millisecond() - EPOCH_MS).unwrap_or_default() << 22;
        self.last_id = by_time.max(self.last_id + 1);
        self.last_id.to_string()
    }

    /// A message as the API gives it: with the thread that hangs from it.
    pub(super) fn message_json(&self, message: &Message) -> Value {
        let mut shown = message.json();
        if let Some(thread) = self.channels.get(&message.id) {
            shown["flags"] = (message.flags | HAS_THREAD).into();
            shown["thread"] = thread.json();
        }
        shown
    }

    pub(super) fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|m| m.id == id)
    }

    pub(super) fn message_mut(&mut self, id: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|m| m.id == id)
    }
}

/// Discord's way to write a time.
pub(super) fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
