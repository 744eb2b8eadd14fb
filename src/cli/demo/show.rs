//! The show: the town, stepherd at work in it, and somebody who watches both.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::scene::Scene;
use super::screen::Screen;
use crate::catalog;
use crate::cli::serve;
use crate::cli::town::{self, folder::Folder};
use crate::clock::{Clock as _, SystemClock};
use crate::sandbox::town::{APP, REPO, Town};
use crate::store::Store;

/// The name of stepherd's log.
pub(super) const LOG: &str = "stepherd";
/// How often the town is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long anything may take. Each takes a few seconds; a machine under load takes longer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(90);
/// How long stepherd may take to end what is in hand.
const DRAIN: Duration = Duration::from_secs(30);
/// Everything must have been quiet for so many looks to count as at rest.
const QUIET_LOOKS: u32 = 8;

/// Why the tale ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// Something that should have happened did not.
    #[error("waited too long for {0}")]
    Waited(String),
    /// stepherd ended by itself.
    #[error("stepherd ended: {0}")]
    Ended(String),
    /// A person could not do what the tale says.
    #[error("{0}")]
    Stuck(String),
}

/// The town, stepherd, and what was seen.
pub(super) struct Show {
    pub(super) town: Town,
    pub(super) folder: Folder,
    /// Where stepherd listens.
    pub(super) url: String,
    pub(super) screen: Screen,
    pub(super) scene: Scene,
    pub(super) store: Store,
    pub(super) http: reqwest::Client,
    pub(super) began: Timestamp,
    /// The head of the deployment that Argo CD knows.
    head: String,
    server: JoinHandle<Result<(), String>>,
    stop: CancellationToken,
}

impl Show {
    /// Builds the town, starts stepherd in it and waits until it is ready.
    pub(super) async fn open(screen: Screen, stop: CancellationToken) -> Result<Self, String> {
        let town = town::lively().await?;
        let said = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(said)?;
        let address = listener.local_addr().map_err(said)?;
        let url = format!("http://{address}");
        let folder = Folder::new("demo").map_err(said)?;
        folder.configure(&town, address)?;
        start_log(&folder).map_err(said)?;
        let env = std::collections::BTreeMap::new();
        let catalog = catalog::load(&folder.config(), &env).map_err(|problems| problems.to_string())?;
        town::register(&catalog).await?;
        let store = Store::open(catalog.settings.database.url.expose_secret())
            .await
            .map_err(|e| e.to_string())?;
        // A thread of its own, as it would have a process of its own.
        let (runtime, asked) = (tokio::runtime::Handle::current(), stop.clone());
        let server = tokio::task::spawn_blocking(move || {
            runtime.block_on(serve::serve(catalog, listener, Arc::new(SystemClock), asked))
        });
        town.tell(&url)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|e| e.to_string())?;
        let mut show = Self {
            town,
            folder,
            url,
            screen,
            scene: Scene::default(),
            store,
            http,
            began: SystemClock.now(),
            head: String::new(),
            server,
            stop,
        };
        show.ready().await.map_err(|trouble| trouble.to_string())?;
        Ok(show)
    }

    async fn ready(&mut self) -> Result<(), Trouble> {
        let until = deadline();
        loop {
            let asked = self.http.get(format!("{}/readyz", self.url)).send();
            let asked = tokio::time::timeout(TICK * 10, asked).await;
            if asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success())) {
                self.look();
                return Ok(());
            }
            self.tick("stepherd to be ready", until).await?;
        }
    }

    /// Looks at the town and tells what is new. Argo CD watches git as it does in life.
    pub(super) fn look(&mut self) {
        let branches = self.town.github.branches(REPO).unwrap_or_default();
        let head = branches.into_iter().find(|(name, _)| name == "main");
        if let Some((_, head)) = head.filter(|(_, head)| *head != self.head) {
            self.town.argocd.git_moved(APP, &head);
            self.head = head;
        }
        self.scene = Scene::of(&self.town);
        self.screen.show(&self.scene);
    }

    /// Looks until it is so.
    pub(super) async fn until(&mut self, what: &str, is_so: impl Fn(&Scene, &Town) -> bool) -> Result<(), Trouble> {
        let until = deadline();
        loop {
            self.look();
            if is_so(&self.scene, &self.town) {
                return Ok(());
            }
            self.tick(what, until).await?;
        }
    }

    /// Looks until stepherd has nothing left to do.
    pub(super) async fn until_at_rest(&mut self) -> Result<(), Trouble> {
        let until = deadline();
        let mut quiet = 0;
        loop {
            self.look();
            let counts = self.store.counts().await.map_err(|e| Trouble::Stuck(e.to_string()))?;
            let busy = counts.deliveries_pending + counts.effects_pending + counts.runs_active + counts.runs_queued;
            quiet = if busy == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET_LOOKS {
                return Ok(());
            }
            self.tick("stepherd to have nothing left to do", until).await?;
        }
    }

    /// Waits a moment; says why there is no point in waiting on.
    async fn tick(&mut self, what: &str, until: Timestamp) -> Result<(), Trouble> {
        if self.server.is_finished() {
            let ended = (&mut self.server).await;
            let why = match ended {
                Ok(Err(why)) => why,
                Ok(Ok(())) => "without saying why".to_owned(),
                Err(panic) => panic.to_string(),
            };
            return Err(if self.stop.is_cancelled() {
                Trouble::Interrupted
            } else {
                Trouble::Ended(why)
            });
        }
        if SystemClock.now() > until {
            return Err(Trouble::Waited(what.to_owned()));
        }
        tokio::select! {
            () = self.stop.cancelled() => Err(Trouble::Interrupted),
            () = tokio::time::sleep(TICK) => Ok(()),
        }
    }

    /// A moment in which nothing is waited for; false when it was asked to end.
    pub(super) async fn moment(&self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(TICK) => true,
        }
    }

    /// Ends stepherd and the town. The folder stays if there may be something to look into.
    pub(super) async fn close(self, keep: bool) {
        let Self {
            mut screen,
            folder,
            server,
            stop,
            store,
            ..
        } = self;
        stop.cancel();
        let _ = tokio::time::timeout(DRAIN, server).await;
        store.close().await;
        if keep {
            let path = folder.keep();
            screen.line(&format!("\nThe log and the database are left in {}", path.display()));
        }
    }
}

fn deadline() -> Timestamp {
    SystemClock.now().saturating_add(PATIENCE).unwrap_or(Timestamp::MAX)
}

/// stepherd's log goes to a file: the terminal is for the tale.
fn start_log(folder: &Folder) -> std::io::Result<()> {
    let file = std::fs::File::create(folder.log(LOG))?;
    let _ = tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_ansi(false)
        .with_writer(Arc::new(file))
        .try_init();
    Ok(())
}
