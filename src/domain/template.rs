//! Templates in configuration (Jinja syntax), checked at load and rendered with bounds on everything: source,
//! code within it, steps taken and output. Never loads files, never escapes by itself, never renders a name that
//! has no value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, filters, tests};
use serde::{Deserialize, Serialize};

/// The longest source, in bytes: enough for a file's content.
const SOURCE_MAX: usize = 16 * 1024;
/// The longest tag (what stands between `{{ }}` or `{% %}`), in bytes. The compiler recurses over operators and
/// overflows its stack where they chain too long: this and the next bound keep it to half of 2 MiB.
const TAG_MAX: usize = 500;
/// The most tags in one source; chained `elif`s recurse too.
const TAGS_MAX: usize = 200;
/// How many steps a rendering may take.
const FUEL: u64 = 50_000;
/// The longest result, in bytes.
const OUTPUT_MAX: usize = 256 * 1024;

/// Source of a template, checked at load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(String);

/// Why a template cannot be used, with its place in the source where that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TemplateError {
    /// What is wrong, for people. May quote the template.
    pub message: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "{} (line {line}, column {column})", self.message),
            (Some(line), None) => write!(f, "{} (line {line})", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl Template {
    /// Takes source as it is; `check` says whether it compiles.
    pub fn new(source: impl Into<String>) -> Self {
        Self(source.into())
    }

    /// The source.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// Whether it compiles and uses only names that will have a value. A known name is either a root (`tenant`,
    /// with everything under it) or a path (`steps.HistoryUpdate.pr`, then other paths under `steps` are unknown).
    pub fn check(&self, known: &BTreeSet<String>) -> Result<(), TemplateError> {
        let code = self.code()?;
        self.check_helpers(&code)?;
        let used = self.names()?;
        match used.iter().find(|name| !is_known(name, known)) {
            None => Ok(()),
            Some(name) => Err(self.unknown(name, known, &code)),
        }
    }

    /// The names it takes values from, as far as it names them: `fields.summary`, or `fields` if it goes through all.
    pub fn names(&self) -> Result<BTreeSet<String>, TemplateError> {
        self.code()?;
        let environment = environment();
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| self.explain(&error))?;
        let builtin = environment.globals().map(|(name, _)| name).collect::<BTreeSet<_>>();
        // Not in known order, so sort: the same configuration always gives the same first error.
        let used: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
        Ok(used
            .into_iter()
            .filter(|name| !builtin.contains(name.as_str()))
            .collect())
    }

    /// The text it gives over these values. A name without a value, too many steps or too much output is an error.
    pub fn render(&self, context: &serde_json::Value) -> Result<String, TemplateError> {
        self.render_in(&environment(), context)
    }

    /// As `render`, for templates that are Markdown: what expressions give is outside text, so what could become
    /// markup, HTML or a mention in it is escaped; the template's own text is not.
    pub fn render_markdown(&self, context: &serde_json::Value) -> Result<String, TemplateError> {
        let mut environment = environment();
        environment.set_formatter(markdown);
        self.render_in(&environment, context)
    }

    fn render_in(&self, environment: &Environment<'_>, context: &serde_json::Value) -> Result<String, TemplateError> {
        self.code()?;
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| self.explain(&error))?;
        let mut out = Bounded::default();
        let rendered = template.render_captured_to(to_value(context), &mut out).map(|_| ());
        if out.full {
            return Err(error(format!("the result is longer than {OUTPUT_MAX} bytes")));
        }
        rendered.map_err(|error| self.explain(&error))?;
        String::from_utf8(out.bytes).map_err(|_| error("the result is not text".to_owned()))
    }

    /// Where code stands in the source, within bounds.
    fn code(&self) -> Result<Vec<Range<usize>>, TemplateError> {
        if self.0.len() > SOURCE_MAX {
            return Err(error(format!("the template is longer than {SOURCE_MAX} bytes")));
        }
        let code = code_spans(&self.0);
        if code.len() > TAGS_MAX {
            return Err(error(format!("the template holds more than {TAGS_MAX} tags")));
        }
        if let Some(tag) = code.iter().find(|tag| tag.len() > TAG_MAX) {
            let (line, column) = place(&self.0, tag.start);
            return Err(TemplateError {
                message: format!("what stands between `{{` and `}}` is longer than {TAG_MAX} bytes"),
                line: Some(line),
                column: Some(column),
            });
        }
        match code.iter().find_map(|tag| Some((tag, growth(&self.0[tag.clone()])?))) {
            None => Ok(code),
            Some((tag, message)) => {
                let (line, column) = place(&self.0, tag.start);
                Err(TemplateError {
                    message: message.to_owned(),
                    line: Some(line),
                    column: Some(column),
                })
            }
        }
    }

    /// Filters and tests are looked up only when they run, which may be never until the worst moment.
    fn check_helpers(&self, code: &[Range<usize>]) -> Result<(), TemplateError> {
        for helper in code.iter().flat_map(|span| helpers(&self.0, span.clone())) {
            let (what, known): (_, &[&str]) = match helper.kind {
                Helper::Filter => ("filter", &FILTERS),
                Helper::Test => ("test", &TESTS),
            };
            let name = &self.0[helper.name.clone()];
            if !known.contains(&name) {
                let hint = super::nearest::nearest(name, known.iter().copied());
                let hint = hint.map_or_else(
                    || format!("; there are {}", known.join(", ")),
                    |near| format!("; did you mean `{near}`?"),
                );
                let (line, column) = place(&self.0, helper.name.start);
                return Err(TemplateError {
                    message: format!("there is no {what} `{name}`{hint}"),
                    line: Some(line),
                    column: Some(column),
                });
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str, known: &BTreeSet<String>, code: &[Range<usize>]) -> TemplateError {
        let root = name.split('.').next().unwrap_or(name);
        let at = code
            .iter()
            .find_map(|span| find_word(&self.0[span.clone()], name).map(|at| span.start + at))
            .or_else(|| {
                code.iter()
                    .find_map(|span| find_word(&self.0[span.clone()], root).map(|at| span.start + at))
            });
        let place = at.map(|at| place(&self.0, at));
        let hint = super::nearest::nearest(name, known.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        TemplateError {
            message: format!("nothing called `{name}` is known here{hint}"),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
        }
    }

    fn explain(&self, error: &Error) -> TemplateError {
        let message = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => format!("it takes more than {FUEL} steps"),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        let at = error
            .range()
            .filter(|range| !range.is_empty() && self.0.is_char_boundary(range.start))
            .map(|range| place(&self.0, range.start));
        TemplateError {
            message,
            line: error.line(),
            column: at
                .filter(|(line, _)| error.line() == Some(*line))
                .map(|(_, column)| column),
        }
    }
}

/// The filters there are: each takes time and space in proportion to its input.
const FILTERS: [&str; 12] = [
    "default", "first", "int", "join", "json", "last", "length", "lower", "replace", "split", "trim", "upper",
];
/// The tests there are.
const TESTS: [&str; 5] = ["defined", "endingwith", "none", "startingwith", "undefined"];

/// Only what configuration has a use for; no functions and no loader.
fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    // What is written to a file keeps its last line's end.
    environment.set_syntax(
        SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .build()
            .unwrap_or_default(),
    );
    environment.set_recursion_limit(50);
    environment.set_formatter(plain);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("int", filters::int);
    environment.add_filter("join", join);
    environment.add_filter("json", json);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", replace);
    environment.add_filter("split", filters::split);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("none", tests::is_none);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("undefined", tests::is_undefined);
    environment
}

/// What an expression gives, as text: `true`, `false` and `null` as JSON and people write them.
fn shown(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::new(ErrorKind::UndefinedError, "an expression has no value")),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::None => Ok("null".to_owned()),
        _ => Ok(value.to_string()),
    }
}

