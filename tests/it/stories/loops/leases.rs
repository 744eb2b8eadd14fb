//! Who has lost a claim stops, begins nothing, and takes back what came too late, whatever becomes of its clock
//! meanwhile.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use stepherd::engine::Sweep;
use stepherd::sandbox::town::TICKET;
use stepherd::store::{Gate, Point, StoreError};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{ADA, Fails, Holds, running, until};
use crate::world::{TestClock, Turn, World};

/// By how much somebody sets a clock back: far longer than a lease.
const SET_BACK_MS: i64 = -900_000;

async fn failing(verb: &'static str) -> World {
    let gate = Arc::new(Fails::always(verb));
    World::gated(|_| {}, None, gate).await
}

async fn by_hand(world: &World, statement: &'static str) {
    let mut database = SqliteConnection::connect(&world.database()).await.unwrap();
    database.execute(statement).await.unwrap();
}

/// Somebody asks on a ticket, and the reply hangs.
async fn reply_hangs(world: &World) -> Arc<Holds> {
    let holds = Holds::first(1, "POST", "/comment");
    world.town.jira.stage.attend(holds.clone());
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.deliver().await;
    until(world, "the reply hangs", async || holds.held() == 1).await;
    holds
}

/// Somebody asks on a pull request, and reading it again hangs.
async fn reading_hangs(world: &World) -> Arc<Holds> {
    let number = world.open_pull("wish");
    world.deliver().await;
    let holds = Holds::first(1, "GET", "/issues/comments/");
    world.town.github.stage().attend(holds.clone());
    world.write(number, "ada", "/dcr list");
    world.deliver().await;
    until(world, "reading hangs", async || holds.held() == 1).await;
    holds
}

