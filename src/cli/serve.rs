//! `stepherd serve`: the program itself.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{Exit, failed, load};
use crate::adapters::Hands;
use crate::catalog::Catalog;
use crate::catalog::settings::{Log, LogFormat};
use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::store::{Serving, Store, StoreError};
use crate::trouble::Trouble;
use crate::web::{self, Budget, Limits, Web};
use crate::wiring;

/// How often a database that cannot be used now is tried again.
const DATABASE_POLL: Duration = Duration::from_secs(2);

/// The first moment of 2026: before stepherd there was no stepherd, so a clock that is earlier is wrong.
const FIRST_MOMENT: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// The most file handles that are asked for, and how many of them are for other things than connections: the
/// database, calls to platforms, log files.
const HANDLES_MAX: u64 = 65_536;
const HANDLES_KEPT: u64 = 128;

/// What others say that nobody can act on: waiting for a lock is slow on purpose, and a call that failed is told by
/// whoever made it. `log.level` may name them to hear it.
const OTHERS: &str = "octocrab=off,sqlx::query=error";

/// Serves until SIGTERM or Ctrl-C, then finishes what is in hand.
pub async fn run(config: &Path) -> Exit {
    let catalog = match load(config) {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    start_logs(&catalog.settings.log);
    raise_handles();
    let stop = CancellationToken::new();
    let listener = match TcpListener::bind(catalog.settings.server.listen).await {
        Ok(listener) => listener,
        Err(error) => return failed(format!("cannot listen on {}: {error}", catalog.settings.server.listen)),
    };
    match signals(stop.clone()) {
        Ok(()) => {}
        Err(error) => return failed(format!("cannot wait for signals: {error}")),
    }
    match serve(catalog, listener, Arc::new(SystemClock), stop).await {
        Ok(()) => Exit::Good,
        Err(why) => failed(why),
    }
}

/// What an administrator may have meant otherwise.
fn warn(hands: &Hands, catalog: &Catalog) {
    for (name, why) in &hands.off {
        tracing::warn!(%name, %why, "switched off");
    }
    for warning in &catalog.warnings {
        tracing::warn!(%warning, "configuration allows more than may be meant");
    }
}

/// The whole program on a listener that is bound already, until told to stop.
///
/// # Errors
/// Why it cannot run, in words for its administrator.
pub async fn serve(
    catalog: Catalog,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), String> {
    check_clock(clock.now())?;
    let words = |error: io::Error| error.to_string();
    let address = listener.local_addr().map_err(words)?;
    let limits = Limits {
        header_timeout: catalog.settings.server.header_timeout,
        connections_max: connections(catalog.settings.server.connections_max),
    };
    let (listener, waiting) = twice(listener).map_err(words)?;
    let begun = CancellationToken::new();
    // Until stepherd can work it says so, rather than nothing at all.
    let waiting = tokio::spawn(web::serve(
        waiting,
        web::waiting("waiting for the database", catalog.settings.server.api_token.clone()),
        limits,
        begun.clone(),
    ));
    let _ended = begun.clone().drop_guard();
    let url = catalog.settings.database.url.expose_secret();
    let Some((store, _serving)) = database(url, address, clock.as_ref(), &stop).await? else {
        return Ok(());
    };
    let engine_version = store.engine_version().await.unwrap_or_default();
    tracing::info!(engine = engine_version, place = store.place(), "the database");
    let hands = Arc::new(wiring::hands(&catalog.settings)?);
    warn(&hands, &catalog);
    let server = catalog.settings.server.clone();
    let (metrics, wake, catalog) = (Arc::new(Metrics::default()), Arc::new(Notify::new()), Arc::new(catalog));
    let engine = Engine::new(
        store.clone(),
        hands.clone(),
        catalog.clone(),
        clock.clone(),
        metrics.clone(),
        wake.clone(),
    );
    let web = Web {
        store: store.clone(),
        hands,
        catalog,
        clock,
        metrics,
        wake,
        api_token: server.api_token,
        body_limit_bytes: server.body_limit_bytes,
        budget: Budget::new(
            server.body_budget_bytes,
            server.body_limit_bytes,
            limits.connections_max,
        ),
        read_timeout: server.read_timeout,
        body_rate_min: server.body_rate_min,
        trusted_proxies: server.trusted_proxies.as_deref().map(Arc::from),
        refusals: Arc::default(),
        store_timeout: web::STORE_TIMEOUT,
        trouble: Arc::default(),
        probe: Arc::default(),
    };
    begun.cancel();
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "stepherd listens");
    let door = web::serve(listener, web::routes(web), limits, stop.clone());
    let (served, ()) = tokio::join!(door, engine.run(stop));
    // It has long ended, unless somebody kept a connection from before.
    let _ = waiting.await;
    store.close().await;
    tracing::info!("stepherd has ended in good order");
    served.map_err(|error| error.to_string())
}

