//! THE MEMORY: deliveries, runs, history, locks, effects and sent messages, behind a few verbs.
//!
//! The store decides nothing and calls nothing. Whatever belongs together is one transaction. Time comes in as an
//! argument, and on PostgreSQL leases go by the database's own clock. Two engines: SQLite, embedded, for one serving
//! process; PostgreSQL for any number of them. The verbs are written once, over `sql.rs`; what is special about an
//! engine stands in `sqlite.rs` and `postgres.rs`.

mod accepted;
mod backup;
mod bundle;
mod claims;
mod commit;
mod cursors;
mod deliveries;
mod effects;
mod gate;
mod group;
mod hints;
mod inbox;
mod lent;
mod messages;
mod open;
mod pauses;
mod pg_dump;
mod postgres;
mod retention;
pub mod rows;
mod runs;
mod shards;
mod sql;
mod sqlite;
pub mod types;

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::Notify;

pub use backup::{Backup, backup, backup_within};
pub use gate::{Gate, Point};
pub use open::Serving;
pub use postgres::Limits;
pub use retention::{Aged, Retired};
pub use shards::Shards;
pub use sqlite::check_version as check_sqlite_version;
pub use types::*;

use gate::Gates;
use inbox::Inbox;
use lent::{Purpose, Server, Turn};
use sql::{Conn, Tx, TxInner};
use sqlite::Opened;

/// A handle on the database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    db: Db,
    inbox: Inbox,
    gates: Gates,
    /// Told when there may be work for other processes on the same database.
    hint: Arc<Notify>,
}

/// The engine under the store.
#[derive(Clone)]
enum Db {
    Sqlite {
        /// One connection: writers queue here instead of at the file's lock, where they would time out.
        writer: SqlitePool,
        /// Several connections that cannot write; the same as `writer` for a database in memory.
        reader: SqlitePool,
        /// Absent for a database in memory.
        file: Option<Arc<Opened>>,
    },
    Postgres(Arc<Server>),
}

/// What may be done to a database in order to open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// It is made if it is not there, and migrated if it is older.
    Making,
    /// It must be there, and is migrated if it is older.
    Migrating,
    /// It must be there and be of this version.
    AsItIs,
}

/// What a commit has to outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Everything, a power cut at the next moment included.
    Durable,
    /// The end of the process, however it comes. On SQLite a power cut, which is the end of the only process there is,
    /// may undo it: nothing but who holds a delivery and that it was dealt with, which may happen again.
    Light,
}

impl Db {
    async fn write(
        &self,
        verb: &'static str,
        gates: &Gates,
        weight: Weight,
        purpose: Purpose,
    ) -> Result<Tx, StoreError> {
        let inner = match self {
            Self::Sqlite { writer, file, .. } => TxInner::Sqlite(sqlite::begin(writer, weight).await?, file.clone()),
            Self::Postgres(server) => {
                let mut lent = server.lend(purpose).await?;
                lent.begin().await?;
                TxInner::Postgres(lent)
            }
        };
        let gates = gates.clone();
        Ok(Tx { inner, verb, gates })
    }

    async fn read(&self, purpose: Purpose) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Sqlite { reader, .. } => Conn::Sqlite(reader.acquire().await?),
            Self::Postgres(server) => Conn::Postgres(server.lend(purpose).await?),
        })
    }
}

impl Store {
    /// Puts a gate at both sides of every commit of this handle and its clones.
    #[must_use]
    pub fn gated(self, gate: Arc<dyn Gate>) -> Self {
        let gates = Gates(Some(gate));
        Self {
            inbox: Inbox::start(&self.db, &gates),
            gates,
            ..self
        }
    }

    /// Begins a transaction that may write.
    async fn write(&self, verb: &'static str) -> Result<Tx, StoreError> {
        self.db.write(verb, &self.gates, Weight::Durable, Purpose::Work).await
    }

    /// Begins a light one.
    async fn write_light(&self, verb: &'static str) -> Result<Tx, StoreError> {
        self.db.write(verb, &self.gates, Weight::Light, Purpose::Work).await
    }

    /// Begins one that renews a lease, on a connection that no other work holds. Light: a renewal that a power cut
    /// undoes belonged to a process that is gone.
    async fn write_lease(&self, verb: &'static str) -> Result<Tx, StoreError> {
        self.db.write(verb, &self.gates, Weight::Light, Purpose::Leases).await
    }

    /// A connection for reading.
    async fn read(&self) -> Result<Conn, StoreError> {
        self.db.read(Purpose::Work).await
    }

    /// The time that leases go by: the given one where one process serves alone, the database's where several do,
    /// whose own clocks may differ.
    async fn lease_now(&self, tx: &mut Tx, now: Timestamp) -> Result<i64, StoreError> {
        let now = rows::millis(now);
        match self.db {
            Db::Sqlite { .. } => Ok(now),
            Db::Postgres(_) => {
                let (now,) = sql::sql("SELECT stepherd_now($1)").bind(now).one::<(i64,)>(tx).await?;
                Ok(now)
            }
        }
    }

    /// Claims come one after the other, for a moment each: two at once would not see each other's, and could hand out
    /// what has to stay in order. SQLite has one writer anyway. On PostgreSQL a process may stand still with its turn,
    /// or get it when it has been standing still for a while, so whoever has it is given less time than others.
    async fn one_claim_at_a_time(&self, tx: &mut Tx, of: i64) -> Result<(), StoreError> {
        if let Db::Postgres(server) = &self.db {
            let idle = server.limits.idle_in_claim.as_millis().to_string();
            sql::sql(
                "SELECT 1 FROM (SELECT set_config('idle_in_transaction_session_timeout', $2, true),
                    pg_advisory_xact_lock($1)) AS held",
            )
            .bind(of)
            .bind(idle)
            .execute(tx)
            .await?;
        }
        Ok(())
    }

    /// Goes before a transaction that takes its turn (`commit::take_turn`), and ends after it. SQLite has one writer.
    async fn queue_for_turn(&self) -> Result<Option<Turn>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(None);
        };
        let waited = || StoreError::Unavailable("others of this process wait for their turn for too long".to_owned());
        server.turn().await.map(Some).ok_or_else(waited)
    }

    /// There may be something to do, also for other processes.
    fn stir(&self) {
        self.hint.notify_one();
    }

    /// Calls `wake` when another process on the same database may have made work, and tells the others when this one
    /// has. Only a hint, so that nobody has to wait for the next poll. Runs until it is dropped.
    pub async fn relay_hints(&self, wake: impl Fn() + Send + Sync) {
        match &self.db {
            Db::Sqlite { .. } => std::future::pending().await,
            Db::Postgres(server) => hints::relay(server, &self.hint, &wake).await,
        }
    }
}
