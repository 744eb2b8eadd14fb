//! What was lost and what was done twice.
//!
//! Counted at the town, by what stands there, against what people were promised and what stepherd's database says was
//! meant. What is promised, and hence what counts as *lost* or *doubled*:
//!
//! | kind | lost | doubled |
//! |---|---|---|
//! | delivery | it got a 2xx, and is not in the database or not dealt with | never: its id is unique there |
//! | question (`status`, `list`, `why`, `help`) | it got a 2xx and has no answer | two answers |
//! | order (`start`, `retry`, `stop`, an approval) | it got a 2xx and neither took effect nor was answered; on a pull request also: no 👀 and no answer | two answers to one; more effects and refusals than orders were given for that ticket or run |
//! | pull request | a step recorded one that is not there, or is not merged though the step that merges it passed | two for one run and step, two commits on its branch, one for a run that nobody knows |
//! | sync | a run passed its sync and none was accepted | two accepted for one run, step and attempt; one for an attempt that the run never made |
//! | rebuild | more runs passed theirs than rebuilds were completed: one passed on the end of another's | any call that is more than a look: rebuilds begin by themselves |
//! | ticket | a run completed and its ticket was not moved or is not done | moved twice; moved though no run of it completed |
//! | card | a thread of the run has none, or it does not show how the run stands | two in one thread |
//! | notice | a thread that the run had when it was to be told has not got it | two with one marker, or with one text, in one thread |
//! | check | a commit of the run has none, or it does not show how the run stands | two for one run and commit |
//!
//! *Accepted* means that the delivery got a 2xx. A delivery without one may still have been stored: its process died
//! between the two. So orders are counted for all that were given alike: at least the accepted ones must have taken
//! effect (or been refused with an answer), at most the given ones. GitHub and Jira are sent again under the same id
//! until they are accepted, so there the two are the same number. Discord sends nothing again: people say it again,
//! which is another order.
//!
//! A retry or stop that was refused ("nothing to retry") is no loss: it got its answer. Attempts count on, so what is
//! done again for another attempt of a step is not done twice.

use std::collections::{BTreeMap, BTreeSet};

/// How a command was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A comment on a pull request.
    Comment,
    /// A comment on a ticket.
    Ticket,
    /// A ticket that was moved to “Approved”.
    Approval,
    /// A slash command.
    Slash,
    /// A button.
    Button,
}

/// A command that somebody gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The comment, interaction or webhook it came by.
    pub id: String,
    /// How.
    pub way: Way,
    /// `status`.
    pub verb: String,
    /// What it is about: the ticket of a `start` or the name of an errand, the run of a `retry` or `stop`; nothing for a question.
    pub about: String,
    /// What was said and where, for people.
    pub said: String,
    /// Its delivery got a 2xx.
    pub accepted: bool,
}

/// A message of stepherd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// `github:acme/deployment#1`; what stands in a Discord thread counts for its channel.
    pub place: String,
    /// Its id there.
    pub id: String,
    /// What names it: `URMO7YZ2/card`, `URMO7YZ2/7`, `reply/…`.
    pub marker: Option<String>,
    /// The interaction that it answers directly.
    pub answers: Option<String>,
    /// What people read.
    pub text: String,
}

/// A pull request from a branch of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pull {
    /// `acme/deployment#1`.
    pub name: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The commits on its branch.
    pub commits: usize,
    /// It is merged.
    pub merged: bool,
}

/// A check of stepherd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Its id.
    pub id: u64,
    /// The run.
    pub run: String,
    /// The commit.
    pub head: String,
    /// What it shows.
    pub title: String,
}

/// What stands in the town.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Every message of stepherd.
    pub told: Vec<Told>,
    /// How often stepherd has reacted to a comment with 👀, by the comment.
    pub eyes: BTreeMap<String, usize>,
    /// Every pull request of a step.
    pub pulls: Vec<Pull>,
    /// The marker of every sync that was accepted.
    pub syncs: Vec<String>,
    /// How many rebuilds were completed.
    pub rebuilds: usize,
    /// Every call of the rebuild service that was more than a look.
    pub rebuild_calls: Vec<String>,
    /// The ticket of every move by stepherd.
    pub moves: Vec<String>,
    /// The statuses of tickets.
    pub tickets: BTreeMap<String, String>,
    /// Every check of stepherd.
    pub checks: Vec<Check>,
    /// Every delivery that got a 2xx.
    pub accepted: BTreeSet<String>,
}