/// A listener for two servers, one after the other: what comes in between waits in its queue.
fn twice(listener: TcpListener) -> io::Result<(TcpListener, TcpListener)> {
    let listener = listener.into_std()?;
    let other = listener.try_clone()?;
    Ok((TcpListener::from_std(listener)?, TcpListener::from_std(other)?))
}

/// The database, waited for until it can be served; `None` if told to stop before.
async fn database(
    url: &str,
    address: SocketAddr,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> Result<Option<(Store, Serving)>, String> {
    let trouble = Trouble::default();
    loop {
        match Store::open_to_serve(url, clock.now()).await {
            Ok(opened) => return Ok(Some(opened)),
            Err(StoreError::Unavailable(why) | StoreError::Collided(why)) => {
                if let Some(times) = trouble.met(clock.now()) {
                    let every = DATABASE_POLL.as_secs();
                    tracing::warn!(%why, %address, times, "waiting for the database; trying again every {every} s");
                }
            }
            Err(error) => return Err(error.to_string()),
        }
        let again = clock.now().checked_add(DATABASE_POLL).unwrap_or(Timestamp::MAX);
        tokio::select! {
            () = clock.sleep_until(again) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// SIGTERM and Ctrl-C ask for an orderly end; the second time, for one at once. Whatever is in hand then is taken up as
/// after a crash.
pub(super) fn signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A lost terminal, or a hand that is used to other servers, ends nothing.
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            tracing::warn!("SIGHUP: configuration is read at the start; check it and restart to take it over");
        }
    });
    tokio::spawn(async move {
        let mut asked = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        asked().await;
        tracing::info!("asked to end: finishing what is in hand");
        stop.cancel();
        asked().await;
        tracing::warn!("asked to end again: ending at once");
        std::process::exit(1);
    });
    Ok(())
}

/// Signatures, leases and deadlines are judged by the clock: with a wrong one all of them would be misjudged.
fn check_clock(now: Timestamp) -> Result<(), String> {
    if now >= FIRST_MOMENT {
        return Ok(());
    }
    Err(format!(
        "the clock of this machine says {now}, which is before stepherd was made: set it (NTP does), then start again"
    ))
}

/// Asks for as many file handles as this process may have: the usual soft limit is made for programs with few.
fn raise_handles() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.unwrap_or(HANDLES_MAX).min(HANDLES_MAX);
    if now.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// How many connections there may be: no more than there are file handles for, with some kept for the rest of the
/// program and for the reserve.
fn connections(wanted: usize) -> usize {
    let handles = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = handles.saturating_sub(HANDLES_KEPT) / 8 * 7;
    let allowed = usize::try_from(room).unwrap_or(usize::MAX).max(16);
    if allowed < wanted {
        tracing::info!(
            connections = allowed,
            wanted,
            "the limit of open files allows fewer connections"
        );
    }
    allowed.min(wanted)
}

fn start_logs(log: &Log) {
    let filter = EnvFilter::try_new(format!("{OTHERS},{}", log.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // As all other output: colours only for a terminal, and none with NO_COLOR.
        .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = match log.format {
        LogFormat::Json => builder.json().with_current_span(true).with_span_list(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
