//! What goes first, and what is let go of so that others may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection as _, SqliteConnection};
use stepherd::clock::Clock as _;
use stepherd::domain::ids::RunId;
use stepherd::domain::run::Run;
use stepherd::sandbox::stage::{Attendant, Call, Fault, FaultKind};
use stepherd::sandbox::town::{APP, REPO, TICKET};
use stepherd::store::{Commit, Committed, DeliverySettled, RunWrite};
use tokio::sync::Semaphore;

use super::{ADA, Fails, Holds, START, notes, running, until};
use crate::store_law::samples::LEASE;
use crate::world::{Turn, World};

/// A start that GitHub has refused to tell about, and a stop behind it that was heard early and refused, too; the
/// start's comment fails so often, the stop's once.
async fn stop_put_off(start_fails: u32) -> (World, u64) {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let broken = |comment, times| {
        let path = format!("/issues/comments/{comment}");
        Fault::answer("GET", &path, times, 502, vec![], "{}")
    };
    let start = world.write(number, "ada", START);
    // The first read is tried three times, and while GitHub seems to be away each of the next ones once.
    world.town.github.stage().misbehave(broken(start, start_fails + 2));
    world.settle().await;
    let stop = world.write(number, "ada", "/dcr stop");
    world.town.github.stage().misbehave(broken(stop, 1));
    world.deliver().await;
    world.clock.advance(Duration::from_millis(1001));
    world.settle().await;
    (world, number)
}

#[tokio::test]
async fn a_stop_that_was_put_off_goes_first_again() {
    let (world, number) = stop_put_off(10_000).await;
    assert!(!notes(&world).await.contains(&"/dcr stop".to_owned()), "it was put off");
    world.pass(Duration::from_secs(10)).await;
    assert!(
        notes(&world).await.contains(&"/dcr stop".to_owned()),
        "it is heard while the start still waits"
    );
    let told = world.last_reply(number).await;
    assert_eq!(
        told,
        r"Stopped before it began\: 1 start of `/dcr` waited in this thread, and will not take effect\. No run was under way here\."
    );
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(400)).await;
    assert!(world.runs().await.is_empty(), "nothing was started");
    let said = world.messages(number);
    assert!(said.iter().any(|message| message.body.contains("ada said stop for")));
}

#[tokio::test]
async fn a_stop_that_is_due_together_with_the_start_before_it_goes_first() {
    let (world, _) = stop_put_off(2).await;
    world.pass(Duration::from_secs(30)).await;
    assert!(notes(&world).await.contains(&"/dcr stop".to_owned()));
    assert!(world.runs().await.is_empty(), "nothing was started");
}

#[tokio::test]
async fn a_delivery_that_hangs_is_parked_after_as_many_tries_as_any_other() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "grace", START);
    world.deliver().await;
    let now = world.clock.now();
    for _ in 0..150 {
        let claimed = world.store.claim_deliveries(now, LEASE, 1).await.unwrap().remove(0);
        let again = DeliverySettled::RetryAt {
            at: now,
            reason: "it took longer than 60 s".to_owned(),
            since: now,
        };
        assert!(world.store.settle_delivery(claimed.claim, again, now).await.unwrap());
    }
    let holds = Holds::first(1, "GET", "/issues/comments/");
    world.town.github.stage().attend(holds.clone());
    let engine = world.engine();
    let step = tokio::spawn(async move { engine.intake_step().await });
    while holds.held() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(step.await.unwrap(), Ok(1));
    let parked = world.store.deliveries(Some("parked"), 9).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].note, "keeps failing: it took longer than 60 s");
}

#[tokio::test]
async fn one_that_cannot_be_given_back_keeps_no_other_claim() {
    let gate = Arc::new(Fails::once("settle_effect"));
    let world = World::gated(|_| {}, None, gate.clone()).await;
    for n in 0..20 {
        let number = world.open_pull(&format!("wish-{n}"));
        world.write(number, "ada", "/dcr list");
    }
    world.deliver().await;
    while world.turn(Turn::Intake).await.unwrap() > 0 {}
    let holds = Holds::first(usize::MAX, "POST", "/issues/");
    world.town.github.stage().attend(holds.clone());
    gate.on.store(true, Ordering::SeqCst);
    // Both count the same sixteen places with GitHub as free, and claim sixteen effects each.
    let (one, other) = (world.engine(), world.engine());
    tokio::select! {
        biased;
        _ = one.dispatch_step() => panic!("its calls are held"),
        none = other.dispatch_step() => assert_eq!(none, Ok(0)),
    }
    assert!(!gate.on.load(Ordering::SeqCst), "one could not be given back");
    let mut database = SqliteConnection::connect(&world.database()).await.unwrap();
    let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM effects WHERE state = 'pending' AND lease_until > 0")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(held, 17, "those that are carried out, and that one");
}

