//! Tables and JSON on standard output.

use std::fmt::Arguments;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::catalog::Problems;

/// What went wrong when something was printed first.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints a line. A disk that is full or a reader that is gone is no reason to break off in the middle; how it ends says
/// so.
pub(super) fn line(text: Arguments<'_>) {
    let mut out = anstream::stdout();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        LOST.get_or_init(|| error);
    }
}

pub(super) fn unprinted() -> Option<String> {
    let error = LOST.get()?;
    Some(match error.kind() {
        io::ErrorKind::BrokenPipe => String::new(),
        _ => format!("not all of it could be printed: {error}"),
    })
}

/// Says what is wrong with the configuration: with the lines it stands in on a terminal, a line each elsewhere.
pub(super) fn problems(problems: &Problems) {
    if io::stderr().is_terminal() {
        anstream::eprint!("{}", problems.render(true));
    } else {
        anstream::eprintln!("{problems}");
    }
}

/// Prints rows as a table without borders; control characters in outside text are made visible.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head.to_vec());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| visible(&cell)).collect::<Vec<_>>());
    }
    say!("{table}");
}

/// Prints a JSON value on lines of its own.
pub(super) fn json(value: &Value) {
    say!("{value:#}");
}

/// Outside text must not steer the terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
        .collect()
}
