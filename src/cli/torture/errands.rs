//! Errands: small runs that wait for nobody, so that there is always something to change.
//!
//! Rebuilds rest: a back-end works, a vendor hangs, a person thinks. Whether stepherd stands still cannot be told from
//! them. So once a second somebody gives an errand in Discord: a signed interaction, which needs no look-up to be
//! obeyed, and a run that begins and ends with the commits of stepherd alone. They are given in several channels,
//! because what a replica has claimed when it is hit holds its thread back until its lease ends. They are counted like
//! everything else.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::people::Field;
use crate::cli::town::folder::Folder;
use crate::sandbox::town::{GUILD, Town};

/// How often one is given.
const BEAT: Duration = Duration::from_secs(1);
/// Where they are given, in turn.
pub(super) const CHANNELS: [&str; 8] = ["601", "602", "603", "604", "605", "606", "607", "608"];
/// The parameter that tells one from another.
pub(super) const NAME: &str = "errand";

const COMMAND: &str = r#"
name = "errand"
summary = "Run an errand"
pipeline = "errand"

[[verb]]
name = "start"
help = "Run an errand"
roles = ["operator"]
example = "/errand start errand-1"
args = [{ name = "errand", type = "word", required = true, help = "Which one" }]

[[verb]]
name = "status"
help = "Show where an errand stands"
roles = ["operator"]
example = "/errand status"

[[verb]]
name = "retry"
help = "Resume an errand that stopped"
roles = ["operator"]
example = "/errand retry"

[[verb]]
name = "stop"
help = "End an errand"
roles = ["operator"]
example = "/errand stop"

[[verb]]
name = "help"
help = "Say what can be said"
roles = ["operator"]
example = "/errand help"
"#;

const PIPELINE: &str = r#"
name = "errand"
title = "Errand"
command = "errand"

[[param]]
name = "errand"
type = "word"
help = "Which one"

[[step]]
name = "Run"
title = "Run the errand"
kind = "tell"
note = "{{ errand }} is run."
"#;

/// Writes down what an errand is.
pub(super) fn declare(folder: &Folder) -> io::Result<()> {
    let command = format!("{COMMAND}\n[places]\ndiscord = [{{ guild = \"{GUILD}\" }}]\n");
    fs::write(folder.path().join("commands/errand.toml"), command)?;
    fs::write(folder.config().join("pipelines/errand.toml"), PIPELINE)
}

/// Makes the channels where they are given.
pub(super) fn settle(town: &Town) {
    for channel in CHANNELS {
        town.discord.add_channel(GUILD, channel, &format!("errands-{channel}"));
    }
}

/// Gives errands until nothing new is begun; ends when all of them were taken.
pub(super) async fn give(field: Arc<Field>) {
    let mut given = JoinSet::new();
    for (number, channel) in (1_u64..).zip(CHANNELS.iter().cycle()) {
        let field = Arc::clone(&field);
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = field.winding_down.cancelled() => break,
        }
        given.spawn(async move { field.give_errand(channel, number).await });
    }
    while given.join_next().await.is_some() {}
}
