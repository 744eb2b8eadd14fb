//! The main job from the approved ticket to the closed one, with a failure and a retry, and one harm done on the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepherd::sandbox::town::{APP, CHANNEL, REPO, TENANT, TICKET};

use super::points::{Harm, Points};
use crate::world::{Turn, World};

/// How many turns it may take to come to rest, and how many pauses, before something is wrong.
const TURNS_MAX: usize = 400;
const PAUSES_MAX: usize = 100;

/// A leap over all that a dead process held, where nobody else can know that it is dead.
const LEASES: Duration = Duration::from_secs(11);

/// The tale while it is told.
pub struct Tale {
    world: Option<World>,
    points: Arc<Points>,
    /// Another process waits for the dead one's leases to end.
    leases_end: bool,
    died_at: Option<String>,
}

impl Tale {
    /// `database` is a PostgreSQL's address; a SQLite file of its own if absent.
    pub async fn new(harm: Harm, database: Option<&str>) -> Self {
        let points = Points::new(harm);
        let world = World::gated(without_farm, database, points.clone()).await;
        points.watch(&world.town);
        Self {
            world: Some(world),
            points,
            leases_end: database.is_some(),
            died_at: None,
        }
    }

    /// Where the harm was done, if it was.
    pub fn struck(&self) -> Option<String> {
        self.died_at.clone().or_else(|| self.points.struck())
    }

    /// The points passed by whoever lives, by name.
    pub fn passed(&self) -> Vec<String> {
        self.points.passed()
    }

    fn world(&self) -> &World {
        self.world
            .as_ref()
            .expect("it is taken only while stepherd starts again")
    }

    /// Tells it to the end: what everybody saw then.
    pub async fn told(&mut self) -> String {
        let town = &self.world().town;
        town.jira.transition(TICKET, "557058:ada", "Approved").await.unwrap();
        self.rest().await;
        self.world().town.dcr.advance(TENANT, 42.0);
        self.rest().await;
        self.world().town.dcr.fail(TENANT, "farmer-3 lost");
        self.rest().await;
        self.world().town.dcr.auto_restart(TENANT);
        self.rest().await;
        self.world().write(1, "ada", "/dcr retry");
        self.rest().await;
        self.world().town.dcr.complete(TENANT);
        self.rest().await;
        self.seen().await
    }

    /// Everything that follows from what happened has happened.
    async fn rest(&mut self) {
        self.settle().await;
        for pause in 0..PAUSES_MAX {
            self.world().clock.advance(Duration::from_secs(30));
            self.settle().await;
            let left = self.world().store.counts().await.unwrap();
            if pause > 0 && left.effects_pending + left.deliveries_pending == 0 {
                return;
            }
        }
        let left = self.world().store.effects(Some("pending"), 9).await.unwrap();
        panic!("something stays undone: {:?}, {left:#?}", self.struck());
    }

