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
    let escaped: String = format!("{value:#}")
        .chars()
        .map(|c| {
            if steers(c) {
                format!("\\u{:04x}", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect();
    say!("{escaped}");
}

/// Outside text must not steer the terminal, nor turn around what stands beside it.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether the character steers a terminal, or changes the direction in which text is read.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c != '\n' && (c.is_control() || turns)
}
