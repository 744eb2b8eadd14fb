//! Interactions as Discord sends them ("Receiving and Responding"), and what they mean. Reading is lenient about what
//! is not needed and strict about what is: ids must be ids.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::custom_id::{self, Spoken};
use super::{is_snowflake, platform, thread};
use crate::adapters::{HalfTyped, Unreadable, json};
use crate::domain::places::Within;
use crate::domain::signal::{Account, Actor, ActorKind, Invoked, ReplyHandle, Signal};

/// Discord honours an interaction's token for 15 minutes; the last one is left unused, as clocks differ.
const TOKEN_LIVES: Duration = Duration::from_secs(14 * 60);
const TYPE_CHAT_INPUT: u8 = 1;
const OPTION_SUBCOMMAND: u8 = 1;
const GUILD_CONTEXT: u8 = 0;
const GUILD_INSTALL: &str = "0";
/// The kinds of channels that are threads; what is above any other kind is only a heading.
const THREADS: [u8; 3] = [10, 11, 12];

pub(super) const PING: u8 = 1;
pub(super) const COMMAND: u8 = 2;
pub(super) const COMPONENT: u8 = 3;
pub(super) const AUTOCOMPLETE: u8 = 4;

#[derive(Debug, Deserialize)]
pub(super) struct Interaction {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: u8,
    #[serde(default)]
    application_id: String,
    #[serde(default)]
    token: String,
    channel_id: Option<String>,
    channel: Option<Channel>,
    guild_id: Option<String>,
    /// Whether it happened in a server (0), with the bot alone (1) or among people (2).
    context: Option<u8>,
    /// Who installed the app for this: a server's id under "0", a person's under "1".
    #[serde(default)]
    authorizing_integration_owners: BTreeMap<String, Value>,
    member: Option<Member>,
    user: Option<User>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<u8>,
    parent_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Member {
    user: Option<User>,
    nick: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
    username: Option<String>,
    global_name: Option<String>,
    #[serde(default)]
    bot: bool,
}

#[derive(Debug, Deserialize)]
struct Data {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<u8>,
    #[serde(default)]
    options: Vec<CommandOption>,
    custom_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CommandOption {
    name: String,
    #[serde(rename = "type")]
    kind: u8,
    value: Option<Value>,
    #[serde(default)]
    options: Vec<CommandOption>,
    #[serde(default)]
    focused: bool,
}

impl Interaction {
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let interaction: Self = json::read(body)
            .and_then(serde_json::from_value)
            .map_err(|e| format!("not an interaction as Discord documents it: {e}"))?;
        if is_snowflake(&interaction.id) {
            Ok(interaction)
        } else {
            Err("the interaction's id is not a Discord id".to_owned())
        }
    }

    /// Where it was used.
    pub(super) fn channel(&self) -> Option<&str> {
        self.channel_id.as_deref().filter(|channel| is_snowflake(channel))
    }

    /// What kind of interaction it is, for lists.
    pub(super) fn label(&self) -> String {
        let words = |kind: &str| match self.words() {
            Ok(Some(words)) => format!("{kind}.{}.{}", words.command, words.verb),
            _ => kind.to_owned(),
        };
        let label = match self.kind {
            PING => "ping".to_owned(),
            COMMAND => words("command"),
            COMPONENT => words("component"),
            AUTOCOMPLETE => words("autocomplete"),
            other => format!("type.{other}"),
        };
        label.chars().filter(|c| !c.is_control()).take(100).collect()
    }

    /// What is being typed, and by whom; `None` if it does not say.
    pub(super) fn half_typed(&self, our_id: &str) -> Option<HalfTyped> {
        let data = self.data.as_ref()?;
        let (verb, options) = subcommand(data);
        let focused = options.iter().find(|option| option.focused)?;
        let channel = self.channel_id.as_deref().filter(|id| is_snowflake(id))?;
        Some(HalfTyped {
            actor: self.actor(our_id).ok()?,
            thread: thread(channel),
            within: self.within(channel),
            command: data.name.clone()?,
            verb,
            arg: focused.name.clone(),
            typed: focused.value.as_ref().and_then(text).unwrap_or_default(),
        })
    }

