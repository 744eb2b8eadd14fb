//! THE MEMORY: deliveries, runs, history, locks, effects and sent messages, behind a few verbs.
//!
//! The store decides nothing and calls nothing. Whatever belongs together is one transaction. Time comes in as an
//! argument. SQLite (embedded) is the first engine; the verbs are shaped so that PostgreSQL can be the second: the
//! SQL is plain and takes `$1`, and what differs stands in `sqlite.rs` alone.

mod accepted;
mod commit;
mod cursors;
mod deliveries;
mod effects;
mod messages;
mod open;
pub mod rows;
mod runs;
mod sqlite;
pub mod types;

pub use cursors::ClaimedCursor;
pub use open::check_sqlite_version;
pub use types::*;

use sqlx::SqlitePool;

/// A handle on the database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// One connection: writers queue here instead of at the file's lock, where they would time out.
    writer: SqlitePool,
    /// Several connections that cannot write; the same as `writer` for a database in memory.
    reader: SqlitePool,
}
