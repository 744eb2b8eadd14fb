//! Whether those that nothing was done to go on: signed webhooks to each replica, several a second, and a look at the
//! database at what was dealt with.
//!
//! A replica is *healthy* while no fault is on it: from the end of the last fault on, so the time that it takes to
//! recover counts. Three times are measured: the longest for which a healthy replica took no signed webhook, and the
//! longest in which no delivery was dealt with, and in which no run changed, although some replica was healthy. Several
//! times a second there is a delivery to deal with, and once a second a run to change for which no vendor is needed
//! (`errands.rs`): where nothing happens for longer, somebody stands still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::task::JoinSet;

use super::balancer::Backs;
use crate::adapters::signature::hmac_sha256_hex;
use crate::clock::{Clock as _, SystemClock};
use crate::store::Store;

/// How often each replica is sent a webhook, and how long that may take: longer is a refusal.
const BEAT: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(2);
/// What GitHub sends when a webhook is set up: stored and dealt with like any other, and nothing follows from it.
const PING: &str = r#"{"zen":"Keep it logically awesome.","hook_id":1}"#;

/// The longest times so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Longest {
    /// For which a healthy replica took no signed webhook.
    pub(super) refused: SignedDuration,
    /// In which no delivery was dealt with although some replica was healthy.
    pub(super) stalled: SignedDuration,
    /// In which no run changed although some replica was healthy.
    pub(super) unchanged: SignedDuration,
}

/// What is known about one replica.
#[derive(Debug, Clone, Copy, Default)]
struct Heart {
    healthy_since: Option<Timestamp>,
    last_taken: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    hearts: Vec<Heart>,
    /// Since when some replica has been healthy without a break.
    some_healthy_since: Option<Timestamp>,
    last_dealt_with: Option<Timestamp>,
    last_change: Option<Timestamp>,
    longest: Longest,
}

/// The measuring, at work; dropping it ends it.
pub(super) struct Pulse {
    state: Arc<Mutex<State>>,
    tasks: JoinSet<()>,
}

impl Pulse {
    /// Begins to send webhooks, signed with this secret; no replica counts as healthy yet. `store` is absent where
    /// nobody but the one replica may look into the database.
    pub(super) fn begin(backs: &Backs, replicas: usize, secret: SecretString, store: Option<Store>) -> Self {
        let state = Arc::new(Mutex::new(State {
            hearts: vec![Heart::default(); replicas],
            ..State::default()
        }));
        let mut tasks = JoinSet::new();
        for replica in 0..replicas {
            tasks.spawn(beat(replica, backs.clone(), secret.clone(), Arc::clone(&state)));
        }
        if let Some(store) = store {
            tasks.spawn(watch(store, Arc::clone(&state)));
        }
        Self { state, tasks }
    }

    /// A fault is on the replica from now on.
    pub(super) fn struck(&self, replica: usize) {
        let mut state = lock(&self.state);
        state.close_refused(replica);
        if let Some(heart) = state.hearts.get_mut(replica) {
            heart.healthy_since = None;
        }
        if state.hearts.iter().all(|heart| heart.healthy_since.is_none()) {
            state.close_stalled();
            state.close_unchanged();
            state.some_healthy_since = None;
        }
    }

    /// No fault is on it any more.
    pub(super) fn relieved(&self, replica: usize) {
        let mut state = lock(&self.state);
        let now = SystemClock.now();
        if let Some(heart) = state.hearts.get_mut(replica) {
            heart.healthy_since.get_or_insert(now);
        }
        state.some_healthy_since.get_or_insert(now);
    }

    /// Ends the measuring; the longest times.
    pub(super) fn end(&mut self) -> Longest {
        self.tasks.abort_all();
        let mut state = lock(&self.state);
        for replica in 0..state.hearts.len() {
            state.close_refused(replica);
        }
        state.close_stalled();
        state.close_unchanged();
        state.longest
    }
}

impl State {
    fn close_refused(&mut self, replica: usize) {
        let Some(heart) = self.hearts.get(replica) else { return };
        let waited = since(heart.healthy_since, heart.last_taken);
        self.longest.refused = self.longest.refused.max(waited);
    }

    fn close_stalled(&mut self) {
        // Where nobody looks, nothing is known.
        if self.last_dealt_with.is_some() {
            let waited = since(self.some_healthy_since, self.last_dealt_with);
            self.longest.stalled = self.longest.stalled.max(waited);
        }
    }

    fn close_unchanged(&mut self) {
        if self.last_change.is_some() {
            let waited = since(self.some_healthy_since, self.last_change);
            self.longest.unchanged = self.longest.unchanged.max(waited);
        }
    }
}

/// How long something has been waited for that was last seen then, counted from when it could be expected.
fn since(expected: Option<Timestamp>, seen: Option<Timestamp>) -> SignedDuration {
    match expected {
        Some(expected) => SystemClock
            .now()
            .duration_since(seen.map_or(expected, |seen| seen.max(expected))),
        None => SignedDuration::ZERO,
    }
}

async fn beat(replica: usize, backs: Backs, secret: SecretString, state: Arc<Mutex<State>>) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_built_in_root_certs(false)
        .timeout(PATIENCE)
        // A connection to a process that was killed is of no use.
        .pool_max_idle_per_host(0)
        .build()
        .unwrap_or_default();
    let signature = format!("sha256={}", hmac_sha256_hex(&secret, PING.as_bytes()));
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(address) = backs.address(replica) else {
            continue;
        };
        let sent = http
            .post(format!("http://{address}/webhooks/github"))
            .header("content-type", "application/json")
            .header("x-github-event", "ping")
            .header("x-github-delivery", format!("pulse-{:016x}", SystemClock.random()))
            .header("x-hub-signature-256", &signature)
            .body(PING)
            .send()
            .await;
        let taken = sent.is_ok_and(|answer| answer.status().is_success());
        backs.answers(replica, taken);
        if taken {
            let mut state = lock(&state);
            state.close_refused(replica);
            if let Some(heart) = state.hearts.get_mut(replica) {
                heart.last_taken = Some(SystemClock.now());
            }
        }
    }
}

/// New deliveries come in all the time, so the newest that was dealt with moves on as long as anybody works.
async fn watch(store: Store, state: Arc<Mutex<State>>) {
    let (mut newest, mut change) = (0, 0);
    loop {
        tokio::time::sleep(BEAT).await;
        if let Ok(now) = store.last_change().await
            && now > change
        {
            change = now;
            let mut state = lock(&state);
            state.close_unchanged();
            state.last_change = Some(SystemClock.now());
        }
        let Ok(done) = store.deliveries(Some("done"), 1).await else {
            continue;
        };
        if let Some(done) = done.first().filter(|done| done.seq > newest) {
            newest = done.seq;
            let mut state = lock(&state);
            state.close_stalled();
            state.last_dealt_with = Some(SystemClock.now());
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
