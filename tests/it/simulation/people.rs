//! People, back-ends and the mail, all of them moody.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use stepherd::domain::run::{RunState, Verdict};
use stepherd::sandbox::dcr::Flags;
use stepherd::sandbox::github::NewPr;
use stepherd::sandbox::town::{CHANNEL, GUILD, OTHER_TENANT, REPO, SECOND_TICKET, TENANT, TICKET, Town};

use super::Log;
use super::invariants::Invariants;
use super::processes::Processes;
use crate::world::World;

/// How many half minutes everything may take to settle in the end.
const PATIENCE: u32 = 240;

/// What people have done.
#[derive(Default)]
pub struct People {
    /// The pull request they talk on.
    pub number: u64,
    /// Comments with a command: id and text.
    pub said: Vec<(u64, String)>,
    interactions: Vec<String>,
    /// GitHub's mail is held.
    held: bool,
    /// Farms whose start Argo CD has noticed.
    noticed: Vec<String>,
}

impl People {
    pub async fn new(all: &Processes) -> Self {
        let pr = NewPr {
            branch: "wish",
            base: "main",
            title: "A wish",
            body: "",
            files: &[("WISH.md", Some("Please rebuild.\n"))],
            fork: None,
        };
        let number = all.world.town.github.open_pr_by_person(REPO, "ada", pr).unwrap();
        all.world.deliver().await;
        all.world.clock.advance(Duration::from_secs(3));
        Self {
            number,
            ..Self::default()
        }
    }

    /// Somebody or something does something.
    pub async fn act(&mut self, rng: &mut Rng, all: &Processes, log: &Log) {
        let world = &all.world;
        match rng.u32(0..20) {
            0 | 1 => self.start(rng, world, log).await,
            2..6 => self.say(rng, world, log).await,
            6 => self.slash(rng, world, log).await,
            7 => meddle(rng, world, log),
            _ => {
                // A set has more that can move at once.
                for _ in 0..all.set.map_or(1, |_| 3) {
                    self.back_ends(rng, all, log);
                }
            }
        }
    }

    pub async fn start(&mut self, rng: &mut Rng, world: &World, log: &Log) {
        let ticket = [TICKET, SECOND_TICKET][rng.usize(0..2)];
        if rng.bool() {
            log.say(format!("{ticket} is approved"));
            // One that is approved already cannot be again.
            let _ = world.town.jira.transition(ticket, "557058:ada", "Approved").await;
        } else {
            let tenant = [TENANT, OTHER_TENANT][rng.usize(0..2)];
            self.write(world, "ada", &format!("/dcr start {tenant}"), log);
        }
    }

    fn write(&mut self, world: &World, login: &str, text: &str, log: &Log) {
        log.say(format!("{login} says {text}"));
        let id = world.town.github.comment(REPO, self.number, login, text).unwrap();
        self.said.push((id, text.to_owned()));
    }

    async fn say(&mut self, rng: &mut Rng, world: &World, log: &Log) {
        let runs = world.runs().await;
        if runs.is_empty() {
            return;
        }
        let run = &runs[rng.usize(0..runs.len())].id;
        let verb = ["retry", "retry", "stop", "stop", "status", "why", "list", "help"][rng.usize(0..8)];
        let text = match verb {
            "list" | "help" => format!("/dcr {verb}"),
            _ => format!("/dcr {verb} run={run}"),
        };
        let login = if rng.u32(0..8) == 0 { "eve" } else { "ada" };
        self.write(world, login, &text, log);
    }

    async fn slash(&mut self, rng: &mut Rng, world: &World, log: &Log) {
        let town = &world.town.discord;
        if let Some(id) = self.interactions.last().filter(|_| rng.u32(0..3) == 0) {
            log.say("an interaction comes again");
            let _ = town.redeliver(id).await;
            return;
        }
        let runs = world.runs().await;
        let verb = ["list", "status", "start"][rng.usize(0..3)];
        let options = match (verb, runs.first()) {
            ("status", Some(run)) => vec![("run", json!(run.id.as_str()))],
            ("start", _) => vec![("tenant", json!(OTHER_TENANT))],
            _ => Vec::new(),
        };
        let verb = if options.is_empty() { "list" } else { verb };
        log.say(format!("ada uses /dcr {verb} on Discord"));
        if let Ok(interacted) = town.slash(&Town::ada(), GUILD, CHANNEL, "dcr", verb, &options).await {
            self.interactions.push(interacted.id);
        }
    }

