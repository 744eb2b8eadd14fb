//! A folder for stepherd in the town: the configuration as an administrator would write it, the database, the logs,
//! and payloads to send by hand.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::sandbox::town::{GUILD, Town};

/// What is shipped, so that it runs from any folder.
const SHIPPED: [(&str, &str); 4] = [
    ("commands/dcr.toml", include_str!("../../../commands/dcr.toml")),
    (
        "commands/provision.toml",
        include_str!("../../../commands/provision.toml"),
    ),
    (
        "config/pipelines/dcr.toml",
        include_str!("../../../config/pipelines/dcr.toml"),
    ),
    (
        "config/pipelines/provision.toml",
        include_str!("../../../config/pipelines/provision.toml"),
    ),
];

/// Settings whose last word is one of these never stand in a file of settings.
const SECRETS: [&str; 4] = ["token", "secret", "secret_previous", "private_key"];

/// A folder of its own. Dropping it removes it.
pub(in crate::cli) struct Folder {
    dir: TempDir,
}

impl Folder {
    /// An empty one for this subcommand, which nobody else may read.
    pub(in crate::cli) fn new(subcommand: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("stepherd-{subcommand}-"))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()?;
        for folder in ["commands", "config/pipelines", "secrets", "payloads"] {
            fs::create_dir_all(dir.path().join(folder))?;
        }
        Ok(Self { dir })
    }

    pub(in crate::cli) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where `--config` points.
    pub(in crate::cli) fn config(&self) -> PathBuf {
        self.path().join("config")
    }

    /// Where its database is, unless it is told otherwise.
    pub(in crate::cli) fn database(&self) -> String {
        format!("sqlite:{}", self.path().join("stepherd.db").display())
    }

    /// The log of one stepherd of this name.
    pub(in crate::cli) fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// Leaves the folder where it is.
    pub(in crate::cli) fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// Writes the shipped files, the town's people, and the settings that connect stepherd to the town.
    pub(in crate::cli) fn configure(&self, town: &Town, listen: SocketAddr) -> Result<(), String> {
        let said = |error: io::Error| format!("cannot write its configuration: {error}");
        for (name, text) in SHIPPED {
            let text = if name.starts_with("config/pipelines/") {
                quicker(text)?
            } else {
                in_the_towns_places(text)
            };
            fs::write(self.path().join(name), text).map_err(said)?;
        }
        fs::write(self.config().join("people.toml"), town.people_toml()).map_err(said)?;
        fs::write(
            self.path().join("secrets/discord-signing-key"),
            Town::discord_signing_key(),
        )
        .map_err(said)?;
        let mut settings = self.settings(town).map_err(said)?;
        settings["server"]["listen"] = value(listen.to_string());
        settings["database"]["url"] = value(self.database());
        settings["engine"]["edit_spacing_s"] = value(1);
        // Here a few people ask for more than hundreds would elsewhere.
        settings["engine"]["answers_max"] = value(10_000);
        fs::write(self.config().join("stepherd.toml"), settings.to_string()).map_err(said)
    }

    /// The town's settings as a file, and its secrets as files of their own.
    fn settings(&self, town: &Town) -> io::Result<DocumentMut> {
        let mut settings = DocumentMut::new();
        for section in ["server", "database", "engine"] {
            settings[section] = Item::Table(Table::new());
        }
        for (name, text) in town.settings() {
            let name = name.trim_start_matches("STEPHERD__").to_lowercase();
            let Some((section, key)) = name.split_once("__") else {
                continue;
            };
            let table = settings[section].or_insert(Item::Table(Table::new()));
            if SECRETS.iter().any(|secret| key.ends_with(secret)) {
                let path = self.path().join("secrets").join(format!("{section}-{key}"));
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?;
                io::Write::write_all(&mut file, text.as_bytes())?;
                table[&format!("{key}_file")] = value(path.display().to_string());
            } else if key == "app_id" {
                table[key] = value(text.parse::<i64>().map_err(io::Error::other)?);
            } else {
                table[key] = value(text);
            }
        }
        Ok(settings)
    }

    /// Writes a payload to send by hand.
    pub(in crate::cli) fn payload(&self, name: &str, body: &str) -> io::Result<()> {
        fs::write(self.path().join("payloads").join(name), body)
    }
}

/// The command may be given in the town's Discord server, where the shipped ones name none, and on all its tickets.
fn in_the_towns_places(command: &str) -> String {
    let server = format!("\ndiscord = [{{ guild = \"{GUILD}\" }}]\n");
    let both = "\njira = [\"SREPROV\", \"PROV\"]\n";
    command
        .replace("\ndiscord = []\n", &server)
        .replace("\njira = [\"SREPROV\"]\n", both)
}

/// The pipeline with jobs that are looked at every second: the stand-ins are quicker than a real cluster.
fn quicker(pipeline: &str) -> Result<String, String> {
    let mut file: DocumentMut = pipeline.parse().map_err(|e| format!("a shipped pipeline: {e}"))?;
    let steps = file.get_mut("step").and_then(Item::as_array_of_tables_mut);
    for step in steps.into_iter().flat_map(|steps| steps.iter_mut()) {
        if step.get("kind").and_then(Item::as_str) == Some("work") {
            step["every"] = value("1s");
        }
    }
    Ok(file.to_string())
}
