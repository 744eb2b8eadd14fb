//! The hands of one process: the real adapters, one call at a time, with the process's tap in front.
//!
//! While a call is out, nobody gets at the database: what happens next then hangs on no socket's or thread's pace,
//! and the same seed makes the same story.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use stepherd::adapters::{
    Backend, CallError, CheckShow, Direct, Forge, Hands, Marker, MoveSeen, Posted, PrSeen, Threads, Tracker, WordSeen,
};
use stepherd::clock::Clock as _;
use stepherd::domain::decide::HeadThen;
use stepherd::domain::doc::Doc;
use stepherd::domain::effect::{ChangeIntent, JobIntent, MergeIntent, MoveIntent, Outcome};
use stepherd::domain::ids::{Platform, PrRef, Repo, RunId, Sha, ThreadRef};
use stepherd::domain::policy::Lookup;
use stepherd::domain::run::{CheckTarget, FailureClass, Observation};
use stepherd::domain::signal::{Account, MessageRef, ReplyHandle, Said, TicketMoved};
use stepherd::sandbox::stage::{Fault, FaultKind, Stage};
use stepherd::store::{Gate, Point, Store, StoreError};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::tap::{Harm, Tap};
use crate::world::{TestClock, World};

/// How long a client waits for an answer.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Vendors that take calls and answer nobody, and until when.
#[derive(Default)]
pub struct Hung(Mutex<BTreeMap<&'static str, Timestamp>>);

impl Hung {
    pub const VENDORS: [&'static str; 5] = ["github", "jira", "discord", "argocd", "dcr"];

    pub fn until(&self, vendor: &'static str, at: Timestamp) {
        self.0.lock().unwrap().insert(vendor, at);
    }

    /// All of them answer again.
    pub fn heal(&self) {
        self.0.lock().unwrap().clear();
    }

    fn is(&self, vendor: &str, now: Timestamp) -> bool {
        self.0.lock().unwrap().get(vendor).is_some_and(|until| now < *until)
    }
}

/// The one connection to the database, held.
#[derive(Default)]
struct Held {
    here: CancellationToken,
    let_go: CancellationToken,
}

#[async_trait]
impl Gate for Held {
    async fn pass(&self, _: &'static str, _: Point) -> Result<(), StoreError> {
        self.here.cancel();
        self.let_go.cancelled().await;
        Err(StoreError::Unavailable("nothing was to be written".to_owned()))
    }
}

/// What is in front of a port.
#[derive(Clone)]
struct Front {
    tap: Arc<Tap>,
    store: Store,
    clock: Arc<TestClock>,
    stage: Arc<StageOf>,
    vendor: &'static str,
    hung: Arc<Hung>,
}

/// A stage of the town, by whatever owns it.
enum StageOf {
    GitHub(stepherd::sandbox::github::GitHub),
    Other(Arc<Stage>),
}

impl StageOf {
    fn get(&self) -> &Stage {
        match self {
            Self::GitHub(github) => github.stage(),
            Self::Other(stage) => stage,
        }
    }

    /// A limit that is told by 403 is GitHub's own; everywhere else 403 is a refusal, and too many is 429.
    fn misbehave(&self, fault: Fault) {
        let limit = matches!(fault.kind, FaultKind::Answer { status: 403, .. });
        self.get().misbehave(match self {
            Self::Other(_) if limit => Fault::too_many(&fault.method, &fault.path, fault.times, 60),
            _ => fault,
        });
    }
}

impl Front {
    /// Waits until nobody is at the database, and keeps others from it until what is returned is dropped.
    async fn alone(&self) -> DropGuard {
        let held = Arc::new(Held::default());
        let guard = held.let_go.clone().drop_guard();
        let (store, now) = (self.store.clone().gated(held.clone()), self.clock.now());
        let taken = tokio::spawn(async move { store.touch(&[RunId::from_bits(0)], now).await });
        tokio::select! {
            biased;
            () = held.here.cancelled() => guard,
            refused = taken => panic!("nobody gets at the database: {refused:?}"),
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, CallError>> + Send) -> Result<T, CallError> {
        let alone = self.alone().await;
        if self.tap.is_frozen() {
            // A call that was about to be made when the process stood still: its connection is gone by then.
            drop(alone);
            self.tap.hang(true).await;
            return Err(lost());
        }
        if self.hung.is(self.vendor, self.clock.now()) {
            drop(alone);
            return self.never_answered().await;
        }
        let harm = self.tap.call_begins().await;
        if let Some(Harm::Vendor(fault)) = &harm {
            self.stage.misbehave(fault.clone());
        }
        let answer = call.await;
        self.stage.get().behave();
        if matches!(harm, Some(Harm::DiesAfterCall)) {
            self.tap.die().await;
        }
        drop(alone);
        match harm {
            Some(Harm::Hangs) => self.tap.hang(false).await,
            Some(Harm::Freezes) => self.tap.hang(true).await,
            Some(Harm::NeverAnswered) => return self.never_answered().await,
            Some(Harm::AnswerLost) => return Err(lost()),
            _ => {}
        }
        answer
    }

    /// The client waits as long as it ever waits.
    async fn never_answered<T>(&self) -> Result<T, CallError> {
        let given_up = self.clock.now() + TIME_LIMIT;
        self.tap.wait(self.clock.sleep_until(given_up)).await;
        Err(no_answer("nobody answered for as long as the client waits"))
    }
}

fn lost() -> CallError {
    no_answer("the connection was lost on purpose")
}

fn no_answer(why: &str) -> CallError {
    CallError::Retry {
        why: why.to_owned(),
        after: None,
        class: FailureClass::Infrastructure,
    }
}

struct Tapped<P: ?Sized> {
    port: Arc<P>,
    front: Front,
}

#[async_trait]
impl Forge for Tapped<dyn Forge> {
    fn platform(&self) -> Platform {
        self.port.platform()
    }

    async fn read_file(&self, repo: &Repo, path: &str) -> Result<Option<String>, CallError> {
        self.front.call(self.port.read_file(repo, path)).await
    }

    async fn change(&self, intent: &ChangeIntent) -> Result<Outcome, CallError> {
        self.front.call(self.port.change(intent)).await
    }

    async fn find_change(&self, intent: &ChangeIntent) -> Result<Outcome, CallError> {
        self.front.call(self.port.find_change(intent)).await
    }

    async fn merge(&self, intent: &MergeIntent) -> Result<Outcome, CallError> {
        self.front.call(self.port.merge(intent)).await
    }

    fn takes_forks(&self) -> bool {
        self.port.takes_forks()
    }

    async fn pull_request(&self, pr: &PrRef) -> Result<PrSeen, CallError> {
        self.front.call(self.port.pull_request(pr)).await
    }

    async fn has_commit(&self, pr: &PrRef, commit: &Sha) -> Result<bool, CallError> {
        self.front.call(self.port.has_commit(pr, commit)).await
    }

    async fn head_at(&self, seen: &PrSeen, at: Timestamp) -> Result<HeadThen, CallError> {
        self.front.call(self.port.head_at(seen, at)).await
    }

    async fn check(&self, target: &CheckTarget, show: &CheckShow) -> Result<(), CallError> {
        self.front.call(self.port.check(target, show)).await
    }
}

#[async_trait]
impl Tracker for Tapped<dyn Tracker> {
    fn platform(&self) -> Platform {
        self.port.platform()
    }

    async fn move_ticket(&self, intent: &MoveIntent) -> Result<Outcome, CallError> {
        self.front.call(self.port.move_ticket(intent)).await
    }

    async fn is_moved(&self, intent: &MoveIntent) -> Result<bool, CallError> {
        self.front.call(self.port.is_moved(intent)).await
    }

    async fn move_stands(&self, told: &TicketMoved) -> Result<MoveSeen, CallError> {
        self.front.call(self.port.move_stands(told)).await
    }
}

#[async_trait]
impl Threads for Tapped<dyn Threads> {
    async fn post(
        &self,
        thread: &ThreadRef,
        marker: &Marker,
        doc: &Doc,
        title: Option<&str>,
        maybe_there: bool,
    ) -> Result<Posted, CallError> {
        self.front
            .call(self.port.post(thread, marker, doc, title, maybe_there))
            .await
    }

    async fn withdraw_second(&self, message: &MessageRef, marker: &Marker) -> Result<bool, CallError> {
        self.front.call(self.port.withdraw_second(message, marker)).await
    }

    async fn edit(&self, message: &MessageRef, marker: &Marker, doc: &Doc) -> Result<bool, CallError> {
        self.front.call(self.port.edit(message, marker, doc)).await
    }

    async fn answer(&self, handle: &ReplyHandle, doc: &Doc) -> Result<Direct, CallError> {
        self.front.call(self.port.answer(handle, doc)).await
    }

    async fn acknowledge(&self, message: &MessageRef) -> Result<(), CallError> {
        self.front.call(self.port.acknowledge(message)).await
    }

    async fn is_own(&self, account: &Account) -> Result<bool, CallError> {
        self.front.call(self.port.is_own(account)).await
    }

    async fn still_stands(&self, said: &Said) -> Result<WordSeen, CallError> {
        self.front.call(self.port.still_stands(said)).await
    }

    async fn answer_lookup(&self, lookup: &Lookup) -> Result<bool, CallError> {
        self.front.call(self.port.answer_lookup(lookup)).await
    }
}

#[async_trait]
impl Backend for Tapped<dyn Backend> {
    async fn start(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        self.front.call(self.port.start(intent)).await
    }

    async fn find(&self, intent: &JobIntent) -> Result<bool, CallError> {
        self.front.call(self.port.find(intent)).await
    }

    async fn observe(&self, intent: &JobIntent, started: bool) -> Result<Observation, CallError> {
        self.front.call(self.port.observe(intent, started)).await
    }

    async fn cancel(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        self.front.call(self.port.cancel(intent)).await
    }

    async fn observe_end(&self, intent: &JobIntent) -> Result<Observation, CallError> {
        self.front.call(self.port.observe_end(intent)).await
    }
}

/// The world's hands with this tap in front. `store` is a way to the database that passes by no tap.
pub fn tapped(world: &World, store: &Store, tap: &Arc<Tap>, hung: &Arc<Hung>) -> Hands {
    let front = |vendor: &'static str, stage: StageOf| Front {
        tap: tap.clone(),
        store: store.clone(),
        clock: world.clock.clone(),
        stage: Arc::new(stage),
        vendor,
        hung: hung.clone(),
    };
    let town = &world.town;
    let github = || front("github", StageOf::GitHub(town.github.clone()));
    let of = |name: &str| match name {
        "github" => github(),
        "jira" => front("jira", StageOf::Other(town.jira.stage.clone())),
        "discord" => front("discord", StageOf::Other(town.discord.stage.clone())),
        "argocd" => front("argocd", StageOf::Other(town.argocd.stage.clone())),
        _ => front("dcr", StageOf::Other(town.dcr.stage.clone())),
    };
    let real = world.hands();
    let mut threads: BTreeMap<Platform, Arc<dyn Threads>> = BTreeMap::new();
    for (name, port) in &real.threads {
        let (port, front) = (port.clone(), of(name.as_str()));
        threads.insert(name.clone(), Arc::new(Tapped { port, front }));
    }
    let mut hands = Hands {
        doors: real.doors.clone(),
        threads,
        off: real.off.clone(),
        ..Hands::default()
    };
    for (name, port) in &real.backends {
        let (port, front) = (port.clone(), of(name.as_str()));
        hands.backends.insert(name.clone(), Arc::new(Tapped { port, front }));
    }
    let (forge, tracker) = (real.forge.clone(), real.tracker.clone());
    hands.forge = forge.map(|port| Arc::new(Tapped { port, front: github() }) as Arc<dyn Forge>);
    hands.tracker = tracker.map(|port| {
        let front = of("jira");
        Arc::new(Tapped { port, front }) as Arc<dyn Tracker>
    });
    hands
}
