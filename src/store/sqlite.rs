//! What is special about SQLite: files, one writer, and what its errors mean.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{self as unix, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Sqlite, SqlitePool, Transaction};

use super::open::{SCHEMA, Schema, is_current};
use super::{Db, Opening, StoreError, Weight};

/// Built in. After adding a file there, touch this one: cargo notices changed migrations but not new ones.
static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// Takes the write lock at once. A deferred transaction that writes after reading fails with
/// `SQLITE_BUSY_SNAPSHOT` when somebody else wrote in between, and no busy timeout helps.
const BEGIN_DURABLE: &str = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE";
/// The same without a flush at the commit: the next durable commit, or a checkpoint, flushes this one too.
const BEGIN_LIGHT: &str = "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE";

/// Older ones can lose committed data when two connections write and checkpoint a WAL file at once (the WAL-reset
/// bug, fixed in this version).
const VERSION_MIN: [u32; 3] = [3, 51, 3];

/// How long a writer in another process is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to get at a file that somebody else holds.
const PAUSE: Duration = Duration::from_millis(50);

/// Readable and writable for its owner, and for nobody else.
const PRIVATE: u32 = 0o600;

/// How long a verb waits for a connection of ours.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The write-ahead log is folded into the file when it has so many pages of 4 KiB. A page that changes often is folded
/// in once; more than this would keep the next start busy reading it.
const LOG_PAGES: &str = "4000";

/// Enough for a page, the sweep and a few commands at once.
const READERS: u32 = 4;

/// `SQLITE_BUSY`: somebody else holds the write lock.
const BUSY: i32 = 5;
/// `SQLITE_READONLY`.
const READ_ONLY: i32 = 8;
/// `SQLITE_IOERR`.
const IO_ERROR: i32 = 10;
/// `SQLITE_CORRUPT`.
const CORRUPT: i32 = 11;
/// `SQLITE_FULL`: the disk is full.
const FULL: i32 = 13;
/// `SQLITE_CANTOPEN`.
const CANNOT_OPEN: i32 = 14;
/// `SQLITE_NOTADB`.
const NOT_A_DATABASE: i32 = 26;

/// Begins a transaction that may write.
pub(super) async fn begin(writer: &SqlitePool, weight: Weight) -> sqlx::Result<Transaction<'static, Sqlite>> {
    let statement = match weight {
        Weight::Durable => BEGIN_DURABLE,
        Weight::Light => BEGIN_LIGHT,
    };
    writer.begin_with(statement).await
}

/// Holds the lock of the file at this address, if it is one of a file.
pub(super) fn lock_at(url: &str) -> Result<Option<File>, StoreError> {
    if !url.starts_with("sqlite:") || in_memory(url) {
        return Ok(None);
    }
    lock(&usable_path(&parsed(url)?)?).map(Some)
}

/// The file whose lock is held by whoever serves the database.
fn lock_name(path: &Path) -> PathBuf {
    beside(path, ".serving")
}

/// Files that were opened, by their places. Somebody may take one away, or put another one there (a restore while it is
/// served): what is written from then on goes to a file without a name, and is gone with the process.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: Arc<Path>,
    files: Vec<(PathBuf, Option<(u64, u64)>)>,
}

impl Opened {
    /// The database's file and, for who serves it, the one that is locked.
    fn new(path: &Path, lock: Option<&File>) -> Self {
        let mut files = vec![(path.to_owned(), fs::metadata(path).ok().as_ref().map(identity))];
        if let Some(lock) = lock {
            files.push((lock_name(path), lock.metadata().ok().as_ref().map(identity)));
        }
        Self {
            path: path.into(),
            files,
        }
    }

