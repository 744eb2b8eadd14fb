//! The terminal: lines that stay, and one line at the bottom that is rewritten.

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};

/// Narrower than the narrowest terminal that people use, with room for the bar.
pub(in crate::cli) const WIDTH: usize = 74;
pub(in crate::cli) const DIM: Style = Style::new().dimmed();
const STAGE: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing: standard output is for JSON.
    Silent,
    /// Every line stays: for files, and while people type.
    Lines,
    /// Progress rewrites its line.
    Live,
}

/// Standard output.
pub(in crate::cli) struct Terminal {
    mode: Mode,
    /// How wide the line at the bottom is if it may still be rewritten.
    open: Option<usize>,
}

impl Terminal {
    /// One that shows everything, or nothing.
    pub(in crate::cli) fn new(silent: bool) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let mode = match (silent, terminal) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        };
        Self { mode, open: None }
    }

    /// Whether progress can be rewritten.
    pub(in crate::cli) fn is_live(&self) -> bool {
        self.mode == Mode::Live
    }

    /// From now on nothing is rewritten, because somebody types.
    pub(in crate::cli) fn stop_rewriting(&mut self) {
        self.close();
        if self.mode == Mode::Live {
            self.mode = Mode::Lines;
        }
    }

    /// A line as it is.
    pub(in crate::cli) fn line(&mut self, text: &str) {
        self.close();
        self.put(&format!("{text}\n"));
    }

    /// A line in the background.
    pub(in crate::cli) fn aside(&mut self, text: &str) {
        self.line(&format!("{DIM}{text}{DIM:#}"));
    }

    /// What somebody does, or what happens.
    pub(in crate::cli) fn stage(&mut self, text: &str) {
        self.line(&format!("\n{STAGE}● {text}{STAGE:#}"));
    }

    /// Something that was checked.
    pub(in crate::cli) fn check(&mut self, what: &str, differs: Option<&str>) {
        match differs {
            None => self.line(&format!("  {GOOD}✔{GOOD:#} {what}")),
            Some(why) => self.line(&format!("  {BAD}✘ {what}: {why}{BAD:#}")),
        }
    }

    /// Says a line of progress over the one before, where that is possible.
    pub(in crate::cli) fn rewrite(&mut self, text: &str) {
        // A line that wraps cannot be rewritten.
        let text = cut(text, WIDTH);
        let bar = format!("  {DIM}│{DIM:#} {text}");
        if self.mode != Mode::Live {
            self.put(&format!("{bar}\n"));
            return;
        }
        let width = text.chars().count();
        let rest = self.open.unwrap_or_default().saturating_sub(width);
        self.put(&format!("\r{bar}{}", " ".repeat(rest)));
        self.open = Some(width);
    }

    /// Ends a line that could be rewritten till now.
    pub(in crate::cli) fn close(&mut self) {
        if self.open.take().is_some() {
            self.put("\n");
        }
    }

    fn put(&self, text: &str) {
        if self.mode == Mode::Silent {
            return;
        }
        // Whoever closed the terminal does not want to read on; the rest still ends in good order.
        let mut out = anstream::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

/// The text, or as much of it as fits.
pub(in crate::cli) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width - 1).collect();
    format!("{start}…")
}