/// A run, as the database has it.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// What its start was about: its ticket, or an errand's name.
    pub about: String,
    /// Its ticket; an errand has none.
    pub ticket: Option<String>,
    /// Where it stands, as its card's first line says it.
    pub headline: String,
    /// It is over.
    pub finished: bool,
    /// It ended well.
    pub completed: bool,
    /// Its threads.
    pub places: Vec<String>,
    /// Its commits that have a check.
    pub heads: BTreeSet<String>,
    /// The pull requests it recorded, by step.
    pub pulls: BTreeMap<String, String>,
    /// The steps it passed.
    pub passed: BTreeSet<String>,
    /// The attempts it made.
    pub attempts: BTreeSet<(String, u32)>,
    /// What it was to tell, by history entry and thread.
    pub notices: Vec<(u64, String)>,
    /// How often it was resumed.
    pub retries: usize,
    /// How often it was told to stop.
    pub stops: usize,
}

/// What the database holds.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Every run.
    pub runs: Vec<Kept>,
    /// Every delivery, and whether it is dealt with.
    pub deliveries: BTreeMap<String, bool>,
    /// What was given up: parked deliveries and effects, in words.
    pub parked: Vec<String>,
}

/// One kind of thing that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Of what.
    pub what: &'static str,
    /// How many there are that should be there.
    pub counted: usize,
    /// Each that is missing.
    pub lost: Vec<String>,
    /// Each that is there once too often.
    pub doubled: Vec<String>,
}

impl Row {
    fn of(what: &'static str) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }

    /// Something that should be there exactly once.
    fn once(&mut self, what: &str, times: usize) {
        self.counted += 1;
        match times {
            0 => self.lost.push(what.to_owned()),
            1 => {}
            n => self.doubled.push(format!("{what}: {n} times")),
        }
    }

    /// Nothing is lost and nothing is doubled.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

/// Merges that pass only when the pull request of another step is merged.
const MERGES: [(&str, &str); 2] = [("HistoryUpdateMerge", "HistoryUpdate"), ("StartFarmMerge", "StartFarm")];

/// Counts everything.
pub fn count(given: &[Given], seen: &Seen, memory: &Memory) -> Vec<Row> {
    vec![
        deliveries(seen, memory),
        questions(given, seen),
        orders(given, seen, memory),
        pulls(seen, memory),
        jobs("syncs", "Sync", &seen.syncs, memory),
        rebuilds(seen, memory),
        tickets(seen, memory),
        cards(seen, memory),
        notices(seen, memory),
        checks(seen, memory),
    ]
}

fn deliveries(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("deliveries");
    for id in &seen.accepted {
        row.counted += 1;
        match memory.deliveries.get(id) {
            Some(true) => {}
            Some(false) => row.lost.push(format!("delivery {id} is not dealt with")),
            None => row.lost.push(format!("delivery {id} is not in the database")),
        }
    }
    row.lost.extend(memory.parked.iter().cloned());
    row
}

fn is_question(given: &Given) -> bool {
    matches!(given.verb.as_str(), "status" | "list" | "why" | "help")
}

/// The answers to a command: direct ones, and those whose marker names the comment, interaction or webhook.
fn answers<'a>(given: &Given, seen: &'a Seen) -> Vec<&'a Told> {
    let named = |marker: &str| {
        let key = marker.strip_prefix("reply/");
        key.is_some_and(|key| key.split(':').any(|part| part == given.id))
    };
    let to_it = |told: &&Told| told.answers.as_deref() == Some(&given.id) || told.marker.as_deref().is_some_and(named);
    seen.told.iter().filter(to_it).collect()
}

fn questions(given: &[Given], seen: &Seen) -> Row {
    let mut row = Row::of("questions");
    for question in given.iter().filter(|given| is_question(given)) {
        let times = answers(question, seen).len();
        if question.accepted {
            row.once(&format!("the answer to {}", question.said), times);
        } else if times > 1 {
            row.doubled
                .push(format!("the answer to {}: {times} times", question.said));
        }
    }
    row
}

/// Whether an answer says that an order was taken. Any other answer to an order is a refusal.
fn says_taken(answer: &Told) -> bool {
    [": started.", ": resumed.", ": stopping."]
        .iter()
        .any(|taken| answer.text.contains(&format!("{taken} Where it stands:")))
}

