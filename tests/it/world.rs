//! The world of a story: the town of stand-ins on real sockets, stepherd's real doors on a real socket, a real
//! database file, and an engine and a clock that are turned by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use stepherd::adapters::discord::{Discord, registration};
use stepherd::adapters::{Hands, Missed, Ours};
use stepherd::catalog::{self, Catalog};
use stepherd::clock::{Clock, SystemClock};
use stepherd::domain::ids::RunId;
use stepherd::domain::run::Run;
use stepherd::engine::{self, Engine, Sweep};
use stepherd::metrics::Metrics;
use stepherd::sandbox::keys::AppKeys;
use stepherd::sandbox::town::{GUILD, Town, TownOptions, now_from};
use stepherd::store::{Gate, RunFilter, Store, StoreError};
use stepherd::web::{self, Budget, Limits, STORE_TIMEOUT, Web};
use stepherd::wiring;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A clock that moves only when told, and chance that is the same in every run of a test.
pub struct TestClock {
    steady_ms: AtomicI64,
    /// By how much the clock on the wall is ahead of the steady one.
    wall_ms: AtomicI64,
    dice: AtomicU64,
    turned: Notify,
}

impl TestClock {
    pub fn new() -> Self {
        Self {
            steady_ms: AtomicI64::new(0),
            wall_ms: AtomicI64::new(1_795_000_000_000),
            dice: AtomicU64::new(1),
            turned: Notify::new(),
        }
    }

    pub fn advance(&self, by: Duration) {
        self.steady_ms
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.turned.notify_waiters();
    }

    /// Somebody sets the clock on the wall, ahead or back.
    pub fn set_by(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn steady_ms(&self) -> i64 {
        self.steady_ms.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.wall_ms.load(Ordering::SeqCst) + self.steady_ms()).unwrap()
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.steady_ms()).unwrap())
    }

    async fn sleep_until(&self, at: Timestamp) {
        let until = at.as_millisecond() - self.wall_ms.load(Ordering::SeqCst);
        loop {
            let turned = self.turned.notified();
            if self.steady_ms() >= until {
                return;
            }
            turned.await;
        }
    }

    fn random(&self) -> u64 {
        // splitmix64: a different, repeatable number each time.
        let mut z = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Which database stepherd is on, if not the one in the settings, and what stands at its commits.
type Behind = (Option<String>, Option<Arc<dyn Gate>>);

/// One turn of one of the engine's loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Intake,
    Dispatch,
    Sweep,
}

/// The world. Dropping it ends everything in it.
pub struct World {
    pub town: Town,
    pub clock: Arc<TestClock>,
    pub store: Store,
    pub metrics: Arc<Metrics>,
    /// Where stepherd's doors are: `http://127.0.0.1:port`.
    pub url: String,
    pub http: reqwest::Client,
    engine: Engine,
    sweep: tokio::sync::Mutex<Sweep>,
    catalog: Arc<Catalog>,
    hands: Arc<Hands>,
    /// Where the database is, if it is not where the settings say.
    elsewhere: Option<String>,
    /// Ends stepherd's doors with the world.
    _doors: DropGuard,
    dir: tempfile::TempDir,
}

impl World {
    /// The shipped commands and pipelines in the town.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// As `new`, after `edit` has changed the configuration folder's files or added some.
    pub async fn with(edit: impl FnOnce(&Path)) -> Self {
        Self::with_settings(edit, |_| {}).await
    }

    /// As `with`, after `set` has changed the environment.
    pub async fn with_settings(edit: impl FnOnce(&Path), set: impl FnOnce(&mut BTreeMap<String, String>)) -> Self {
        let clock = Arc::new(TestClock::new());
        let town = Self::town(&clock).await;
        Self::in_town(town, clock, edit, set).await
    }

    /// A town that lives by this clock.
    pub async fn town(clock: &Arc<TestClock>) -> Town {
        Self::town_ahead(clock, 0).await
    }

    /// A town whose clocks are so many seconds ahead of this one; behind, if negative.
    pub async fn town_ahead(clock: &Arc<TestClock>, seconds: i64) -> Town {
        let of = clock.clone();
        let now = now_from(move || of.now() + jiff::SignedDuration::from_secs(seconds));
        let auth_now = now_from(|| SystemClock.now());
        Town::start(TownOptions {
            now,
            auth_now,
            lively: false,
            keys: Some(keys()),
        })
        .await
        .unwrap()
    }