    async fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut did = usize::from(self.deliver().await);
            let left = self.world().store.counts().await.unwrap();
            // To ask for work where there is none changes nothing.
            if left.deliveries_pending > 0 {
                did += self.turn(Turn::Intake).await;
            }
            if left.effects_pending > 0 {
                did += self.turn(Turn::Dispatch).await;
            }
            did += self.turn(Turn::Sweep).await;
            if did == 0 {
                return;
            }
        }
        panic!("the world does not come to rest: {:?}", self.struck());
    }

    /// Sends the webhooks that wait, and again those that nobody took; whether there were any.
    async fn deliver(&mut self) -> bool {
        let sent = tokio::select! {
            biased;
            () = self.points.died() => None,
            sent = self.world().deliver() => Some(sent),
        };
        match sent {
            None => {
                self.rise().await;
                true
            }
            Some(sent) => {
                let again = sent && self.struck().is_some() && self.deliver_again().await;
                sent || again
            }
        }
    }

    /// What was not taken is sent again: by Jira by itself, by GitHub when asked to.
    async fn deliver_again(&self) -> bool {
        let town = &self.world().town;
        let mut again = !town.jira.retry_failed().await.is_empty();
        for delivery in town.github.deliveries() {
            let taken = delivery.answers.iter().any(|status| (200..300).contains(status));
            again |= !taken && town.github.redeliver(&delivery.id);
        }
        again
    }

    /// One turn, if stepherd lives to its end; how much it did, and something if it died or failed.
    async fn turn(&mut self, turn: Turn) -> usize {
        let did = tokio::select! {
            biased;
            () = self.points.died() => None,
            did = self.world().turn(turn) => Some(did),
        };
        match did {
            Some(Ok(did)) => did,
            Some(Err(error)) => {
                assert!(error.to_string().contains("on purpose"), "{error}");
                1
            }
            None => {
                self.rise().await;
                1
            }
        }
    }

    /// Another stepherd starts on the same database.
    async fn rise(&mut self) {
        assert!(self.died_at.is_none(), "it dies once");
        self.died_at = self.points.struck();
        self.points.bury();
        let after = Points::new(Harm::None);
        let world = self.world.take().expect("it lived");
        after.watch(&world.town);
        let world = world.restart_gated(after.clone()).await;
        if self.leases_end {
            world.clock.advance(LEASES);
        }
        self.points = after;
        self.world = Some(world);
        self.deliver_again().await;
    }

    /// What there is to see in the end, without what tells one telling from another.
    async fn seen(&self) -> String {
        let world = self.world();
        let town = &world.town;
        let mut seen = Vec::new();
        for pull in town.github.pulls(REPO).unwrap() {
            seen.push(format!(
                "#{} {} from {}, merged: {}",
                pull.number,
                pull.title,
                pull.branch,
                pull.merged.is_some()
            ));
            for message in world.messages(pull.number) {
                seen.push(format!("{} {:?}\n{}", message.author, message.reactions, message.body));
            }
        }
        for (branch, head) in town.github.branches(REPO).unwrap() {
            let ahead = town.github.commits_ahead(REPO, "main", &branch).unwrap();
            assert_eq!(head.len(), 40);
            seen.push(format!("branch {branch}, {ahead} ahead"));
        }
        for check in town.github.check_runs(REPO).unwrap() {
            seen.push(format!("{} {} {:?}", check.name, check.status, check.conclusion));
        }
        for message in town.jira.messages(TICKET) {
            seen.push(format!("{TICKET} {}\n{}", message.author, message.body));
        }
        let moves = town.jira.deliveries();
        let moves = moves.iter().filter(|told| told.body.contains("\"changelog\"")).count();
        seen.push(format!(
            "{TICKET} is {:?} after {moves} moves",
            town.jira.status(TICKET)
        ));
        for message in town.discord.messages(CHANNEL) {
            let place = if message.channel == CHANNEL {
                "channel"
            } else {
                "thread"
            };
            seen.push(format!("{place} {}\n{}", message.author, message.text));
        }
        for (_, name) in town.discord.threads(CHANNEL) {
            seen.push(format!("thread {name}"));
        }
        seen.push(format!(
            "more than looks at the rebuild: {}, syncs: {}",
            town.dcr.changing_calls(),
            town.argocd.syncs(APP)
        ));
        let parked = world.store.effects(Some("parked"), 100).await.unwrap();
        assert!(parked.is_empty(), "{parked:?}");
        without_times(&world.readable(&seen.join("\n\n")).await)
    }
}

/// A crash costs time, so times differ.
fn without_times(text: &str) -> String {
    let mut pieces: Vec<String> = text.split(" UTC").map(str::to_owned).collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in &mut pieces {
        let keep = piece.len() - "2026-11-18 11:06".len();
        piece.truncate(keep);
    }
    pieces.push(last);
    pieces.join("TIME")
}

/// A shorter way to the rebuild: each kind of thing that stepherd does is still done once.
fn without_farm(dir: &Path) {
    let path = dir.join("config/pipelines/dcr.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let step = |name: &str| {
        text.find(&format!("[[step]]\nname = \"{name}\"\n"))
            .expect("the step is there")
    };
    let shorter = format!("{}{}", &text[..step("StartFarm")], &text[step("Rebuild")..]);
    std::fs::write(&path, shorter).unwrap();
}