fn plain(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    Ok(out.write_str(&shown(value)?)?)
}

/// What is wrong with a tag by which text could grow: each use of a variable in its own new value doubles it, and steps
/// are counted but bytes are not. A variable may be given another's value, or a part of it.
fn growth(tag: &str) -> Option<&'static str> {
    let tag = tag.trim_start_matches(['-', '+']).trim_start();
    let word = tag.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    match word {
        "macro" | "call" => Some("there are no macros"),
        "set" | "with" if !tag.contains('=') && word == "set" => Some("`set` needs `=` and a value"),
        "set" | "with" if tag.contains(['~', '+', '*']) => {
            Some("texts are joined where they are shown: a variable cannot be set with `~`, `+` or `*`")
        }
        _ => None,
    }
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("a text is longer than {OUTPUT_MAX} bytes"),
    )
}

/// As minijinja's own, with a bound: what is put in may be as long as what it is put into.
fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let found = text.matches(from).count();
    let longest = text.len().saturating_add(found.saturating_mul(to.len()));
    if longest > OUTPUT_MAX {
        return Err(too_long());
    }
    Ok(text.replace(from, to))
}

/// As minijinja's own, with a bound.
fn join(list: &Value, joiner: Option<&str>) -> Result<String, Error> {
    let joiner = joiner.unwrap_or_default();
    let mut joined = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(joiner);
        }
        match item.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&item.to_string()),
        }
        if joined.len() > OUTPUT_MAX {
            return Err(too_long());
        }
    }
    Ok(joined)
}

