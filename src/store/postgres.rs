//! What is special about PostgreSQL: how it is opened, how long things may take there, and what its errors mean.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::lent::{CONNECTIONS, Server, in_time, place};
use super::open::{SCHEMA, Schema, is_current};
use super::sqlite::{explain_migration, nothing_restored};
use super::{Db, Opening, StoreError};

/// Built in. After adding a file there, touch this one: cargo notices changed migrations but not new ones.
static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// Only one process migrates at a time. The number is stepherd's own, and means nothing else.
const MIGRATION_LOCK: i64 = 0x5735_9e44;

/// Only one process claims deliveries at a time, and only one effects. Each process has one loop for either, so whoever
/// stands still is in neither queue twice.
pub(super) const DELIVERIES_LOCK: i64 = 0x5735_9e45;
pub(super) const EFFECTS_LOCK: i64 = 0x5735_9e46;

/// How long a migration may take, with waiting for another process that migrates.
const MIGRATION: Duration = Duration::from_secs(900);

/// How long things may take on PostgreSQL. Together they are shorter than a lease (10 s), so that a process that stands
/// still, or whose connection is dead, keeps nobody else from going on for longer than that; and shorter than GitHub
/// waits for an answer (10 s).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Getting a connection, also to a server that is starting.
    pub acquire: Duration,
    /// Standing still inside a transaction: then the server ends the session, and frees what it had locked.
    pub idle_in_transaction: Duration,
    /// The same while claiming, which all others wait for, and which costs nothing to do again.
    pub idle_in_claim: Duration,
    /// Waiting for a row that somebody else has locked. Longer than anybody may stand still with it.
    pub lock: Duration,
    /// One statement, as the server counts.
    pub statement: Duration,
    /// One verb once it has its connection, whatever the server says or does not say: then the connection is closed.
    pub verb: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acquire: Duration::from_secs(3),
            idle_in_transaction: Duration::from_secs(3),
            idle_in_claim: Duration::from_secs(1),
            lock: Duration::from_secs(4),
            statement: Duration::from_secs(5),
            verb: Duration::from_secs(6),
        }
    }
}

impl Limits {
    /// What the server is told when a connection is made. The driver cannot be told of keepalives on this side, so the
    /// server finds out about processes that are gone, and [`Limits::verb`] about a server that is.
    pub(super) fn settings(self) -> [(&'static str, String); 7] {
        let ms = |limit: Duration| limit.as_millis().to_string();
        [
            ("idle_in_transaction_session_timeout", ms(self.idle_in_transaction)),
            ("lock_timeout", ms(self.lock)),
            ("statement_timeout", ms(self.statement)),
            ("tcp_user_timeout", "10000".to_owned()),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "3".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
        ]
    }
}

/// Connects, and makes or migrates the tables if that is asked for.
pub(super) async fn open(url: &str, opening: Opening, limits: Limits) -> Result<Db, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|e| StoreError::Unusable(format!("the database's address cannot be read: {e}")))?
        .application_name("stepherd");
    let place = place(&options);
    // A connection of its own: migrating may take longer than anything else.
    let connected = timeout(limits.acquire, options.connect()).await;
    let mut conn = connected
        .map_err(|_| StoreError::Unavailable(format!("{place} does not answer")))?
        .map_err(|error| explain(&place, error))?;
    let prepared = match opening {
        Opening::Making | Opening::Migrating => migrate(&mut conn, &place, opening, limits).await,
        Opening::AsItIs => current(&mut conn, &place, limits).await,
    };
    // Closed either way; an error in closing changes nothing.
    let _ = timeout(limits.acquire, conn.close()).await;
    prepared?;
    Ok(Db::Postgres(Arc::new(Server::new(options, limits))))
}