#[tokio::test]
async fn a_stop_that_cannot_be_settled_gives_up_nothing_else_of_its_thread() {
    let gate = Arc::new(Fails::once("settle_delivery"));
    let world = World::gated(|_| {}, None, gate.clone()).await;
    let (number, _) = world.pull_request().await;
    let start = world.write(number, "ada", START);
    world.write(number, "ada", "/dcr stop");
    world.deliver().await;
    let holds = Holds::first(1, "GET", &format!("/issues/comments/{start}"));
    world.town.github.stage().attend(holds.clone());
    gate.on.store(true, Ordering::SeqCst);
    let _engine = running(&world);
    until(&world, "the stop cannot be settled", async || {
        !gate.on.load(Ordering::SeqCst)
    })
    .await;
    for _ in 0..20 {
        world.clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(holds.given_up(), 0, "the start is still being read");
    holds.let_in();
    until(&world, "the start is answered", async || {
        let said = world.messages(number);
        said.iter().any(|message| message.body.contains("ada said stop for"))
    })
    .await;
}

/// More runs that wait for the same job of Argo CD than may be looked at at once: twelve more.
async fn crowd(world: &World) -> Vec<Run> {
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    for _ in 0..20 {
        let pulls = world.town.github.pulls(REPO).unwrap();
        if let Some(merged) = pulls.get(1).and_then(|pull| pull.merged.clone()) {
            world.town.argocd.git_moved(APP, &merged);
            break;
        }
        world.pass(Duration::from_secs(10)).await;
    }
    let first = world.run().await;
    let mut all = vec![first.clone()];
    for number in 1..140 {
        let run = Run {
            id: RunId::from_bits(number),
            version: 1,
            ..first.clone()
        };
        let write = RunWrite {
            run: run.clone(),
            expected: None,
            wake: Some(world.clock.now()),
        };
        let commit = Commit {
            run: Some(write),
            ..Commit::default()
        };
        let now = world.clock.now();
        assert_eq!(world.store.commit(&commit, now).await, Ok(Committed::Done));
        all.push(run);
    }
    all
}

/// How many looks may be out with one vendor.
const LOOKS: usize = 128;

/// Holds as many calls as may be out at once, and lets them in one by one; later ones come straight through.
#[derive(Debug)]
struct OneByOne {
    arrived: AtomicUsize,
    let_in: Semaphore,
}

#[async_trait]
impl Attendant for OneByOne {
    async fn arrives(&self, call: &Call) -> Option<FaultKind> {
        if call.method == "GET" && call.path.contains("/applications/") {
            let is_held = self.arrived.fetch_add(1, Ordering::SeqCst) < LOOKS;
            if is_held {
                self.let_in.acquire().await.unwrap().forget();
            }
        }
        None
    }

    async fn leaves(&self, _: &Call) {}
}

#[tokio::test]
async fn runs_that_wait_for_room_wait_once_however_long_it_takes() {
    let world = World::new().await;
    let crowd = crowd(&world).await.len();
    let door = Arc::new(OneByOne {
        arrived: AtomicUsize::new(0),
        let_in: Semaphore::new(0),
    });
    world.town.argocd.stage.attend(door.clone());
    let _engine = running(&world);
    let arrived = || door.arrived.load(Ordering::SeqCst);
    until(&world, "there is no more room", async || arrived() == LOOKS).await;
    for _ in 0..8 {
        // Those without room look whether there is some each minute.
        world.clock.advance(Duration::from_secs(61));
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(arrived(), LOOKS, "no more than so many are out");
    // From here on time stands still: whoever had no room looks once, and nobody is due again.
    let seen = || {
        let line = "stepherd_looks_total{outcome=\"seen\"} ";
        let all = world.metrics.render();
        let count = all
            .lines()
            .find_map(|text| text.strip_prefix(line)?.parse::<usize>().ok());
        count.unwrap_or_default()
    };
    let before = seen();
    for one in 1..=LOOKS {
        door.let_in.add_permits(1);
        while seen() - before < one {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while seen() - before < crowd {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(seen() - before, crowd, "each has looked once");
}