    /// Whether each is still the one at its place.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, opened) in &self.files {
            if fs::metadata(path).ok().as_ref().map(identity) != *opened {
                return Err(StoreError::Unusable(format!(
                    "{} was replaced or removed while it is in use: nothing is taken any more; restart stepherd",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// What tells a file from every other one.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Holds the file's lock for whoever serves it; the system frees it with the process, however that ends. The lock's file
/// belongs to the database's owner: root may restore what another user serves.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let name = lock_name(path);
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(&name);
    let unusable = |error: io::Error| {
        let why = format!(
            "{} cannot be opened ({error}): it, the database and their directory must belong to the user stepherd runs \
             as (`chown` makes them)",
            name.display()
        );
        file_error(&error, why)
    };
    let file = open.map_err(unusable)?;
    if let (Ok(database), Ok(ours)) = (fs::metadata(path), file.metadata())
        && database.uid() != ours.uid()
        // Only root can, and only root needs to.
        && let Err(error) = unix::fchown(&file, Some(database.uid()), Some(database.gid()))
    {
        tracing::debug!(file = %name.display(), %error, "it stays with its owner");
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another stepherd serves {}: SQLite takes one at a time (PostgreSQL takes any number)",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Opens the file, and makes or migrates it if that is asked for. Only who holds the file's lock does that: `locked`
/// says that the caller does.
pub(super) async fn open(url: &str, opening: Opening, lock: Option<&File>) -> Result<Db, StoreError> {
    if in_memory(url) {
        let writer = connect(&options(url)?).await?;
        prepare(&writer, Path::new(":memory:"), true).await?;
        let reader = writer.clone();
        return Ok(Db::Sqlite {
            writer,
            reader,
            file: None,
        });
    }
    let path = usable_path(&parsed(url)?)?;
    if opening != Opening::Making && !path.is_file() {
        return Err(StoreError::Unusable(format!(
            "there is no database at {}: `stepherd serve` makes it, once database.url names the right place (a relative \
             path begins in the folder where stepherd is run)",
            path.display()
        )));
    }
    if opening == Opening::AsItIs {
        return open_as_it_is(url, &path).await;
    }
    let _lock = match lock {
        Some(_) => None,
        None => match lock_in_time(url, &path).await? {
            Turn::Ours(lock) => Some(lock),
            Turn::Served(db) => return Ok(db),
        },
    };
    if opening == Opening::Migrating {
        holds_ours(url, &path).await?;
    }
    make_private(&path)?;
    let options = options(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let writer = connect(&options).await.map_err(|error| explain(&path, error))?;
    match prepare(&writer, &path, false).await {
        Ok(()) => Ok(shared(writer, options, Opened::new(&path, lock))),
        Err(error) => {
            writer.close().await;
            Err(error)
        }
    }
}

fn shared(writer: SqlitePool, options: SqliteConnectOptions, file: Opened) -> Db {
    Db::Sqlite {
        writer,
        reader: pool(READERS).connect_lazy_with(options.pragma("query_only", "ON")),
        file: Some(Arc::new(file)),
    }
}

/// Whether a file that was restored has tables of ours. It has none if it is empty, or was copied while it was served
/// without the log beside it.
async fn holds_ours(url: &str, path: &Path) -> Result<(), StoreError> {
    let options = options(url)?.create_if_missing(false);
    let pool = connect(&options).await.map_err(|error| explain(path, error))?;
    let found = schema(&pool).await.map_err(|error| explain(path, error));
    pool.close().await;
    match found? {
        Some(_) => Ok(()),
        None => Err(nothing_restored(&path.display().to_string())),
    }
}

/// That what was restored has nothing in it.
pub(super) fn nothing_restored(place: &str) -> StoreError {
    StoreError::Unusable(format!(
        "{place} holds nothing of stepherd's, so it was not restored: take a file that `stepherd backup` made (a plain \
         copy of a database that is being served lacks what is in its log)"
    ))
}

/// Whose turn it is to make or migrate a file.
enum Turn {
    Ours(File),
    /// Another process holds it, and it is of this version already.
    Served(Db),
}

/// Waits a while for the file's lock: another process may just be making the file.
async fn lock_in_time(url: &str, path: &Path) -> Result<Turn, StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        let held = match lock(path) {
            Ok(lock) => return Ok(Turn::Ours(lock)),
            Err(held @ StoreError::Unavailable(_)) => held,
            Err(error) => return Err(error),
        };
        match open_as_it_is(url, path).await {
            Ok(db) => return Ok(Turn::Served(db)),
            Err(_) if waited >= BUSY_TIMEOUT => return Err(held),
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Opens a file that is there, and changes nothing in it.
async fn open_as_it_is(url: &str, path: &Path) -> Result<Db, StoreError> {
    let options = options(url)?.create_if_missing(false);
    let writer = connect(&options).await.map_err(|error| explain(path, error))?;
    let looked = async {
        check_version(&version(&writer).await.map_err(|error| explain(path, error))?)?;
        let found = schema(&writer).await.map_err(|error| explain(path, error))?;
        is_current(&path.display().to_string(), found, &MIGRATIONS)
    };
    match looked.await {
        Ok(()) => Ok(shared(writer, options, Opened::new(path, None))),
        Err(error) => {
            writer.close().await;
            Err(error)
        }
    }
}

/// The version of the tables, if there are any of ours.
async fn schema(pool: &SqlitePool) -> sqlx::Result<Option<Schema>> {
    let (ours,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(pool)
        .await?;
    if ours == 0 {
        return Ok(None);
    }
    sqlx::query_as(SCHEMA).fetch_one(pool).await.map(Some)
}

/// Creates the file, or sees to it that nobody but its owner may read it: it holds what people wrote. What SQLite puts
/// beside it has the file's own permissions.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = File::options()
        .create(true)
        .truncate(false)
        .append(true)
        .mode(PRIVATE)
        .open(path);
    made.map_err(|error| {
        let why = format!(
            "the database {}: it cannot be opened ({error}): the file and its directory must be readable and writable \
             for the user stepherd runs as",
            path.display()
        );
        file_error(&error, why)
    })?;
    for file in ["", "-wal", "-shm", ".serving"].map(|end| beside(path, end)) {
        let open_to_others = fs::metadata(&file).is_ok_and(|seen| seen.permissions().mode() & 0o077 != 0);
        if open_to_others && let Err(error) = fs::set_permissions(&file, Permissions::from_mode(PRIVATE)) {
            tracing::warn!(file = %file.display(), %error, "other users may read the database; that cannot be changed");
        }
    }
    Ok(())
}

/// What an error with a file comes to: room may be made.
fn file_error(error: &io::Error, why: String) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Unavailable(why),
        _ => StoreError::Unusable(why),
    }
}

/// A file that belongs to the database.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

async fn prepare(writer: &SqlitePool, path: &Path, in_memory: bool) -> Result<(), StoreError> {
    let explain = |error: sqlx::Error| explain(path, error);
    check_version(&version(writer).await.map_err(explain)?)?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(writer)
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
    let mut tx = begin(writer, Weight::Durable).await.map_err(explain)?;
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
    migrated.map_err(|e| explain_migration(&MIGRATIONS, &path.display().to_string(), e, explain))?;
    // A file that cannot be written opens all the same and fails only at the first change, so here is one.
    sqlx::query("UPDATE counters SET value = value")
        .execute(&mut *tx)
        .await
        .map_err(explain)?;
    tx.commit().await.map_err(explain)?;
    if tables == 0 && !in_memory {
        let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        tracing::info!(place = %place.display(), "made a new, empty database");
    }
    Ok(())
}

/// Connects the writer. Switching a new file to the write-ahead log takes a lock that SQLite does not wait for, so
/// of several processes that start at once all but one are told that it is busy: they try again.
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
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

pub(super) async fn version(pool: &SqlitePool) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await
}

fn in_memory(url: &str) -> bool {
    url == "sqlite::memory:" || url.contains("mode=memory")
}

fn parsed(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    SqliteConnectOptions::from_str(url)
        .map_err(|e| StoreError::Unusable(format!("the database's address `{url}` cannot be read: {e}")))
}

fn options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    Ok(parsed(url)?
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", LOG_PAGES))
}

/// Where the file is, if there can be one.
fn usable_path(options: &SqliteConnectOptions) -> Result<PathBuf, StoreError> {
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
    Ok(path.to_owned())
}

/// Connections stay: a database in memory lives as long as its connection, and reopening a file gains nothing.
fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // A commit that failed (a full disk) leaves the driver inside a transaction, and every later one would fail
        // for ever: such a connection is closed and made anew.
        .before_acquire(|conn, _| Box::pin(std::future::ready(Ok(!conn.is_in_transaction()))))
}

/// Whether this version of SQLite is one that keeps what it was given.
///
/// # Errors
/// `Unusable`, saying what to do, if it is not.
pub fn check_version(version: &str) -> Result<(), StoreError> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = std::array::from_fn(|_| parts.next().unwrap_or(0));
    if VERSION_MIN <= found {
        return Ok(());
    }
    let [major, minor, patch] = VERSION_MIN;
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
        Some(FULL) => return StoreError::Unavailable(format!("{path}: the disk is full: make room ({error})")),
        Some(IO_ERROR) => {
            return StoreError::Unavailable(format!(
                "{path}: the disk failed, or has no room left: look at it and at its free space ({error})"
            ));
        }
        Some(READ_ONLY) => {
            "it cannot be written: make the file and its directory writable for the user stepherd runs as"
        }
        Some(CANNOT_OPEN) => {
            "it cannot be opened: the file and its directory must be readable and writable for the \
                              user stepherd runs as"
        }
        Some(NOT_A_DATABASE) => "it is not a SQLite database: name another file, or move this one away",
        Some(CORRUPT) => "it is damaged: restore a backup",
        _ => "it cannot be used",
    };
    StoreError::Unusable(format!("the database {path}: {advice} ({error})"))
}

/// What a failed migration means for whoever runs this version of stepherd.
pub(super) fn explain_migration(
    migrations: &Migrator,
    database: &str,
    error: MigrateError,
    explain: impl Fn(sqlx::Error) -> StoreError,
) -> StoreError {
    match error {
        MigrateError::VersionMissing(found) => {
            StoreError::Unusable(newer(database, found, Schema::known(migrations).newest))
        }
        MigrateError::VersionMismatch(found) => StoreError::Unusable(format!(
            "schema {found} of {database} is not the one this stepherd was built with: run the version that made it"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => explain(error),
        other => StoreError::Unusable(format!("{database} cannot be migrated: {other}")),
    }
}

/// What to do about tables that are too new.
pub(super) fn newer(database: &str, found: i64, known: i64) -> String {
    format!(
        "a newer stepherd migrated {database} (schema {found}, this one knows up to {known}): run that version or a \
         newer one, or restore a backup from before"
    )
}

/// What an error of SQLite's means, if it is one that does not pass.
pub(super) fn verdict(refused: &dyn sqlx::error::DatabaseError) -> Option<StoreError> {
    match primary_code(refused)? {
        CORRUPT => Some(StoreError::Unusable(format!(
            "the database is damaged ({refused}): stop stepherd and restore a backup"
        ))),
        NOT_A_DATABASE => Some(StoreError::Unusable(format!(
            "the file is not a SQLite database ({refused})"
        ))),
        READ_ONLY => Some(StoreError::Unusable(format!(
            "the database cannot be written ({refused})"
        ))),
        FULL => Some(StoreError::Unavailable(format!(
            "the disk is full: make room ({refused})"
        ))),
        IO_ERROR => Some(StoreError::Unavailable(format!(
            "the disk failed, or has no room left: look at it and at its free space ({refused})"
        ))),
        _ => None,
    }
}

/// The primary result code; the driver gives the extended one, whose low byte it is.
fn primary_code(error: &dyn sqlx::error::DatabaseError) -> Option<i32> {
    error.try_downcast_ref::<SqliteError>()?;
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}