fn orders(given: &[Given], seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("orders");
    let mut by_aim: BTreeMap<(&str, &str), Vec<&Given>> = BTreeMap::new();
    let mut refusals: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for order in given.iter().filter(|given| !is_question(given)) {
        let aim = (order.verb.as_str(), order.about.as_str());
        by_aim.entry(aim).or_default().push(order);
        let said = answers(order, seen);
        *refusals.entry(aim).or_default() += usize::from(said.iter().any(|told| !says_taken(told)));
        if said.len() > 1 {
            row.doubled
                .push(format!("the answer to {}: {} times", order.said, said.len()));
        }
        let eyes = seen.eyes.get(&order.id).copied().unwrap_or_default();
        if eyes > 1 {
            row.doubled.push(format!("👀 on {}: {eyes} times", order.said));
        }
        let shown = match order.way {
            Way::Comment => eyes + said.len() > 0,
            Way::Slash => !said.is_empty(),
            // Here the card alone speaks.
            Way::Ticket | Way::Approval | Way::Button => true,
        };
        if order.accepted {
            row.counted += 1;
            if !shown {
                row.lost.push(format!("any sign of {}", order.said));
            }
        }
    }
    for (aim, orders) in by_aim {
        let accepted = orders.iter().filter(|order| order.accepted).count();
        let came = effects(aim, memory) + refusals.get(&aim).copied().unwrap_or_default();
        let (verb, about) = aim;
        let words = || {
            let said: Vec<&str> = orders.iter().map(|order| order.said.as_str()).collect();
            format!(
                "{verb} {about}: of {} given and {accepted} accepted, {came} took effect or were refused ({})",
                orders.len(),
                said.join("; ")
            )
        };
        if came < accepted {
            row.lost.push(words());
        } else if came > orders.len() {
            row.doubled.push(words());
        }
    }
    row
}

/// How often orders of this kind have taken effect.
fn effects((verb, about): (&str, &str), memory: &Memory) -> usize {
    let run = memory.runs.iter().find(|run| run.id == about);
    match verb {
        "start" => memory.runs.iter().filter(|run| run.about == about).count(),
        "retry" => run.map_or(0, |run| run.retries),
        "stop" => run.map_or(0, |run| run.stops),
        _ => 0,
    }
}

fn pulls(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("pull requests");
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    for run in &memory.runs {
        for (step, name) in &run.pulls {
            known.insert((&run.id, step));
            let of_step = seen
                .pulls
                .iter()
                .filter(|pull| pull.run == run.id && pull.step == *step);
            let names: Vec<&str> = of_step.clone().map(|pull| pull.name.as_str()).collect();
            let what = format!(
                "the pull request of {} {step}, {name}, among {}",
                run.id,
                names.join(", ")
            );
            row.once(&what, names.len());
            if !names.is_empty() && !names.contains(&name.as_str()) {
                row.lost.push(what);
            }
            let merge = MERGES.iter().find(|(_, of)| of == step).map(|(merge, _)| *merge);
            let must_be_merged = merge.is_some_and(|merge| run.passed.contains(merge));
            for pull in of_step {
                if must_be_merged && !pull.merged {
                    row.lost
                        .push(format!("the merge of {}, of {} {step}", pull.name, run.id));
                }
            }
        }
    }
    for pull in &seen.pulls {
        if pull.commits > 1 {
            row.doubled
                .push(format!("the commit of {}: {} times", pull.name, pull.commits));
        }
        if !known.contains(&(pull.run.as_str(), pull.step.as_str())) {
            row.doubled.push(format!(
                "{} is of {} {}, which recorded no such pull request",
                pull.name, pull.run, pull.step
            ));
        }
    }
    row
}

/// Jobs are named by markers: run, step, attempt, job.
fn jobs(what: &'static str, step: &str, markers: &[String], memory: &Memory) -> Row {
    let mut row = Row::of(what);
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for marker in markers {
        *times.entry(marker).or_default() += 1;
    }
    for (marker, times) in times {
        row.once(&format!("the start of {marker}"), times);
        let mut parts = marker.split('/');
        let (run, of, attempt) = (parts.next(), parts.next(), parts.next());
        let run = memory.runs.iter().find(|known| Some(known.id.as_str()) == run);
        let attempt = of.zip(attempt.and_then(|attempt| attempt.parse().ok()));
        let made =
            |(step, number): (&str, u32)| run.is_some_and(|run| run.attempts.contains(&(step.to_owned(), number)));
        if !attempt.is_some_and(made) {
            row.doubled
                .push(format!("{marker} was started, though no run made such an attempt"));
        }
    }
    for run in memory.runs.iter().filter(|run| run.passed.contains(step)) {
        let own = format!("{}/{step}/", run.id);
        if !markers.iter().any(|marker| marker.starts_with(&own)) {
            row.lost.push(format!("any start of {own}…, which {} passed", run.id));
        }
    }
    row
}

/// An end counts for one run only, because an end needs a beginning.
fn rebuilds(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("rebuilds");
    row.counted = memory.runs.iter().filter(|run| run.passed.contains("Rebuild")).count();
    if row.counted > seen.rebuilds {
        row.lost.push(format!(
            "{} runs passed their rebuild, and only {} were completed",
            row.counted, seen.rebuilds
        ));
    }
    let calls = seen.rebuild_calls.iter();
    row.doubled
        .extend(calls.map(|call| format!("the rebuild service was told to {call}")));
    row
}