/// Makes or migrates the tables.
async fn migrate(conn: &mut PgConnection, place: &str, opening: Opening, limits: Limits) -> Result<(), StoreError> {
    let explain = |error: sqlx::Error| explain(place, error);
    let limit = limits.verb;
    let tables = in_time(limit, tables(conn)).await.map_err(explain)?;
    if !tables.is_empty() && !is_ours(&tables) {
        return Err(StoreError::Unusable(format!(
            "{place} belongs to another program: give stepherd a database of its own"
        )));
    }
    if tables.is_empty() && opening == Opening::Migrating {
        return Err(nothing_restored(place));
    }
    let ready = is_ours(&tables) && in_time(limit, schema(conn)).await.map_err(explain)? == Schema::known(&MIGRATIONS);
    let limit = if ready { limits.verb } else { MIGRATION };
    let migrated = timeout(limit, async {
        let mut tx = conn.begin().await.map_err(explain)?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *tx)
            .await
            .map_err(explain)?;
        let migrated = MIGRATIONS.run_direct(None, &mut *tx, false).await;
        migrated.map_err(|e| explain_migration(&MIGRATIONS, place, e, explain))?;
        tx.commit().await.map_err(explain)
    });
    migrated.await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!(
            "{place} did not end a migration in {} s",
            limit.as_secs()
        )))
    })?;
    if tables.is_empty() {
        tracing::info!(place, "made the tables of a new, empty database");
    }
    Ok(())
}

/// Looks whether the tables are those of this version.
async fn current(conn: &mut PgConnection, place: &str, limits: Limits) -> Result<(), StoreError> {
    let explain = |error: sqlx::Error| explain(place, error);
    let limit = limits.verb;
    let found = match in_time(limit, tables(conn)).await.map_err(explain)? {
        tables if is_ours(&tables) => Some(in_time(limit, schema(conn)).await.map_err(explain)?),
        _ => None,
    };
    is_current(place, found, &MIGRATIONS)
}

async fn tables(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
        .fetch_all(conn)
        .await
}

fn is_ours(tables: &[String]) -> bool {
    tables.iter().any(|table| table == "_sqlx_migrations")
}

async fn schema(conn: &mut PgConnection) -> sqlx::Result<Schema> {
    sqlx::query_as(SCHEMA).fetch_one(conn).await
}

fn explain(place: &str, error: sqlx::Error) -> StoreError {
    // What passes at work passes at the start, too.
    let known = error.as_database_error().and_then(verdict);
    if let Some(StoreError::Unavailable(why) | StoreError::Collided(why)) = known {
        return StoreError::Unavailable(format!("{place}: {why}"));
    }
    let code = error.as_database_error().and_then(|refused| refused.code());
    let advice = match code.as_deref() {
        // It starts, stops, has no connection to spare or no room: that passes.
        Some(code) if ["08", "53", "57"].contains(&&code[..2]) => {
            return StoreError::Unavailable(format!("{place}: {error}"));
        }
        Some("28P01" | "28000") => "it does not let stepherd in: look at the user, the password and pg_hba.conf",
        Some("3D000") => "there is no such database: create it, owned by stepherd's user",
        Some("42501") => "stepherd's user may not create tables there: make it the owner of the database",
        Some(_) => "it cannot be used",
        None => return StoreError::Unavailable(format!("{place}: {error}")),
    };
    StoreError::Unusable(format!("{place}: {advice} ({error})"))
}

/// What an error of PostgreSQL's means, where its own words are not enough.
pub(super) fn verdict(refused: &dyn sqlx::error::DatabaseError) -> Option<StoreError> {
    let code = refused.try_downcast_ref::<PgDatabaseError>()?.code();
    let passes = |why: &str| Some(StoreError::Unavailable(format!("{why} ({refused})")));
    match code {
        // Class XX: internal errors, damaged data and indexes among them.
        "XX001" | "XX002" => Some(StoreError::Unusable(format!(
            "the database is damaged ({refused}): stop stepherd and restore a backup"
        ))),
        "40001" | "40P01" => Some(StoreError::Collided(refused.to_string())),
        "55P03" => passes("somebody else holds a row for too long"),
        "57014" => passes("the server took too long"),
        "53100" => passes("the server's disk is full: make room"),
        "53300" => passes(&format!(
            "the server gives no more connections, and each replica takes up to {CONNECTIONS}: raise its max_connections \
             or the user's CONNECTION LIMIT, or run fewer replicas"
        )),
        "25006" => passes("the server takes no writes: it is a standby, or was made read-only"),
        _ => None,
    }
}
