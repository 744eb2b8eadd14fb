//! Where a measurement takes place: a folder with the shipped configuration and a database, both new, both removed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use toml_edit::{DocumentMut, Item, value};
use url::Url;

use super::hand::Hand;
use super::payload;
use crate::catalog::{self, Catalog};
use crate::clock::{Clock as _, SystemClock};
use crate::store::Store;

/// Opens the API.
pub(super) const API_TOKEN: &str = "an-api-token-of-the-benchmark";
/// The repository that holds what runs change.
pub(super) const DEPLOYMENT: &str = "acme/deployment";

const COMMAND: &str = include_str!("../../../commands/dcr.toml");
const PIPELINE: &str = include_str!("../../../config/pipelines/dcr.toml");

/// A place for one measurement.
pub(super) struct Place {
    dir: TempDir,
    /// As `Store::open` takes it.
    pub(super) url: String,
    /// The server's address and the name of the database on it, where it is PostgreSQL.
    server: Option<(String, String)>,
    outside: SocketAddr,
}

impl Place {
    /// A new one. `server` is a PostgreSQL server; `outside` is where the stand-ins listen; jobs are looked at every
    /// `every_s` seconds.
    pub(super) async fn new(server: Option<&str>, outside: SocketAddr, every_s: u64) -> Result<Self, String> {
        let said = |e: std::io::Error| format!("cannot make a folder to measure in: {e}");
        let dir = tempfile::Builder::new()
            .prefix("stepherd-bench-")
            .tempdir()
            .map_err(said)?;
        for folder in ["commands", "config/pipelines"] {
            fs::create_dir_all(dir.path().join(folder)).map_err(said)?;
        }
        let people = format!(
            "[[role]]\nname = \"viewer\"\naccounts = [\"github:{}\"]\n\n[[role]]\nname = \"operator\"\n\n[[role]]\nname = \"approver\"\n",
            payload::AUTHOR
        );
        for (name, text) in [
            ("commands/dcr.toml", COMMAND.to_owned()),
            ("config/pipelines/dcr.toml", looked_at_every(every_s)?),
            ("config/people.toml", people),
            ("config/stepherd.toml", String::new()),
        ] {
            fs::write(dir.path().join(name), text).map_err(said)?;
        }
        let (url, server) = match server {
            None => (format!("sqlite:{}", dir.path().join("stepherd.db").display()), None),
            Some(server) => {
                let name = format!("stepherd_bench_{:016x}", SystemClock.random());
                let mut url = Url::parse(server).map_err(|e| format!("--database: {e}"))?;
                url.set_path(&format!("/{name}"));
                Hand::open(server)
                    .await?
                    .run(&format!("CREATE DATABASE {name}"))
                    .await?;
                (url.into(), Some((server.to_owned(), name)))
            }
        };
        Ok(Self {
            dir,
            url,
            server,
            outside,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path().join("config")
    }

    /// The settings as an administrator would give them. Everything else is as shipped, the log's level too.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let outside = format!("http://{}", self.outside);
        let settings = [
            ("DATABASE__URL", self.url.as_str()),
            ("SERVER__API_TOKEN", API_TOKEN),
            ("GITHUB__WEBHOOK_SECRET", payload::SECRET),
            ("GITHUB__TOKEN", "a-token-of-the-benchmark"),
            ("GITHUB__API_URL", &outside),
            ("DCR__BASE_URL", &outside),
            ("DCR__TOKEN", "another-token-of-the-benchmark"),
        ];
        settings
            .map(|(key, text)| (format!("STEPHERD__{key}"), text.to_owned()))
            .into()
    }

    pub(super) fn catalog(&self) -> Result<Catalog, String> {
        catalog::load(&self.config(), &self.environment()).map_err(|problems| problems.to_string())
    }

    /// The database, by the program's own verbs.
    pub(super) async fn store(&self) -> Result<Store, String> {
        Store::open(&self.url).await.map_err(|e| e.to_string())
    }

    /// The database, behind the program's back.
    pub(super) async fn hand(&self) -> Result<Hand, String> {
        Hand::open(&self.url).await
    }

    /// How large the database is now, its log left out.
    pub(super) async fn database_bytes(&self) -> Result<u64, String> {
        let bytes = match &self.server {
            None => fs::metadata(self.path().join("stepherd.db")).map_or(0, |file| file.len()),
            Some(_) => {
                let size = self
                    .hand()
                    .await?
                    .number("SELECT pg_database_size(current_database())")
                    .await?;
                u64::try_from(size).unwrap_or(0)
            }
        };
        Ok(bytes)
    }

    /// How large SQLite's write-ahead log is; `None` on PostgreSQL.
    pub(super) fn log_bytes(&self) -> Option<u64> {
        let log = self.path().join("stepherd.db-wal");
        self.server
            .is_none()
            .then(|| fs::metadata(log).map_or(0, |file| file.len()))
    }

    /// Removes it.
    pub(super) async fn close(self) -> Result<(), String> {
        if let Some((server, name)) = &self.server {
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            Hand::open(server).await?.run(&drop).await?;
        }
        self.dir.close().map_err(|e| format!("cannot remove the folder: {e}"))
    }
}

fn looked_at_every(seconds: u64) -> Result<String, String> {
    let mut file: DocumentMut = PIPELINE.parse().map_err(|e| format!("the shipped pipeline: {e}"))?;
    let steps = file.get_mut("step").and_then(Item::as_array_of_tables_mut);
    for step in steps.into_iter().flat_map(|steps| steps.iter_mut()) {
        if step.get("every").is_some() {
            step["every"] = value(format!("{seconds}s"));
        }
    }
    Ok(file.to_string())
}