/// A text as a JSON string, quotes included: for values in JSON and YAML files.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An expression may stand in a code span, where a backslash would show: names, versions and keys stay as they are.
fn markdown(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let text = shown(value)?;
    let mut before = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let at_start = before.trim_start().chars().all(|c| c.is_ascii_digit());
        match c {
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' => continue,
            c if c == ' ' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                // Four of them where a line starts would make it code.
                if !before.ends_with(' ') {
                    out.write_char(' ')?;
                }
                before.push(' ');
                continue;
            }
            '<' => out.write_str("&lt;")?,
            '&' => out.write_str("&amp;")?,
            // A zero-width space after it keeps a mention from being one.
            '@' | '#' => write!(out, "{c}\u{200b}")?,
            '\\' | '`' | '*' | '[' | ']' | '!' | '|' | '~' | '$' => write!(out, "\\{c}")?,
            // Within a word it emphasises nothing.
            '_' if !(before.ends_with(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric)) => {
                out.write_str("\\_")?;
            }
            // What begins a block where a line starts.
            '-' | '+' | '=' | '>' | '.' | ')' if at_start => write!(out, "\\{c}")?,
            // An address, `GH-12` and `www.` are looked for in text that is shown already.
            ':' if next == Some('/') => out.write_str(":\u{200b}")?,
            '-' if before.to_ascii_lowercase().ends_with("gh") => out.write_str("-\u{200b}")?,
            '.' if before.to_ascii_lowercase().ends_with("www") => out.write_str("\u{200b}.")?,
            // Nor may a line of ours start with somebody's command.
            '/' if before.trim_start().is_empty() => out.write_str("\u{200b}/")?,
            c => out.write_char(c)?,
        }
        before.push(c);
    }
    Ok(())
}

fn to_value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => number
            .as_i64()
            .map(Value::from)
            .or_else(|| number.as_u64().map(Value::from))
            .unwrap_or_else(|| Value::from(number.as_f64().unwrap_or(0.0))),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(to_value).collect(),
        Json::Object(fields) => Value::from(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), to_value(value)))
                .collect::<BTreeMap<_, _>>(),
        ),
    }
}

/// A name in use is known when it lies under a known one, or above one (`steps`, to loop over it).
fn is_known(used: &str, known: &BTreeSet<String>) -> bool {
    let mut roots = used.match_indices('.').map(|(at, _)| &used[..at]).chain([used]);
    let within = format!("{used}.");
    let holds_known = |within: &str| {
        known
            .range(within.to_owned()..)
            .next()
            .is_some_and(|name| name.starts_with(within))
    };
    roots.any(|root| known.contains(root)) || holds_known(&within)
}

/// What stands between delimiters, strings within it respected. An unclosed tag reaches to the end.
fn code_spans(source: &str) -> Vec<Range<usize>> {
    let bytes = source.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while at + 1 < bytes.len() {
        let close: &[u8] = match &bytes[at..at + 2] {
            b"{{" => b"}}",
            b"{%" => b"%}",
            b"{#" => {
                at = source[at + 2..].find("#}").map_or(bytes.len(), |end| at + 2 + end + 2);
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let start = at + 2;
        at = start;
        let mut quote = None;
        while at < bytes.len() {
            match (quote, bytes[at]) {
                (Some(_), b'\\') => at += 1,
                (Some(open), byte) if byte == open => quote = None,
                (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
                (None, _) if bytes[at..].starts_with(close) => break,
                _ => {}
            }
            at += 1;
        }
        at = at.min(bytes.len());
        spans.push(start..at);
        at += 2;
    }
    spans
}

/// The use of a filter or a test.
struct Use {
    kind: Helper,
    /// Where its name stands.
    name: Range<usize>,
}

enum Helper {
    Filter,
    Test,
}

/// The filters and tests that a tag names: after `|`, after `is` or `is not`, and in `{% filter … %}`.
fn helpers(source: &str, tag: Range<usize>) -> Vec<Use> {
    let bytes = source.as_bytes();
    let mut uses = Vec::new();
    let mut expected: Option<fn() -> Helper> = None;
    let mut at = tag.start;
    while at < tag.end {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < tag.end && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                expected = None;
            }
            b'|' => expected = Some(|| Helper::Filter),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let len = bytes[at..tag.end]
                    .iter()
                    .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
                    .count();
                let word = &source[at..at + len];
                let after_dot = at > tag.start && bytes[at - 1] == b'.';
                expected = match (word, expected) {
                    ("not", Some(kind)) => Some(kind),
                    (_, Some(kind)) => {
                        uses.push(Use {
                            kind: kind(),
                            name: at..at + len,
                        });
                        None
                    }
                    ("is", None) if !after_dot => Some(|| Helper::Test),
                    ("filter", None)
                        if source[tag.start..at]
                            .trim_matches(['-', '+', ' ', '\n', '\t'])
                            .is_empty() =>
                    {
                        Some(|| Helper::Filter)
                    }
                    _ => None,
                };
                at += len - 1;
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => expected = None,
        }
        at += 1;
    }
    uses
}

/// Where this name stands as a whole word.
fn find_word(text: &str, name: &str) -> Option<usize> {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .map(|(at, _)| at)
        .find(|at| !text[..*at].ends_with(|c| inner(c) || c == '.') && !text[*at + name.len()..].starts_with(inner))
}

/// Line and column, from 1, the column in characters.
fn place(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

fn error(message: String) -> TemplateError {
    TemplateError {
        message,
        line: None,
        column: None,
    }
}

/// Takes up to `OUTPUT_MAX` bytes.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > OUTPUT_MAX {
            self.full = true;
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
