//! `stepherd backup`: a copy of the database, made and checked while stepherd serves it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use tokio_util::sync::CancellationToken;

use super::serve::signals;
use super::{Exit, failed, load, show};
use crate::clock::{Clock as _, SystemClock};
use crate::store::{self, Backup, Store};

/// Where the copy goes.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write; there must be none of that name yet
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub async fn run(config: &Path, args: BackupArgs) -> Exit {
    let catalog = match load(config) {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    let began = SystemClock.now();
    let url = catalog.settings.database.url.expose_secret();
    let stop = CancellationToken::new();
    if let Err(error) = signals(stop.clone()) {
        return failed(format!("cannot wait for signals: {error}"));
    }
    // Given up, it leaves nothing half-written behind.
    let backup = tokio::select! {
        backup = store::backup(url, &args.file) => backup,
        () = stop.cancelled() => return failed("given up; no backup was written"),
    };
    let backup = match backup {
        Ok(backup) => backup,
        Err(error) => return failed(error),
    };
    let took = Duration::try_from(SystemClock.now().duration_since(began)).unwrap_or_default();
    let Backup {
        engine,
        bytes,
        schema,
        runs,
        live,
        deliveries_pending,
    } = backup;
    let file = args.file.display();
    if args.json {
        show::json(&json!({
            "file": file.to_string(), "engine": engine, "bytes": bytes, "schema": schema, "runs": runs,
            "liveRuns": live, "deliveriesPending": deliveries_pending, "tookMs": took.as_millis() as u64,
        }));
    } else {
        say!(
            "Wrote {file}: {}, a copy of {engine} with {runs} runs ({live} live) and {deliveries_pending} deliveries \
             to be dealt with, schema {schema}; checked, in {:.1} s.",
            size(bytes),
            took.as_secs_f64()
        );
    }
    Exit::Good
}

/// For so long after a restore everything that is to be done is looked for first: as far back as platforms and looking
/// repeat what was missed.
const DOUBT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Tells the database that it was restored.
pub async fn restored(config: &Path) -> Exit {
    let catalog = match load(config) {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    let (store, _serving) = match Store::open_restored(catalog.settings.database.url.expose_secret()).await {
        Ok(opened) => opened,
        Err(error) => return failed(error),
    };
    let until = SystemClock.now().checked_add(DOUBT).unwrap_or(Timestamp::MAX);
    let told = async {
        store.doubt_effects(until).await?;
        store.cursors("repair:").await
    };
    let looked = match told.await {
        Ok(looked) => looked,
        Err(error) => return failed(error),
    };
    store.close().await;
    say!("Until {until} everything is looked for before it is done: the world is ahead of this database.");
    if catalog.settings.engine.repair_interval.is_zero() {
        say!("What people said since the backup is not looked for: engine.repair_interval_s is 0.");
        return Exit::Good;
    }
    for (platform, seen_to) in looked {
        let seen_to = seen_to.unwrap_or_else(|| "the next start".to_owned());
        say!(
            "{platform}: what was said since {seen_to} is looked for at the next start. That a command took effect after \
             the backup was made is not known here: commands from then are obeyed again, if they are not too old."
        );
    }
    Exit::Good
}

/// A size for people.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "KiB", "MiB"] {
        if size < 1024.0 {
            let places = usize::from(unit != "bytes");
            return format!("{size:.places$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}