    fn back_ends(&mut self, rng: &mut Rng, all: &Processes, log: &Log) {
        let (world, town) = (&all.world, &all.world.town);
        let tenant = [TENANT, OTHER_TENANT][rng.usize(0..2)];
        let mut apps = all.set.map(|set| set.apps(tenant)).unwrap_or_default();
        apps.push(format!("dcr-{tenant}"));
        let app = apps.swap_remove(rng.usize(0..apps.len()));
        match rng.u32(0..12) {
            0..3 if app.starts_with("warm-") => town.argocd.fail_next_sync(&app, "a hook failed"),
            0..3 => self.notice(world),
            3 => town.argocd.fail_next_sync(&app, "image not found"),
            4..6 => {
                town.argocd.advance(&app);
            }
            6 => town.argocd.finish(&app),
            7 => town.dcr.advance(tenant, f64::from(rng.u32(1..99))),
            8 => town.dcr.set_farmers(tenant, rng.u32(0..8)),
            9 if running(world, tenant) => town.dcr.fail(tenant, "farmer-3 lost"),
            10 if failed(world, tenant) => town.dcr.auto_restart(tenant),
            11 if running(world, tenant) => town.dcr.complete(tenant),
            _ => {}
        }
        log.say(format!(
            "{app}: {:?}, {:?}",
            town.argocd.shows(&app),
            town.dcr.flags(tenant)
        ));
    }

    /// Argo CD notices what was merged.
    fn notice(&mut self, world: &World) {
        for pull in world.town.github.pulls(REPO).unwrap() {
            let Some(merged) = pull.merged.filter(|merged| !self.noticed.contains(merged)) else {
                continue;
            };
            if let Some((tenant, _)) = pull.title.split_once(": start farmers") {
                world.town.argocd.git_moved(&format!("dcr-{tenant}"), &merged);
                self.noticed.push(merged);
            }
        }
    }

    /// The mail goes out, or does what mail does.
    pub async fn mail(&mut self, rng: &mut Rng, all: &Processes, log: &Log) {
        let (github, jira) = (&all.world.town.github, &all.world.town.jira);
        match rng.u32(0..12) {
            0 if !self.held => {
                log.say("GitHub's mail is held");
                github.hold_deliveries();
                self.held = true;
            }
            0..6 if self.held => {
                self.held = false;
                let mut ids: Vec<String> = github.deliveries().into_iter().map(|sent| sent.id).collect();
                rng.shuffle(&mut ids);
                log.say("GitHub's mail is released out of order");
                github.release_deliveries(&ids);
            }
            2 => log.say(format!("{} of GitHub's deliveries are lost", github.lose_deliveries())),
            3 => {
                let sent = github.deliveries();
                let again = &sent[rng.usize(0..sent.len())];
                log.say(format!("{} comes again", again.event));
                github.redeliver(&again.id);
            }
            4 => {
                let sent = jira.deliveries();
                if let Some(again) = (!sent.is_empty()).then(|| &sent[rng.usize(0..sent.len())]) {
                    log.say(format!("{} comes again, or too early", again.event));
                    jira.redeliver(&again.id).await;
                }
            }
            _ => {
                let github = github.deliver_pending().await;
                let jira = jira.deliver_pending().await.len();
                log.say(format!("mail: {github:?}, {jira}"));
            }
        }
    }

    /// Whatever was not taken is sent again.
    pub async fn deliver_again(&self, world: &World) {
        let (github, jira) = (&world.town.github, &world.town.jira);
        github.release_deliveries(&[]);
        for delivery in github.deliveries() {
            if !delivery.answers.iter().any(|status| (200..300).contains(status)) {
                github.redeliver(&delivery.id);
            }
        }
        jira.retry_failed().await;
    }

