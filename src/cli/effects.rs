//! `stepherd effects`: what is still to be done outside, what is parked, and releasing it.

use std::path::Path;

use serde_json::json;

use super::{Exit, Which, failed, show, store_of};
use crate::clock::{Clock as _, SystemClock};
use crate::store::{EffectView, Store, StoreError};

/// What to do with effects.
#[derive(Debug, clap::Subcommand)]
pub enum Effects {
    /// List effects, newest first
    List(Which),
    /// Try a parked effect again, or all of them
    Release {
        /// Its number in the list
        #[arg(required_unless_present = "all")]
        number: Option<i64>,
        /// All that are parked
        #[arg(long, conflicts_with = "number")]
        all: bool,
    },
}

/// Runs the subcommand.
pub async fn run(config: &Path, what: Effects) -> Exit {
    let store = match store_of(config).await {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    match what {
        Effects::List(which) => match store.effects(which.state.as_deref(), which.limit).await {
            Ok(found) if which.json => {
                show::json(&json!({ "effects": found.iter().map(view).collect::<Vec<_>>() }));
                Exit::Good
            }
            Ok(found) => {
                let row = |e: &EffectView| {
                    let run = e.run.as_ref().map(ToString::to_string).unwrap_or_default();
                    vec![
                        e.id.to_string(),
                        run,
                        e.key.clone(),
                        e.state.clone(),
                        e.due.to_string(),
                        e.failures.to_string(),
                        e.reason.clone(),
                    ]
                };
                show::table(
                    &["#", "RUN", "WHAT", "STATE", "DUE", "FAILURES", "REASON"],
                    found.iter().map(row).collect(),
                );
                Exit::Good
            }
            Err(error) => failed(error),
        },
        Effects::Release { number: None, .. } => match release_all(&store).await {
            Ok(released) => {
                anstream::println!("{released} effects will be tried again.");
                Exit::Good
            }
            Err(error) => failed(error),
        },
        Effects::Release {
            number: Some(number), ..
        } => match store.release_effect(number, SystemClock.now()).await {
            Ok(true) => {
                say!("Effect {number} will be tried again.");
                Exit::Good
            }
            Ok(false) => failed(format!("effect {number} is not there, or is not parked")),
            Err(error) => failed(error),
        },
    }
}

/// Releases what is parked now; how many there were.
async fn release_all(store: &Store) -> Result<usize, StoreError> {
    let mut released = 0;
    for parked in store.effects(Some("parked"), u32::MAX).await? {
        released += usize::from(store.release_effect(parked.id, SystemClock.now()).await?);
    }
    Ok(released)
}

fn view(effect: &EffectView) -> serde_json::Value {
    json!({
        "number": effect.id, "run": effect.run.as_ref().map(|run| run.as_str()), "key": effect.key, "state": effect.state,
        "due": effect.due.to_string(), "failures": effect.failures, "reason": effect.reason,
    })
}
