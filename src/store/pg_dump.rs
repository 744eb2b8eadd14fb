//! Backups of PostgreSQL, which are `pg_dump`'s work: it knows best how to copy a server while it works.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::process::Command;
use url::Url;

use super::backup::{HOLDS, Held};
use super::lent::in_time;
use super::{Limits, StoreError};

/// Options of an address, and the variables that say the same to PostgreSQL's programs.
const OPTIONS: [(&str, &str); 4] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// How long counting what is in the database may take.
const COUNTING: Duration = Duration::from_secs(60);

/// How the programs find the database. The password is told by a variable, never on a command line, which every user
/// of the machine can read.
struct Way {
    host: String,
    port: String,
    user: String,
    database: String,
    /// What has no place on a command line.
    rest: Vec<(&'static str, String)>,
}

/// Dumps the database to `part`, reads the dump back, and says what is in it. `to` is for words only.
pub(super) async fn dump(url: &str, part: &Path, to: &Path, limits: Limits) -> Result<Held, StoreError> {
    let unreadable =
        |error: &dyn std::fmt::Display| StoreError::Unusable(format!("the database's address cannot be read: {error}"));
    let options = PgConnectOptions::from_str(url).map_err(|error| unreadable(&error))?;
    let way = Way::of(&Url::parse(url).map_err(|error| unreadable(&error))?, &options);
    let options = options.application_name("stepherd backup");
    let mut conn = in_time(limits.acquire, options.connect()).await?;
    // One moment for what is counted and what is dumped.
    let begin = conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    in_time(limits.verb, begin).await?;
    let export = sqlx::query_as("SELECT pg_export_snapshot()").fetch_one(&mut conn);
    let (snapshot,): (String,) = in_time(limits.verb, export).await?;
    // Counting everything may take a while.
    let count = sqlx::query_as(HOLDS).fetch_one(&mut conn);
    let held: Held = in_time(COUNTING, count).await.map_err(|error| {
        let code = error.as_database_error().and_then(|refused| refused.code());
        match code.as_deref() {
            Some("42P01") => StoreError::Unusable(format!("it is no database of stepherd's ({error})")),
            _ => error.into(),
        }
    })?;
    let mut dump = Command::new("pg_dump");
    let dump = dump
        // Nobody may be there who could be asked for a password.
        .args(["--no-password", "--format=custom"])
        .arg(format!("--snapshot={snapshot}"))
        .arg("--file")
        .arg(part)
        .envs(way.variables())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let dumped = tokio::select! {
        dumped = dump => dumped,
        silent = silence(&mut conn, limits) => return Err(silent.into()),
    };
    let dumped = dumped.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Unusable(format!(
            "a backup of PostgreSQL is the work of pg_dump, which is not installed here. Install PostgreSQL's client \
             programs, or run where they are:\n  {}",
            way.command(to)
        )),
        _ => StoreError::Unavailable(format!("pg_dump cannot be run: {error}")),
    })?;
    succeeded("pg_dump", &dumped)?;
    // What was dumped is there, however this ends.
    let _ = in_time(limits.verb, conn.close()).await;
    // Restored to nowhere: so all of it is read.
    let read_back = Command::new("pg_restore")
        .arg("--file=/dev/null")
        .arg(part)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| StoreError::Unavailable(format!("the dump cannot be checked with pg_restore: {error}")))?;
    succeeded("pg_restore", &read_back)?;
    Ok(held)
}

/// Ends when the server does not answer any more. A dump may take long, and nobody knows how long; but a server that
/// works answers meanwhile.
async fn silence(conn: &mut PgConnection, limits: Limits) -> sqlx::Error {
    loop {
        tokio::time::sleep(limits.verb).await;
        if let Err(error) = in_time(limits.verb, conn.execute("SELECT 1")).await {
            return error;
        }
    }
}

fn succeeded(program: &str, output: &Output) -> Result<(), StoreError> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(StoreError::Unavailable(format!(
        "{program} has failed ({}): {}",
        output.status,
        said.trim()
    )))
}

impl Way {
    fn of(url: &Url, options: &PgConnectOptions) -> Self {
        let asked = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        let password = url.password().map(|password| {
            let decoded = percent_encoding::percent_decode_str(password);
            decoded.decode_utf8_lossy().into_owned()
        });
        let password = asked("password").map(Into::into).or(password);
        let socket = options.get_socket().map(|folder| folder.display().to_string());
        let mut rest: Vec<_> = password.map(|password| ("PGPASSWORD", password)).into_iter().collect();
        rest.extend(OPTIONS.iter().filter_map(|(name, variable)| {
            let value = asked(name).or_else(|| asked(&name.replace("ssl", "ssl-")))?;
            Some((*variable, value.into_owned()))
        }));
        Self {
            host: socket.unwrap_or_else(|| options.get_host().to_owned()),
            port: options.get_port().to_string(),
            user: options.get_username().to_owned(),
            database: options.get_database().unwrap_or(options.get_username()).to_owned(),
            rest,
        }
    }

    fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = [
            ("PGHOST", &self.host),
            ("PGPORT", &self.port),
            ("PGUSER", &self.user),
            ("PGDATABASE", &self.database),
        ];
        let rest = self.rest.iter().map(|(name, value)| (*name, value.as_str()));
        named
            .into_iter()
            .map(|(name, value)| (name, value.as_str()))
            .chain(rest)
    }

    /// The same by hand. The password is left for its reader to give.
    fn command(&self, to: &Path) -> String {
        let mut command = String::new();
        for (name, value) in &self.rest {
            let shown = if *name == "PGPASSWORD" {
                "…".to_owned()
            } else {
                quoted(value)
            };
            let _ = write!(command, "{name}={shown} ");
        }
        let _ = write!(
            command,
            "pg_dump --format=custom --host={} --port={} --username={} --dbname={} --file={}",
            quoted(&self.host),
            self.port,
            quoted(&self.user),
            quoted(&self.database),
            quoted(&to.display().to_string()),
        );
        command
    }
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
