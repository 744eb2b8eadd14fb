//! The engine's loops by themselves: what hangs, what comes first, and who still holds what. Calls are held at the
//! stand-ins' doors until the story lets them in; time is turned.

mod leases;
mod looks;
mod order;
mod pace;
mod parked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stepherd::sandbox::github::Level;
use stepherd::sandbox::stage::{Attendant, Call, Fault, FaultKind};
use stepherd::sandbox::town::{REPO, TICKET};
use stepherd::store::{Gate, Point, StoreError};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{Turn, World};

const ADA: &str = "557058:ada";
const START: &str = "/dcr start comcast ticket=SREPROV-3072";

/// Holds the calls of one kind until they are let in.
#[derive(Debug)]
pub(super) struct Holds {
    method: &'static str,
    path: String,
    most: usize,
    held: AtomicUsize,
    given_up: Arc<AtomicUsize>,
    free: CancellationToken,
}

impl Holds {
    /// Holds the first so many calls with this method whose path contains this.
    pub(super) fn first(most: usize, method: &'static str, path: &str) -> Arc<Self> {
        Arc::new(Self {
            method,
            path: path.to_owned(),
            most,
            held: AtomicUsize::new(0),
            given_up: Arc::default(),
            free: CancellationToken::new(),
        })
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst).min(self.most)
    }

    /// How many callers have hung up.
    pub(super) fn given_up(&self) -> usize {
        self.given_up.load(Ordering::SeqCst)
    }

    pub(super) fn let_in(&self) {
        self.free.cancel();
    }
}

struct HungUp(Option<Arc<AtomicUsize>>);

impl Drop for HungUp {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Attendant for Holds {
    async fn arrives(&self, call: &Call) -> Option<FaultKind> {
        let is_one = call.method == self.method && call.path.contains(&self.path);
        if is_one && self.held.fetch_add(1, Ordering::SeqCst) < self.most {
            let mut hung_up = HungUp(Some(self.given_up.clone()));
            self.free.cancelled().await;
            hung_up.0 = None;
        }
        None
    }

    async fn leaves(&self, _: &Call) {}
}

/// Fails one verb at its commit while it is told to.
pub(super) struct Fails {
    verb: &'static str,
    once: bool,
    pub(super) on: AtomicBool,
}

impl Fails {
    pub(super) fn always(verb: &'static str) -> Self {
        let (once, on) = (false, AtomicBool::new(true));
        Self { verb, once, on }
    }

    /// Once it is switched on, the first time only.
    pub(super) fn once(verb: &'static str) -> Self {
        let (once, on) = (true, AtomicBool::new(false));
        Self { verb, once, on }
    }
}

#[async_trait]
impl Gate for Fails {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        let is_it = verb == self.verb && point == Point::BeforeCommit;
        let fails = is_it && self.on.load(Ordering::SeqCst);
        if fails && self.once {
            self.on.store(false, Ordering::SeqCst);
        }
        if fails {
            return Err(StoreError::Unavailable("on purpose".to_owned()));
        }
        Ok(())
    }
}

/// The engine runs by itself until this is dropped.
pub(super) fn running(world: &World) -> DropGuard {
    let (engine, stop) = (world.engine(), CancellationToken::new());
    let told = stop.clone();
    tokio::spawn(async move { engine.run(told).await });
    stop.drop_guard()
}

