//! Every point at which stepherd can die: before and after each commit, before and after each call takes effect.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stepherd::sandbox::stage::{Attendant, Call, FaultKind};
use stepherd::sandbox::town::Town;
use stepherd::store::{Gate, Point, StoreError};
use tokio_util::sync::CancellationToken;

/// What happens to stepherd, once in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    None,
    /// It dies at this point, counting from 1.
    Death(usize),
    /// The database fails at this point, counting points of commits from 1.
    StoreFails(usize),
    /// Every call that changes something takes effect, and its answer is lost, the first time it is made.
    AnswersLost,
    /// Every call that changes something is refused the first time it is made.
    ChangesRefused,
    /// Every call that only looks is refused the first time it is made.
    LooksRefused,
}

const REFUSED: FaultKind = FaultKind::Answer {
    status: 502,
    headers: Vec::new(),
    body: String::new(),
};

/// Counts the points that one process passes, and does the harm.
#[derive(Debug)]
pub struct Points {
    harm: Harm,
    passed: Mutex<Vec<String>>,
    struck: Mutex<Option<String>>,
    made: Mutex<BTreeSet<String>>,
    dead: CancellationToken,
    buried: CancellationToken,
}

impl Points {
    pub fn new(harm: Harm) -> Arc<Self> {
        Arc::new(Self {
            harm,
            passed: Mutex::default(),
            struck: Mutex::default(),
            made: Mutex::default(),
            dead: CancellationToken::new(),
            buried: CancellationToken::new(),
        })
    }

    /// From now on the calls of the process pass by here.
    pub fn watch(self: &Arc<Self>, town: &Town) {
        for stage in [
            town.github.stage(),
            &town.jira.stage,
            &town.discord.stage,
            &town.argocd.stage,
            &town.dcr.stage,
        ] {
            stage.attend(self.clone());
        }
    }

    /// The points passed so far, by name.
    pub fn passed(&self) -> Vec<String> {
        self.passed.lock().unwrap().clone()
    }

    /// Where the harm was done, if it was.
    pub fn struck(&self) -> Option<String> {
        self.struck.lock().unwrap().clone()
    }

    /// Returns once the process is dead.
    pub async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Everything that the dead process still held is let go, as the system does it.
    pub fn bury(&self) {
        self.dead.cancel();
        self.buried.cancel();
    }

    /// Passes a point, or never comes back while the dead are not buried. `false` if the process is dead.
    async fn reach(&self, name: String) -> bool {
        if !self.dead.is_cancelled() {
            let number = {
                let mut passed = self.passed.lock().unwrap();
                passed.push(name.clone());
                passed.len()
            };
            if self.harm != Harm::Death(number) {
                return true;
            }
            *self.struck.lock().unwrap() = Some(name);
            self.dead.cancel();
        }
        self.buried.cancelled().await;
        false
    }

    /// Whether the call is made for the first time.
    fn first(&self, call: &Call) -> bool {
        // A commit names its time, so that it and what names it are new each time.
        let body = if call.path.contains("/git/") { "" } else { &call.body };
        // A part of a step has a dozen tries, and it reads more objects of git than that: they count as one look.
        let path = match call.path.rsplit_once('/') {
            Some((objects, id)) if id.len() == 40 && objects.contains("/git/") => objects,
            _ => &call.path,
        };
        let name = format!("{} {path}?{} {body}", call.method, call.query);
        let first = self.made.lock().unwrap().insert(name);
        if first {
            *self.struck.lock().unwrap() = Some(format!("{} {}", call.method, call.path));
        }
        first
    }
}

#[async_trait]
impl Gate for Points {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        let name = format!("{verb} {point:?}");
        let unavailable = |why: &str| Err(StoreError::Unavailable(why.to_owned()));
        if let Harm::StoreFails(at) = self.harm {
            let mut passed = self.passed.lock().unwrap();
            passed.push(name.clone());
            if passed.len() == at {
                *self.struck.lock().unwrap() = Some(name);
                return unavailable("it fails on purpose");
            }
            return Ok(());
        }
        if self.reach(name).await {
            Ok(())
        } else {
            unavailable("the process is dead")
        }
    }
}

#[async_trait]
impl Attendant for Points {
    async fn arrives(&self, call: &Call) -> Option<FaultKind> {
        let changes = call.method != "GET" && !call.path.contains("access_tokens");
        match self.harm {
            Harm::StoreFails(_) => None,
            Harm::AnswersLost => (changes && self.first(call)).then_some(FaultKind::EffectThenCut),
            Harm::ChangesRefused => (changes && self.first(call)).then_some(REFUSED),
            Harm::LooksRefused => (!changes && self.first(call)).then_some(REFUSED),
            // What the dead have sent and nobody has read is lost.
            Harm::None | Harm::Death(_) => {
                let alive = self.reach(format!("{} {} arrives", call.method, call.path)).await;
                (!alive).then_some(FaultKind::Cut)
            }
        }
    }

    async fn leaves(&self, call: &Call) {
        // To die when one has looked is to die when one is about to look.
        if matches!(self.harm, Harm::None | Harm::Death(_)) && call.method != "GET" {
            self.reach(format!("{} {} leaves", call.method, call.path)).await;
        }
    }
}
