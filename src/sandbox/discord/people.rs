//! What people do in Discord, and the interactions that the application hears of it by. Each is signed, sent to the
//! interactions endpoint, and must be answered legally within three seconds.

use std::time::Duration;

use ed25519_dalek::Signer;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::rules::{self, list_of, text_of};
use super::state::{EPHEMERAL, LOADING, Member, Message, Ticket};
use super::{Discord, Inner};
use crate::sandbox::NotPossible;
use crate::sandbox::wire::lock;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const PING: u64 = 1;
const COMMAND: u64 = 2;
const COMPONENT: u64 = 3;
const AUTOCOMPLETE: u64 = 4;

/// An interaction and what the application answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Interacted {
    /// The interaction's id; empty for probes.
    pub id: String,
    /// Its token.
    pub token: String,
    /// The status answered; 0 if there was no answer in time.
    pub status: u16,
    /// The body answered; null if it was not JSON.
    pub body: Value,
    /// Why Discord shows the person "This interaction failed"; `None` if the answer was legal.
    pub problem: Option<String>,
}

impl Interacted {
    /// The type of the answer: 4 a message, 5 later, 6 later and silent, 7 an update, 8 suggestions; 0 if none.
    pub fn kind(&self) -> u64 {
        self.body["type"].as_u64().unwrap_or_default()
    }

    /// The suggestions of an autocompletion: name and value.
    pub fn choices(&self) -> Vec<(String, String)> {
        let all = self.body["data"]["choices"].as_array().into_iter().flatten();
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        all.map(|c| (text(&c["name"]), text(&c["value"]))).collect()
    }

    /// The text of an immediate answer.
    pub fn content(&self) -> &str {
        self.body["data"]["content"].as_str().unwrap_or_default()
    }
}

/// An interaction as sent, for sending it again.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    id: String,
    body: String,
    timestamp: String,
    signature: String,
}

impl Discord {
    /// A person uses a slash command. An empty verb means that the command has no subcommands.
    ///
    /// # Errors
    /// When Discord's client would not let the person: the command is not registered here, an option is unknown or
    /// a required one missing, the channel is not there, or there is no endpoint.
    pub async fn slash(
        &self,
        member: &Member,
        guild: &str,
        channel: &str,
        command: &str,
        verb: &str,
        options: &[(&str, Value)],
    ) -> Result<Interacted, NotPossible> {
        let data = self.command_data(guild, command, verb, options, None)?;
        self.inner.interact(COMMAND, member, guild, channel, data, None).await
    }