/// It takes the rest of its lease and, for an effect, the half minute in which its last call may still end. The clock
/// is turned fast: by itself the call would be given up after a real minute.
async fn it_is_given_up_with_its_lease(world: &World, holds: &Holds) {
    let (tick, most) = (Duration::from_millis(100), Duration::from_secs(50));
    let mut took = Duration::ZERO;
    while holds.given_up() == 0 {
        assert!(took < most, "it is still held after {took:?}");
        world.clock.advance(tick);
        took += tick;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_cannot_renew_the_lease_of_a_delivery_lets_go_of_it() {
    let world = failing("renew_deliveries").await;
    let _engine = running(&world);
    let holds = reading_hangs(&world).await;
    it_is_given_up_with_its_lease(&world, &holds).await;
}

#[tokio::test]
async fn who_cannot_renew_the_lease_of_an_effect_lets_go_of_it() {
    let world = failing("renew_effects").await;
    let _engine = running(&world);
    let holds = reply_hangs(&world).await;
    it_is_given_up_with_its_lease(&world, &holds).await;
}

/// A verb that never ends.
struct Hangs(&'static str);

#[async_trait]
impl Gate for Hangs {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if verb == self.0 && point == Point::BeforeCommit {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_renewal_that_hangs_outlives_no_lease() {
    let world = World::gated(|_| {}, None, Arc::new(Hangs("renew_deliveries"))).await;
    let engine = running(&world);
    let holds = reading_hangs(&world).await;
    it_is_given_up_with_its_lease(&world, &holds).await;
    drop(engine);
    let world = World::gated(|_| {}, None, Arc::new(Hangs("renew_effects"))).await;
    let _engine = running(&world);
    let holds = reply_hangs(&world).await;
    it_is_given_up_with_its_lease(&world, &holds).await;
}

#[tokio::test]
async fn an_effect_that_hangs_keeps_no_process_from_ending_and_is_taken_up_by_the_next() {
    let world = World::new().await;
    let (engine, stop) = (world.engine(), CancellationToken::new());
    let told = stop.clone();
    let serving = tokio::spawn(async move { engine.run(told).await });
    let holds = reply_hangs(&world).await;
    stop.cancel();
    let mut took = Duration::ZERO;
    while !serving.is_finished() {
        assert!(took < Duration::from_secs(8), "it has not ended after {took:?}");
        world.clock.advance(Duration::from_millis(100));
        took += Duration::from_millis(100);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((holds.held(), world.town.jira.messages(TICKET).len()), (1, 1));
    // Its lease ends, and another process finds that nothing was posted.
    world.clock.advance(Duration::from_secs(11));
    world.settle().await;
    assert_eq!(world.town.jira.messages(TICKET).len(), 2);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_over_in_time_though_the_clock_is_set_back() {
    let world = failing("renew_effects").await;
    let _engine = running(&world);
    let holds = reply_hangs(&world).await;
    world.clock.set_by(SET_BACK_MS);
    it_is_given_up_with_its_lease(&world, &holds).await;
}

#[tokio::test]
async fn who_is_refused_the_lease_of_a_delivery_lets_go_of_it() {
    let world = World::new().await;
    let _engine = running(&world);
    let holds = reading_hangs(&world).await;
    by_hand(
        &world,
        "UPDATE deliveries SET epoch = epoch + 1 WHERE state = 'pending'",
    )
    .await;
    it_is_given_up_with_its_lease(&world, &holds).await;
}

#[tokio::test]
async fn who_is_refused_the_lease_of_an_effect_lets_go_of_it() {
    let world = World::new().await;
    let _engine = running(&world);
    let holds = reply_hangs(&world).await;
    by_hand(&world, "UPDATE effects SET epoch = epoch + 1 WHERE state = 'pending'").await;
    it_is_given_up_with_its_lease(&world, &holds).await;
}

#[tokio::test]
async fn who_renews_its_leases_keeps_what_it_holds_however_long_it_takes() {
    let world = World::new().await;
    let _engine = running(&world);
    let holds = reply_hangs(&world).await;
    for _ in 0..40 {
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(holds.given_up(), 0);
    holds.let_in();
    until(&world, "it is told", async || {
        world.town.jira.messages(TICKET).len() == 2
    })
    .await;
}

/// Something happens to the process's clocks right after work was claimed, once.
struct StandsStill {
    claims: &'static str,
    clock: OnceCell<Arc<TestClock>>,
    on: AtomicBool,
    happens: fn(&TestClock),
}

#[async_trait]
impl Gate for StandsStill {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if verb == self.claims && point == Point::AfterCommit && self.on.swap(false, Ordering::SeqCst) {
            (self.happens)(self.clock.get().unwrap());
        }
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_begun_when_the_lease_is_over() {
    nothing_is_begun_after(|clock| clock.advance(Duration::from_secs(11))).await;
}

#[tokio::test]
async fn nothing_is_begun_when_the_lease_is_over_though_the_clock_was_set_back() {
    nothing_is_begun_after(|clock| {
        clock.advance(Duration::from_secs(11));
        clock.set_by(SET_BACK_MS);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_begun_when_the_machine_was_suspended_for_longer_than_the_lease() {
    // The steady clock does not count that time.
    nothing_is_begun_after(|clock| clock.set_by(11_000)).await;
}

/// A process to whose clocks this happens after it has claimed, as soon as it is switched on.
async fn standing_still(claims: &'static str, happens: fn(&TestClock)) -> (World, Arc<StandsStill>) {
    let gate = Arc::new(StandsStill {
        claims,
        clock: OnceCell::new(),
        on: AtomicBool::new(false),
        happens,
    });
    let world = World::gated(|_| {}, None, gate.clone()).await;
    gate.clock.set(world.clock.clone()).ok().unwrap();
    (world, gate)
}

#[tokio::test]
async fn no_delivery_is_dealt_with_when_its_lease_is_over() {
    let (world, gate) = standing_still("claim_deliveries", |clock| clock.advance(Duration::from_secs(11))).await;
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.deliver().await;
    gate.on.store(true, Ordering::SeqCst);
    assert!(world.turn(Turn::Intake).await.unwrap() > 0);
    let pending = world.store.deliveries(Some("pending"), 10).await.unwrap();
    assert_eq!(pending.len(), 1, "somebody else may be dealing with it");
    world.clock.advance(Duration::from_secs(11));
    world.settle().await;
    assert_eq!(world.town.jira.messages(TICKET).len(), 2);
}

async fn nothing_is_begun_after(happens: fn(&TestClock)) {
    let (world, gate) = standing_still("claim_effects", happens).await;
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.deliver().await;
    world.turn(Turn::Intake).await.unwrap();
    gate.on.store(true, Ordering::SeqCst);
    assert!(world.turn(Turn::Dispatch).await.unwrap() > 0);
    assert_eq!(
        world.town.jira.messages(TICKET).len(),
        1,
        "somebody else may be doing it"
    );
    // Whoever holds it next does it, when the database takes the lease for over, too.
    world.clock.advance(Duration::from_secs(1000));
    world.settle().await;
    assert_eq!(world.town.jira.messages(TICKET).len(), 2);
}

/// Counts how often a verb is committed.
#[derive(Default)]
struct Counts {
    verb: &'static str,
    times: AtomicUsize,
}

#[async_trait]
impl Gate for Counts {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if verb == self.verb && point == Point::AfterCommit {
            self.times.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[tokio::test]
async fn runs_are_held_on_to_though_the_clock_is_set_back() {
    let gate = Arc::new(Counts {
        verb: "hold_shards",
        ..Counts::default()
    });
    let world = World::gated(|_| {}, None, gate.clone()).await;
    let (engine, mut sweep) = (world.engine(), Sweep::default());
    engine.sweep_step(&mut sweep).await.unwrap();
    world.clock.set_by(SET_BACK_MS);
    for times in 1..4 {
        assert_eq!(gate.times.load(Ordering::SeqCst), times);
        world.clock.advance(Duration::from_secs(3));
        engine.sweep_step(&mut sweep).await.unwrap();
    }
}

#[tokio::test]
async fn who_posts_after_standing_still_takes_its_message_back_if_somebody_else_has_posted_it() {
    what_comes_too_late_is_taken_back(0).await;
}

#[tokio::test]
async fn who_posts_after_standing_still_while_its_clock_is_set_back_takes_its_message_back_too() {
    what_comes_too_late_is_taken_back(SET_BACK_MS).await;
}

async fn what_comes_too_late_is_taken_back(clock_set_by_ms: i64) {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let in_jira = Holds::first(1, "POST", "/comment");
    world.town.jira.stage.attend(in_jira.clone());
    let on_github = Holds::first(1, "POST", "/comments");
    world.town.github.stage().attend(on_github.clone());
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.write(number, "ada", "/dcr list");
    world.deliver().await;
    world.turn(Turn::Intake).await.unwrap();
    let mut frozen = pin!(world.turn(Turn::Dispatch));
    let both_are_out = async {
        while in_jira.held() + on_github.held() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = &mut frozen => panic!("the calls are held"),
        () = both_are_out => {}
    }
    // From here on the first one stands still, and another one takes over.
    world.clock.advance(Duration::from_secs(11));
    let other = world.replica().await;
    while other.dispatch_step().await.unwrap() > 0 {}
    let told = || (world.town.jira.messages(TICKET).len(), world.messages(number).len());
    assert_eq!(told(), (2, 2), "the other one has told both");
    world.clock.set_by(clock_set_by_ms);
    in_jira.let_in();
    on_github.let_in();
    frozen.await.unwrap();
    assert_eq!(told(), (2, 2), "and what came too late is gone");
    let counted = world.metrics.render();
    assert!(
        counted.contains(r#"stepherd_late_posts_total{outcome="withdrawn"} 2"#),
        "{counted}"
    );
}