    /// As `with_settings`, in a town that was changed before.
    pub async fn in_town(
        town: Town,
        clock: Arc<TestClock>,
        edit: impl FnOnce(&Path),
        set: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Self {
        Self::moved_in(town, clock, (edit, set), (None, None)).await
    }

    /// As `with`, with this gate at every commit, and on this database.
    pub async fn gated(edit: impl FnOnce(&Path), database: Option<&str>, gate: Arc<dyn Gate>) -> Self {
        let clock = Arc::new(TestClock::new());
        let town = Self::town(&clock).await;
        let database = database.map(str::to_owned);
        Self::moved_in(town, clock, (edit, |_: &mut _| {}), (database, Some(gate))).await
    }

    async fn moved_in(
        town: Town,
        clock: Arc<TestClock>,
        (edit, set): (impl FnOnce(&Path), impl FnOnce(&mut BTreeMap<String, String>)),
        behind: Behind,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_configuration(dir.path());
        std::fs::write(dir.path().join("config/people.toml"), town.people_toml()).unwrap();
        in_the_towns_server(dir.path());
        edit(dir.path());
        let catalog = load(&town, dir.path(), set);
        let world = Self::start(town, clock, catalog, dir, behind).await;
        world.offer_commands().await;
        world
    }

    async fn start(
        town: Town,
        clock: Arc<TestClock>,
        catalog: Arc<Catalog>,
        dir: tempfile::TempDir,
        (elsewhere, gate): Behind,
    ) -> Self {
        let url = elsewhere
            .as_deref()
            .unwrap_or(catalog.settings.database.url.expose_secret());
        let store = Store::open(url).await.unwrap();
        // Not kept: a world that is left behind has not ended when the next one begins.
        drop(store.serve(clock.now()).await.unwrap());
        let hands = Arc::new(wiring::hands(&catalog.settings).unwrap());
        engine::begin(&store, &hands, clock.now()).await.unwrap();
        let store = match gate {
            Some(gate) => store.gated(gate),
            None => store,
        };
        let (metrics, wake, stop) = (
            Arc::new(Metrics::default()),
            Arc::new(Notify::new()),
            CancellationToken::new(),
        );
        let engine = Engine::new(
            store.clone(),
            hands.clone(),
            catalog.clone(),
            clock.clone(),
            metrics.clone(),
            wake.clone(),
        );
        let server = &catalog.settings.server;
        let web = Web {
            store: store.clone(),
            hands: hands.clone(),
            catalog: catalog.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            wake,
            api_token: server.api_token.clone(),
            body_limit_bytes: server.body_limit_bytes,
            budget: Budget::new(
                server.body_budget_bytes,
                server.body_limit_bytes,
                server.connections_max,
            ),
            read_timeout: server.read_timeout,
            body_rate_min: server.body_rate_min,
            trusted_proxies: server.trusted_proxies.as_deref().map(Arc::from),
            refusals: Arc::default(),
            store_timeout: STORE_TIMEOUT,
            trouble: Arc::default(),
            probe: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(web::serve(
            listener,
            web::routes(web),
            Limits {
                header_timeout: server.header_timeout,
                connections_max: server.connections_max,
            },
            stop.clone(),
        ));
        town.tell(&url).unwrap();
        // On loopback no trusted roots are needed, and reading them takes a while.
        let http = reqwest::Client::builder()
            .tls_built_in_root_certs(false)
            .build()
            .unwrap();
        let sweep = tokio::sync::Mutex::default();
        Self {
            town,
            clock,
            store,
            metrics,
            url,
            http,
            engine,
            sweep,
            catalog,
            hands,
            elsewhere,
            _doors: stop.drop_guard(),
            dir,
        }
    }

    /// stepherd dies without a word, and another one starts on the same database at another address. What the dead
    /// one held comes back when its leases end.
    pub async fn restart(self) -> Self {
        self.succeeded(None).await
    }

    /// As `restart`, with this gate at every commit of the next one.
    pub async fn restart_gated(self, gate: Arc<dyn Gate>) -> Self {
        self.succeeded(Some(gate)).await
    }

    async fn succeeded(self, gate: Option<Arc<dyn Gate>>) -> Self {
        let Self {
            town,
            clock,
            catalog,
            dir,
            elsewhere,
            engine,
            sweep,
            ..
        } = self;
        // What the dead one was looking at must not hold the database any longer.
        drop((engine, sweep));
        Self::start(town, clock, catalog, dir, (elsewhere, gate)).await
    }

    /// What stepherd works with here; another process on the same database would have the same.
    pub fn hands(&self) -> &Hands {
        &self.hands
    }

    /// Another process that works on this database, with a clock, hands and a way to the database of its own.
    pub fn replica_with(&self, store: Store, hands: Hands, clock: Arc<dyn Clock>) -> Engine {
        let (hands, catalog, metrics) = (Arc::new(hands), self.catalog.clone(), self.metrics.clone());
        Engine::new(store, hands, catalog, clock, metrics, Arc::default())
    }

    /// Discord offers the commands that are configured.
    async fn offer_commands(&self) {
        if self.catalog.settings.is_on("discord") {
            let discord = Discord::new(&wiring::discord_config(&self.catalog.settings).unwrap()).unwrap();
            let commands = registration(&self.catalog.commands);
            discord.register(Some(GUILD), &commands).await.unwrap();
        }
    }

    /// Turns the engine until nothing is left to do at this moment of the clock.
    pub async fn settle(&self) {
        for _ in 0..500 {
            let delivered = self.deliver().await;
            let mut did = self.engine.intake_step().await.unwrap();
            did += self.engine.dispatch_step().await.unwrap();
            did += self.engine.sweep_step(&mut *self.sweep.lock().await).await.unwrap();
            if did == 0 && !delivered {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, settling at least every 30 seconds of it and at the end.
    pub async fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(30));
            self.clock.advance(step);
            left -= step;
            self.settle().await;
        }
    }

    /// One turn of one loop, which may fail with the database.
    pub async fn turn(&self, turn: Turn) -> Result<usize, StoreError> {
        match turn {
            Turn::Intake => self.engine.intake_step().await,
            Turn::Dispatch => self.engine.dispatch_step().await,
            Turn::Sweep => self.engine.sweep_step(&mut *self.sweep.lock().await).await,
        }
    }

    /// The same where the store may be away.
    pub async fn try_sweep(&self) -> Result<usize, StoreError> {
        self.engine.sweep_step(&mut *self.sweep.lock().await).await
    }

    /// One turn of the intake alone, for stories that stop in the middle.
    pub async fn intake(&self) -> usize {
        self.engine.intake_step().await.unwrap()
    }

    /// One turn of the repair alone: what no webhook told is put into the inbox.
    pub async fn repair(&self) -> usize {
        self.engine.repair_step().await.unwrap()
    }

    /// The first turn of the repair after a start.
    pub async fn repair_at_start(&self) -> usize {
        self.engine.repair_start().await.unwrap()
    }

    /// All that a platform can be seen to have told since then, by webhooks or not.
    pub async fn missed(&self, platform: &str, since: Timestamp) -> Missed {
        let catchup = &self.hands.catchups[&platform.parse().unwrap()];
        catchup.missed(&Ours::default(), since, self.clock.now()).await
    }

    /// Another stepherd on the same database, with connections and clients of its own.
    pub async fn replica(&self) -> Engine {
        self.replica_by(self.clock.clone()).await
    }

    /// As `replica`, by another clock.
    pub async fn replica_by(&self, clock: Arc<dyn Clock>) -> Engine {
        let store = Store::open(self.catalog.settings.database.url.expose_secret())
            .await
            .unwrap();
        let hands = Arc::new(wiring::hands(&self.catalog.settings).unwrap());
        let (metrics, wake) = (self.metrics.clone(), Arc::new(Notify::new()));
        Engine::new(store, hands, self.catalog.clone(), clock, metrics, wake)
    }

    /// Sends the webhooks that wait; whether there were any.
    pub async fn deliver(&self) -> bool {
        let github = !self.town.github.deliver_pending().await.is_empty();
        let jira = !self.town.jira.deliver_pending().await.is_empty();
        github || jira
    }

    /// The newest run.
    pub async fn run(&self) -> Run {
        self.runs().await.into_iter().next().expect("there is a run")
    }

    /// All runs, newest first.
    pub async fn runs(&self) -> Vec<Run> {
        self.store
            .runs(&RunFilter {
                limit: 500,
                ..RunFilter::default()
            })
            .await
            .unwrap()
    }

    /// This run as it is now.
    pub async fn run_now(&self, id: &RunId) -> Run {
        self.store.run(id).await.unwrap().expect("the run is there")
    }

    /// What stepherd answers to a GET, as status and text, with this bearer token.
    pub async fn get(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The text as people see it, without what differs from one run of a test to the next: ids, commits, addresses.
    /// Backslashes before punctuation and invisible marks go, as they do when Markdown is shown.
    pub async fn readable(&self, text: &str) -> String {
        let mut shown = String::new();
        let mut chars = text.chars().filter(|c| !"\u{2060}\u{200b}".contains(*c)).peekable();
        while let Some(c) = chars.next() {
            if c != '\\' || !chars.peek().is_some_and(char::is_ascii_punctuation) {
                shown.push(c);
            }
        }
        for (n, run) in self.runs().await.iter().rev().enumerate() {
            let id = if n == 0 {
                "RUN".to_owned()
            } else {
                format!("RUN{}", n + 1)
            };
            for opened in run.prs.values() {
                for sha in opened.merged.iter().chain([&opened.head]) {
                    shown = shown.replace(sha.as_str(), "SHA").replace(sha.short(), "SHA");
                }
            }
            shown = shown.replace(run.id.as_str(), &id);
        }
        let shown = shown.replace(self.town.github.url(), "https://github");
        shown.replace(&self.town.argocd.url, "https://argocd").trim().to_owned()
    }

    /// As `restart`, after `edit` has changed the configuration folder's files.
    pub async fn restart_with(self, edit: impl FnOnce(&Path)) -> Self {
        edit(self.dir.path());
        let catalog = load(&self.town, self.dir.path(), |_| {});
        let Self { town, clock, dir, .. } = self;
        let world = Self::start(town, clock, catalog, dir, (None, None)).await;
        world.offer_commands().await;
        world
    }

    /// The database is lost. Another stepherd starts on this one, in the same town.
    pub async fn restart_on(self, database: &str) -> Self {
        let Self { town, clock, dir, .. } = self;
        let set = |env: &mut BTreeMap<String, String>| {
            env.insert("STEPHERD__DATABASE__URL".into(), database.to_owned());
        };
        let catalog = load(&town, dir.path(), set);
        Self::start(town, clock, catalog, dir, (None, None)).await
    }

    /// The engine, for stories that let it run by itself.
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// The round that deletes what is old, as far as it goes now; how much went.
    pub async fn retire(&self) -> u64 {
        let mut gone = 0;
        loop {
            let step = self.engine.retention_step().await.unwrap();
            if step == 0 {
                return gone;
            }
            gone += step;
            self.clock.advance(Duration::from_secs(1));
        }
    }

    /// Where the database is, as `Store::open` takes it.
    pub fn database(&self) -> String {
        format!("sqlite:{}", self.dir.path().join("stepherd.db").display())
    }
}

/// One pair of keys for the Apps of all towns: making one takes a moment.
fn keys() -> AppKeys {
    static KEYS: OnceLock<AppKeys> = OnceLock::new();
    KEYS.get_or_init(|| AppKeys::generate().unwrap()).clone()
}

/// The shipped commands name no Discord server.
fn in_the_towns_server(dir: &Path) {
    for command in ["dcr", "provision"] {
        let path = dir.join(format!("commands/{command}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\ndiscord = []\n"), "{}", path.display());
        let server = format!("\ndiscord = [{{ guild = \"{GUILD}\" }}]\n");
        std::fs::write(path, text.replace("\ndiscord = []\n", &server)).unwrap();
    }
}

fn load(town: &Town, dir: &Path, set: impl FnOnce(&mut BTreeMap<String, String>)) -> Arc<Catalog> {
    let mut env = town.settings();
    let database = format!("sqlite:{}", dir.join("stepherd.db").display());
    env.insert("STEPHERD__DATABASE__URL".into(), database);
    set(&mut env);
    Arc::new(catalog::load(&dir.join("config"), &env).unwrap_or_else(|problems| panic!("{problems}")))
}

/// The configuration that is shipped, copied to where a story may change it.
fn copy_configuration(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["commands", "config", "config/pipelines"] {
        std::fs::create_dir_all(to.join(folder)).unwrap();
        for file in std::fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if file.extension().is_some_and(|end| end == "toml") {
                std::fs::copy(&file, to.join(folder).join(file.file_name().unwrap())).unwrap();
            }
        }
    }
}
