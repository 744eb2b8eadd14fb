//! Opening and closing.

use std::fs::File;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::gate::Gates;
use super::inbox::Inbox;
use super::sql::sql;
use super::{Db, Store, StoreError, postgres, sqlite};

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
        let db = match url.split_once(':') {
            Some(("sqlite", _)) => sqlite::open(url).await?,
            Some(("postgres" | "postgresql", _)) => postgres::open(url).await?,
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
        let Db::Sqlite { path, .. } = &self.db else {
            return Ok(Serving { _lock: None });
        };
        let lock = path.as_deref().map(sqlite::lock).transpose()?;
        self.forget_leases(now).await.map_err(|error| match (error, path) {
            (StoreError::Unusable(why), Some(path)) => StoreError::Unusable(format!("{}: {why}", path.display())),
            (error, _) => error,
        })?;
        Ok(Serving { _lock: lock })
    }

    /// The engine and its version, for people.
    pub async fn engine_version(&self) -> Result<String, StoreError> {
        match &self.db {
            Db::Sqlite { reader, .. } => Ok(format!("SQLite {}", sqlite::version(reader).await?)),
            Db::Postgres(pool) => {
                let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(pool).await?;
                Ok(format!("PostgreSQL {version}"))
            }
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sql("SELECT value FROM counters WHERE name = 'change'")
            .one::<(i64,)>(&mut self.read().await?)
            .await?;
        Ok(())
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
            Db::Postgres(pool) => pool.close().await,
        }
    }
}
