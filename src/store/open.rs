//! Opening and closing.

use std::fs::File;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;

use super::gate::Gates;
use super::inbox::Inbox;
use super::sql::sql;
use super::{Db, Limits, Opening, Store, StoreError, postgres, rows, sqlite};

/// The right to serve the database, until it is dropped.
#[derive(Debug)]
pub struct Serving {
    _lock: Option<File>,
}

impl Store {
    /// Opens the database, creating or migrating it if need be. `url` is `sqlite:` and a path, `sqlite::memory:` for
    /// one that is gone when it is closed, or `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// `Unusable`, saying what to do, if it cannot be a database of this version; `Unavailable` if another process
    /// holds it or the server does not answer now.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_within(url, Limits::default()).await
    }

    /// The same, with other limits of how long things may take on PostgreSQL.
    ///
    /// # Errors
    /// As for `open`.
    pub async fn open_within(url: &str, limits: Limits) -> Result<Self, StoreError> {
        Self::open_as(url, Opening::Making, None, limits).await
    }

    /// Opens a database that is there already and of this version, to look into it or to change a row: it is neither
    /// created nor migrated, because whoever serves it may be of another version.
    ///
    /// # Errors
    /// As for `open`; `Unusable` also if there is none, or one of another version.
    pub async fn open_as_it_is(url: &str) -> Result<Self, StoreError> {
        Self::open_as(url, Opening::AsItIs, None, Limits::default()).await
    }

    /// Opens a database to serve it, as [`Store::open`] and [`Store::serve`] do. On SQLite the right to serve comes
    /// first: nobody migrates what another process serves.
    ///
    /// # Errors
    /// As for `open` and `serve`.
    pub async fn open_to_serve(url: &str, now: Timestamp) -> Result<(Self, Serving), StoreError> {
        let lock = sqlite::lock_at(url)?;
        let store = Self::open_as(url, Opening::Making, lock.as_ref(), Limits::default()).await?;
        store.take_over(now).await?;
        Ok((store, Serving { _lock: lock }))
    }

    /// Opens a database that was restored from a backup and that nobody serves yet. It is migrated if it is older, but
    /// must be there.
    ///
    /// # Errors
    /// As for `open`; `Unusable` also if there is none.
    pub async fn open_restored(url: &str) -> Result<(Self, Serving), StoreError> {
        let lock = sqlite::lock_at(url)?;
        let store = Self::open_as(url, Opening::Migrating, lock.as_ref(), Limits::default()).await?;
        Ok((store, Serving { _lock: lock }))
    }

    async fn open_as(url: &str, opening: Opening, lock: Option<&File>, limits: Limits) -> Result<Self, StoreError> {
        let db = match url.split_once(':') {
            Some(("sqlite", _)) => sqlite::open(url, opening, lock).await?,
            Some(("postgres" | "postgresql", _)) => postgres::open(url, opening, limits).await?,
            _ => {
                return Err(StoreError::Unusable(
                    "the database's address must be `sqlite:` and a path, or `postgres://user@host/database`"
                        .to_owned(),
                ));
            }
        };
        Ok(Self {
            inbox: Inbox::start(&db, &Gates::default()),
            db,
            gates: Gates::default(),
            hint: Arc::new(Notify::new()),
        })
    }

    /// Makes this process one that serves the database. On SQLite it is the only one, and takes up at once what a
    /// predecessor held that was killed; on PostgreSQL it is one of many, and leases run out.
    ///
    /// # Errors
    /// `Unavailable` as long as another process serves the SQLite file.
    pub async fn serve(&self, now: Timestamp) -> Result<Serving, StoreError> {
        let lock = match &self.db {
            Db::Sqlite { file: Some(file), .. } => Some(sqlite::lock(&file.path)?),
            Db::Sqlite { file: None, .. } | Db::Postgres(_) => None,
        };
        self.take_over(now).await?;
        Ok(Serving { _lock: lock })
    }

    async fn take_over(&self, now: Timestamp) -> Result<(), StoreError> {
        match &self.db {
            Db::Sqlite { file, .. } => self.forget_leases(now).await.map_err(|error| match (error, file) {
                (StoreError::Unusable(why), Some(file)) => {
                    StoreError::Unusable(format!("{}: {why}", file.path.display()))
                }
                (error, _) => error,
            }),
            Db::Postgres(_) => Ok(()),
        }
    }

    /// The engine and its version, for people.
    pub async fn engine_version(&self) -> Result<String, StoreError> {
        match &self.db {
            Db::Sqlite { reader, .. } => Ok(format!("SQLite {}", sqlite::version(reader).await?)),
            Db::Postgres(_) => {
                let (version,): (String,) = sql("SHOW server_version").one(&mut self.read().await?).await?;
                Ok(format!("PostgreSQL {version}"))
            }
        }
    }

    /// Where the database is, for people; without credentials.
    pub fn place(&self) -> String {
        match &self.db {
            Db::Sqlite { file: Some(file), .. } => {
                let path = std::path::absolute(&file.path);
                path.map_or_else(|_| file.path.display().to_string(), |path| path.display().to_string())
            }
            Db::Sqlite { file: None, .. } => "memory".to_owned(),
            Db::Postgres(server) => server.place(),
        }
    }

    /// Whether the database takes what is written: a full disk, a standby and a file that was replaced can still be
    /// read. Light, because it says nothing that must outlive a power cut.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut tx = self.write_lease("ping").await?;
        sql("INSERT INTO counters (name, value) VALUES ('pinged', 1)
             ON CONFLICT (name) DO UPDATE SET value = counters.value + 1")
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Waits for the verbs under way and closes all connections; later verbs fail as `Unavailable`.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { writer, reader, .. } => {
                // The writer goes last, so that it can fold the log into the file.
                if !reader.is_closed() {
                    reader.close().await;
                }
                writer.close().await;
            }
            Db::Postgres(server) => server.close().await,
        }
    }
}

/// The migrations that made a database's tables: the newest, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Schema {
    pub(super) newest: i64,
    pub(super) count: i64,
}

/// Reads it.
pub(super) const SCHEMA: &str = "SELECT COALESCE(MAX(version), 0) AS newest, COUNT(*) AS count FROM _sqlx_migrations";

impl Schema {
    /// The one that this program works with.
    pub(super) fn known(migrations: &Migrator) -> Self {
        Self {
            newest: migrations.iter().map(|migration| migration.version).max().unwrap_or(0),
            count: rows::int(migrations.iter().count() as u64),
        }
    }
}

/// Whether tables of this schema, if there are any, are those that this version works with.
pub(super) fn is_current(place: &str, found: Option<Schema>, migrations: &Migrator) -> Result<(), StoreError> {
    let known = Schema::known(migrations);
    if found == Some(known) {
        return Ok(());
    }
    let known = known.newest;
    let why = match found.map(|found| found.newest) {
        None => format!(
            "{place} holds nothing of stepherd's: `stepherd serve` makes its tables, once database.url is the right one"
        ),
        Some(found) if found <= known => format!(
            "an older stepherd made {place} (schema {found}, this one works with {known}): `stepherd serve` of this \
             version migrates it, and the older program lists what is in it"
        ),
        Some(found) => sqlite::newer(place, found, known),
    };
    Err(StoreError::Unusable(why))
}