/// Turns the clock until it is so.
pub(super) async fn until(world: &World, what: &str, is: impl AsyncFn() -> bool) {
    for _ in 0..4000 {
        if is().await {
            return;
        }
        world.clock.advance(Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

async fn notes(world: &World) -> Vec<String> {
    let all = world.store.deliveries(Some("done"), 200).await.unwrap();
    all.into_iter().map(|delivery| delivery.note).collect()
}

#[tokio::test]
async fn reading_that_hangs_keeps_nobody_waiting_but_its_own_vendor() {
    let world = World::new().await;
    let pulls: Vec<u64> = (0..21).map(|n| world.open_pull(&format!("wish-{n}"))).collect();
    world.settle().await;
    let holds = Holds::first(usize::MAX, "GET", "/issues/comments/");
    world.town.github.stage().attend(holds.clone());
    let _engine = running(&world);
    for (at, number) in pulls[..20].iter().enumerate() {
        world.write(*number, "ada", "/dcr list");
        world.deliver().await;
        if at < 8 {
            // Each is taken up by itself.
            until(&world, "it hangs, too", async || holds.held() == at + 1).await;
        }
    }
    until(&world, "all that there is room for hangs", async || holds.held() == 16).await;
    world.write(pulls[20], "ada", "Just talk.");
    world.deliver().await;
    until(&world, "what needs no call is dealt with", async || {
        notes(&world).await.contains(&"no command in it".to_owned())
    })
    .await;
    let before = world.town.jira.messages(TICKET).len();
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.deliver().await;
    until(&world, "Jira is answered", async || {
        world.town.jira.messages(TICKET).len() >= before + 2
    })
    .await;
    assert_eq!(holds.held(), 16, "no more than so many calls are out at once");
    holds.let_in();
    until(&world, "all are answered", async || {
        notes(&world).await.iter().filter(|note| *note == "/dcr list").count() == 21
    })
    .await;
}

#[tokio::test]
async fn telling_that_hangs_keeps_nobody_waiting_but_its_own_vendor() {
    let world = World::new().await;
    let pulls: Vec<u64> = (0..20).map(|n| world.open_pull(&format!("wish-{n}"))).collect();
    world.settle().await;
    let holds = Holds::first(usize::MAX, "POST", "/comments");
    world.town.github.stage().attend(holds.clone());
    let _engine = running(&world);
    for (at, number) in pulls.iter().enumerate() {
        world.write(*number, "ada", "/dcr list");
        world.deliver().await;
        if at < 8 {
            until(&world, "it hangs, too", async || holds.held() == at + 1).await;
        }
    }
    until(&world, "all that there is room for hangs", async || holds.held() == 16).await;
    let before = world.town.jira.messages(TICKET).len();
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.deliver().await;
    until(&world, "Jira is answered", async || {
        world.town.jira.messages(TICKET).len() >= before + 2
    })
    .await;
    assert_eq!(holds.held(), 16, "no more than so many are out at once");
    holds.let_in();
    until(&world, "all are told", async || {
        pulls.iter().all(|number| world.messages(*number).len() == 2)
    })
    .await;
}

#[tokio::test]
async fn a_stop_goes_past_a_start_that_hangs_and_makes_it_void() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let start = world.write(number, "ada", START);
    let holds = Holds::first(1, "GET", &format!("/issues/comments/{start}"));
    world.town.github.stage().attend(holds.clone());
    let _engine = running(&world);
    world.deliver().await;
    until(&world, "the start hangs", async || holds.held() == 1).await;
    world.write(number, "ada", "/dcr stop");
    world.deliver().await;
    until(&world, "the stop is heard", async || {
        notes(&world).await.contains(&"/dcr stop".to_owned())
    })
    .await;
    holds.let_in();
    until(&world, "the start is answered", async || {
        let said = world.messages(number);
        said.iter().any(|message| message.body.contains("ada said stop for"))
    })
    .await;
    assert!(world.runs().await.is_empty(), "nothing was started");
}

#[tokio::test]
async fn a_stop_that_nobody_may_say_voids_nothing() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    // So eve may look, and no more.
    world.town.github.set_permission(REPO, "eve", Level::Write).unwrap();
    let start = world.write(number, "ada", START);
    let holds = Holds::first(1, "GET", &format!("/issues/comments/{start}"));
    world.town.github.stage().attend(holds.clone());
    let _engine = running(&world);
    world.deliver().await;
    until(&world, "the start hangs", async || holds.held() == 1).await;
    world.write(number, "eve", "/dcr stop");
    world.deliver().await;
    until(&world, "the stop is refused", async || {
        notes(&world)
            .await
            .iter()
            .any(|note| note.contains("stop") && note.contains("refused"))
    })
    .await;
    holds.let_in();
    until(&world, "the start takes effect", async || world.runs().await.len() == 1).await;
}

#[tokio::test]
async fn what_waits_for_the_outside_holds_its_own_thread_back_and_for_two_minutes_at_most() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let other = world.open_pull("other");
    world.settle().await;
    let start = world.write(number, "ada", START);
    let broken = Fault::answer("GET", &format!("/issues/comments/{start}"), 10_000, 502, vec![], "{}");
    world.town.github.stage().misbehave(broken);
    world.settle().await;
    world.write(number, "ada", "/dcr list");
    world.write(other, "ada", "/dcr list");
    world.settle().await;
    let told = |number| world.messages(number).len();
    assert_eq!(told(other), 2, "another thread is answered at once");
    for _ in 0..11 {
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(told(number), 2, "the start comes first");
    }
    world.pass(Duration::from_secs(11)).await;
    assert_eq!(told(number), 3, "but not for ever");
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(400)).await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_again_is_obeyed_once_it_can_be() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let no = Fault::answer("GET", "/issues/comments/", 4, 403, vec![], r#"{"message":"No."}"#);
    world.town.github.stage().misbehave(no);
    world.say(number, "ada", START).await;
    world.pass(Duration::from_secs(3)).await;
    assert!(world.runs().await.is_empty());
    for _ in 0..4 {
        world.pass(Duration::from_secs(30)).await;
    }
    assert!(world.town.github.stage().faults().is_empty(), "it was asked for");
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world).await);
}

#[tokio::test]
async fn what_was_claimed_together_with_what_has_to_wait_waits_too() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let start = world.write(number, "ada", START);
    let broken = Fault::answer("GET", &format!("/issues/comments/{start}"), 3, 502, vec![], "{}");
    world.town.github.stage().misbehave(broken);
    world.write(number, "ada", "/dcr list");
    world.deliver().await;
    world.turn(Turn::Intake).await.unwrap();
    let pending = world.store.deliveries(Some("pending"), 10).await.unwrap();
    assert_eq!(pending.len(), 2, "the start comes first: {pending:?}");
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(world.runs().await.len(), 1);
    assert!(notes(&world).await.contains(&"/dcr list".to_owned()));
}

#[tokio::test]
async fn the_same_command_twice_in_a_comment_counts_twice() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr list\n\n/dcr list").await;
    let answered = "/dcr list: answered; /dcr list: answered".to_owned();
    assert!(notes(&world).await.contains(&answered));
    // The comment, and one answer that says it twice.
    assert_eq!(world.messages(number).len(), 2);
    assert_eq!(world.last_reply(number).await.matches("No run is under way").count(), 2);
}

#[tokio::test]
async fn the_same_start_twice_in_a_comment_starts_two_runs() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", &format!("{START}\n\n{START}")).await;
    assert_eq!(world.runs().await.len(), 2, "{:?}", notes(&world).await);
}
