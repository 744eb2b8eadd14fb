//! Documentation made from the catalog, so that it cannot be wrong.

use std::fmt::Write as _;

use crate::domain::command::{Arg, Command, TriggerOn};
use crate::domain::pipeline::ParamKind;

/// The line in the README that the table of commands follows.
pub const TABLE_BEGIN: &str = "<!-- commands: begin (made from commands/*.toml) -->";
/// The line in the README that ends the table of commands.
pub const TABLE_END: &str = "<!-- commands: end -->";

/// What people may say, as a Markdown table: usage, meaning, roles, places. Triggers follow it, a line each.
pub fn command_table(commands: &[Command]) -> String {
    let mut out = String::from("| Say | To | Who | Where |\n|---|---|---|---|\n");
    for command in commands {
        for verb in &command.verbs {
            let usage: String = verb.args.iter().map(|arg| format!(" {}", usage(arg))).collect();
            let _ = writeln!(
                out,
                "| `/{} {}{}` | {} | {} | {} |",
                command.name,
                verb.name,
                cell(&usage),
                cell(&verb.help),
                joined(&verb.roles),
                joined(&verb.places),
            );
        }
    }
    let mut triggers = String::new();
    for (command, trigger) in commands.iter().flat_map(|c| c.triggers.iter().map(move |t| (c, t))) {
        let when = match &trigger.on {
            TriggerOn::Ticket { project, to } => {
                let of = if project.is_empty() {
                    String::new()
                } else {
                    format!(" of {project}")
                };
                format!("A ticket{of} that reaches “{to}”")
            }
            TriggerOn::Pr { repo, change, label } => {
                let of = if repo.is_empty() {
                    String::new()
                } else {
                    format!(" of {repo}")
                };
                let with = if label.is_empty() {
                    String::new()
                } else {
                    format!(" with the label “{label}”")
                };
                format!(
                    "A pull request{of}{with} that is {}",
                    format!("{change:?}").to_lowercase()
                )
            }
        };
        let _ = writeln!(
            triggers,
            "- {} means `/{} {}`.",
            plain(&when),
            command.name,
            trigger.verb
        );
    }
    if !triggers.is_empty() {
        let _ = write!(out, "\nWithout words:\n\n{triggers}");
    }
    out
}

/// The text with what stands between the two marker lines replaced by the table. `None` if a marker is missing.
pub fn with_command_table(text: &str, commands: &[Command]) -> Option<String> {
    let (before, rest) = text.split_once(TABLE_BEGIN)?;
    let (_, after) = rest.split_once(TABLE_END)?;
    Some(format!(
        "{before}{TABLE_BEGIN}\n{}{TABLE_END}{after}",
        command_table(commands)
    ))
}

/// `<tenant>`, `[farmers_min=1..100]`, `[run]`.
fn usage(arg: &Arg) -> String {
    let values = match &arg.kind {
        ParamKind::Int { min, max } if (*min, *max) != (i64::MIN, i64::MAX) => format!("={min}..{max}"),
        ParamKind::Choice(choices) => format!("={}", choices.join("|")),
        ParamKind::Bool => "=true|false".to_owned(),
        _ => String::new(),
    };
    if arg.required {
        format!("<{}{values}>", arg.name)
    } else {
        format!("[{}{values}]", arg.name)
    }
}

fn joined<T: std::fmt::Display>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Text that cannot become markup.
fn plain(text: &str) -> String {
    cell(text).replace('<', "&lt;").replace('`', "'")
}