    /// A person types an option and Discord asks for suggestions. `options` are the ones filled in before.
    ///
    /// # Errors
    /// As `slash`; and when the option does not autocomplete.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a thing that the person chose on the screen"
    )]
    pub async fn autocomplete(
        &self,
        member: &Member,
        guild: &str,
        channel: &str,
        command: &str,
        verb: &str,
        options: &[(&str, Value)],
        typing: (&str, &str),
    ) -> Result<Interacted, NotPossible> {
        let data = self.command_data(guild, command, verb, options, Some(typing))?;
        self.inner
            .interact(AUTOCOMPLETE, member, guild, channel, data, None)
            .await
    }

    /// A person presses a button.
    ///
    /// # Errors
    /// When the message or an enabled button with this id is not there, or there is no endpoint.
    pub async fn press(&self, member: &Member, message: &str, custom_id: &str) -> Result<Interacted, NotPossible> {
        let enabled = {
            let state = lock(&self.inner.state);
            let buttons = state.message(message).map(Message::buttons).unwrap_or_default();
            buttons.iter().any(|b| b.custom_id == custom_id && !b.disabled)
        };
        if !enabled {
            return Err(NotPossible(format!(
                "there is no button {custom_id} to press on {message}"
            )));
        }
        self.press_stale(member, message, custom_id).await
    }

    /// A person's client presses a button that it still shows, though it is gone or disabled by now.
    ///
    /// # Errors
    /// When the message is not there, or there is no endpoint.
    pub async fn press_stale(
        &self,
        member: &Member,
        message: &str,
        custom_id: &str,
    ) -> Result<Interacted, NotPossible> {
        let (channel, guild, shown) = {
            let state = lock(&self.inner.state);
            let found = state
                .message(message)
                .ok_or_else(|| NotPossible(format!("there is no message {message}")))?;
            let guild = state
                .channels
                .get(&found.channel)
                .map(|c| c.guild.clone())
                .unwrap_or_default();
            (found.channel.clone(), guild, found.json())
        };
        let data = json!({"component_type": 2, "custom_id": custom_id, "id": 1});
        self.inner
            .interact(COMPONENT, member, &guild, &channel, data, Some(shown))
            .await
    }

    /// Discord asks whether the endpoint is there. The answer must be a pong.
    ///
    /// # Errors
    /// When there is no endpoint.
    pub async fn ping(&self) -> Result<Interacted, NotPossible> {
        let body = self.inner.ping_body();
        let sent = self.inner.sign(String::new(), body);
        let (status, kind, body) = self.inner.post(&sent).await?;
        let problem = check_answer(PING, status, &kind, &body).err();
        Ok(Interacted {
            id: String::new(),
            token: String::new(),
            status,
            body,
            problem,
        })
    }

    /// Discord sends a ping with a signature that is not its own. The answer must be 401.
    ///
    /// # Errors
    /// When there is no endpoint.
    pub async fn probe_bad_signature(&self) -> Result<Interacted, NotPossible> {
        let mut sent = self.inner.sign(String::new(), self.inner.ping_body());
        sent.signature = hex::encode(self.inner.key.sign(b"something else").to_bytes());
        let (status, _, body) = self.inner.post(&sent).await?;
        let problem = (status != 401).then(|| format!("a bad signature was answered {status}"));
        Ok(Interacted {
            id: String::new(),
            token: String::new(),
            status,
            body,
            problem,
        })
    }

    /// What Discord does before it saves an endpoint: a ping, and a bad signature.
    ///
    /// # Errors
    /// When it would not save it, and why.
    pub async fn check_endpoint(&self) -> Result<(), NotPossible> {
        for probe in [self.ping().await?, self.probe_bad_signature().await?] {
            if let Some(problem) = probe.problem {
                return Err(NotPossible(problem));
            }
        }
        Ok(())
    }

    /// The same interaction arrives again, byte for byte. Nothing that is answered is shown. Returns the status.
    ///
    /// # Errors
    /// When there is no such interaction, or no endpoint.
    pub async fn redeliver(&self, interaction: &str) -> Result<u16, NotPossible> {
        let sent = lock(&self.inner.interactions)
            .iter()
            .find(|s| s.id == interaction)
            .cloned();
        let sent = sent.ok_or_else(|| NotPossible(format!("there is no interaction {interaction}")))?;
        Ok(self.inner.post(&sent).await?.0)
    }

    fn command_data(
        &self,
        guild: &str,
        name: &str,
        verb: &str,
        given: &[(&str, Value)],
        typing: Option<(&str, &str)>,
    ) -> Result<Value, NotPossible> {
        let state = lock(&self.inner.state);
        let known = [guild, ""].into_iter().filter_map(|g| state.commands.get(g)).flatten();
        let command = known.into_iter().find(|c| c["name"] == name);
        let command = command.ok_or_else(|| NotPossible(format!("/{name} is not registered here")))?;
        // "0" leaves a command to administrators until they change that, and nobody here is one.
        if command["default_member_permissions"] == "0" {
            return Err(NotPossible(format!("/{name} is shown to administrators only")));
        }
        let holder = if verb.is_empty() {
            Some(command)
        } else {
            option(command, verb).filter(|o| o["type"] == 1)
        };
        let holder = holder.ok_or_else(|| NotPossible(format!("/{name} has no subcommand {verb}")))?;
        let options = filled(holder, given, typing)?;
        let options = if verb.is_empty() {
            options
        } else {
            vec![json!({"type": 1, "name": verb, "options": options})]
        };
        let mut data = json!({"id": command["id"], "name": name, "type": 1, "options": options});
        if command["guild_id"].is_string() {
            data["guild_id"] = command["guild_id"].clone();
        }
        Ok(data)
    }
}

fn option<'v>(holder: &'v Value, name: &str) -> Option<&'v Value> {
    holder["options"].as_array()?.iter().find(|o| o["name"] == name)
}

