//! `stepherd check`: is the configuration right?

use std::path::Path;

use serde_json::{Value, json};

use super::{Exit, environment, show};
use crate::catalog;

/// Loads everything and says every problem at once.
pub fn run(config: &Path, as_json: bool) -> Exit {
    match catalog::load(config, &environment()) {
        Ok(catalog) if as_json => {
            let platforms: Vec<_> = catalog
                .settings
                .platforms()
                .iter()
                .map(|s| json!({ "name": s.name, "on": s.on, "why": s.why }))
                .collect();
            show::json(&json!({ "problems": [], "platforms": platforms }));
            Exit::Good
        }
        Ok(catalog) => {
            let (commands, pipelines) = (catalog.commands.len(), catalog.pipelines.len());
            anstream::println!("All good: {commands} commands, {pipelines} pipelines.");
            for status in catalog.settings.platforms() {
                anstream::println!(
                    "  {:8} {} ({})",
                    status.name,
                    if status.on { "on" } else { "off" },
                    status.why
                );
            }
            Exit::Good
        }
        Err(problems) if as_json => {
            let list: Value = serde_json::from_str(&problems.to_json()).unwrap_or_default();
            show::json(&json!({ "problems": list }));
            Exit::BadInput
        }
        Err(problems) => {
            anstream::eprintln!("{problems}");
            Exit::BadInput
        }
    }
}
