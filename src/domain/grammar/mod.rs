//! Finds commands in what people write. Deterministic, linear in the text, never panics, asks nobody: whoever
//! wrote it, what they may and what exists in the world is for `policy` and `decide`.
//!
//! A command counts only where a line of a top-level paragraph starts with it: what is quoted, listed, fenced,
//! indented, commented out or wrapped in backticks was not said to us.

use super::command::{Command, Invocation, Misread};
use super::ids::Platform;
use super::signal::Text;

/// What a piece of text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A command, valid in form. `/dcr`, `/dcr ?` and `/dcr help` are its help verb; a verb asked about
    /// (`/dcr help retry`) stands in the argument `verb`, known to exist.
    Invocation(Invocation),
    /// Something that starts like a command of ours but is none.
    Misread(Misread),
}

/// The commands in a text, in its order.
pub fn find(text: &Text, commands: &[Command], place: &Platform) -> Vec<Found> {
    let _ = (text, commands, place);
    Vec::new()
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
    let _ = (command, verb, args, commands, place);
    None
}

/// The candidate most like a word, if one is like enough to have been meant. Candidates of equal likeness: the first.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Likeness takes time in the product of the lengths; nobody mistypes a name longer than names can be.
    let word: String = word.chars().take(80).collect();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(&word, candidate);
        let close = likeness >= 0.8 || strsim::damerau_levenshtein(&word, candidate) <= 1;
        if close && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}
