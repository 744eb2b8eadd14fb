//! The processes: two or three on one database, each with a clock, hands and a tap of its own. One turn of one loop of
//! one of them is driven at a time, to its end or until it hangs.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use jiff::Timestamp;
use stepherd::clock::Clock;
use stepherd::engine::{Engine, Sweep};
use stepherd::store::{Store, StoreError};

use super::Log;
use super::database::Base;
use super::hands::{Hung, tapped};
use super::sets::Set;
use super::tap::Tap;
use crate::world::{TestClock, Turn, World};

const TURNS: [Turn; 3] = [Turn::Intake, Turn::Dispatch, Turn::Sweep];
/// How often everybody may have a turn at one moment before something is wrong.
const ROUNDS_MAX: usize = 300;

/// A clock on the wall that goes wrong, beside a steady one that does not, and the process's own chance.
pub struct OwnClock {
    town: Arc<TestClock>,
    /// What all processes on one machine share.
    machine_ms: Arc<AtomicI64>,
    off_ms: AtomicI64,
    dice: AtomicU64,
}

impl OwnClock {
    fn wrong_by(&self) -> i64 {
        self.machine_ms.load(Ordering::SeqCst) + self.off_ms.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        let ms = self.town.now().as_millisecond() + self.wrong_by();
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn steady(&self) -> Duration {
        self.town.steady()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let ms = at.as_millisecond() - self.wrong_by();
        self.town.sleep_until(Timestamp::from_millisecond(ms).unwrap()).await;
    }

    fn random(&self) -> u64 {
        Rng::with_seed(self.dice.fetch_add(1, Ordering::SeqCst)).u64(..)
    }
}

type Step = Pin<Box<dyn Future<Output = Result<usize, StoreError>>>>;

enum Ended {
    Done(Result<usize, StoreError>),
    Hangs,
    Dead,
}

/// One process.
pub struct Process {
    name: String,
    pub tap: Arc<Tap>,
    clock: Arc<OwnClock>,
    engine: Engine,
    sweep: Arc<tokio::sync::Mutex<Sweep>>,
    /// A turn of each loop that hangs.
    hanging: [Option<Step>; 3],
}

impl Process {
    fn new(name: String, world: &World, hung: &Arc<Hung>, machine_ms: Arc<AtomicI64>, dice: u64) -> Self {
        let tap = Arc::new(Tap::default());
        let clock = Arc::new(OwnClock {
            town: world.clock.clone(),
            machine_ms,
            off_ms: AtomicI64::new(0),
            dice: AtomicU64::new(dice),
        });
        let store = world.store.clone().gated(tap.clone());
        let engine = world.replica_with(store, tapped(world, &world.store, &tap, hung), clock.clone());
        Self {
            name,
            tap,
            clock,
            engine,
            sweep: Arc::default(),
            hanging: [None, None, None],
        }
    }

    fn step(&self, turn: Turn) -> Step {
        let (engine, sweep) = (self.engine.clone(), self.sweep.clone());
        Box::pin(async move {
            match turn {
                Turn::Intake => engine.intake_step().await,
                Turn::Dispatch => engine.dispatch_step().await,
                Turn::Sweep => engine.sweep_step(&mut *sweep.lock().await).await,
            }
        })
    }

    /// Its clock is off by so much from now on.
    pub fn set_off(&self, ms: i64) {
        self.clock.off_ms.store(ms, Ordering::SeqCst);
    }

    pub fn hangs(&self) -> bool {
        self.hanging.iter().any(Option::is_some)
    }
}

/// All of them, and the world they live in.
pub struct Processes {
    pub world: World,
    pub all: Vec<Process>,
    /// What stands before the doors' way to the database.
    pub doors: Arc<Tap>,
    /// The set of jobs that runs begin with.
    pub set: Option<Set>,
    base: Base,
    hung: Arc<Hung>,
    machine_ms: Arc<AtomicI64>,
    log: Log,
    born: u64,
    seed: u64,
}

impl Processes {
    pub async fn new(seed: u64, log: Log) -> Self {
        let (doors, set, base) = (Arc::new(Tap::default()), Set::of(seed), Base::new().await);
        let edit = |dir: &Path| {
            talks_freely(dir);
            set.iter().for_each(|set| set.write(dir));
        };
        let world = World::gated(edit, Some(base.url()), doors.clone()).await;
        if let Some(set) = &set {
            set.build(&world);
        }
        base.tell_time(&world.clock).await;
        let mut processes = Self {
            world,
            all: Vec::new(),
            doors,
            set,
            base,
            hung: Arc::default(),
            machine_ms: Arc::default(),
            log,
            born: 0,
            seed,
        };
        for _ in 0..2 + seed / 2 % 2 {
            processes.bear();
        }
        processes
    }

    /// A new process starts.
    pub fn bear(&mut self) {
        self.born += 1;
        let name = format!("process {}", self.born);
        let dice = self.seed.wrapping_mul(1_000_003).wrapping_add(self.born << 32);
        let machine_ms = self.machine_ms.clone();
        self.all
            .push(Process::new(name, &self.world, &self.hung, machine_ms, dice));
    }

    /// This one dies, and a new one starts in its place.
    pub fn replace(&mut self, at: usize) {
        let dead = self.all.remove(at);
        self.log.say(format!("{} dies", dead.name));
        self.bear();
    }

