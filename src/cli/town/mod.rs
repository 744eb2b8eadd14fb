//! What the demo and the torture have in common: the town on the machine's clock, stepherd's folder in it, the
//! terminal, and reading what people read.

pub(crate) mod folder;
pub(crate) mod terminal;
pub(crate) mod words;

use crate::adapters::discord::{Discord, registration};
use crate::catalog::Catalog;
use crate::clock::{Clock as _, SystemClock};
use crate::sandbox::town::{GUILD, Town, TownOptions, now_from};
use crate::wiring;

/// A town that lives by itself, by the machine's clock.
pub(in crate::cli) async fn lively() -> Result<Town, String> {
    let now = now_from(|| SystemClock.now());
    let options = TownOptions {
        now: now.clone(),
        auth_now: now,
        lively: true,
        keys: None,
    };
    Town::start(options).await
}

/// Offers the commands in the town's Discord, as `stepherd commands register` does.
pub(in crate::cli) async fn register(catalog: &Catalog) -> Result<(), String> {
    let discord = Discord::new(&wiring::discord_config(&catalog.settings)?)?;
    let commands = registration(&catalog.commands);
    discord
        .register(Some(GUILD), &commands)
        .await
        .map_err(|e| e.to_string())
}
