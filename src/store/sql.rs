//! One SQL text for both engines: what a statement takes, what it runs on, and how it begins a transaction.
//!
//! Statements take `$1`, `$2` … and differ between the engines only where [`Text::Two`] says so. Rows are read by
//! sqlx's own `FromRow`, which is generic over the engine.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Sqlite, SqliteConnection, Transaction};

use super::gate::{Gates, Point};
use super::lent::{Lent, in_time};
use super::sqlite::Opened;
use super::{StoreError, postgres, sqlite};

/// A statement's text.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// The same for both engines.
    One(&'static str),
    /// What differs.
    Two {
        /// For SQLite.
        sqlite: &'static str,
        /// For PostgreSQL.
        postgres: &'static str,
    },
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::One(text)
    }
}

impl Text {
    fn sqlite(self) -> &'static str {
        match self {
            Self::One(text) | Self::Two { sqlite: text, .. } => text,
        }
    }

    fn postgres(self) -> &'static str {
        match self {
            Self::One(text) | Self::Two { postgres: text, .. } => text,
        }
    }
}

/// A value on its way into the database.
pub(super) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

/// PostgreSQL's text cannot hold the character U+0000, which outside input may contain; so no engine's does.
pub(super) fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(storable(value)))
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        value.clone().into()
    }
}

impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(storable))
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        value.map(str::to_owned).into()
    }
}

impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

/// What a statement runs on: one connection of either engine.
pub(super) enum Link<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut Lent),
}

/// Something that has a connection.
pub(super) trait Linked: Send {
    fn link(&mut self) -> Link<'_>;
}

/// A connection for reading.
pub(super) enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(Lent),
}

impl Linked for Conn {
    fn link(&mut self) -> Link<'_> {
        match self {
            Self::Sqlite(conn) => Link::Sqlite(conn),
            Self::Postgres(lent) => Link::Postgres(lent),
        }
    }
}

/// A transaction that may write. Dropping it undoes it.
pub(super) struct Tx {
    pub(super) inner: TxInner,
    /// The verb it belongs to, for the gate.
    pub(super) verb: &'static str,
    pub(super) gates: Gates,
}

pub(super) enum TxInner {
    /// With the file it is in, if it is in one.
    Sqlite(Transaction<'static, Sqlite>, Option<Arc<Opened>>),
    Postgres(Lent),
}

impl Linked for Tx {
    fn link(&mut self) -> Link<'_> {
        match &mut self.inner {
            TxInner::Sqlite(tx, _) => Link::Sqlite(tx),
            TxInner::Postgres(lent) => Link::Postgres(lent),
        }
    }
}

impl Tx {
    /// Makes it durable.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.gates.pass(self.verb, Point::BeforeCommit).await?;
        match self.inner {
            TxInner::Sqlite(tx, file) => {
                tx.commit().await?;
                // Only now it is known where it went.
                file.map_or(Ok(()), |file| file.check())?;
            }
            TxInner::Postgres(lent) => lent.commit().await?,
        }
        self.gates.pass(self.verb, Point::AfterCommit).await
    }

    /// Undoes it.
    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        match self.inner {
            TxInner::Sqlite(tx, _) => tx.rollback().await?,
            TxInner::Postgres(lent) => lent.rollback().await?,
        }
        Ok(())
    }
}

/// A row that can be read from either engine.
pub(super) trait Row: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> {}
impl<T> Row for T where T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> {}

/// A statement with its values.
pub(super) struct Sql {
    text: Text,
    args: Vec<Arg>,
}

/// A statement.
pub(super) fn sql(text: impl Into<Text>) -> Sql {
    Sql {
        text: text.into(),
        args: Vec::new(),
    }
}

/// A query with all its values.
macro_rules! bound {
    ($query:expr, $args:expr) => {{
        let mut query = $query;
        for arg in $args {
            query = match arg {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}
/// Runs a query on whichever engine it is.
macro_rules! run {
    ($self:ident, $on:ident, $query:path, $run:ident) => {
        match $on.link() {
            Link::Sqlite(conn) => {
                let query = bound!($query($self.text.sqlite()), $self.args);
                query.$run(conn).await
            }
            Link::Postgres(lent) => {
                let query = bound!($query($self.text.postgres()), $self.args);
                let (conn, left) = lent.ask()?;
                let answer = in_time(left, query.$run(conn)).await;
                lent.answered(&answer);
                answer
            }
        }
    };
}

impl Sql {
    /// The next value.
    pub(super) fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Runs it; how many rows it changed.
    pub(super) async fn execute(self, on: &mut impl Linked) -> sqlx::Result<u64> {
        match on.link() {
            Link::Sqlite(conn) => {
                let query = bound!(sqlx::query(self.text.sqlite()), self.args);
                Ok(query.execute(conn).await?.rows_affected())
            }
            Link::Postgres(lent) => {
                let query = bound!(sqlx::query(self.text.postgres()), self.args);
                let (conn, left) = lent.ask()?;
                let answer = in_time(left, query.execute(conn)).await;
                lent.answered(&answer);
                Ok(answer?.rows_affected())
            }
        }
    }

    /// All its rows.
    pub(super) async fn all<T: Row>(self, on: &mut impl Linked) -> sqlx::Result<Vec<T>> {
        run!(self, on, sqlx::query_as, fetch_all)
    }

    /// Its row, if there is one.
    pub(super) async fn optional<T: Row>(self, on: &mut impl Linked) -> sqlx::Result<Option<T>> {
        run!(self, on, sqlx::query_as, fetch_optional)
    }

    /// Its row.
    pub(super) async fn one<T: Row>(self, on: &mut impl Linked) -> sqlx::Result<T> {
        run!(self, on, sqlx::query_as, fetch_one)
    }

    /// The only column of all its rows.
    pub(super) async fn column<T>(self, on: &mut impl Linked) -> sqlx::Result<Vec<T>>
    where
        (T,): Row,
    {
        Ok(self.all::<(T,)>(on).await?.into_iter().map(|(value,)| value).collect())
    }
}

impl From<sqlx::Error> for StoreError {
    /// Busy, full and failing disks, cut connections and servers that start pass or get repaired; a file that is no
    /// database does not.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { index, source } => Self::Unreadable {
                what: format!("column {index}"),
                why: source.to_string(),
            },
            sqlx::Error::Database(refused) => {
                let verdict = sqlite::verdict(refused.as_ref()).or_else(|| postgres::verdict(refused.as_ref()));
                verdict.unwrap_or_else(|| Self::Unavailable(refused.to_string()))
            }
            sqlx::Error::PoolTimedOut => Self::Unavailable("all connections are at work".to_owned()),
            sqlx::Error::PoolClosed => Self::Unavailable("it is closed".to_owned()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
