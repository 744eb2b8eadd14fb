//! The database under the processes: SQLite in memory, or a new one on PostgreSQL.

use sqlx::{AssertSqlSafe, Executor as _};
use stepherd::clock::Clock as _;

use crate::postgres::Database;
use crate::world::TestClock;

/// So many looks at the database in a row without anything moving, and nothing moves any more. On PostgreSQL several
/// connections move at their own pace.
const STILL: u32 = 24;
const STILL_ON_POSTGRES: u32 = 100;

/// The time of the database itself, by which leases go on PostgreSQL: the town's, whatever a process takes it to be.
const CLOCK: &str = "CREATE TABLE town_clock (ms BIGINT NOT NULL);
    INSERT INTO town_clock VALUES (0);
    CREATE OR REPLACE FUNCTION stepherd_now(BIGINT) RETURNS BIGINT LANGUAGE sql VOLATILE
        AS 'SELECT ms FROM town_clock'";

/// The database of one story.
pub enum Base {
    Sqlite,
    Postgres(Database),
}

/// Whether stories are told on PostgreSQL.
pub fn is_postgres() -> bool {
    match std::env::var("STEPHERD_SIM_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("STEPHERD_SIM_DATABASE is sqlite or postgres, not {other}"),
    }
}

impl Base {
    pub async fn new() -> Self {
        if !is_postgres() {
            return Self::Sqlite;
        }
        let database = Database::new().await;
        database.store().await.close().await;
        database.by_hand().await.execute(CLOCK).await.unwrap();
        Self::Postgres(database)
    }

    pub fn url(&self) -> &str {
        match self {
            Self::Sqlite => "sqlite::memory:",
            Self::Postgres(database) => &database.url,
        }
    }

    /// Whether leases go by its clock, not by the processes'.
    pub fn has_a_clock(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub fn still(&self) -> u32 {
        match self {
            Self::Sqlite => STILL,
            Self::Postgres(_) => STILL_ON_POSTGRES,
        }
    }

    /// Its clock shows the town's time.
    pub async fn tell_time(&self, clock: &TestClock) {
        if let Self::Postgres(database) = self {
            let set = format!("UPDATE town_clock SET ms = {}", clock.now().as_millisecond());
            database.by_hand().await.execute(AssertSqlSafe(set)).await.unwrap();
        }
    }

    pub async fn end(self) {
        if let Self::Postgres(database) = self {
            database.drop().await;
        }
    }
}