/// The options as sent, checked as Discord's client checks them.
fn filled(holder: &Value, given: &[(&str, Value)], typing: Option<(&str, &str)>) -> Result<Vec<Value>, NotPossible> {
    let mut sent = Vec::new();
    for (name, value) in given {
        let known = option(holder, name).ok_or_else(|| NotPossible(format!("there is no option {name}")))?;
        let fits = match known["type"].as_u64() {
            Some(4) => value.is_i64() || value.is_u64(),
            Some(5) => value.is_boolean(),
            Some(10) => value.is_number(),
            _ => value.is_string(),
        };
        let choices = known["choices"].as_array().filter(|c| !c.is_empty());
        if !fits || choices.is_some_and(|all| all.iter().all(|c| c["value"] != *value)) {
            return Err(NotPossible(format!("{value} is no value for {name}")));
        }
        sent.push(json!({"name": name, "type": known["type"], "value": value}));
    }
    if let Some((name, typed)) = typing {
        let known = option(holder, name).filter(|o| o["autocomplete"] == true);
        let known = known.ok_or_else(|| NotPossible(format!("{name} does not autocomplete")))?;
        sent.push(json!({"name": name, "type": known["type"], "value": typed, "focused": true}));
        return Ok(sent);
    }
    let all = holder["options"].as_array().into_iter().flatten();
    for missing in all.filter(|o| o["required"] == true && o["type"] != 1) {
        if !given.iter().any(|(name, _)| missing["name"] == *name) {
            return Err(NotPossible(format!("the option {} is required", missing["name"])));
        }
    }
    Ok(sent)
}

impl Inner {
    async fn interact(
        &self,
        kind: u64,
        member: &Member,
        guild: &str,
        channel: &str,
        data: Value,
        message: Option<Value>,
    ) -> Result<Interacted, NotPossible> {
        let component = message.as_ref().and_then(|m| m["id"].as_str()).map(str::to_owned);
        let (ticket, sent) = self.open_ticket(kind, member, guild, channel, data, message)?;
        let (status, content_type, body) = match self.post(&sent).await {
            Ok(answer) => answer,
            Err(why) => {
                self.settle(&ticket.token, |t| t.dead = true);
                return Err(why);
            }
        };
        let legal = check_answer(kind, status, &content_type, &body);
        let problem = legal
            .and_then(|()| self.show(&ticket, component.as_deref(), &body))
            .err();
        if problem.is_some() {
            self.settle(&ticket.token, |t| t.dead = true);
        }
        Ok(Interacted {
            id: sent.id,
            token: ticket.token,
            status,
            body,
            problem,
        })
    }

    fn open_ticket(
        &self,
        kind: u64,
        member: &Member,
        guild: &str,
        channel: &str,
        data: Value,
        message: Option<Value>,
    ) -> Result<(Ticket, Sent), NotPossible> {
        let now = (self.options.now)();
        let mut state = lock(&self.state);
        let place = state.channels.get(channel).filter(|c| c.guild == guild);
        let place = place
            .ok_or_else(|| NotPossible(format!("there is no channel {channel} in {guild}")))?
            .json();
        let id = state.new_id(now);
        let token = format!("aW50ZXJhY3Rpb24-{id}");
        let mut person = member.json();
        person["permissions"] = "2147483647".into();
        let mut body = json!({
            "id": id, "application_id": self.options.application_id, "type": kind, "token": token, "version": 1,
            "guild_id": guild, "guild": {"id": guild, "locale": "en-US", "features": []}, "guild_locale": "en-US",
            "channel_id": channel, "channel": place, "member": person, "locale": "en-US",
            "app_permissions": "2147483647", "entitlements": [], "authorizing_integration_owners": {"0": guild},
            "context": 0, "attachment_size_limit": 10_485_760, "data": data,
        });
        if let Some(message) = message {
            body["message"] = message;
        }
        let ticket = Ticket {
            token,
            channel: channel.to_owned(),
            begun: now,
            answered: false,
            dead: false,
            original: None,
        };
        state.tickets.push(ticket.clone());
        drop(state);
        let sent = self.sign(id, body.to_string());
        lock(&self.interactions).push(sent.clone());
        Ok((ticket, sent))
    }

    fn ping_body(&self) -> String {
        let now = (self.options.now)();
        let id = lock(&self.state).new_id(now);
        let app = &self.options.application_id;
        json!({"id": id, "application_id": app, "type": PING, "token": "ping", "version": 1}).to_string()
    }

    /// Ed25519 over the time and the body, as "Security and Authorization" of the interactions page has it.
    fn sign(&self, id: String, body: String) -> Sent {
        let timestamp = (self.options.now)().as_second().to_string();
        let signature = self.key.sign(format!("{timestamp}{body}").as_bytes());
        Sent {
            id,
            body,
            signature: hex::encode(signature.to_bytes()),
            timestamp,
        }
    }

