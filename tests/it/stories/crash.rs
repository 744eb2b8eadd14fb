//! stepherd dies without a word and another one starts on the same database: no accepted command is lost, and nothing
//! is done twice.

use std::path::Path;
use std::time::Duration;

use stepherd::sandbox::stage::{Call, Fault, FaultKind, Stage};
use stepherd::sandbox::town::{CHANNEL, REPO, TENANT, TICKET};

use super::scene::at;
use crate::world::World;

/// Longer than any lease and any pause between tries.
const LEASES: Duration = Duration::from_secs(700);

/// How many engine turns a story may take before something is wrong.
const TURNS_MAX: usize = 400;

#[tokio::test]
async fn a_command_that_is_durable_survives_the_crash_before_anybody_read_it() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    assert!(world.deliver().await);
    let world = world.restart().await;
    world.settle().await;
    let run = world.run().await;
    assert_eq!(at(&run), "Sync 1");
    assert_eq!(run.subject.pinned.expect("pinned").head.as_str(), head);
}

#[tokio::test]
async fn what_was_decided_is_done_although_who_decided_it_died() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    world.deliver().await;
    world.intake().await;
    assert_eq!(at(&world.run().await), "HistoryUpdate 1");
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1);
    let world = world.restart().await;
    world.settle().await;
    assert_eq!(at(&world.run().await), "Sync 1");
    assert_eq!(world.messages(number)[0].reactions, ["stepherd[bot]:eyes"]);
}

/// When stepherd dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    Never,
    /// After this many turns of the engine that did something.
    AfterTurn(usize),
    /// As soon as this many calls have changed something in the world, whatever it is doing.
    AtCall(usize),
    /// As soon as an answer is lost.
    AtCut,
}

/// The main job from the approved ticket to the closed one, with a failure and a retry, and at most one death.
struct Tale {
    world: Option<World>,
    death: Death,
    turns: usize,
    died: bool,
}

impl Tale {
    async fn new(death: Death) -> Self {
        Self {
            world: Some(World::with(without_farm).await),
            death,
            turns: 0,
            died: false,
        }
    }

    fn world(&self) -> &World {
        self.world
            .as_ref()
            .expect("it is taken only while stepherd starts again")
    }

    /// Tells it to the end: what everybody saw then.
    async fn told(&mut self) -> String {
        let town = &self.world().town;
        town.jira.transition(TICKET, "557058:ada", "Approved").await.unwrap();
        self.rest().await;
        self.world().town.dcr.advance(TENANT, 42.0);
        self.rest().await;
        self.world().town.dcr.fail(TENANT, "farmer-3 lost");
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
        for _ in 0..2 {
            self.world().clock.advance(Duration::from_secs(30));
            self.settle().await;
        }
    }

