//! What is special about SQLite: how a write begins, how rows are claimed, what its errors mean. A second engine
//! replaces this file, `open.rs` and the migrations, and nothing else.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};

/// Takes the write lock at once. A deferred transaction that writes after reading fails with
/// `SQLITE_BUSY_SNAPSHOT` when somebody else wrote in between, and no busy timeout helps.
/// PostgreSQL: `BEGIN`.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// Claims deliveries; $1 now, $2 end of the lease, $3 limit. PostgreSQL: `FOR UPDATE SKIP LOCKED` ends the inner
/// `SELECT`.
pub(super) const CLAIM_DELIVERIES: &str = "
    UPDATE deliveries SET epoch = epoch + 1, attempts = attempts + 1, lease_until = $2
    WHERE seq IN (
        SELECT seq FROM deliveries
        WHERE state = 'pending' AND due <= $1 AND (lease_until IS NULL OR lease_until <= $1)
        ORDER BY seq LIMIT $3)
    RETURNING seq, epoch, attempts, platform, delivery_id, kind, target, headers, body, received_at";

/// Claims effects; $1 now, $2 end of the lease, $3 limit. A lease that is still there was never settled.
/// PostgreSQL: `FOR UPDATE SKIP LOCKED` ends the inner `SELECT`.
pub(super) const CLAIM_EFFECTS: &str = "
    UPDATE effects SET epoch = epoch + 1, lease_until = $2,
        unclear = CASE WHEN lease_until IS NULL THEN unclear ELSE 1 END
    WHERE id IN (
        SELECT id FROM effects
        WHERE state = 'pending' AND due <= $1 AND (lease_until IS NULL OR lease_until <= $1)
        ORDER BY lane, due, id LIMIT $3)
    RETURNING id, epoch, generation, key, run_id, lane, body, due, failures, unclear, since";

impl Store {
    /// Begins a transaction that may write. Dropping it undoes it.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.begin().await?)
    }

    /// The same with the driver's own error, for `open` to explain.
    pub(super) async fn begin(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.writer.begin_with(BEGIN_WRITE).await
    }
}

impl From<sqlx::Error> for StoreError {
    /// Busy, full and failing disks pass or get repaired; a file that is no database does not.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { index, source } => Self::Unreadable {
                what: format!("column {index}"),
                why: source.to_string(),
            },
            sqlx::Error::Database(refused) => match primary_code(refused.as_ref()) {
                Some(CORRUPT) => Self::Unusable(format!(
                    "the database is damaged ({refused}): stop stepherd and restore a backup"
                )),
                Some(NOT_A_DATABASE) => Self::Unusable(format!("the file is not a SQLite database ({refused})")),
                Some(READ_ONLY) => Self::Unusable(format!("the database cannot be written ({refused})")),
                _ => Self::Unavailable(refused.to_string()),
            },
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// `SQLITE_BUSY`: somebody else holds the write lock.
pub(super) const BUSY: i32 = 5;
/// `SQLITE_READONLY`.
pub(super) const READ_ONLY: i32 = 8;
/// `SQLITE_CORRUPT`.
const CORRUPT: i32 = 11;
/// `SQLITE_CANTOPEN`.
pub(super) const CANNOT_OPEN: i32 = 14;
/// `SQLITE_NOTADB`.
pub(super) const NOT_A_DATABASE: i32 = 26;

/// The primary result code; the driver gives the extended one, whose low byte it is.
pub(super) fn primary_code(error: &dyn sqlx::error::DatabaseError) -> Option<i32> {
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}
