//! Opening and closing: what must hold before the first verb, and what to tell the operator when it does not.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::sqlite::{BUSY, CANNOT_OPEN, NOT_A_DATABASE, READ_ONLY, primary_code};
use super::{Store, StoreError};

/// Built in. After adding a file there, touch this one: cargo notices changed migrations but not new ones.
static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// Older ones can lose committed data when two connections write and checkpoint a WAL file at once (the WAL-reset
/// bug, fixed in this version).
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// How long a writer in another process is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a verb waits for a connection of ours.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Enough for a page, the sweep and a few commands at once.
const READERS: u32 = 4;

impl Store {
    /// Opens the database, creating or migrating it if need be. `url` is `sqlite:` and a path, or
    /// `sqlite::memory:` for one that is gone when it is closed.
    ///
    /// # Errors
    /// `Unusable`, saying what to do, if the file cannot be a database of this version; `Unavailable` if another
    /// process holds it.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let in_memory = url == "sqlite::memory:" || url.contains("mode=memory");
        let options = options(url, in_memory)?;
        let path = options.get_filename().to_owned();
        let explain = |error: sqlx::Error| explain(&path, error);

        let writer = connect(&options).await.map_err(explain)?;
        let reader = if in_memory {
            writer.clone()
        } else {
            pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"))
        };
        let store = Self { writer, reader };
        match store.prepare(&path, in_memory).await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(&self, path: &Path, in_memory: bool) -> Result<(), StoreError> {
        let explain = |error: sqlx::Error| explain(path, error);
        check_sqlite_version(&version(&self.writer).await.map_err(explain)?)?;
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&self.writer)
            .await
            .map_err(explain)?;
        if !in_memory && journal != "wal" {
            return Err(StoreError::Unusable(format!(
                "{} cannot use a write-ahead log there (journal mode `{journal}`): put it on a local disk, not on a \
                 network file system",
                path.display()
            )));
        }
        // All migrations are one transaction, which also keeps a second process that starts now waiting.
        let mut tx = self.begin().await.map_err(explain)?;
        let (tables, ours): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(name = '_sqlx_migrations'), 0) FROM sqlite_schema WHERE type = 'table'",
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(explain)?;
        if tables > 0 && ours == 0 {
            return Err(StoreError::Unusable(format!(
                "{} belongs to another program: give stepherd a file of its own",
                path.display()
            )));
        }
        // Not `run`, whose future cannot be sent to another thread.
        let migrated = MIGRATIONS.run_direct(None, &mut *tx, false).await;
        migrated.map_err(|e| explain_migration(path, e))?;
        // A file that cannot be written opens all the same and fails only at the first change, so here is one.
        sqlx::query("UPDATE counters SET value = value")
            .execute(&mut *tx)
            .await
            .map_err(explain)?;
        tx.commit().await.map_err(explain)
    }

    /// The version of the SQLite library that is linked in.
    pub async fn sqlite_version(&self) -> Result<String, StoreError> {
        Ok(version(&self.reader).await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT value FROM counters")
            .fetch_one(&self.reader)
            .await?;
        Ok(())
    }

    /// Waits for the verbs under way and closes all connections; later verbs fail as `Unavailable`.
    pub async fn close(&self) {
        // The writer goes last, so that it can fold the log into the file.
        if !self.reader.is_closed() {
            self.reader.close().await;
        }
        self.writer.close().await;
    }
}

/// Connects the writer. Switching a new file to the write-ahead log takes a lock that SQLite does not wait for, so
/// of several processes that start at once all but one are told that it is busy: they try again.
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    loop {
        let connected = pool(1).connect_with(options.clone()).await;
        let busy = matches!(&connected, Err(sqlx::Error::Database(e)) if primary_code(e.as_ref()) == Some(BUSY));
        if !busy || waited >= BUSY_TIMEOUT {
            return connected;
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

async fn version(pool: &SqlitePool) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await
}

fn options(url: &str, in_memory: bool) -> Result<SqliteConnectOptions, StoreError> {
    if !url.starts_with("sqlite:") {
        return Err(StoreError::Unusable(
            "the database's address must be `sqlite:` and a path: only SQLite is built in".to_owned(),
        ));
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|e| StoreError::Unusable(format!("the database's address `{url}` cannot be read: {e}")))?
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full);
    if in_memory {
        return Ok(options);
    }
    let path = options.get_filename();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(missing) = parent.filter(|parent| !parent.is_dir()) {
        return Err(StoreError::Unusable(format!(
            "the directory {} for the database does not exist: create it, owned by the user stepherd runs as",
            missing.display()
        )));
    }
    if path.is_dir() {
        return Err(StoreError::Unusable(format!(
            "{} is a directory: name a file in it, `{}/stepherd.db`",
            path.display(),
            path.display()
        )));
    }
    Ok(options.journal_mode(SqliteJournalMode::Wal))
}

/// Connections stay: a database in memory lives as long as its connection, and reopening a file gains nothing.
fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Whether this version of SQLite is one that keeps what it was given.
///
/// # Errors
/// `Unusable`, saying what to do, if it is not.
pub fn check_sqlite_version(version: &str) -> Result<(), StoreError> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = std::array::from_fn(|_| parts.next().unwrap_or(0));
    if SQLITE_MIN <= found {
        return Ok(());
    }
    let [major, minor, patch] = SQLITE_MIN;
    Err(StoreError::Unusable(format!(
        "SQLite {version} can lose committed data; {major}.{minor}.{patch} or newer is needed: build stepherd with its \
         own Cargo.lock"
    )))
}

fn explain(path: &Path, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(primary_code);
    let path = path.display();
    let advice = match code {
        Some(BUSY) => return StoreError::Unavailable(format!("another process holds {path} ({error})")),
        Some(READ_ONLY) => {
            "it cannot be written: make the file and its directory writable for the user stepherd runs as"
        }
        Some(CANNOT_OPEN) => {
            "it cannot be opened: the file and its directory must be readable and writable for the \
                              user stepherd runs as"
        }
        Some(NOT_A_DATABASE) => "it is not a SQLite database: name another file, or move this one away",
        _ => "it cannot be used",
    };
    StoreError::Unusable(format!("the database {path}: {advice} ({error})"))
}

fn explain_migration(path: &Path, error: MigrateError) -> StoreError {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let path = path.display();
    match error {
        MigrateError::VersionMissing(found) => StoreError::Unusable(format!(
            "a newer stepherd migrated {path} (schema {found}, this one knows up to {known}): run that version or a \
             newer one, or restore a backup from before"
        )),
        MigrateError::VersionMismatch(found) => StoreError::Unusable(format!(
            "schema {found} of {path} is not the one this stepherd was built with: run the version that made it"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            explain(Path::new(&path.to_string()), error)
        }
        other => StoreError::Unusable(format!("{path} cannot be migrated: {other}")),
    }
}