    /// The faults have ended: back-ends work, and time passes until everything has settled.
    pub async fn epilogue(&mut self, all: &mut Processes, log: &Log, invariants: &mut Invariants) {
        all.world.town.github.block_merging(REPO, None).unwrap();
        self.deliver_again(&all.world).await;
        for _ in 0..PATIENCE {
            all.settle().await;
            invariants.hold(&all.world).await;
            self.notice(&all.world);
            let town = &all.world.town;
            for tenant in [TENANT, OTHER_TENANT] {
                town.argocd.finish(&format!("dcr-{tenant}"));
                let awaited = is_under_way(&all.world, tenant).await;
                invariants.sets.controller(&all.world, tenant, awaited);
                town.dcr.set_farmers(tenant, 6);
                if running(&all.world, tenant) {
                    town.dcr.complete(tenant);
                }
                // Whoever looks at it resumes what has failed.
                if failed(&all.world, tenant) && !somebody_decides(&all.world, tenant).await {
                    town.dcr.auto_restart(tenant);
                }
            }
            let left = all.world.store.counts().await.unwrap();
            let runs = all.world.runs().await;
            let goes_on = runs.iter().any(|run| matches!(run.state, RunState::Active(_)));
            if !goes_on && left.effects_pending + left.deliveries_pending == 0 {
                log.say("all has settled");
                return;
            }
            all.advance(Duration::from_secs(30)).await;
        }
        let effects = all.world.store.effects(Some("pending"), 20).await.unwrap();
        let deliveries = all.world.store.deliveries(Some("pending"), 20).await.unwrap();
        let states: Vec<_> = all.world.runs().await.into_iter().map(|run| run.state).collect();
        panic!("it does not settle:\n{effects:#?}\n{deliveries:#?}\n{states:#?}");
    }
}

/// Whether a run has stopped on the tenant's failure, so that a person has to say what to do.
async fn somebody_decides(world: &World, tenant: &str) -> bool {
    let runs = world.runs().await;
    runs.iter()
        .any(|run| run.params.values().any(|value| value == tenant) && matches!(run.state, RunState::Stopped { .. }))
}

/// Whether a run of the tenant is under way.
async fn is_under_way(world: &World, tenant: &str) -> bool {
    let runs = world.runs().await;
    runs.iter()
        .any(|run| run.params.values().any(|value| value == tenant) && matches!(run.state, RunState::Active(_)))
}

/// People do things to stepherd's pull requests.
fn meddle(rng: &mut Rng, world: &World, log: &Log) {
    let github = &world.town.github;
    let pulls = github.pulls(REPO).unwrap();
    let ours: Vec<_> = pulls
        .iter()
        .filter(|pull| pull.author == "stepherd[bot]" && pull.open)
        .collect();
    match (ours.first(), rng.u32(0..5)) {
        (Some(pull), 0 | 1) => {
            log.say(format!("ada merges #{}", pull.number));
            let _ = github.merge_by_person(REPO, pull.number, "ada");
        }
        (Some(pull), 2) => {
            log.say(format!("ada closes #{}", pull.number));
            let _ = github.close_pr(REPO, pull.number, "ada");
        }
        (_, 3) => {
            log.say("merging is forbidden");
            github.block_merging(REPO, Some("the freeze is on")).unwrap();
        }
        _ => {
            log.say("merging is allowed");
            github.block_merging(REPO, None).unwrap();
        }
    }
}

fn running(world: &World, tenant: &str) -> bool {
    let flags = world.town.dcr.flags(tenant);
    [Flags::of("TFFF"), Flags::of("TTFF")].map(Some).contains(&flags)
}

fn failed(world: &World, tenant: &str) -> bool {
    world.town.dcr.flags(tenant) == Some(Flags::of("TFFT"))
}

/// Whether the run has come to an end, or to a stop that says why, or waits behind one that has.
pub fn rests(state: &RunState) -> bool {
    match state {
        RunState::Finished { verdict, .. } => matches!(verdict, Verdict::Completed | Verdict::Canceled { .. }),
        RunState::Stopped { why, .. } => !why.reason.trim().is_empty(),
        RunState::Queued { ahead } => !ahead.is_empty(),
        RunState::Active(_) => false,
    }
}
