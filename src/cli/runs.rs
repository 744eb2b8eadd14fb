//! `stepherd runs`: what runs, read from the database.

use std::path::Path;

use serde_json::json;

use super::{Exit, failed, show, store_of};
use crate::domain::card;
use crate::domain::ids::TicketKey;
use crate::domain::standing;
use crate::store::RunFilter;
use crate::web;

/// Which runs to list.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only runs that are not finished
    #[arg(long)]
    live: bool,
    /// Only runs about this ticket, like SREPROV-3072
    #[arg(long)]
    ticket: Option<TicketKey>,
    /// Only runs of this pipeline
    #[arg(long)]
    pipeline: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists runs, newest first.
pub async fn list(config: &Path, args: ListArgs) -> Exit {
    let store = match store_of(config).await {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    let filter = RunFilter {
        place: None,
        ticket: args.ticket,
        live_only: args.live,
        pipeline: args.pipeline,
        limit: args.limit,
    };
    let runs = match store.runs(&filter).await {
        Ok(runs) => runs,
        Err(error) => return failed(error),
    };
    if args.json {
        show::json(&json!({ "runs": runs.iter().map(web::summary).collect::<Vec<_>>() }));
    } else {
        let row = |run: &crate::domain::run::Run| {
            vec![
                run.id.to_string(),
                card::headline(run),
                standing::progress(run).to_string(),
                run.asked_by.name.clone(),
                run.asked_at.to_string(),
            ]
        };
        show::table(
            &["RUN", "STANDS", "PROGRESS", "ASKED BY", "ASKED AT"],
            runs.iter().map(row).collect(),
        );
    }
    Exit::Good
}

/// Shows one run with its history.
pub async fn show(config: &Path, id: &str, as_json: bool) -> Exit {
    let id = match id.parse() {
        Ok(id) => id,
        Err(error) => {
            anstream::eprintln!("stepherd: {error}");
            return Exit::BadInput;
        }
    };
    let store = match store_of(config).await {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    let found = async {
        Ok::<_, crate::store::StoreError>((
            store.run(&id).await?,
            store.history(&id).await?,
            store.effects_of(&id).await?,
        ))
    };
    match found.await {
        Ok((Some(run), history, effects)) if as_json => {
            show::json(&web::detail(&run, &history, &effects));
            Exit::Good
        }
        Ok((Some(run), history, effects)) => {
            say!("{}", show::visible(&card::headline(&run)));
            let rows = history
                .iter()
                .map(|entry| vec![entry.seq.to_string(), entry.at.to_string(), card::happened(&entry.what)]);
            show::table(&["#", "AT", "WHAT"], rows.collect());
            for effect in effects.iter().filter(|effect| effect.state == "parked") {
                say!(
                    "parked effect {}: {} ({})",
                    effect.id,
                    effect.key,
                    show::visible(&effect.reason)
                );
            }
            Exit::Good
        }
        Ok((None, ..)) => failed(format!(
            "there is no run {id}; `stepherd runs list` shows what there is"
        )),
        Err(error) => failed(error),
    }
}
