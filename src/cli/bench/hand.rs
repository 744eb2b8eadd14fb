//! The database behind the program's back: to fill it in bulk, and to count what it really holds.

use std::str::FromStr as _;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// A connection to either engine.
pub(super) enum Hand {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The same on both.
macro_rules! on {
    ($hand:expr, $conn:ident => $what:expr) => {
        match $hand {
            Hand::Sqlite($conn) => $what.map_err(said),
            Hand::Postgres($conn) => $what.map_err(said),
        }
    };
}

fn said(error: sqlx::Error) -> String {
    format!("the database: {error}")
}

impl Hand {
    pub(super) async fn open(url: &str) -> Result<Self, String> {
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url).map_err(said)?;
            let opened = SqliteConnection::connect_with(&options).await;
            Ok(Self::Sqlite(opened.map_err(said)?))
        } else {
            Ok(Self::Postgres(PgConnection::connect(url).await.map_err(said)?))
        }
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Runs statements of the benchmark's own making.
    pub(super) async fn run(&mut self, text: &str) -> Result<(), String> {
        let statement = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
        on!(self, conn => statement.execute(conn).await.map(drop))
    }

    /// The one number that a statement gives.
    pub(super) async fn number(&mut self, text: &str) -> Result<i64, String> {
        on!(self, conn => sqlx::query_scalar(AssertSqlSafe(text.to_owned())).fetch_one(conn).await)
    }

    /// The texts that a statement gives.
    pub(super) async fn texts(&mut self, text: &str) -> Result<Vec<String>, String> {
        on!(self, conn => sqlx::query_scalar(AssertSqlSafe(text.to_owned())).fetch_all(conn).await)
    }

    /// A table's columns, and whether each is text.
    pub(super) async fn columns(&mut self, table: &str) -> Result<Vec<(String, bool)>, String> {
        let text = if self.is_sqlite() {
            format!("SELECT name, CAST(type = 'TEXT' AS INTEGER) FROM pragma_table_info('{table}') ORDER BY cid")
        } else {
            format!(
                "SELECT CAST(column_name AS TEXT), CAST(CASE WHEN data_type = 'text' THEN 1 ELSE 0 END AS BIGINT)
                 FROM information_schema.columns WHERE table_name = '{table}' AND table_schema = current_schema()
                 ORDER BY ordinal_position"
            )
        };
        let found: Vec<(String, i64)> = on!(self, conn => sqlx::query_as(AssertSqlSafe(text)).fetch_all(conn).await)?;
        Ok(found.into_iter().map(|(name, is_text)| (name, is_text == 1)).collect())
    }

    pub(super) async fn close(self) -> Result<(), String> {
        match self {
            Self::Sqlite(conn) => conn.close().await.map_err(said),
            Self::Postgres(conn) => conn.close().await.map_err(said),
        }
    }
}