    /// The clock of this one is set wrong by so much at once. Where leases go by the processes' own clocks they are on
    /// one machine, so all of their clocks are set. That is the database's clock, too: setting it ahead ends leases
    /// before their time, and who stands still cannot know. So it is set ahead only while nobody does.
    pub fn step_clock(&self, at: usize, ms: i64) {
        if self.base.has_a_clock() {
            self.log.say(format!("the clock of number {at} is set, off by {ms} ms"));
            self.all[at].set_off(ms);
        } else if ms < self.machine_ms.load(Ordering::SeqCst) || !self.all.iter().any(|one| one.tap.is_frozen()) {
            self.log.say(format!("the machine's clock is set, off by {ms} ms"));
            self.machine_ms.store(ms, Ordering::SeqCst);
        }
    }

    /// This vendor takes calls for so long and answers nobody.
    pub fn vendor_hangs(&self, vendor: &'static str, time: Duration) {
        self.log.say(format!("{vendor} hangs for {time:?}"));
        self.hung.until(vendor, self.world.clock.now() + time);
    }

    /// Nothing is left of it.
    pub async fn end(self) {
        let Self { world, all, base, .. } = self;
        drop(all);
        world.store.close().await;
        base.end().await;
    }

    pub fn time(&self) -> String {
        self.world.clock.now().to_string()
    }

    /// Somebody who has something to do has a turn; `false` if nobody has.
    pub async fn turn(&mut self, rng: &mut Rng) -> bool {
        let mut turns: Vec<(usize, usize)> = (0..self.all.len())
            .flat_map(|at| (0..TURNS.len()).map(move |turn| (at, turn)))
            .collect();
        rng.shuffle(&mut turns);
        for (at, turn) in turns {
            if self.turn_of(at, turn).await > 0 {
                return true;
            }
        }
        false
    }

    /// This loop of this one has a turn, unless the last one hangs; how much it did.
    pub async fn turn_of(&mut self, at: usize, turn: usize) -> usize {
        let process = &self.all[at];
        if process.tap.is_frozen() || process.hanging[turn].is_some() {
            return 0;
        }
        let step = process.step(TURNS[turn]);
        self.drive(at, turn, step).await
    }

    async fn drive(&mut self, at: usize, turn: usize, mut step: Step) -> usize {
        let tap = self.all[at].tap.clone();
        let ended = tokio::select! {
            biased;
            done = &mut step => Ended::Done(done),
            () = tap.dies() => Ended::Dead,
            () = Self::hangs_and_all_else_is_still(&tap, &self.world.store, self.base.still()) => Ended::Hangs,
        };
        let who = format!("{} {:?}", self.all[at].name, TURNS[turn]);
        match ended {
            Ended::Done(Ok(did)) => {
                if did > 0 {
                    self.log.say(format!("{who} did {did}"));
                }
                did
            }
            Ended::Done(Err(error)) => {
                assert!(error.to_string().contains("on purpose"), "{error}");
                self.log.say(format!("{who}: {error}"));
                1
            }
            Ended::Hangs => {
                self.log.say(format!("{who} hangs"));
                self.all[at].hanging[turn] = Some(step);
                1
            }
            Ended::Dead => {
                drop(step);
                tap.bury();
                self.replace(at);
                1
            }
        }
    }

    async fn hangs_and_all_else_is_still(tap: &Tap, store: &Store, enough: u32) {
        tap.sticks().await;
        let (mut still, mut seen) = (0, tap.passed());
        while still < enough {
            store.effects(None, 1).await.unwrap();
            let passed = tap.passed();
            still = if passed == seen { still + 1 } else { 0 };
            seen = passed;
        }
    }

    /// What hangs in this one goes on.
    pub async fn go_on(&mut self, at: usize) {
        self.log.say(format!("{} goes on", self.all[at].name));
        self.all[at].tap.go_on();
        self.beat(at).await;
    }

    /// What hangs in this one has a chance to renew its leases.
    async fn beat(&mut self, at: usize) {
        for turn in 0..TURNS.len() {
            let born = self.born;
            if let Some(step) = self.all[at].hanging[turn].take() {
                self.drive(at, turn, step).await;
            }
            if self.born != born {
                return;
            }
        }
    }

    /// Time passes, here in leaps; who does not stand still renews leases.
    pub async fn advance(&mut self, by: Duration) {
        self.world.clock.advance(by);
        self.base.tell_time(&self.world.clock).await;
        for at in (0..self.all.len()).rev() {
            if !self.all[at].tap.is_frozen() {
                self.beat(at).await;
            }
        }
    }

    /// Nothing goes wrong any more: clocks are right, what hangs goes on, the dead are replaced.
    pub async fn heal(&mut self) {
        self.doors.disarm();
        self.hung.heal();
        self.machine_ms.store(0, Ordering::SeqCst);
        for at in (0..self.all.len()).rev() {
            self.all[at].tap.disarm();
            self.all[at].set_off(0);
            if self.all[at].hangs() {
                self.go_on(at).await;
            }
        }
    }

    /// Everybody has turns until nobody has anything to do at this moment of the clock.
    pub async fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut did = usize::from(self.world.deliver().await);
            for at in 0..self.all.len() {
                for turn in 0..TURNS.len() {
                    did += self.turn_of(at, turn).await;
                }
            }
            if did == 0 {
                return;
            }
        }
        panic!("the processes do not come to rest");
    }
}

/// One person says more in one thread here than an hour of a real one would hear.
fn talks_freely(dir: &Path) {
    let path = dir.join("config/stepherd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let freely = text.replace("# answers_max = 20", "answers_max = 10000");
    assert_ne!(freely, text);
    std::fs::write(path, freely).unwrap();
}
