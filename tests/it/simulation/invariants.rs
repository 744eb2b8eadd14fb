//! What must hold at every step, whatever goes wrong, and what must have come of it in the end.

use std::collections::{BTreeMap, BTreeSet};

use stepherd::domain::branch::StepBranch;
use stepherd::domain::card;
use stepherd::domain::ids::{LockName, RunId};
use stepherd::domain::run::{Happened, History, Run, RunState};
use stepherd::domain::start::lock_names;
use stepherd::sandbox::town::{CHANNEL, OTHER_TENANT, REPO, SECOND_TICKET, TENANT, TICKET};

use super::people::{People, rests};
use super::sets::{Set, Sets};
use crate::world::World;

/// What was seen so far.
pub struct Invariants {
    pub sets: Sets,
    seen: BTreeMap<RunId, (u64, Vec<History>)>,
    tenant_of: BTreeMap<RunId, String>,
    change: Option<i64>,
}

impl Invariants {
    pub fn new(set: Option<Set>) -> Self {
        Self {
            sets: Sets::new(set),
            seen: BTreeMap::new(),
            tenant_of: BTreeMap::new(),
            change: None,
        }
    }

    /// Looks at everything that can be looked at at any time.
    pub async fn hold(&mut self, world: &World) {
        let change = world.store.last_change().await.unwrap();
        if self.change != Some(change) {
            self.change = Some(change);
            let runs = world.runs().await;
            for run in &runs {
                self.only_grows(world, run).await;
            }
            one_holder_a_lock(&runs);
        }
        self.nothing_twice(world);
        self.sets.hold(world);
        nothing_said_twice(world);
    }

    /// A run's version and history only grow, and go together.
    async fn only_grows(&mut self, world: &World, run: &Run) {
        let tenant = run.params.iter().find(|(name, _)| name.as_str() == "tenant");
        if let Some((_, tenant)) = tenant {
            self.tenant_of.insert(run.id.clone(), tenant.clone());
        }
        let (version, before) = self.seen.entry(run.id.clone()).or_default();
        assert!(
            run.version >= *version,
            "{} went back to version {}",
            run.id,
            run.version
        );
        if run.version == *version {
            return;
        }
        let history = world.store.history(&run.id).await.unwrap();
        assert!(history.starts_with(before), "the history of {} was rewritten", run.id);
        let numbers: Vec<u64> = history.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, (1..=run.history_len).collect::<Vec<_>>(), "{}", run.id);
        only_the_open_question_is_answered(run, &history);
        self.sets.changed(world, run, &history);
        *version = run.version;
        *before = history;
    }

    /// How often a step of a tenant's runs began.
    fn begun(&self, step: &str, tenant: &str) -> usize {
        let of = |run: &RunId| self.tenant_of.get(run).is_some_and(|of| of == tenant);
        let entries = self
            .seen
            .iter()
            .filter(|(run, _)| of(run))
            .flat_map(|(_, (_, history))| history);
        entries
            .filter(|entry| matches!(&entry.what, Happened::StepStarted { step: name, .. } if name.as_str() == step))
            .count()
    }

    /// No job started twice for an attempt, no two pull requests for a step, no ticket moved twice.
    fn nothing_twice(&self, world: &World) {
        let town = &world.town;
        let mut branches = BTreeSet::new();
        let mut steps = BTreeSet::new();
        for pull in town.github.pulls(REPO).unwrap() {
            let Some(branch) = StepBranch::parse(&pull.branch) else {
                continue;
            };
            assert!(
                branches.insert(pull.branch.clone()),
                "{} has two pull requests",
                pull.branch
            );
            if pull.open || pull.merged.is_some() {
                let step = (branch.run, branch.step);
                assert!(steps.insert(step), "{}: the step has another pull request", pull.branch);
            }
        }
        for ticket in [TICKET, SECOND_TICKET] {
            let moves = town.jira.deliveries().into_iter().filter(|sent| {
                sent.body.contains(&format!("\"key\":\"{ticket}\"")) && sent.body.contains("\"toString\":\"Done\"")
            });
            assert!(moves.count() <= 1, "{ticket} was moved twice");
        }
        assert_eq!(town.dcr.changing_calls(), 0, "a rebuild is only looked at");
        for tenant in [TENANT, OTHER_TENANT] {
            let syncs = town.argocd.syncs(&format!("dcr-{tenant}")) as usize;
            let begun = self.begun("Sync", tenant);
            assert!(syncs <= begun, "{tenant}: {syncs} syncs for {begun} attempts");
            let begun = self.begun("Warm", tenant);
            for app in self.sets.apps(tenant) {
                let syncs = town.argocd.syncs(&app) as usize;
                assert!(syncs <= begun, "{app}: {syncs} syncs for {begun} attempts");
            }
        }
        let checks = town.github.check_runs(REPO).unwrap();
        let names: BTreeSet<_> = checks
            .iter()
            .map(|check| (&check.name, &check.head, &check.external_id))
            .collect();
        assert_eq!(names.len(), checks.len(), "a run has two checks on a commit");
    }

    /// What must be so when nothing goes wrong any more and time has passed.
    pub async fn settled(&self, world: &World, people: &People) {
        let counts = world.store.counts().await.unwrap();
        assert_eq!(counts.effects_pending + counts.deliveries_pending, 0, "{counts:?}");
        let parked = world.store.effects(Some("parked"), 9).await.unwrap();
        assert!(parked.is_empty(), "{parked:#?}");
        let parked = world.store.deliveries(Some("parked"), 9).await.unwrap();
        assert!(parked.is_empty(), "{parked:#?}");
        let runs = world.runs().await;
        for run in &runs {
            assert!(rests(&run.state), "{} does not rest: {:?}", run.id, run.state);
            cards_show(world, run);
        }
        self.sets.settled(world, &runs);
        every_command_is_answered_once(world, people);
    }

    /// A line that two stories share only if they are the same.
    pub fn digest(&self) -> String {
        let runs = self.seen.iter().map(|(run, (version, history))| {
            let last = history.last().map(|entry| card::happened(&entry.what));
            format!("{run} v{version}: {}", last.unwrap_or_default())
        });
        runs.collect::<Vec<_>>().join("; ")
    }
}