    /// What the interaction means. `at` is when Discord signed it.
    pub(super) fn signal(&self, our_id: &str, at: Timestamp, received_at: Timestamp) -> Result<Signal, Unreadable> {
        match self.kind {
            COMMAND | COMPONENT => {}
            PING => return Ok(Signal::Nothing("a ping".to_owned())),
            AUTOCOMPLETE => return Ok(Signal::Nothing("a half-typed command".to_owned())),
            other => return Ok(Signal::Nothing(format!("an interaction of type {other}"))),
        }
        let Some(words) = self.words()? else {
            return Ok(Signal::Nothing("not a command or button of ours".to_owned()));
        };
        let channel = self.channel_id.as_deref().filter(|id| is_snowflake(id));
        let channel = channel.ok_or_else(|| Unreadable("the interaction names no channel".to_owned()))?;
        Ok(Signal::Invoked(Invoked {
            actor: self.actor(our_id)?,
            thread: thread(channel),
            within: self.within(channel),
            command: words.command,
            verb: words.verb,
            args: words.args,
            at,
            key: format!("discord:interaction:{}", self.id),
            handle: self.handle(received_at),
        }))
    }

    /// The server, the channel and the thread in it, if it is one. Nothing for private conversations, and where the
    /// app was not installed by the server itself: whoever brought it along may have brought it anywhere.
    fn within(&self, channel: &str) -> Within {
        let guild = self.guild_id.as_deref().filter(|id| is_snowflake(id));
        let installed = self.authorizing_integration_owners.get(GUILD_INSTALL);
        let by_guild = guild.is_some() && installed.and_then(Value::as_str) == guild;
        let Some(guild) = guild.filter(|_| by_guild && self.context.is_none_or(|context| context == GUILD_CONTEXT))
        else {
            return Within::new();
        };
        let mut within = vec![guild.to_owned()];
        let told = self.channel.as_ref().filter(|told| told.id.as_deref() == Some(channel));
        let is_thread = |told: &&Channel| told.kind.is_some_and(|kind| THREADS.contains(&kind));
        let parent = told.filter(is_thread).and_then(|told| told.parent_id.as_deref());
        within.extend(parent.map(str::to_owned));
        within.push(channel.to_owned());
        within
    }

    fn words(&self) -> Result<Option<Spoken>, Unreadable> {
        let data = self.data.as_ref();
        let data = data.ok_or_else(|| Unreadable("the interaction carries no data".to_owned()))?;
        if self.kind == COMPONENT {
            return Ok(data.custom_id.as_deref().and_then(custom_id::decode));
        }
        if data.kind.is_some_and(|kind| kind != TYPE_CHAT_INPUT) {
            return Ok(None);
        }
        let name = data.name.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Unreadable("the command has no name".to_owned()))?;
        let (verb, options) = subcommand(data);
        let args = options
            .iter()
            .map(|option| {
                let value = option.value.as_ref().and_then(text);
                let value = value.ok_or_else(|| Unreadable("an option has no plain value".to_owned()))?;
                Ok((option.name.clone(), value))
            })
            .collect::<Result<_, Unreadable>>()?;
        Ok(Some(Spoken {
            command: name.to_owned(),
            verb,
            args,
        }))
    }

    fn actor(&self, our_id: &str) -> Result<Actor, Unreadable> {
        let member = self.member.as_ref();
        let user = member.and_then(|member| member.user.as_ref()).or(self.user.as_ref());
        let user = user.filter(|user| is_snowflake(&user.id));
        let user = user.ok_or_else(|| Unreadable("the interaction names no user".to_owned()))?;
        let name = member
            .and_then(|member| member.nick.as_ref())
            .or(user.global_name.as_ref())
            .or(user.username.as_ref());
        Ok(Actor {
            account: Account {
                platform: platform(),
                id: user.id.clone(),
            },
            name: name.unwrap_or(&user.id).clone(),
            kind: match () {
                () if user.id == our_id => ActorKind::Ours,
                () if user.bot => ActorKind::Bot,
                () => ActorKind::Human,
            },
            roles: member.map(|member| member.roles.clone()).unwrap_or_default(),
            insider: member.is_some(),
        })
    }

    /// A button's answer was "deferred update", so its `@original` is the very message the button stands on: an
    /// answer written there would wipe the card. Answers to buttons therefore go to the thread.
    fn handle(&self, received_at: Timestamp) -> Option<ReplyHandle> {
        let usable = self.kind == COMMAND && is_snowflake(&self.application_id) && is_token(&self.token);
        let until = received_at.checked_add(TOKEN_LIVES).ok()?;
        usable.then(|| ReplyHandle {
            token: format!("{}/{}", self.application_id, self.token),
            until,
        })
    }
}

/// Whether the text can be an interaction's token, and thereby stands safely in a path.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'='))
}

/// The subcommand's name, empty if there is none, and its options.
fn subcommand(data: &Data) -> (String, &[CommandOption]) {
    match data.options.as_slice() {
        [only] if only.kind == OPTION_SUBCOMMAND => (only.name.clone(), &only.options),
        options => (String::new(), options),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