    async fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let delivered = self.world().deliver().await;
            let mut did = 0;
            for turn in 0..3 {
                did += self.turn(turn).await;
            }
            if did == 0 && !delivered {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// One turn, if stepherd lives to its end; how much it did, and something if it died.
    async fn turn(&mut self, which: usize) -> usize {
        let world = self.world();
        let turn = async {
            match which {
                0 => world.intake().await,
                1 => world.dispatch().await,
                _ => world.sweep().await,
            }
        };
        let did = tokio::select! {
            did = turn => Some(did),
            () = self.dying() => None,
        };
        self.turns += usize::from(did.is_some_and(|did| did > 0));
        let dies = matches!(self.death, Death::AfterTurn(k) if k == self.turns);
        if did.is_some() && (self.died || !dies) {
            return did.unwrap_or_default();
        }
        self.died = true;
        let world = self.world.take().expect("it lived").restart().await;
        world.clock.advance(LEASES);
        self.world = Some(world);
        1
    }

    /// Ends when stepherd dies in the middle of something.
    async fn dying(&self) {
        loop {
            let dies = !self.died
                && match self.death {
                    Death::Never | Death::AfterTurn(_) => false,
                    Death::AtCall(k) => changes(self.world()) >= k,
                    Death::AtCut => calls(self.world()).iter().any(|call| call.status == 0),
                };
            if dies {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What there is to see in the end, without what tells one telling from another.
    async fn seen(&self) -> String {
        let world = self.world();
        let town = &world.town;
        let mut seen = Vec::new();
        for message in world.messages(1) {
            seen.push(format!(
                "#1 {} {:?}\n{}",
                message.author, message.reactions, message.body
            ));
        }
        for message in town.jira.messages(TICKET) {
            seen.push(format!("{TICKET} {}\n{}", message.author, message.body));
        }
        for message in town.discord.messages(CHANNEL) {
            let place = if message.channel == CHANNEL {
                "channel"
            } else {
                "thread"
            };
            seen.push(format!("{place} {}\n{}", message.author, message.text));
        }
        for pull in town.github.pulls(REPO).unwrap() {
            seen.push(format!(
                "{} from {}, merged: {}",
                pull.title,
                pull.branch,
                pull.merged.is_some()
            ));
        }
        for check in town.github.check_runs(REPO).unwrap() {
            seen.push(format!("{} {} {:?}", check.name, check.status, check.conclusion));
        }
        let starts = town.dcr.starts(TENANT);
        seen.push(format!("rebuilds: {starts}, ticket: {:?}", town.jira.status(TICKET)));
        for state in ["pending", "parked"] {
            let effects = world.store.effects(Some(state), 100).await.unwrap();
            assert!(effects.is_empty(), "{state}: {effects:?}");
        }
        without_times(&world.readable(&seen.join("\n\n")).await)
    }
}

fn stages(world: &World) -> [&Stage; 5] {
    let town = &world.town;
    let others = (
        &town.jira.stage,
        &town.discord.stage,
        &town.argocd.stage,
        &town.dcr.stage,
    );
    [town.github.stage(), others.0, others.1, others.2, others.3]
}

/// All calls to the town so far.
fn calls(world: &World) -> Vec<Call> {
    stages(world).iter().flat_map(|stage| stage.calls()).collect()
}

/// How many calls meant to change something. Making tokens and registering commands changes nothing that people see.
fn changes(world: &World) -> usize {
    let counts = |call: &&Call| {
        call.method != "GET" && !call.path.contains("access_tokens") && !call.path.starts_with("/applications/900/")
    };
    calls(world).iter().filter(counts).count()
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

/// Tells it with every death of a kind in turn, beginning with `first` and leaving out all but every `step`-th, until
/// one is told untouched: each must be seen to end like the one without.
async fn whatever_the_death(first: usize, step: usize, death: fn(usize) -> Death) {
    let mut untouched = Tale::new(Death::Never).await;
    let expected = untouched.told().await;
    assert!(expected.contains("ticket: Some(\"Done\")"), "{expected}");
    for k in (first..TURNS_MAX).step_by(step) {
        let mut tale = Tale::new(death(k)).await;
        let seen = tale.told().await;
        assert!(seen == expected, "{:?}:\n{}", death(k), difference(&expected, &seen));
        if !tale.died {
            assert!(k > 20, "the story has more to it than {k} moments");
            return;
        }
    }
    panic!("the story never ends");
}

/// The lines that only one of them has.
fn difference(expected: &str, seen: &str) -> String {
    let only = |of: &str, not: &str, mark: char| -> Vec<String> {
        let lines: Vec<&str> = not.lines().collect();
        let missing = of.lines().filter(|line| !lines.contains(line));
        missing.map(|line| format!("{mark}{line}")).collect()
    };
    let mut lines = only(expected, seen, '-');
    lines.extend(only(seen, expected, '+'));
    format!("{}\n\n{seen}", lines.join("\n"))
}

#[tokio::test]
async fn a_crash_after_any_turn_of_the_engine_changes_nothing_that_people_see() {
    whatever_the_death(1, 1, Death::AfterTurn).await;
}

#[tokio::test]
async fn a_crash_at_a_call_to_the_world_changes_nothing_that_people_see() {
    whatever_the_death(1, 4, Death::AtCall).await;
}

#[tokio::test]
async fn what_took_effect_before_the_answer_was_lost_and_stepherd_died_is_not_done_again() {
    let expected = Tale::new(Death::Never).await.told().await;
    for (method, path) in [
        ("POST", "/git/refs"),
        ("POST", "/pulls"),
        ("PUT", "/merge"),
        ("POST", "/issues/1/comments"),
        ("POST", "/reactions"),
        ("POST", "/check-runs"),
        ("POST", "/issue/SREPROV-3072/comment"),
        ("POST", "/issue/SREPROV-3072/transitions"),
        ("POST", "/channels/400/messages"),
        ("POST", "/threads"),
        ("POST", "/tenants/comcast/rebuild"),
    ] {
        let mut tale = Tale::new(Death::AtCut).await;
        for stage in stages(tale.world()) {
            stage.misbehave(Fault::new(method, path, 1, FaultKind::EffectThenCut));
        }
        let seen = tale.told().await;
        assert!(tale.died, "{method} {path} is part of the story");
        assert!(seen == expected, "{method} {path}:\n{}", difference(&expected, &seen));
    }
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
