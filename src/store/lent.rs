//! Connections to PostgreSQL, lent for one verb each.
//!
//! A connection goes back to its pool only when it is known to be idle: its last statement was answered and no
//! transaction is open. Whatever else happens to it (an error, a verb that is dropped half-way, a server that does not
//! answer in time) closes it. So nobody is handed a connection inside somebody else's transaction, which sqlx's pool
//! lets happen (a `begin` that is cancelled, launchbadge/sqlx#4394), and nobody waits for a dead one for ever: neither
//! sqlx nor its pool has any time limit once a connection is made.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgPoolOptions, PgSeverity};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::Limits;
use crate::clock::Stopwatch;

/// Connections of one process, by what they are for. Arrivals are written by one task at a time.
const WORK: u32 = 9;
const ARRIVALS: u32 = 2;
const LEASES: u32 = 3;
/// One more listens.
pub(super) const CONNECTIONS: u32 = WORK + ARRIVALS + LEASES + 1;

/// A connection that has idled for longer is asked whether it still answers before it is lent.
const FRESH: Duration = Duration::from_secs(1);
/// How long it may take to answer that, to go back to its pool, or to close.
const SMALL: Duration = Duration::from_secs(1);

/// What a connection is for. Webhooks and leases have connections of their own, so that neither waits behind work that
/// waits for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Everything else.
    Work,
    /// Storing deliveries.
    Arrivals,
    /// Renewing leases, and telling probes whether the database can be reached.
    Leases,
}

/// The connections of one process.
pub(super) struct Server {
    work: PgPool,
    arrivals: PgPool,
    leases: PgPool,
    options: PgConnectOptions,
    /// Who of this process may wait for its turn at the server.
    turn: Arc<Mutex<()>>,
    pub(super) limits: Limits,
}

/// The right to wait for this process's turn at the server. It ends with the transaction, so it is dropped after that.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Server {
    /// Nothing is connected yet.
    pub(super) fn new(options: PgConnectOptions, limits: Limits) -> Self {
        let options = options.options(limits.settings());
        let pool = |size| pool(size, limits).connect_lazy_with(options.clone());
        Self {
            work: pool(WORK),
            arrivals: pool(ARRIVALS),
            leases: pool(LEASES),
            options,
            turn: Arc::default(),
            limits,
        }
    }

    /// Waits until nobody else of this process waits for its turn at the server, or has it. A process that stands still
    /// is then in the queue there once, not with each of its connections one after the other.
    /// `None` if that takes too long.
    pub(super) async fn turn(&self) -> Option<Turn> {
        timeout(self.limits.verb, self.turn.clone().lock_owned()).await.ok()
    }

    /// A connection for one verb, which may take as long as the limits say.
    pub(super) async fn lend(self: &Arc<Self>, purpose: Purpose) -> sqlx::Result<Lent> {
        let pool = match purpose {
            Purpose::Work => &self.work,
            Purpose::Arrivals => &self.arrivals,
            Purpose::Leases => &self.leases,
        };
        let conn = match pool.acquire().await {
            Ok(conn) => conn,
            Err(error) => return Err(self.why_none(error).await),
        };
        Ok(Lent {
            conn: Some(conn),
            server: self.clone(),
            lent: Stopwatch::start(),
            idle: true,
            in_transaction: false,
        })
    }

    /// Why no connection can be had. A pool tries to connect for as long as it may, and then says only that the time is
    /// over: whether the server does not answer, has no connection to spare or all of ours are at work, it does not tell.
    async fn why_none(&self, error: sqlx::Error) -> sqlx::Error {
        let error = match error {
            sqlx::Error::PoolTimedOut => match in_time(SMALL, self.options.connect()).await {
                Ok(conn) => {
                    // An error in closing changes nothing.
                    let _ = timeout(SMALL, conn.close()).await;
                    sqlx::Error::PoolTimedOut
                }
                Err(why) => why,
            },
            error => error,
        };
        self.doubt_after(&error);
        error
    }

    /// Where it is, without credentials.
    pub(super) fn place(&self) -> String {
        place(&self.options)
    }

    /// A pool of one connection, for what listens. It is not counted among the others and outlives no listener.
    pub(super) fn listening(&self) -> PgPool {
        pool(1, self.limits).connect_lazy_with(self.options.clone())
    }

    pub(super) async fn close(&self) {
        tokio::join!(self.work.close(), self.arrivals.close(), self.leases.close());
    }

    /// When one connection is lost, those that idle may be lost as well, each of which would cost a verb its time:
    /// they are made anew.
    fn doubt_after(&self, error: &sqlx::Error) {
        if !is_lost(error) {
            return;
        }
        for pool in [&self.work, &self.arrivals, &self.leases] {
            while let Some(idle) = pool.try_acquire() {
                drop(idle.detach());
            }
        }
    }
}

