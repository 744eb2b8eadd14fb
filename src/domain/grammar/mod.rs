//! Finds commands in what people write. Deterministic, linear in the text, never panics, asks nobody: whoever
//! wrote it, what they may and what exists in the world is for `policy` and `decide`.
//!
//! A command counts only where a line of a top-level paragraph starts with it: what is quoted, listed, fenced,
//! indented, commented out or wrapped in backticks was not said to us.

mod line;
mod markdown;
mod words;

use super::command::{Command, Invocation, Misread};
use super::ids::Platform;
use super::signal::Text;

/// The longest text that is looked at, in bytes; several times what any platform takes as one message.
const TEXT_MAX: usize = 256 * 1024;
/// How many commands of one text count.
const COMMANDS_MAX: usize = 10;

/// What a piece of text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A command, valid in form. `/dcr`, `/dcr ?` and `/dcr help` are its verb with the action `Help`; a verb asked
    /// about (`/dcr help retry`) stands in the argument `verb` and exists.
    Invocation(Invocation),
    /// Something that starts like a command of ours but is none.
    Misread(Misread),
}

/// The commands in a text, in its order; at most ten, and one more answer saying so. Text of more than 256 KiB
/// holds none.
pub fn find(text: &Text, commands: &[Command], place: &Platform) -> Vec<Found> {
    let lines: Vec<&str> = match text {
        Text::Markdown(source) if source.len() > TEXT_MAX || !source.contains('/') => Vec::new(),
        Text::Markdown(source) => markdown::line_starts(source),
        Text::Lines(lines) if lines.iter().map(String::len).sum::<usize>() > TEXT_MAX => Vec::new(),
        Text::Lines(lines) => lines.iter().map(String::as_str).collect(),
    };
    let mut found = Vec::new();
    for line in lines {
        let Some(read) = line::read(line, commands, place) else {
            continue;
        };
        if found.len() == COMMANDS_MAX {
            found.push(Found::Misread(Misread {
                command: read.command().clone(),
                problem: format!("only the first {COMMANDS_MAX} commands of a text count; the rest was left alone"),
                suggestion: None,
            }));
            break;
        }
        found.push(read);
    }
    found
}

/// The command as a line that is read as this very command. A value that no line can hold is shown as `…`.
pub fn written(said: &Invocation) -> String {
    let mut line = format!("/{} {}", said.command, said.verb);
    for (name, value) in &said.args {
        let value = words::written(value).unwrap_or_else(|| "…".to_owned());
        line.push_str(&format!(" {name}={value}"));
    }
    line
}

/// A structured command (a slash command's options, a button): the same rules as for text, without the reading.
/// `None` when no command of that name exists.
pub fn resolve(
    command: &str,
    verb: &str,
    args: &[(String, String)],
    commands: &[Command],
    place: &Platform,
) -> Option<Found> {
    line::resolve(command, verb, args, commands, place)
}
