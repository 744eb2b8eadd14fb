//! Reads what is to be counted: from the town what stands there, from the database what was meant.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::count::{Check, Given, Kept, Memory, Pull, Seen, Told, Way};
use super::errands;
use super::people::Book;
use crate::cli::town::words::{tidy, unmarked};
use crate::domain::branch::StepBranch;
use crate::domain::card;
use crate::domain::run::{Happened, History, Run, RunState, Verdict};
use crate::sandbox::discord::Shown;
use crate::sandbox::town::{REPO, Town};
use crate::store::{RunFilter, Store, StoreError};

/// stepherd on GitHub.
const BOT: &str = "stepherd[bot]";
/// More than any torture makes.
const ALL: u32 = 1_000_000;

/// The commands that were given, and whether they were accepted.
pub(super) fn given(town: &Town, book: &Book) -> Vec<Given> {
    let slips = town.github.slips();
    let by_comment: BTreeMap<String, bool> = slips
        .into_iter()
        .filter_map(|slip| Some((slip.comment?.to_string(), slip.accepted)))
        .collect();
    let mut by_hook = BTreeMap::new();
    for delivery in town.jira.deliveries() {
        let accepted = delivery.attempts.iter().any(|attempt| is_good(attempt.status));
        if delivery.event == "comment_created" {
            let body: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
            let comment = body["comment"]["id"].as_str().unwrap_or_default().to_owned();
            by_hook.insert(comment, accepted);
        }
        by_hook.insert(delivery.id, accepted);
    }
    let known = |given: &Given| Given {
        accepted: match given.way {
            Way::Comment => by_comment.get(&given.id).copied().unwrap_or_default(),
            Way::Ticket | Way::Approval => by_hook.get(&given.id).copied().unwrap_or_default(),
            Way::Slash | Way::Button => given.accepted,
        },
        ..given.clone()
    };
    book.given.iter().map(known).collect()
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status)
}

/// What stands in the town.
pub(super) fn seen(town: &Town, book: &Book) -> Seen {
    let mut seen = Seen::default();
    github(town, &mut seen);
    for ticket in &book.tickets {
        let place = format!("jira:{ticket}");
        for said in town.jira.comments(ticket) {
            let marker = said.properties.iter().find(|(key, _)| key == "stepherd");
            let marker = marker.and_then(|(_, value)| value["marker"].as_str());
            if let Some(marker) = marker {
                seen.told.push(Told {
                    place: place.clone(),
                    id: said.id,
                    marker: Some(marker.to_owned()),
                    answers: None,
                    text: tidy(&said.text),
                });
            }
        }
        let status = town.jira.status(ticket).unwrap_or_default();
        seen.tickets.insert(ticket.clone(), status);
    }
    for channel in &book.channels {
        let shown = town.discord.messages(channel);
        seen.told
            .extend(shown.iter().filter_map(|shown| footed(channel, shown)));
    }
    for (interaction, token) in &book.tokens {
        let shown = town.discord.answer_to(token).filter(|shown| !shown.pending);
        seen.told.extend(shown.map(|shown| Told {
            place: format!("discord:{}", shown.channel),
            id: shown.id,
            marker: None,
            answers: Some(interaction.clone()),
            text: unmarked(&shown.text),
        }));
    }
    jobs(town, &mut seen);
    accepted(town, book, &mut seen);
    seen
}

fn github(town: &Town, seen: &mut Seen) {
    for pull in town.github.pulls(REPO).unwrap_or_default() {
        let name = format!("{REPO}#{}", pull.number);
        for said in town.github.thread(REPO, pull.number).unwrap_or_default() {
            let eyes = said.reactions.iter().filter(|by| **by == format!("{BOT}:eyes")).count();
            if eyes > 0 {
                seen.eyes.insert(said.id.to_string(), eyes);
            }
            if said.author == BOT {
                seen.told.push(Told {
                    place: format!("github:{name}"),
                    id: said.id.to_string(),
                    marker: hidden(&said.body),
                    answers: None,
                    text: unmarked(&said.body),
                });
            }
        }
        if let Some(branch) = StepBranch::parse(&pull.branch) {
            seen.pulls.push(Pull {
                name,
                run: branch.run.to_string(),
                step: branch.step.to_string(),
                commits: town.github.commits_ahead(REPO, "main", &pull.branch).unwrap_or(1),
                merged: pull.merged.is_some(),
            });
        }
    }
    let checks = town.github.check_runs(REPO).unwrap_or_default();
    seen.checks = checks
        .into_iter()
        .filter(|check| check.name.starts_with("stepherd/"))
        .map(|check| Check {
            id: check.id,
            run: check.external_id,
            head: check.head,
            title: tidy(&check.title),
        })
        .collect();
}

/// What the comment hides in its last line.
fn hidden(body: &str) -> Option<String> {
    let (_, marker) = body.rsplit_once("<!-- stepherd:")?;
    let marker = marker.trim_end().strip_suffix("-->")?.trim_end();
    Some(percent_decode_str(marker).decode_utf8_lossy().into_owned())
}

/// A message of stepherd in Discord says at its foot which it is; answers to interactions do not.
fn footed(channel: &str, shown: &Shown) -> Option<Told> {
    const FOOT: &str = "stepherd · ";
    let marker = shown.text.lines().rev().find_map(|line| line.strip_prefix(FOOT))?;
    let text = unmarked(&shown.text);
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with(FOOT)).collect();
    Some(Told {
        place: format!("discord:{channel}"),
        id: shown.id.clone(),
        marker: Some(marker.to_owned()),
        answers: None,
        text: text.join("\n"),
    })
}

