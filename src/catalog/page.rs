//! One configuration file being read: its text, what was found wrong in it, and the way from TOML to a raw struct
//! that goes on after a mistake, so that one run shows them all.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::DeTable;

use super::diagnose::{Problem, Problems, Text, blanked, did_you_mean};
use super::{schema, shape};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T>(Spanned<T>);

impl<T> At<T> {
    pub(super) fn span(&self) -> Range<usize> {
        self.0.span()
    }
    pub(super) fn get(&self) -> &T {
        self.0.get_ref()
    }
    /// Another value at the same place.
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At(Spanned::new(self.span(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(At)
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.get().partial_cmp(other.get())
    }
}

impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.get().cmp(other.get())
    }
}

/// In schemas a value with a place is just the value.
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Names that other files refer to.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// The names.
    pub(super) list: BTreeSet<String>,
    /// Whether all of them are known: a name missing from a file that could not be read in full is no mistake of
    /// whoever refers to it.
    pub(super) complete: bool,
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Page {
    file: String,
    text: Text,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Places that may hold secrets.
    hidden: Vec<Range<usize>>,
    /// Environment variables laid over the file; the first stands one past its end, and so on.
    overlaid: Vec<String>,
    /// Whether parts were left out because they could not be understood.
    pub(super) partial: bool,
    /// Whether values under unknown keys may be secrets.
    secretive: bool,
    /// Whether the text may be shown.
    showable: bool,
}

impl Page {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: Text::new(text),
            problems: Vec::new(),
            warnings: Vec::new(),
            hidden: Vec::new(),
            overlaid: Vec::new(),
            partial: false,
            secretive: false,
            showable: true,
        }
    }

    /// A file that people may have put a secret in by mistake.
    pub(super) fn secretive(file: &str, text: &str) -> Self {
        Self {
            secretive: true,
            ..Self::new(file, text)
        }
    }

    /// The file's name without folders and ending.
    pub(super) fn stem(&self) -> &str {
        Path::new(&self.file)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("")
    }

    /// Whether nothing is wrong so far.
    pub(super) fn clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many things are wrong so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// Something is wrong here.
    pub(super) fn say(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    /// Something is wrong here, and this helps.
    pub(super) fn say_hint(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(span, message.into(), Some(hint.into()));
    }

    pub(super) fn push(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        let problem = self.problem(span, message, hint);
        self.problems.push(problem);
    }

    fn problem(&self, span: Range<usize>, message: String, hint: Option<String>) -> Problem {
        match self.variable(&span) {
            Some(name) => Problem::about("environment", format!("{name}: {message}"), hint),
            None => Problem::at(&self.file, &self.text, span, message, hint),
        }
    }

    /// Nothing is wrong here, but it may not be meant.
    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), Some(hint.into()));
        let warning = self.problem(span, message, hint);
        self.warnings.push(warning);
    }

    /// An environment variable is wrong.
    pub(super) fn say_env(&mut self, name: &str, message: &str, hint: Option<String>) {
        self.problems
            .push(Problem::about("environment", format!("{name}: {message}"), hint));
    }

    /// An environment variable is not wrong, but may not be meant.
    pub(super) fn warn_env(&mut self, name: &str, message: &str, hint: String) {
        self.warnings
            .push(Problem::about("environment", format!("{name}: {message}"), Some(hint)));
    }

    /// The place of a value that an environment variable gives.
    pub(super) fn overlay(&mut self, variable: &str) -> Range<usize> {
        self.overlaid.push(variable.to_owned());
        let at = self.text.text.len() + self.overlaid.len();
        at..at
    }

    /// The variable that gave the value at this place, if one did.
    pub(super) fn variable(&self, span: &Range<usize>) -> Option<&str> {
        let index = span.start.checked_sub(self.text.text.len() + 1)?;
        self.overlaid.get(index).map(String::as_str)
    }

    /// What stands here is never shown.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// What stands under a key that is not known: hidden where it may be a secret.
    pub(super) fn hide_unknown(&mut self, span: Range<usize>) {
        if self.secretive {
            self.hide(span);
        }
    }

    /// Reads the file as `T`. Mistakes in form are noted; what can still be understood is returned.
    pub(super) fn read<T: DeserializeOwned + JsonSchema>(&mut self) -> Option<T> {
        let text = Arc::clone(&self.text.text);
        self.read_with(&text, |_, _, _| {})
    }

    /// As `read`, with values laid over the file's before their form is checked. `text` is the file's own; it is
    /// asked for again so that what is laid over may borrow from as long.
    pub(super) fn read_with<'t, T: DeserializeOwned + JsonSchema>(
        &mut self,
        text: &'t str,
        overlay: impl FnOnce(&mut Self, &mut DeTable<'t>, &serde_json::Value),
    ) -> Option<T> {
        let (mut table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            self.showable = !self.secretive;
            self.partial = true;
            for error in errors {
                self.say(
                    error.span().unwrap_or(0..0),
                    format!("this is no TOML: {}", error.message()),
                );
            }
            return None;
        }
        let form = schema::of::<T>();
        overlay(self, table.get_mut(), &form);
        if !shape::check(self, &form, &mut table) {
            self.partial = true;
            return None;
        }
        match T::deserialize(toml::de::Deserializer::from(table)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.partial = true;
                self.say(error.span().unwrap_or(0..0), error.message().to_owned());
                None
            }
        }
    }

    /// The text as a name or another checked type; a problem if it is none.
    pub(super) fn parse<T: FromStr>(&mut self, text: &At<String>) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        match text.get().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.say(text.span(), T::Err::to_string(&error));
                None
            }
        }
    }

    /// Whether the name is one of these; a problem with a suggestion if it is surely not.
    pub(super) fn refers(&mut self, what: &str, name: &At<String>, names: &Names) -> bool {
        if names.list.contains(name.get()) {
            return true;
        }
        if names.complete {
            let hint = did_you_mean(name.get(), names.list.iter().map(String::as_str));
            self.push(name.span(), format!("there is no {what} `{}`", name.get()), hint);
        }
        false
    }

    /// A problem if the name was there before; otherwise it is noted.
    pub(super) fn unique(&mut self, what: &str, name: &At<String>, seen: &mut BTreeSet<String>) {
        if !seen.insert(name.get().clone()) {
            self.say(name.span(), format!("{what} `{}` is there twice", name.get()));
        }
    }

    /// A place within a text value, given by line and column in it; the whole value where the file writes it
    /// differently (escapes).
    pub(super) fn within(&self, value: &At<String>, line: Option<usize>, column: Option<usize>) -> Range<usize> {
        let span = value.span();
        let source = value.get();
        let Some(start) = self
            .text
            .text
            .get(span.clone())
            .and_then(|written| written.find(source.as_str()))
        else {
            return span;
        };
        let Some(line) = line else {
            return span;
        };
        let line_start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let in_line = source.get(line_start..).unwrap_or("").lines().next().unwrap_or("");
        let column: usize = in_line
            .chars()
            .take(column.map_or(0, |column| column - 1))
            .map(char::len_utf8)
            .sum();
        let at = span.start + start + line_start + column;
        at..(span.start + start + line_start + in_line.len()).max(at)
    }

    /// Hands what was found to the whole.
    pub(super) fn finish(self, into: &mut Problems) {
        let text = self.showable.then(|| blanked(&self.text.text, &self.hidden).into());
        into.add_file(&self.file, text, self.problems, self.warnings);
    }
}