    async fn post(&self, sent: &Sent) -> Result<(u16, String, Value), NotPossible> {
        let endpoint = lock(&self.endpoint).clone();
        let endpoint = endpoint.ok_or_else(|| NotPossible("there is no interactions endpoint".into()))?;
        let request = self
            .client
            .post(endpoint)
            .timeout(ANSWER_WITHIN)
            .header("content-type", "application/json")
            .header("user-agent", "Discord-Interactions/1.0 (+https://discord.com)")
            .header("x-signature-ed25519", &sent.signature)
            .header("x-signature-timestamp", &sent.timestamp)
            .body(sent.body.clone());
        let Ok(response) = request.send().await else {
            return Ok((0, String::new(), Value::Null));
        };
        let status = response.status().as_u16();
        let kind = response
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let Ok(text) = response.text().await else {
            return Ok((0, String::new(), Value::Null));
        };
        Ok((status, kind, serde_json::from_str(&text).unwrap_or_default()))
    }

    fn settle(&self, token: &str, how: impl FnOnce(&mut Ticket)) {
        if let Some(ticket) = lock(&self.state).tickets.iter_mut().find(|t| t.token == token) {
            how(ticket);
        }
        self.answered.notify_waiters();
    }

    /// Does what the answer says.
    fn show(&self, ticket: &Ticket, component: Option<&str>, body: &Value) -> Result<(), String> {
        let now = (self.options.now)();
        let nothing = Map::new();
        let data = body["data"].as_object().unwrap_or(&nothing);
        let original = {
            let mut state = lock(&self.state);
            match body["type"].as_u64() {
                Some(kind @ (4 | 5)) => {
                    let id = state.new_id(now);
                    let mut message = Message::new(id.clone(), &ticket.channel, self.bot_json(), now);
                    if kind == 5 {
                        message.flags |= LOADING;
                    } else if !message.take(data) {
                        return Err("the message is empty".into());
                    }
                    message.flags |= data.get("flags").and_then(Value::as_u64).unwrap_or_default() & EPHEMERAL;
                    state.messages.push(message);
                    Some(id)
                }
                Some(7) => {
                    let found = component
                        .and_then(|id| state.message_mut(id))
                        .ok_or("the message is gone")?;
                    if !data.is_empty() && !found.take(data) {
                        return Err("the message would be empty".into());
                    }
                    found.edits += 1;
                    found.edited = Some(now);
                    component.map(str::to_owned)
                }
                _ => component.map(str::to_owned),
            }
        };
        self.settle(&ticket.token, |t| {
            t.answered = true;
            t.original = original;
        });
        Ok(())
    }
}

/// `Err` says why this is no answer to an interaction of this kind.
fn check_answer(kind: u64, status: u16, content_type: &str, body: &Value) -> Result<(), String> {
    if status == 0 {
        return Err(format!(
            "no answer within {}",
            SignedDuration::try_from(ANSWER_WITHIN).unwrap_or_default()
        ));
    }
    if status != 200 {
        return Err(format!("answered {status}"));
    }
    if !content_type.starts_with("application/json") {
        return Err(format!("the content type is {content_type:?}"));
    }
    let legal: &[u64] = match kind {
        PING => &[1],
        COMMAND => &[4, 5, 9],
        COMPONENT => &[4, 5, 6, 7, 9],
        _ => &[8],
    };
    let answer = body["type"].as_u64().unwrap_or_default();
    if !legal.contains(&answer) {
        return Err(format!("type {answer} is no answer to type {kind}"));
    }
    match answer {
        4 | 7 => match body["data"].as_object() {
            Some(data) => rules::check(data).map_err(|w| w.said()),
            None if answer == 4 => Err("there is no data".into()),
            None => Ok(()),
        },
        8 => suggestions(&body["data"]).map_err(|w| w.said()),
        9 => Err("the stand-in knows no modals".into()),
        _ => Ok(()),
    }
}

fn suggestions(data: &Value) -> Result<(), rules::Wrong> {
    if !data["choices"].is_array() {
        return Err(rules::Wrong::new(
            "data.choices",
            "BASE_TYPE_REQUIRED",
            "This field is required",
        ));
    }
    for (n, choice) in list_of(data.get("choices"), "data.choices", 25)?.iter().enumerate() {
        text_of(&choice["name"], &format!("data.choices.{n}.name"), 1, 100)?;
        if !choice["value"].is_number() {
            text_of(&choice["value"], &format!("data.choices.{n}.value"), 1, 100)?;
        }
    }
    Ok(())
}
