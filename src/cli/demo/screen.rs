//! Tells the tale on the terminal: what people do, what is said, and progress on a line that is rewritten.

use std::collections::HashMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::scene::{Message, Scene, Thread};
use crate::cli::town::terminal::{DIM, Terminal, WIDTH, cut};

const BOLD: Style = Style::new().bold();

/// The terminal, and what was told on it.
pub(super) struct Screen {
    terminal: Terminal,
    last: Scene,
    /// Where each message was seen first. A card is followed there, and not repeated elsewhere.
    leads: HashMap<String, String>,
    /// The progress told last.
    progress: String,
    state: String,
}

impl Screen {
    /// A screen that tells everything, or nothing.
    pub(super) fn new(silent: bool) -> Self {
        Self {
            terminal: Terminal::new(silent),
            last: Scene::default(),
            leads: HashMap::new(),
            progress: String::new(),
            state: String::new(),
        }
    }

    /// From now on nothing is rewritten, because somebody types.
    pub(super) fn stop_rewriting(&mut self) {
        self.terminal.stop_rewriting();
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) {
        self.terminal.line(text);
    }

    /// A line in the background.
    pub(super) fn aside(&mut self, text: &str) {
        self.terminal.aside(text);
    }

    /// What somebody does, or what happens.
    pub(super) fn stage(&mut self, text: &str) {
        self.terminal.stage(text);
    }

    /// Something that was checked.
    pub(super) fn check(&mut self, what: &str, differs: Option<&str>) {
        self.terminal.check(what, differs);
    }

    /// Tells what is new in the town since the last look.
    pub(super) fn show(&mut self, scene: &Scene) {
        let last = std::mem::take(&mut self.last);
        for pull in &scene.pulls {
            let before = last.pulls.iter().find(|known| known.name == pull.name);
            if before.is_none() {
                let text = format!("  GitHub: {} opened: {}", pull.name, pull.title);
                self.line(&text);
                self.aside(&format!("          from branch {}", pull.branch));
            }
            let merged = pull.merged.as_ref();
            if let Some(merged) = merged.filter(|_| before.is_none_or(|before| before.merged.is_none())) {
                let by = pull.merged_by.as_deref().unwrap_or("somebody");
                self.line(&format!(
                    "  GitHub: {} merged as {} by {by}",
                    pull.name,
                    merged.get(..7).unwrap_or(merged)
                ));
            }
        }
        for (key, status) in &scene.tickets {
            let before = last.tickets.iter().find(|(known, _)| known == key);
            if let Some((_, before)) = before.filter(|(_, before)| before != status) {
                self.line(&format!("  Jira: {key} moves from “{before}” to “{status}”"));
            }
        }
        for thread in &scene.threads {
            let known = last.said(&thread.place);
            for said in &thread.messages {
                match known.iter().find(|known| known.id == said.id) {
                    None => self.new_message(thread, said),
                    Some(before) if before != said => self.changed(thread, before, said),
                    Some(_) => {}
                }
            }
        }
        self.last = scene.clone();
    }

    fn new_message(&mut self, thread: &Thread, said: &Message) {
        let who = format!("{}, {}{}", thread.name(), said.author, for_whom(said));
        let ours = said.author.starts_with("stepherd");
        let lead = self.leads.get(&said.key());
        if ours && lead.is_some_and(|lead| *lead != thread.place) {
            let place = thread.name();
            let place = place
                .split_once(" › ")
                .map_or(place.clone(), |(room, _)| format!("{room} › thread"));
            let head = cut(&format!("{place}: {}", said.head()), WIDTH - 10);
            self.aside(&format!("  {head} (as above)"));
            return;
        }
        self.line(&format!("\n  {BOLD}{who}{BOLD:#}"));
        self.body(thread, said);
        if ours {
            self.leads.insert(said.key(), thread.place.clone());
            (self.state, self.progress) = progress(said);
        }
    }

    fn changed(&mut self, thread: &Thread, before: &Message, said: &Message) {
        for reaction in said.reactions.iter().filter(|new| !before.reactions.contains(new)) {
            self.line(&format!("  {} reacts to “{}”: {reaction}", thread.name(), said.head()));
        }
        let followed = self.leads.get(&said.key()) == Some(&thread.place);
        if before.text == said.text || !followed {
            return;
        }
        let (state, progress) = progress(said);
        if progress == self.progress {
            return;
        }
        if state != self.state {
            self.terminal.close();
        }
        self.terminal
            .rewrite(&format!("{progress} · edited {}", times(said.edits)));
        (self.state, self.progress) = (state, progress);
    }

    /// Every thread in full.
    pub(super) fn threads(&mut self, scene: &Scene) {
        for thread in &scene.threads {
            self.line(&format!("\n{BOLD}{}{BOLD:#}", thread.name()));
            for said in &thread.messages {
                let mut how = for_whom(said).to_owned();
                if said.edits > 0 {
                    let _ = write!(how, ", edited {}", times(said.edits));
                }
                for reaction in &said.reactions {
                    let _ = write!(how, ", {reaction}");
                }
                self.line(&format!("  {BOLD}{}{BOLD:#}{DIM}{how}{DIM:#}", said.author));
                self.body(thread, said);
            }
        }
    }

    fn body(&mut self, thread: &Thread, said: &Message) {
        let colour = match thread.platform {
            "Jira" => AnsiColor::Blue,
            "Discord" => AnsiColor::Magenta,
            _ => AnsiColor::Green,
        };
        let bar = colour.on_default();
        for line in said.text.lines().flat_map(|line| wrapped(line, WIDTH)) {
            self.line(&format!("  {bar}┃{bar:#} {line}"));
        }
    }
}

fn for_whom(said: &Message) -> &'static str {
    if said.private { " (to who asked only)" } else { "" }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// What a card says of where its run stands: the state alone, and with the bar and what is being done.
fn progress(card: &Message) -> (String, String) {
    let state = card.head().split_once(" — ").map_or("", |(_, state)| state).to_owned();
    let mut lines = card.text.lines().skip(1);
    let bar = lines
        .clone()
        .find(|line| line.ends_with('%') && !line.ends_with(" 0 %"));
    let doing = lines.find_map(|line| {
        let field = line.trim_start_matches("- ");
        field
            .strip_prefix("Doing: ")
            .or_else(|| field.strip_prefix("Waiting for: "))
    });
    let mut line = state.clone();
    for part in [bar, doing].into_iter().flatten() {
        let _ = write!(line, " · {part}");
    }
    (state, line)
}

/// The line in pieces that fit, broken between words where possible; what follows the first is indented.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut now = String::new();
    for word in line.split(' ') {
        if !now.trim().is_empty() && now.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut now, "  ".to_owned()));
        } else if !lines.is_empty() || !now.is_empty() {
            now.push(' ');
        }
        now.push_str(word);
    }
    lines.push(now);
    lines
}
