//! A consistent copy of the database, made while it is being served.
//!
//! The database is not opened as a store: that would migrate it, and a backup is what one makes before an upgrade.
//! The copy is written beside its place, checked, made durable and only then given its name, so that nothing
//! half-written ever looks like a backup.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::NamedTempFile;

use super::{Limits, StoreError, pg_dump, rows};

/// How long a writer that is busy right now is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a backup holds, for either engine.
pub(super) const HOLDS: &str = "
    SELECT (SELECT MAX(version) FROM _sqlx_migrations), (SELECT COUNT(*) FROM runs),
        (SELECT COUNT(*) FROM runs WHERE live = 1), (SELECT COUNT(*) FROM deliveries WHERE state = 'pending')";

/// A row of [`HOLDS`].
pub(super) type Held = (i64, i64, i64, i64);

/// A backup that was made and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// What it is a copy of: `SQLite` or `PostgreSQL`.
    pub engine: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The version of the tables.
    pub schema: i64,
    /// How many runs are in it.
    pub runs: u64,
    /// How many of them are not finished.
    pub live: u64,
    /// Deliveries that are still to be dealt with.
    pub deliveries_pending: u64,
}

/// Copies the database at `url` to a new file, as it is at one moment. Whoever serves it goes on: nobody waits for a
/// backup. SQLite's log grows by what is written meanwhile, and is folded in afterwards.
///
/// # Errors
/// `Unusable`, saying what to do, if there is a file of that name already, nothing to copy, or no way to copy it;
/// `Unavailable` if the database or the disk cannot do it now. Then there is no file of that name.
pub async fn backup(url: &str, to: &Path) -> Result<Backup, StoreError> {
    backup_within(url, to, Limits::default()).await
}

/// The same, with other limits of how long PostgreSQL may be silent.
///
/// # Errors
/// As for `backup`.
pub async fn backup_within(url: &str, to: &Path, limits: Limits) -> Result<Backup, StoreError> {
    let to = std::path::absolute(to).map_err(|error| cannot_write(to, &error))?;
    if to.symlink_metadata().is_ok() {
        return Err(exists(&to));
    }
    let (Some(folder), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(StoreError::Unusable(format!("{} is no name for a file", to.display())));
    };
    // Only its owner may read it, as nobody else may read the database.
    let part = tempfile::Builder::new()
        .prefix(&format!(".{}.part-", name.to_string_lossy()))
        .tempfile_in(folder)
        .map_err(|error| cannot_write(&to, &error))?;
    let (engine, held) = match url.split_once(':') {
        Some(("sqlite", _)) => ("SQLite", copy_sqlite(url, part.path()).await?),
        _ => ("PostgreSQL", pg_dump::dump(url, part.path(), &to, limits).await?),
    };
    let bytes = keep(part, folder, &to)?;
    let (schema, runs, live, pending) = held;
    Ok(Backup {
        engine,
        bytes,
        schema,
        runs: rows::count(runs),
        live: rows::count(live),
        deliveries_pending: rows::count(pending),
    })
}

/// Makes it durable and gives it its name, unless there is such a file by now.
fn keep(part: NamedTempFile, folder: &Path, to: &Path) -> Result<u64, StoreError> {
    let io = |error: io::Error| cannot_write(to, &error);
    // Opened again: what was written may have taken the file's place.
    let file = File::open(part.path()).map_err(io)?;
    file.sync_all().map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    part.persist_noclobber(to)
        .map_err(|refused| match refused.error.kind() {
            io::ErrorKind::AlreadyExists => exists(to),
            _ => cannot_write(to, &refused.error),
        })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(bytes)
}

fn exists(to: &Path) -> StoreError {
    StoreError::Unusable(format!(
        "{} is there already: a backup overwrites nothing",
        to.display()
    ))
}

fn cannot_write(to: &Path, error: &io::Error) -> StoreError {
    StoreError::Unusable(format!("{} cannot be written: {error}", to.display()))
}

async fn copy_sqlite(url: &str, part: &Path) -> Result<Held, StoreError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|e| StoreError::Unusable(format!("the database's address cannot be read: {e}")))?;
    let source: PathBuf = options.get_filename().to_owned();
    if url == "sqlite::memory:" || url.contains("mode=memory") {
        return Err(StoreError::Unusable(
            "the database is in memory: there is nothing that a backup could outlive".to_owned(),
        ));
    }
    if !source.is_file() {
        return Err(StoreError::Unusable(format!(
            "there is no database at {} to back up",
            source.display()
        )));
    }
    let part = part
        .to_str()
        .ok_or_else(|| StoreError::Unusable(format!("{} is no UTF-8 name", part.display())))?;
    // A reader of its own: it sees the database as it is at one moment, and keeps no writer waiting.
    let mut conn = connect(&source).await?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut conn)
        .await?;
    super::check_sqlite_version(&version)?;
    let copied = async {
        let (schema, ..) = held(&mut conn, &source).await?;
        sqlx::query("VACUUM INTO $1").bind(part).execute(&mut conn).await?;
        Ok::<_, StoreError>(schema)
    };
    let copied = copied.await;
    conn.close().await?;
    let schema = copied?;
    let held = checked(Path::new(part)).await?;
    if held.0 != schema {
        return Err(StoreError::Unavailable(format!(
            "{} was migrated during the backup: make it again",
            source.display()
        )));
    }
    Ok(held)
}

/// Reads the whole copy: whether it is sound, and what it holds.
async fn checked(part: &Path) -> Result<Held, StoreError> {
    let mut conn = connect(part).await?;
    let said: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut conn)
        .await?;
    if said != ["ok"] {
        return Err(StoreError::Unusable(format!(
            "the copy is not sound, so the database may be damaged: {}",
            said.first().map_or("", String::as_str)
        )));
    }
    let held = held(&mut conn, part).await?;
    conn.close().await?;
    Ok(held)
}

async fn connect(file: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(file);
    let options = options.read_only(true).busy_timeout(BUSY_TIMEOUT);
    Ok(options.connect().await?)
}

async fn held(conn: &mut SqliteConnection, file: &Path) -> Result<Held, StoreError> {
    let found = sqlx::query_as(HOLDS).fetch_one(conn).await;
    found.map_err(|error| match &error {
        sqlx::Error::Database(refused) if refused.message().starts_with("no such table") => {
            StoreError::Unusable(format!("{} is no database of stepherd's ({refused})", file.display()))
        }
        _ => error.into(),
    })
}