/// Where a server is, without credentials.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("PostgreSQL at {}:{}/{database}", options.get_host(), options.get_port())
}

/// Whether the way to the server is broken, and not just what was asked.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(refused) => refused
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|refused| matches!(refused.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        _ => false,
    }
}

fn pool(size: u32, limits: Limits) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(limits.acquire)
        .idle_timeout(None)
        .test_before_acquire(false)
        .before_acquire(|conn, seen: PoolConnectionMetadata| {
            Box::pin(async move {
                if seen.idle_for < FRESH {
                    return Ok(true);
                }
                // An error here closes it, and another one is made.
                in_time(SMALL, conn.ping()).await.map(|()| true)
            })
        })
}

/// A connection that is lent. Dropping it gives it back if it is idle, and closes it if it is not.
pub(super) struct Lent {
    /// Taken when it is dropped.
    conn: Option<PoolConnection<Postgres>>,
    server: Arc<Server>,
    lent: Stopwatch,
    idle: bool,
    in_transaction: bool,
}

impl Lent {
    /// The connection for one statement, and what that may take of the verb's time. Whoever asks tells what was answered.
    pub(super) fn ask(&mut self) -> sqlx::Result<(&mut PgConnection, Duration)> {
        self.idle = false;
        let left = self.server.limits.verb.saturating_sub(self.lent.elapsed());
        let conn = self.conn.as_deref_mut().ok_or(sqlx::Error::PoolClosed)?;
        Ok((conn, left))
    }

    /// Whether the connection is still good after an answer.
    pub(super) fn answered<T>(&mut self, answer: &sqlx::Result<T>) {
        match answer {
            Ok(_) => self.idle = !self.in_transaction,
            Err(error) => self.server.doubt_after(error),
        }
    }

    /// Begins a transaction; dropping it now undoes what was done.
    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.in_transaction = true;
        self.say("BEGIN").await
    }

    /// Ends the transaction for good.
    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        self.end("COMMIT").await
    }

    /// Undoes it.
    pub(super) async fn rollback(mut self) -> sqlx::Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, how: &'static str) -> sqlx::Result<()> {
        self.say(how).await?;
        self.in_transaction = false;
        self.idle = true;
        Ok(())
    }

    async fn say(&mut self, command: &'static str) -> sqlx::Result<()> {
        let (conn, left) = self.ask()?;
        let answer = in_time(left, conn.execute(command)).await;
        self.answered(&answer);
        answer.map(|_| ())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        // Without a runtime it can only be let go of, which closes it as well.
        let Ok(runtime) = Handle::try_current() else {
            drop(conn.detach());
            return;
        };
        if self.idle {
            // Its pool asks it for a sign of life, which may never come.
            runtime.spawn(timeout(SMALL, conn.return_to_pool()));
        } else {
            runtime.spawn(timeout(SMALL, conn.close()));
        }
    }
}

/// An answer, unless it takes too long.
pub(super) async fn in_time<T>(limit: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| {
        Err(sqlx::Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            "the server did not answer in time; the connection is given up",
        )))
    })
}