fn tickets(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("ticket moves");
    let completed = memory.runs.iter().filter(|run| run.completed);
    let completed: BTreeSet<&str> = completed.filter_map(|run| run.ticket.as_deref()).collect();
    for ticket in &completed {
        let times = seen.moves.iter().filter(|moved| moved == ticket).count();
        row.once(&format!("the move of {ticket}"), times);
        let status = seen.tickets.get(*ticket).map_or("nowhere", String::as_str);
        if status != "Done" {
            row.lost
                .push(format!("{ticket} is “{status}”, though its run has completed"));
        }
    }
    for moved in seen.moves.iter().filter(|moved| !completed.contains(moved.as_str())) {
        row.doubled
            .push(format!("{moved} was moved, though no run of it has completed"));
    }
    row
}

fn cards(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("cards");
    for run in &memory.runs {
        let marker = format!("{}/card", run.id);
        for place in &run.places {
            let here = |told: &&Told| told.place == *place && told.marker.as_deref() == Some(&marker);
            let cards: Vec<&Told> = seen.told.iter().filter(here).collect();
            row.once(&format!("the card of {} in {place}", run.id), cards.len());
            for card in cards {
                let head = card.text.lines().next().unwrap_or_default();
                if head != run.headline {
                    row.lost.push(format!(
                        "the end of {} in {place}: the card says “{head}”, and it stands “{}”",
                        run.id, run.headline
                    ));
                }
            }
        }
        if !run.finished {
            row.lost
                .push(format!("the end of {}: it still stands “{}”", run.id, run.headline));
        }
    }
    let known: BTreeSet<String> = memory.runs.iter().map(|run| format!("{}/card", run.id)).collect();
    for card in &seen.told {
        if card
            .marker
            .as_ref()
            .is_some_and(|marker| marker.ends_with("/card") && !known.contains(marker))
        {
            row.doubled
                .push(format!("{} in {} is of a run that nobody knows", card.id, card.place));
        }
    }
    row
}

fn notices(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("notices");
    let mut by_marker: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut by_text: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for told in &seen.told {
        let Some(marker) = told.marker.as_deref() else { continue };
        *by_marker.entry((&told.place, marker)).or_default() += 1;
        let run = marker.split_once('/').filter(|_| is_notice(marker));
        if let Some((run, _)) = run {
            *by_text.entry((&told.place, run, &told.text)).or_default() += 1;
        }
    }
    let mut meant = BTreeSet::new();
    for run in &memory.runs {
        for (seq, place) in &run.notices {
            let marker = format!("{}/{seq}", run.id);
            let times = by_marker.get(&(place.as_str(), marker.as_str())).copied();
            row.once(&format!("the notice {marker} in {place}"), times.unwrap_or_default());
            meant.insert((place.as_str(), marker));
        }
    }
    for (place, marker) in by_marker.keys() {
        if is_notice(marker) && !meant.contains(&(*place, (*marker).to_owned())) {
            row.doubled
                .push(format!("{marker} was told in {place}, though nobody meant it"));
        }
    }
    for ((place, run, text), times) in by_text.into_iter().filter(|(_, times)| *times > 1) {
        let head = text.lines().next().unwrap_or_default();
        row.doubled.push(format!("“{head}” of {run} in {place}: {times} times"));
    }
    row
}

/// Whether it marks a message of its own that is told once: no answer, no card, and no question, which is asked again
/// in the same words when nobody answered.
fn is_notice(marker: &str) -> bool {
    !marker.starts_with("reply/") && !marker.ends_with("/card") && !marker.contains("/question/")
}

fn checks(seen: &Seen, memory: &Memory) -> Row {
    let mut row = Row::of("checks");
    for run in &memory.runs {
        for head in &run.heads {
            let here = |check: &&Check| check.run == run.id && check.head == *head;
            let found: Vec<&Check> = seen.checks.iter().filter(here).collect();
            row.once(&format!("the check of {} on {head}", run.id), found.len());
            for check in found.iter().filter(|check| check.title != run.headline) {
                row.lost.push(format!(
                    "the end of {} on {head}: check {} says “{}”, and it stands “{}”",
                    run.id, check.id, check.title, run.headline
                ));
            }
        }
    }
    for check in &seen.checks {
        let meant = memory
            .runs
            .iter()
            .any(|run| run.id == check.run && run.heads.contains(&check.head));
        if !meant {
            row.doubled.push(format!(
                "check {} is of {} on {}, which nobody meant",
                check.id, check.run, check.head
            ));
        }
    }
    row
}
