//! What is special about PostgreSQL: many processes, the database's clock, hints, and what its errors mean.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgListener, PgPoolOptions};
use sqlx::{Executor as _, PgPool, Postgres, Transaction};
use tokio::sync::Notify;

use super::sqlite::explain_migration;
use super::{Db, StoreError};

/// Built in. After adding a file there, touch this one: cargo notices changed migrations but not new ones.
static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// How long a verb waits for a connection, also to a server that is starting. Shorter than platforms wait for an
/// answer (GitHub 10 s), so that senders are told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections of one process.
const CONNECTIONS: u32 = 12;

/// The channel of the hints.
const CHANNEL: &str = "stepherd";

/// Hints to others go out at most this often.
const HINT_SPACING: Duration = Duration::from_millis(10);

/// After a lost connection.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Only one process migrates at a time. The number is stepherd's own, and means nothing else.
const MIGRATION_LOCK: i64 = 0x5735_9e44;

/// Only one process claims at a time.
pub(super) const CLAIM_LOCK: i64 = 0x5735_9e45;

/// Connects, creating or migrating the tables if need be.
pub(super) async fn open(url: &str) -> Result<Db, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|e| StoreError::Unusable(format!("the database's address cannot be read: {e}")))?
        .application_name("stepherd")
        // A process that hangs in the middle of a transaction must not keep others waiting for ever.
        .options([("idle_in_transaction_session_timeout", "60s")]);
    let place = place(&options);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        // One half of the cure for sqlx's cancelled `begin` (launchbadge/sqlx#4394, fixed after 0.9.0): a
        // connection may come back to the pool inside a transaction that nobody ends, and what is written through it
        // later is acknowledged and lost. `begin` below is the other half.
        .before_acquire(|conn, _| {
            Box::pin(async move {
                conn.execute("ROLLBACK").await?;
                Ok(true)
            })
        })
        .connect_with(options)
        .await
        .map_err(|error| explain(&place, error))?;
    match prepare(&pool, &place).await {
        Ok(()) => Ok(Db::Postgres(pool)),
        Err(error) => {
            pool.close().await;
            Err(error)
        }
    }
}

/// Begins a transaction. In a task of its own: dropped half-way, `begin` would leave its connection inside a
/// transaction (see `open`); a task is not dropped with whoever waits for it.
pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin().await }).await;
    begun.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed))
}

async fn prepare(pool: &PgPool, place: &str) -> Result<(), StoreError> {
    let explain = |error: sqlx::Error| explain(place, error);
    let mut tx = begin(pool).await.map_err(explain)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *tx)
        .await
        .map_err(explain)?;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
            .fetch_all(&mut *tx)
            .await
            .map_err(explain)?;
    if !tables.is_empty() && !tables.iter().any(|table| table == "_sqlx_migrations") {
        return Err(StoreError::Unusable(format!(
            "{place} belongs to another program: give stepherd a database of its own"
        )));
    }
    let migrated = MIGRATIONS.run_direct(None, &mut *tx, false).await;
    migrated.map_err(|e| explain_migration(&MIGRATIONS, place, e, explain))?;
    tx.commit().await.map_err(explain)
}

/// Where it is, without credentials.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("PostgreSQL at {}:{}/{database}", options.get_host(), options.get_port())
}

fn explain(place: &str, error: sqlx::Error) -> StoreError {
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

/// What an error of PostgreSQL's means, if it is one that does not pass.
pub(super) fn verdict(refused: &dyn sqlx::error::DatabaseError) -> Option<StoreError> {
    let code = refused.try_downcast_ref::<PgDatabaseError>()?.code();
    // Class XX: internal errors, damaged data and indexes among them.
    (code == "XX001" || code == "XX002").then(|| {
        StoreError::Unusable(format!(
            "the database is damaged ({refused}): stop stepherd and restore a backup"
        ))
    })
}

/// Passes hints on, both ways, until it is dropped.
pub(super) async fn relay(pool: &PgPool, ours: &Notify, wake: &(impl Fn() + Send + Sync)) {
    loop {
        if let Err(error) = relay_once(pool, ours, wake).await {
            tracing::warn!(%error, "hints from other processes do not come now; polling goes on");
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

async fn relay_once(pool: &PgPool, ours: &Notify, wake: &(impl Fn() + Send + Sync)) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    let notify = format!("NOTIFY {CHANNEL}");
    loop {
        tokio::select! {
            heard = listener.try_recv() => match heard? {
                Some(_) => wake(),
                // The connection was lost and made anew; what was said meanwhile is found by looking.
                None => wake(),
            },
            () = ours.notified() => {
                pool.execute(sqlx::AssertSqlSafe(notify.clone())).await?;
                tokio::time::sleep(HINT_SPACING).await;
            }
        }
    }
}