/// An answer is to the question that was asked last and not answered yet, and no question has an id of another.
fn only_the_open_question_is_answered(run: &Run, history: &[History]) {
    let mut asked = BTreeSet::new();
    let mut open = None;
    for entry in history {
        match &entry.what {
            Happened::Asked { id, .. } => {
                assert!(asked.insert(id), "{}: the id {id} is used again", run.id);
                open = Some(id);
            }
            Happened::Answered { id, .. } => {
                assert_eq!(open.take(), Some(id), "{}: an answer to another question", run.id);
            }
            Happened::Failed(_) => open = None,
            _ => {}
        }
    }
}

/// Of the runs that want a lock, one at the most does not wait.
fn one_holder_a_lock(runs: &[Run]) {
    let mut holders: BTreeMap<LockName, &RunId> = BTreeMap::new();
    for run in runs {
        if matches!(run.state, RunState::Queued { .. } | RunState::Finished { .. }) {
            continue;
        }
        for name in lock_names(&run.plan, &run.params).unwrap() {
            if let Some(other) = holders.insert(name.clone(), &run.id) {
                panic!("{} and {other} both hold {name}", run.id);
            }
        }
    }
}

/// The markers in a text of ours.
fn markers(text: &str) -> Vec<String> {
    let hidden = text.lines().filter(|line| line.starts_with("<!-- stepherd:"));
    let footers = text.lines().filter(|line| line.contains("stepherd · "));
    hidden.chain(footers).map(|line| line.trim().to_owned()).collect()
}

/// No thread has two messages with the same marker.
fn nothing_said_twice(world: &World) {
    let town = &world.town;
    let once = |place: &str, said: Vec<String>| {
        let mut seen = BTreeSet::new();
        for marker in said {
            assert!(seen.insert(marker.clone()), "{place} has two messages {marker}");
        }
    };
    for pull in town.github.pulls(REPO).unwrap() {
        let said = town.github.thread(REPO, pull.number).unwrap();
        let ours = said.iter().filter(|message| message.author == "stepherd[bot]");
        once(
            &format!("#{}", pull.number),
            ours.flat_map(|message| markers(&message.body)).collect(),
        );
    }
    for ticket in [TICKET, SECOND_TICKET] {
        let said = town.jira.comments(ticket);
        let markers = said.iter().flat_map(|comment| &comment.properties);
        once(ticket, markers.map(|(key, value)| format!("{key}={value}")).collect());
    }
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in town.discord.messages(CHANNEL) {
        places
            .entry(message.channel.clone())
            .or_default()
            .extend(markers(&message.text));
    }
    for (place, said) in places {
        once(&place, said);
    }
}

/// Text as people read it.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !"\\\u{2060}\u{200b}*`_#".contains(*c))
        .collect()
}

/// Every thread that hears of the run has one card, and it shows the run as it is.
fn cards_show(world: &World, run: &Run) {
    let headline = plain(&card::headline(run));
    let marker = format!("{}/card", run.id);
    for thread in &run.audience {
        let place = thread.to_string();
        let texts: Vec<String> = match thread.platform.as_str() {
            "jira" => {
                let second = place.contains(SECOND_TICKET);
                let ticket = if second { SECOND_TICKET } else { TICKET };
                let said = world.town.jira.comments(ticket).into_iter();
                said.map(|said| format!("{} {:?}", said.text, said.properties))
                    .collect()
            }
            "discord" => {
                let said = world.town.discord.messages(CHANNEL);
                said.into_iter().map(|said| said.text).collect()
            }
            _ => {
                let number: u64 = place.rsplit(['#', ':']).next().unwrap().parse().unwrap();
                let said = world.town.github.thread(REPO, number).unwrap();
                said.into_iter().map(|said| said.body).collect()
            }
        };
        let cards: Vec<&String> = texts.iter().filter(|text| text.contains(&marker)).collect();
        assert_eq!(cards.len(), 1, "{place}: {headline}\n{texts:#?}");
        assert!(plain(cards[0]).contains(&headline), "{place}: {headline}\n{}", cards[0]);
    }
}

/// Every command that was delivered was taken or answered: 👀, or one reply, never two. Who has no role is not answered.
fn every_command_is_answered_once(world: &World, people: &People) {
    let said = world.town.github.thread(REPO, people.number).unwrap();
    let seen = said.iter().filter(|message| message.body.starts_with("/dcr "));
    let seen = seen.map(|message| (message.reactions.len(), message.author.as_str()));
    let (eyes, authors): (Vec<usize>, Vec<&str>) = seen.unzip();
    assert_eq!(eyes.len(), people.said.len());
    for (((id, text), eyes), author) in people.said.iter().zip(eyes).zip(authors) {
        let replies = said.iter().filter(|message| {
            message.author == "stepherd[bot]"
                && markers(&message.body)
                    .iter()
                    .any(|marker| marker.contains(&id.to_string()))
        });
        let replies = replies.count();
        assert!(eyes <= 1 && replies <= 1, "{text}: {eyes} reactions, {replies} replies");
        let answered = eyes + replies >= 1;
        assert_eq!(answered, author == "ada", "{text} by {author} (comment {id})");
    }
}
