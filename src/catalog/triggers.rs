//! What starts a verb of a command without words: a ticket reaches a status, a pull request changes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::command::{Trigger, TriggerOn, Verb};
use crate::domain::ids::{ParamName, Repo};
use crate::domain::places::ControlPlace;
use crate::domain::signal::PrChange;
use crate::domain::template::Template;

use super::diagnose::did_you_mean;
use super::page::{At, Names, Page};
use super::values::Known;

/// What starts a verb without words: either `ticket` or `pull_request`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrigger {
    /// A ticket reaches a status.
    ticket: Option<At<RawOnTicket>>,
    /// A pull request changes.
    pull_request: Option<At<RawOnPr>>,
    /// The verb it means.
    verb: At<String>,
    /// The verb's arguments, as templates. For tickets: `ticket`, `fields.<name>`. For pull requests: `pr.repo`,
    /// `pr.number`, `pr.head`, `pr.base`, `pr.title`.
    #[serde(default)]
    args: BTreeMap<At<String>, At<String>>,
}

/// A ticket reaches a status.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawOnTicket {
    /// The project's key; without it, any.
    #[serde(default)]
    project: String,
    /// The status, by id or name.
    to: At<String>,
}

/// A pull request changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawOnPr {
    /// The repository, as `owner/name`; without it, any.
    repo: Option<At<String>>,
    /// What happens to it.
    change: RawChange,
    /// A label that must be present; without it, none is needed.
    #[serde(default)]
    label: String,
}

/// What happens to a pull request.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RawChange {
    /// Opened or reopened. Which commit is meant only opening says; who reopens may have looked at an older one.
    Opened,
    /// New commits.
    Pushed,
    /// A label was added.
    Labeled,
    /// Closed and merged.
    Merged,
    /// Closed without merging.
    Closed,
}

/// The trigger, if nothing in it is wrong.
pub(super) fn compile(
    page: &mut Page,
    raw: &RawTrigger,
    names: &Names,
    verbs: &[Verb],
    control: &[ControlPlace],
) -> Option<Trigger> {
    check_place(page, raw, control);
    let (on, known): (_, &[&str]) = match (&raw.ticket, &raw.pull_request) {
        (Some(ticket), None) => (on_ticket(page, ticket.get()), &["ticket", "fields"]),
        (None, Some(pr)) => (
            on_pr(page, pr.get()),
            &["pr.repo", "pr.number", "pr.head", "pr.base", "pr.title"],
        ),
        (Some(_), Some(both)) => {
            page.say(
                both.span(),
                "a trigger has `ticket` or `pull_request`, not both; write two triggers",
            );
            return None;
        }
        (None, None) => {
            page.say_hint(
                raw.verb.span(),
                "this trigger does not say when",
                "ticket = { project = \"…\", to = \"…\" } or pull_request = { repo = \"…\", change = \"…\" }",
            );
            return None;
        }
    };
    page.refers("verb", &raw.verb, names);
    let verb = verbs.iter().find(|verb| verb.name.as_str() == raw.verb.get());
    let known: Known = known.iter().map(|name| (*name).to_owned()).collect();
    let mut args: BTreeMap<ParamName, Template> = BTreeMap::new();
    for (name, value) in &raw.args {
        let template = page.template(value, &known);
        let taken = verb.is_none_or(|verb| verb.args.iter().any(|arg| arg.name.as_str() == name.get()));
        if let (false, Some(verb)) = (taken, verb) {
            page.push(
                name.span(),
                format!("the verb `{}` has no argument `{}`", verb.name, name.get()),
                did_you_mean(name.get(), verb.args.iter().map(|arg| arg.name.as_str())),
            );
        }
        args.extend(page.parse::<ParamName>(name).map(|name| (name, template)));
    }
    for arg in verb.into_iter().flat_map(|verb| &verb.args).filter(|arg| arg.required) {
        if !args.contains_key(&arg.name) {
            page.say(
                raw.verb.span(),
                format!("this trigger does not give `{}`, which is required", arg.name),
            );
        }
    }
    Some(Trigger {
        on: on?,
        verb: verb?.name.clone(),
        args,
    })
}

/// A trigger for a place that is not listed would never do anything.
fn check_place(page: &mut Page, raw: &RawTrigger, control: &[ControlPlace]) {
    let (platform, named, span) = match (&raw.ticket, &raw.pull_request) {
        (Some(ticket), _) => ("jira", ticket.get().project.clone(), ticket.span()),
        (None, Some(pr)) => {
            let repo = pr.get().repo.as_ref().map(|repo| repo.get().clone());
            ("github", repo.unwrap_or_default(), pr.span())
        }
        (None, None) => return,
    };
    let within: Vec<String> = named.split('/').map(str::to_owned).collect();
    let listed = control.iter().any(|place| {
        place.platform.as_str() == platform && (named.is_empty() || place.holds(&place.platform, &within))
    });
    if listed || page.partial {
        return;
    }
    let (message, example) = if named.is_empty() {
        (format!("`places` lists nothing on {platform}"), "…")
    } else {
        (format!("`places` does not list {named}"), named.as_str())
    };
    page.say_hint(
        span,
        format!("this trigger can do nothing: {message}"),
        format!("[places] {platform} = [\"{example}\"]"),
    );
}

fn on_ticket(page: &mut Page, raw: &RawOnTicket) -> Option<TriggerOn> {
    Some(TriggerOn::Ticket {
        project: raw.project.clone(),
        to: page.worded("the status", &raw.to),
    })
}

fn on_pr(page: &mut Page, raw: &RawOnPr) -> Option<TriggerOn> {
    let repo = match &raw.repo {
        None => String::new(),
        Some(repo) => page.parse::<Repo>(repo)?.to_string(),
    };
    Some(TriggerOn::Pr {
        repo,
        change: match raw.change {
            RawChange::Opened => PrChange::Opened,
            RawChange::Pushed => PrChange::Pushed,
            RawChange::Labeled => PrChange::Labeled,
            RawChange::Merged => PrChange::Merged,
            RawChange::Closed => PrChange::Closed,
        },
        label: raw.label.clone(),
    })
}
