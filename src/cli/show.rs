//! Tables and JSON on standard output.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

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
    anstream::println!("{table}");
}

/// Prints a JSON value on lines of its own.
pub(super) fn json(value: &Value) {
    anstream::println!("{value:#}");
}

/// Outside text must not steer the terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
        .collect()
}
