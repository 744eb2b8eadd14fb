//! `stepherd check`: is the configuration right?

use std::path::Path;

use serde_json::{Value, json};

use super::{Exit, environment, show};
use crate::catalog::settings::Retention;
use crate::catalog::{self, Problem, Problems};
use crate::wiring;

/// Loads everything and says every problem at once. Warnings change no exit code: what they warn of may be meant.
pub fn run(config: &Path, as_json: bool) -> Exit {
    // What only the parts of the program can tell, whether a key is one, is told whatever else is wrong.
    let fits = catalog::settings(config, &environment()).map(|settings| wiring::hands(&settings));
    let unfit = match fits {
        Ok(Err(why)) => Problems::one("settings", &why),
        Ok(Ok(_)) | Err(_) => Problems::default(),
    };
    let loaded = match catalog::load(config, &environment()) {
        Ok(catalog) if unfit.is_empty() => Ok(catalog),
        Ok(_) => Err(unfit),
        Err(problems) => Err(problems.and(unfit)),
    };
    match loaded {
        Ok(catalog) if as_json => {
            let platforms: Vec<_> = catalog
                .settings
                .platforms()
                .iter()
                .map(|s| json!({ "name": s.name, "on": s.on, "why": s.why }))
                .collect();
            let Retention {
                deliveries_days,
                runs_days,
                accepted_days,
            } = catalog.settings.retention;
            let retention = json!({
                "deliveriesDays": deliveries_days, "runsDays": runs_days, "acceptedDays": accepted_days,
            });
            let warnings: Vec<_> = catalog.warnings.iter().map(warning).collect();
            show::json(&json!({
                "problems": [], "warnings": warnings, "platforms": platforms, "retention": retention,
            }));
            Exit::Good
        }
        Ok(catalog) => {
            let (commands, pipelines) = (catalog.commands.len(), catalog.pipelines.len());
            say!("All good: {commands} commands, {pipelines} pipelines.");
            for status in catalog.settings.platforms() {
                say!(
                    "  {:8} {} ({})",
                    status.name,
                    if status.on { "on" } else { "off" },
                    status.why
                );
            }
            let kept = &catalog.settings.retention;
            say!(
                "Kept: deliveries {}, finished runs {}, what has taken effect {}.",
                days(kept.deliveries_days),
                days(kept.runs_days),
                days(kept.accepted_days)
            );
            for warning in &catalog.warnings {
                say!("Warning: {warning}");
            }
            Exit::Good
        }
        Err(problems) if as_json => {
            let list: Value = serde_json::from_str(&problems.to_json()).unwrap_or_default();
            let warnings: Vec<_> = problems.warnings().map(warning).collect();
            show::json(&json!({ "problems": list, "warnings": warnings }));
            Exit::BadInput
        }
        Err(problems) => {
            show::problems(&problems);
            for warning in problems.warnings() {
                anstream::eprintln!("Warning: {warning}");
            }
            Exit::BadInput
        }
    }
}

fn warning(found: &Problem) -> Value {
    json!({
        "file": found.file, "line": found.line, "column": found.column,
        "message": found.message, "hint": found.hint,
    })
}

fn days(kept: u32) -> String {
    match kept {
        0 => "for ever".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
