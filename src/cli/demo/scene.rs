//! What there is to see in the town: threads, pull requests and tickets, as people see them.

use serde_json::{Value, json};

use crate::cli::town::words::{tidy, unmarked};
use crate::sandbox::discord::Shown;
use crate::sandbox::town::{CHANNEL, CLUSTER_REPO, REPO, SECOND_TICKET, TICKET, Town};

/// The channel's name.
pub(super) const ROOM: &str = "#rebuilds";

/// One look at the town.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub(super) threads: Vec<Thread>,
    pub(super) pulls: Vec<Pull>,
    /// Tickets and their statuses.
    pub(super) tickets: Vec<(String, String)>,
}

/// Where people talk.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    pub(super) platform: &'static str,
    pub(super) place: String,
    pub(super) messages: Vec<Message>,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) author: String,
    /// As text, without the markup that people do not see.
    pub(super) text: String,
    pub(super) edits: u32,
    pub(super) reactions: Vec<String>,
    /// Only who asked sees it.
    pub(super) private: bool,
}

/// A pull request.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    /// `owner/name#number`.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) branch: String,
    /// The merge commit.
    pub(super) merged: Option<String>,
    pub(super) merged_by: Option<String>,
}

impl Scene {
    /// Looks.
    pub(super) fn of(town: &Town) -> Self {
        let mut scene = Self::default();
        for key in [TICKET, SECOND_TICKET] {
            let messages = town.jira.comments(key).into_iter().map(|said| Message {
                id: said.id,
                author: said.author,
                text: tidy(&said.text),
                edits: said.edits,
                reactions: Vec::new(),
                private: false,
            });
            scene.add("Jira", key.to_owned(), messages.collect());
            scene
                .tickets
                .push((key.to_owned(), town.jira.status(key).unwrap_or_default()));
        }
        for repo in [REPO, CLUSTER_REPO] {
            scene.look_at_repository(town, repo);
        }
        let shown = town.discord.messages(CHANNEL);
        let said_in = |place: &str| {
            let here = shown.iter().filter(|said| said.channel == place && !said.pending);
            here.map(on_discord).collect()
        };
        scene.add("Discord", ROOM.to_owned(), said_in(CHANNEL));
        for (id, name) in town.discord.threads(CHANNEL) {
            scene.add("Discord", format!("{ROOM} › {name}"), said_in(&id));
        }
        scene
    }

    fn look_at_repository(&mut self, town: &Town, repo: &str) {
        for pull in town.github.pulls(repo).unwrap_or_default() {
            let thread = town.github.thread(repo, pull.number).unwrap_or_default();
            let messages = thread.into_iter().map(|said| Message {
                id: said.id.to_string(),
                author: said.author,
                text: unmarked(&said.body),
                edits: said.edits,
                reactions: said.reactions.iter().map(|reaction| emoji(reaction)).collect(),
                private: false,
            });
            let name = format!("{repo}#{}", pull.number);
            self.add("GitHub", name.clone(), messages.collect());
            self.pulls.push(Pull {
                name,
                title: pull.title,
                branch: pull.branch,
                merged: pull.merged,
                merged_by: pull.merged_by,
            });
        }
    }

    fn add(&mut self, platform: &'static str, place: String, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.threads.push(Thread {
                platform,
                place,
                messages,
            });
        }
    }

    /// What was said there.
    pub(super) fn said(&self, place: &str) -> &[Message] {
        let thread = self.threads.iter().find(|thread| thread.place == place);
        thread.map(|thread| thread.messages.as_slice()).unwrap_or_default()
    }

    /// The ticket's card: the first thing that stepherd says there.
    pub(super) fn card(&self) -> &str {
        self.said(TICKET)
            .first()
            .map(|said| said.text.as_str())
            .unwrap_or_default()
    }

    /// How many pull requests are merged.
    pub(super) fn merged(&self) -> usize {
        self.pulls.iter().filter(|pull| pull.merged.is_some()).count()
    }

    /// As `--json` prints it.
    pub(super) fn json(&self) -> Value {
        let message = |said: &Message| {
            json!({
                "author": said.author, "text": said.text, "edits": said.edits, "reactions": said.reactions,
                "private": said.private,
            })
        };
        let thread = |thread: &Thread| {
            let messages: Vec<Value> = thread.messages.iter().map(message).collect();
            json!({ "platform": thread.platform, "place": thread.place, "messages": messages })
        };
        let pull = |pull: &Pull| {
            json!({
                "pullRequest": pull.name, "title": pull.title, "branch": pull.branch, "mergedAs": pull.merged,
                "mergedBy": pull.merged_by,
            })
        };
        let ticket = |(key, status): &(String, String)| json!({ "ticket": key, "status": status });
        json!({
            "tickets": self.tickets.iter().map(ticket).collect::<Vec<_>>(),
            "pullRequests": self.pulls.iter().map(pull).collect::<Vec<_>>(),
            "threads": self.threads.iter().map(thread).collect::<Vec<_>>(),
        })
    }
}

impl Thread {
    /// `Jira · SREPROV-3072`.
    pub(super) fn name(&self) -> String {
        format!("{} · {}", self.platform, self.place)
    }
}

impl Message {
    /// Its first line.
    pub(super) fn head(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// Whether it shows where a run stands: its first line says which, and after a dash where.
    pub(super) fn is_card(&self) -> bool {
        self.head().contains(" — ")
    }

    /// What is the same wherever the message is told: of a card, which run it shows; of a notice, its first lines.
    pub(super) fn key(&self) -> String {
        let second = self.text.lines().nth(1).unwrap_or_default();
        if self.is_card() || second.is_empty() || second.starts_with("stepherd · ") {
            return self.opening().to_owned();
        }
        format!("{}\n{second}", self.opening())
    }

    /// What stays the same in the first line while a card is edited: no icon, no state.
    pub(super) fn opening(&self) -> &str {
        let head = self.head().trim_start_matches(|c: char| !c.is_alphanumeric());
        head.split(" — ").next().unwrap_or_default()
    }
}

fn on_discord(said: &Shown) -> Message {
    let mut text = unmarked(&said.text);
    let buttons = said.buttons.iter().filter(|button| !button.disabled);
    let buttons: Vec<String> = buttons.map(|button| format!("[{}]", button.label)).collect();
    if !buttons.is_empty() {
        text = format!("{text}\n{}", buttons.join(" "));
    }
    Message {
        id: said.id.clone(),
        // The application's account has no better name there.
        author: if said.author == "bot" {
            "stepherd".to_owned()
        } else {
            said.author.clone()
        },
        text,
        edits: said.edits,
        reactions: said.reactions.clone(),
        private: said.ephemeral,
    }
}

fn emoji(reaction: &str) -> String {
    match reaction.rsplit_once(':') {
        Some((login, "eyes")) => format!("👀 {login}"),
        Some((login, content)) => format!("{content} {login}"),
        None => reaction.to_owned(),
    }
}
