//! `stepherd deliveries`: what came in, what became of it, and doing it again.

use std::path::Path;

use serde_json::json;

use super::{Exit, Which, failed, show, store_of};
use crate::clock::{Clock as _, SystemClock};
use crate::store::{DeliveryView, Store};

/// What to do with deliveries.
#[derive(Debug, clap::Subcommand)]
pub enum Deliveries {
    /// List deliveries, newest first
    List(Which),
    /// Show one delivery with its body
    Show {
        /// Its number in the list
        number: i64,
    },
    /// Deal with a parked or finished delivery again; what it already did is not done twice
    Replay {
        /// Its number in the list
        number: i64,
    },
}

/// Runs the subcommand.
pub async fn run(config: &Path, what: Deliveries) -> Exit {
    let store = match store_of(config).await {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    match what {
        Deliveries::List(which) => list(&store, &which).await,
        Deliveries::Show { number } => show(&store, number).await,
        Deliveries::Replay { number } => match store.replay_delivery(number, SystemClock.now()).await {
            Ok(true) => {
                say!("Delivery {number} will be dealt with again.");
                Exit::Good
            }
            Ok(false) => failed(format!("delivery {number} is not there, or is still pending")),
            Err(error) => failed(error),
        },
    }
}

async fn list(store: &Store, which: &Which) -> Exit {
    let found = match store.deliveries(which.state.as_deref(), which.limit).await {
        Ok(found) => found,
        Err(error) => return failed(error),
    };
    if which.json {
        show::json(&json!({ "deliveries": found.iter().map(view).collect::<Vec<_>>() }));
    } else {
        let row = |d: &DeliveryView| {
            vec![
                d.seq.to_string(),
                d.received_at.to_string(),
                d.platform.to_string(),
                d.kind.clone(),
                d.state.clone(),
                d.note.clone(),
            ]
        };
        show::table(
            &["#", "RECEIVED", "PLATFORM", "KIND", "STATE", "NOTE"],
            found.iter().map(row).collect(),
        );
    }
    Exit::Good
}

async fn show(store: &Store, number: i64) -> Exit {
    match store.delivery_by_seq(number).await {
        Ok(Some((seen, delivery))) => {
            let body = String::from_utf8_lossy(&delivery.body).into_owned();
            let mut shown = view(&seen);
            shown["target"] = json!(delivery.target);
            shown["body"] = serde_json::from_str(&body).unwrap_or(json!(body));
            show::json(&shown);
            Exit::Good
        }
        Ok(None) => failed(format!(
            "there is no delivery {number}; `stepherd deliveries list` shows what there is"
        )),
        Err(error) => failed(error),
    }
}

fn view(seen: &DeliveryView) -> serde_json::Value {
    json!({
        "number": seen.seq, "platform": seen.platform.as_str(), "deliveryId": seen.delivery_id, "kind": seen.kind,
        "receivedAt": seen.received_at.to_string(), "state": seen.state, "note": seen.note, "attempts": seen.attempts,
        "bodyBytes": seen.body_bytes,
    })
}
