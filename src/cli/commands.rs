//! `stepherd commands`: what people may say, and telling Discord of it.

use std::path::Path;

use super::{Exit, failed, load, show};
use crate::adapters::discord::{Discord, registration};
use crate::catalog::docs;
use crate::wiring;

/// What to do with commands.
#[derive(Debug, clap::Subcommand)]
pub enum Commands {
    /// Print the table of commands, as it stands in the README
    List,
    /// Register the commands with Discord, so that people are offered them
    Register {
        /// Only for this server (guild) id; without it, for every server. Server commands show at once
        #[arg(long)]
        guild: Option<String>,
        /// Only print what would be registered
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the subcommand.
pub async fn run(config: &Path, what: Commands) -> Exit {
    let catalog = match load(config) {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    match what {
        Commands::List => {
            say!("{}", docs::command_table(&catalog.commands));
            Exit::Good
        }
        Commands::Register { dry_run: true, .. } => {
            show::json(&registration(&catalog.commands));
            Exit::Good
        }
        Commands::Register { guild, .. } => {
            let discord = match wiring::discord_config(&catalog.settings).and_then(|config| Discord::new(&config)) {
                Ok(discord) => discord,
                Err(why) => return failed(why),
            };
            match discord
                .register(guild.as_deref(), &registration(&catalog.commands))
                .await
            {
                Ok(()) => {
                    say!("Registered {} commands with Discord.", catalog.commands.len());
                    Exit::Good
                }
                Err(error) => failed(error),
            }
        }
    }
}
