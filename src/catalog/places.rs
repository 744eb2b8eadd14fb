//! The places of a command: the platforms it may be said on, and from where all of its runs may be spoken of.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::ids::{Platform, Repo};
use crate::domain::places::ControlPlace;

use super::page::{At, Page};

/// Where a command may be said. A platform that is not named: nowhere there. In a run's own threads it may be said
/// about that run without listing; starting, listing and speaking of any run takes a place that is listed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlaces {
    /// Repositories, as `owner/name`, or `owner/*` for all of an owner; empty: only in runs' own threads.
    github: Option<Vec<At<String>>>,
    /// Keys of projects; empty: only in runs' own threads.
    jira: Option<Vec<At<String>>>,
    /// Servers and their channels; empty: only in runs' own threads of servers that installed the app.
    discord: Option<Vec<RawGuild>>,
}

/// A Discord server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawGuild {
    /// Its id.
    guild: At<String>,
    /// The ids of the only channels in it that count, with their threads; without it, all of them.
    channels: Option<At<Vec<At<String>>>>,
}

/// Where a command may be said.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// On which platforms.
    pub(super) platforms: Vec<Platform>,
    /// From where about any run.
    pub(super) control: Vec<ControlPlace>,
}

pub(super) fn compile(page: &mut Page, raw: &RawPlaces) -> Places {
    let mut places = Places::default();
    if let Some(repositories) = &raw.github {
        let paths = repositories.iter().filter_map(|at| repository(page, at)).collect();
        places.add("github", paths);
    }
    if let Some(projects) = &raw.jira {
        let paths = projects.iter().filter_map(|at| project(page, at)).collect();
        places.add("jira", paths);
    }
    if let Some(guilds) = &raw.discord {
        let paths = guilds.iter().flat_map(|raw| guild(page, raw)).collect();
        places.add("discord", paths);
    }
    places
}

impl Places {
    fn add(&mut self, platform: &'static str, paths: Vec<Vec<String>>) {
        let Ok(platform) = platform.parse::<Platform>() else {
            return;
        };
        let control = paths.into_iter().map(|path| ControlPlace {
            platform: platform.clone(),
            path,
        });
        self.control.extend(control);
        self.platforms.push(platform);
    }
}

fn repository(page: &mut Page, at: &At<String>) -> Option<Vec<String>> {
    let written = at.get();
    // An owner alone is checked by way of a repository of theirs.
    let (all, written) = match written.strip_suffix("/*") {
        Some(owner) => (true, format!("{owner}/x")),
        None => (false, written.clone()),
    };
    match written.parse::<Repo>() {
        Ok(repo) if all => Some(vec![repo.owner().to_owned()]),
        Ok(repo) => Some(vec![repo.owner().to_owned(), repo.name().to_owned()]),
        Err(_) => {
            page.say_hint(
                at.span(),
                format!("`{}` names no repositories", at.get()),
                "owner/name, as acme/deployment, or all of an owner, as acme/*",
            );
            None
        }
    }
}

fn project(page: &mut Page, at: &At<String>) -> Option<Vec<String>> {
    let key = at.get();
    let mut letters = key.bytes();
    let is_key = letters.next().is_some_and(|b| b.is_ascii_uppercase())
        && letters.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !is_key {
        page.say_hint(
            at.span(),
            format!("`{key}` is no project's key"),
            "the letters before the number of its tickets, as SREPROV in SREPROV-3072",
        );
    }
    is_key.then(|| vec![key.clone()])
}

fn guild(page: &mut Page, raw: &RawGuild) -> Vec<Vec<String>> {
    let Some(guild) = snowflake(page, &raw.guild) else {
        return Vec::new();
    };
    let Some(channels) = &raw.channels else {
        return vec![vec![guild]];
    };
    if channels.get().is_empty() {
        page.say_hint(
            channels.span(),
            "no channel is listed",
            "leave `channels` out to mean the whole server",
        );
    }
    let channels = channels.get().iter().filter_map(|at| snowflake(page, at));
    channels.map(|channel| vec![guild.clone(), channel]).collect()
}

fn snowflake(page: &mut Page, at: &At<String>) -> Option<String> {
    let id = at.get();
    let is_id = (1..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    if !is_id {
        page.say_hint(
            at.span(),
            format!("ids on discord are numbers, not `{id}`"),
            "in Discord: settings, advanced, developer mode; then right-click and copy the id",
        );
    }
    is_id.then(|| id.clone())
}
