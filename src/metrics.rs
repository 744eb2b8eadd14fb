//! What the process counts, in Prometheus' text format. A leaf: rooms count here and never read; only probes ask it
//! whether the loops turn.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::ids::{CommandName, Platform, VerbName};

type Gauges<L> = Family<L, Gauge>;

/// All counters of one process.
pub struct Metrics {
    registry: Registry,
    deliveries: Family<DeliveryLabels, Counter>,
    commands: Family<CommandLabels, Counter>,
    effects: Family<EffectLabels, Counter>,
    late_posts: Family<OutcomeLabels, Counter>,
    looks: Family<OutcomeLabels, Counter>,
    repaired: Family<RepairLabels, Counter>,
    retired: Family<RetiredLabels, Counter>,
    rows: Family<RowLabels, Gauge>,
    database: Gauge,
    body_bytes: Gauge,
    overdue: Gauges<OverdueLabels>,
    paused: Gauges<VendorLabels>,
    loops: Gauges<LoopLabels>,
    knows: Gauges<PlatformLabels>,
    /// Why nobody is obeyed on a platform, where that is so.
    unknown: Mutex<BTreeMap<Platform, String>>,
    /// When each loop turned last.
    turned: Mutex<BTreeMap<&'static str, Timestamp>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OverdueLabels {
    what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VendorLabels {
    vendor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlatformLabels {
    platform: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoopLabels {
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    platform: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    command: String,
    verb: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EffectLabels {
    kind: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepairLabels {
    platform: String,
    what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetiredLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RowLabels {
    what: String,
    state: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stepherd");
        let (overdue, paused, loops) = register_health(&mut registry);
        let knows = register_platforms(&mut registry);
        let deliveries = Family::default();
        registry.register(
            "deliveries",
            "Webhook deliveries by what became of them at the door",
            deliveries.clone(),
        );
        let commands = Family::default();
        registry.register("commands", "Commands that took effect", commands.clone());
        let effects = Family::default();
        registry.register("effects", "Effects tried, by how it went", effects.clone());
        let late_posts = Family::default();
        registry.register(
            "late_posts",
            "Messages that were posted although the lease had ended meanwhile, by what became of them",
            late_posts.clone(),
        );
        let looks = Family::default();
        registry.register(
            "looks",
            "Looks at back-ends and pull requests, by how it went",
            looks.clone(),
        );
        let repaired = Family::default();
        registry.register(
            "repaired",
            "What webhooks had not told and looking found, or that was delivered again",
            repaired.clone(),
        );
        let retired = Family::default();
        registry.register("retired", "What was deleted because it was old", retired.clone());
        let rows = Family::default();
        registry.register("rows", "What the database holds, by state", rows.clone());
        let database = Gauge::default();
        registry.register(
            "database_up",
            "Whether the database answered when this was asked for",
            database.clone(),
        );
        let body_bytes = Gauge::default();
        registry.register(
            "body_bytes",
            "What the bodies of requests that are being taken hold in memory",
            body_bytes.clone(),
        );
        Self {
            registry,
            deliveries,
            commands,
            effects,
            late_posts,
            looks,
            repaired,
            retired,
            rows,
            database,
            body_bytes,
            overdue,
            paused,
            loops,
            knows,
            unknown: Mutex::default(),
            turned: Mutex::default(),
        }
    }
}

impl Metrics {
    /// A request at a door: `stored`, `again`, `forged`, `malformed`, `unavailable`,
    /// `overloaded` …
    pub fn delivery(&self, platform: &Platform, outcome: &str) {
        let labels = DeliveryLabels {
            platform: platform.to_string(),
            outcome: outcome.to_owned(),
        };
        self.deliveries.get_or_create(&labels).inc();
    }

    /// A command that took effect.
    pub fn command(&self, command: &CommandName, verb: &VerbName) {
        let labels = CommandLabels {
            command: command.to_string(),
            verb: verb.to_string(),
        };
        self.commands.get_or_create(&labels).inc();
    }

    /// An effect that was tried: `done`, `retry`, `parked`.
    pub fn effect(&self, kind: &str, outcome: &str) {
        let labels = EffectLabels {
            kind: kind.to_owned(),
            outcome: outcome.to_owned(),
        };
        self.effects.get_or_create(&labels).inc();
    }

    /// A message that was posted although the lease had ended meanwhile: `alone` if nobody else posted it, `withdrawn` if
    /// somebody did, `unknown` if that cannot be told.
    pub fn late_post(&self, outcome: &str) {
        let outcome = outcome.to_owned();
        self.late_posts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// A look at a back-end or a pull request: `seen`, `failed`; `unreadable` for a run that cannot be read at all.
    pub fn look(&self, outcome: &str) {
        self.looks
            .get_or_create(&OutcomeLabels {
                outcome: outcome.to_owned(),
            })
            .inc();
    }

    /// Things that no webhook had told: `comment`, `transition` …; `redelivered` for deliveries asked for again.
    pub fn repaired(&self, platform: &Platform, what: &str, count: usize) {
        let labels = RepairLabels {
            platform: platform.to_string(),
            what: what.to_owned(),
        };
        self.repaired
            .get_or_create(&labels)
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// What was deleted because it was old: `deliveries`, `runs` …
    pub fn retired(&self, kind: &str, count: u64) {
        let labels = RetiredLabels { kind: kind.to_owned() };
        self.retired.get_or_create(&labels).inc_by(count);
    }

    /// How many rows of a kind are in a state now.
    pub fn rows(&self, what: &str, state: &str, count: u64) {
        let labels = RowLabels {
            what: what.to_owned(),
            state: state.to_owned(),
        };
        self.rows
            .get_or_create(&labels)
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Forgets how many rows there were.
    pub fn forget_rows(&self) {
        self.rows.clear();
    }

    /// Whether the database answers now.
    pub fn database_answers(&self, answers: bool) {
        self.database.set(answers.into());
    }

    /// How many bytes of bodies are held in memory now.
    pub fn body_bytes(&self, bytes: usize) {
        self.body_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// For how long the oldest of `deliveries` or `effects` that is due has been due.
    pub fn overdue(&self, what: &str, by: Duration) {
        let labels = OverdueLabels { what: what.to_owned() };
        self.overdue.get_or_create(&labels).set(seconds(by));
    }

    /// For how long vendors are still left alone; the others are not.
    pub fn paused<'a>(&self, vendors: impl Iterator<Item = (&'a str, Duration)>) {
        self.paused.clear();
        for (vendor, by) in vendors {
            let labels = VendorLabels {
                vendor: vendor.to_owned(),
            };
            self.paused.get_or_create(&labels).set(seconds(by));
        }
    }

    /// A loop of this process turns.
    pub fn turned(&self, name: &'static str, at: Timestamp) {
        self.loops.get_or_create(&LoopLabels { name }).set(at.as_second());
        self.turned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, at);
    }

    /// Whether a platform has said who stepherd is there; if not, why nobody is obeyed.
    pub fn knows_self(&self, platform: &Platform, unknown: Option<String>) {
        let labels = PlatformLabels {
            platform: platform.to_string(),
        };
        self.knows.get_or_create(&labels).set(unknown.is_none().into());
        let mut all = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        match unknown {
            Some(why) => all.insert(platform.clone(), why),
            None => all.remove(platform),
        };
    }

    /// Why nobody is obeyed, for each platform where that is so.
    pub fn obeys_nobody(&self) -> Vec<String> {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.values().cloned().collect()
    }

    /// The loops that have not turned since then.
    pub fn standing_since(&self, then: Timestamp) -> Vec<&'static str> {
        let turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = turned.iter().filter(|(_, at)| **at < then);
        standing.map(|(name, _)| *name).collect()
    }

    /// All of it as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; an encoder's own fault would leave the text short, which scrapers notice.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Which platforms stepherd can work with.
fn register_platforms(registry: &mut Registry) -> Gauges<PlatformLabels> {
    let knows = Family::default();
    registry.register(
        "platform_knows_stepherd",
        "Whether a platform takes stepherd's credentials and says who it is there; nobody is obeyed before",
        knows.clone(),
    );
    knows
}

/// What says how well things go.
fn register_health(registry: &mut Registry) -> (Gauges<OverdueLabels>, Gauges<VendorLabels>, Gauges<LoopLabels>) {
    let (overdue, paused, loops) = (Family::default(), Family::default(), Family::default());
    registry.register(
        "overdue_seconds",
        "For how long the oldest of what is due has been due",
        overdue.clone(),
    );
    registry.register(
        "vendor_paused_seconds",
        "For how long a vendor is still left alone, as it asked",
        paused.clone(),
    );
    registry.register(
        "loop_turned_timestamp_seconds",
        "When each loop of this process turned last",
        loops.clone(),
    );
    (overdue, paused, loops)
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