/// What the back-ends and the tracker accepted, by the calls that they answered well.
fn jobs(town: &Town, seen: &mut Seen) {
    let body = |body: &str| serde_json::from_str::<Value>(body).unwrap_or_default();
    for call in town.argocd.stage.calls_to("POST", "/sync") {
        let said = body(&call.body);
        let infos = said["infos"].as_array().into_iter().flatten();
        let marker = infos.filter_map(|info| info["value"].as_str()).next_back();
        if is_good(call.status) {
            seen.syncs.push(marker.unwrap_or("a sync without a name").to_owned());
        }
    }
    seen.rebuilds = town.dcr.completed();
    let more_than_looks = town.dcr.stage.calls().into_iter().filter(|call| call.method != "GET");
    seen.rebuild_calls
        .extend(more_than_looks.map(|call| format!("{} {}", call.method, call.path)));
    for call in town.jira.stage.calls_to("POST", "/transitions") {
        let ticket = call.path.split('/').rev().nth(1).unwrap_or_default().to_owned();
        if is_good(call.status) {
            seen.moves.push(ticket);
        }
    }
}

fn accepted(town: &Town, book: &Book, seen: &mut Seen) {
    let github = town.github.slips().into_iter().filter(|slip| slip.accepted);
    seen.accepted.extend(github.map(|slip| format!("github {}", slip.id)));
    for delivery in town.jira.deliveries() {
        if delivery.attempts.iter().any(|attempt| is_good(attempt.status)) {
            seen.accepted.insert(format!("jira {}", delivery.id));
        }
    }
    for given in book.given.iter().filter(|given| given.accepted) {
        if matches!(given.way, Way::Slash | Way::Button) {
            seen.accepted.insert(format!("discord {}", given.id));
        }
    }
}

/// What the database holds.
pub(super) async fn memory(store: &Store) -> Result<Memory, StoreError> {
    let mut memory = Memory::default();
    let filter = RunFilter {
        limit: ALL,
        ..RunFilter::default()
    };
    for run in store.runs(&filter).await? {
        let history = store.history(&run.id).await?;
        memory.runs.push(kept(&run, &history));
    }
    for delivery in store.deliveries(None, ALL).await? {
        let name = format!("{} {}", delivery.platform, delivery.delivery_id);
        if delivery.state == "parked" {
            memory
                .parked
                .push(format!("delivery {name} is parked: {}", delivery.note));
        }
        memory.deliveries.insert(name, delivery.state == "done");
    }
    for effect in store.effects(Some("parked"), ALL).await? {
        memory
            .parked
            .push(format!("effect {} is parked: {}", effect.key, effect.reason));
    }
    Ok(memory)
}

fn kept(run: &Run, history: &[History]) -> Kept {
    let finished = match &run.state {
        RunState::Finished { verdict, .. } => Some(*verdict == Verdict::Completed),
        _ => None,
    };
    let heads = run.prs.values().map(|opened| opened.head.to_string());
    let pinned = run.subject.pinned.iter().map(|pinned| pinned.head.to_string());
    let ticket = run.subject.ticket.as_ref().map(ToString::to_string);
    let errand = run.params.iter().find(|(name, _)| name.as_str() == errands::NAME);
    let errand = errand.map(|(_, name)| name.clone());
    let mut kept = Kept {
        id: run.id.to_string(),
        about: ticket.clone().or(errand).unwrap_or_default(),
        ticket,
        headline: tidy(&card::headline(run)),
        finished: finished.is_some(),
        completed: finished == Some(true),
        places: run.audience.iter().map(ToString::to_string).collect(),
        heads: heads.chain(pinned).collect(),
        passed: run.passed.iter().map(|passed| passed.step.to_string()).collect(),
        ..Kept::default()
    };
    for (step, opened) in &run.prs {
        kept.pulls.insert(step.to_string(), opened.pr.to_string());
    }
    let opened_at = opened_at(run, history);
    for entry in history {
        match &entry.what {
            Happened::StepStarted { step, attempt } => {
                kept.attempts.insert((step.to_string(), *attempt));
            }
            Happened::Retried { .. } => kept.retries += 1,
            Happened::StopAsked { .. } => kept.stops += 1,
            _ => {}
        }
        if card::notice(run, entry).is_some() {
            // A thread hears only of what happens after it has joined.
            let places = kept.places.iter();
            let hearing = places.filter(|place| opened_at.get(*place).is_none_or(|opened| *opened < entry.seq));
            kept.notices.extend(hearing.map(|place| (entry.seq, place.clone())));
        }
    }
    kept
}

/// When the threads of the run's own pull requests joined.
fn opened_at(run: &Run, history: &[History]) -> BTreeMap<String, u64> {
    let asked_on: BTreeSet<String> = run.audience.first().map(ToString::to_string).into_iter().collect();
    let mut opened = BTreeMap::new();
    for entry in history {
        if let Happened::PrOpened { pr, .. } = &entry.what {
            let threads = run.prs.values().filter(|known| known.pr == *pr);
            for place in threads.map(|known| known.thread.to_string()) {
                if !asked_on.contains(&place) {
                    opened.insert(place, entry.seq);
                }
            }
        }
    }
    opened
}
