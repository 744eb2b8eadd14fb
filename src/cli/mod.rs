//! One file per subcommand. Arguments come in parsed, an exit code goes out; everything else is another room's.

/// Prints a line for people or programs.
macro_rules! say {
    ($($said:tt)*) => {
        $crate::cli::show::line(format_args!($($said)*))
    };
}

pub mod backup;
pub mod bench;
pub mod check;
pub mod commands;
pub mod deliveries;
pub mod demo;
pub mod effects;
pub mod runs;
pub mod send;
pub mod serve;
mod show;
pub mod torture;
mod town;

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::ExposeSecret as _;

use crate::catalog::{self, Catalog};
use crate::store::Store;

/// How a subcommand ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Good,
    /// It did not; why has been said.
    Failed,
    /// What it was given is wrong; where has been said.
    BadInput,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::BadInput => 2,
        })
    }
}

/// Why not all that was to be printed was, if that is so; nothing where nobody reads it any more.
pub fn unprinted() -> Option<String> {
    show::unprinted()
}

/// Loads the configuration, or says every problem on standard error.
fn load(config: &Path) -> Result<Catalog, Exit> {
    catalog::load(config, &environment()).map_err(|problems| {
        show::problems(&problems);
        Exit::BadInput
    })
}

/// The environment; variables that are no text cannot be settings.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Opens the database that the configuration names, or says why not. It must be there and of this version: whoever looks
/// makes nothing, and changes no tables under a server.
async fn store_of(config: &Path) -> Result<Store, Exit> {
    let catalog = load(config)?;
    Store::open_as_it_is(catalog.settings.database.url.expose_secret())
        .await
        .map_err(failed)
}

/// Which rows to list.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only `pending`, `done` or `parked`
    #[arg(long, value_parser = ["pending", "done", "parked"])]
    state: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Says a failure on standard error.
fn failed(why: impl std::fmt::Display) -> Exit {
    anstream::eprintln!("stepherd: {why}");
    Exit::Failed
}
