//! What is wrong with configuration, and where: every problem at once, each with its file, line, column and,
//! where one can be given, what to do about it.
//!
//! Rendering never shows a value that may be a secret: such places are blanked before any snippet is drawn.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::nearest::nearest;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was reached; `environment` for a variable.
    pub file: String,
    /// The line, counted from 1; 0 when it is about no place in a file.
    pub line: usize,
    /// The column in characters, counted from 1; 0 when it is about no place in a file.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it stands, in bytes.
    span: Range<usize>,
}

impl Problem {
    /// A problem that is about no place in a file.
    pub(super) fn about(file: &str, message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            hint,
            span: 0..0,
        }
    }

    /// A problem at these bytes of the text. A span past the end counts as the end.
    pub(super) fn at(file: &str, text: &Text, span: Range<usize>, message: String, hint: Option<String>) -> Self {
        let start = floor(&text.text, span.start);
        let line = text.lines.partition_point(|line| *line <= start);
        let line_start = text.lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
        Self {
            file: file.to_owned(),
            line,
            column: text.text[line_start..start].chars().count() + 1,
            message,
            hint,
            span: start..floor(&text.text, span.end).max(start),
        }
    }
}

/// A file's text, and where its lines begin: a file of many mistakes is not counted through for each.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    lines: Vec<usize>,
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text: text.into(),
            lines: std::iter::once(0).chain(newlines).collect(),
        }
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: message`, then the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// So many problems are drawn with their lines; who has more does not look at them all.
const DRAWN_MOST: usize = 50;

/// Everything that is wrong, ordered by file and place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    list: Vec<Problem>,
    /// What is no mistake but may not be meant.
    warnings: Vec<Problem>,
    /// Files' texts with secrets blanked, for snippets.
    texts: BTreeMap<String, Arc<str>>,
}

impl Problems {
    /// One that is about no place in a file.
    pub fn one(file: &str, message: &str) -> Self {
        Self {
            list: vec![Problem::about(file, message, None)],
            ..Self::default()
        }
    }

    /// These and another's.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        self.warnings.extend(other.warnings);
        self.texts.extend(other.texts);
        self.sort();
        self
    }

    /// The problems, ordered by file and place.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// What is no mistake but may not be meant.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.warnings.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// For programs: a JSON array of `{file, line, column, message, hint}`.
    pub fn to_json(&self) -> String {
        let list = self.list.iter().map(|problem| {
            serde_json::json!({
                "file": problem.file, "line": problem.line, "column": problem.column,
                "message": problem.message, "hint": problem.hint,
            })
        });
        format!("{:#}", serde_json::Value::Array(list.collect()))
    }

    /// For people: every problem, the first fifty with the lines they stand in, and a closing count.
    pub fn render(&self, color: bool) -> String {
        let theme = if color {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110);
        let mut out = String::new();
        for (index, problem) in self.list.iter().enumerate() {
            if index >= DRAWN_MOST {
                out.push_str(&format!("{problem}\n"));
                continue;
            }
            let shown = Shown {
                problem,
                source: self
                    .texts
                    .get(&problem.file)
                    .map(|text| NamedSource::new(&problem.file, Arc::clone(text))),
            };
            if handler.render_report(&mut out, &shown).is_err() {
                out.push_str(&format!("{problem}\n"));
            }
        }
        out.push_str(&match self.list.len() {
            1 => "1 problem\n".to_owned(),
            count => format!("{count} problems\n"),
        });
        out
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Something is no mistake but may not be meant.
    pub(super) fn warn(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }

    pub(super) fn add_file(
        &mut self,
        file: &str,
        text: Option<Arc<str>>,
        problems: Vec<Problem>,
        warnings: Vec<Problem>,
    ) {
        self.list.extend(problems);
        self.warnings.extend(warnings);
        if let Some(text) = text {
            self.texts.insert(file.to_owned(), text);
        }
    }

    /// What is no mistake but may not be meant.
    pub(super) fn into_warnings(self) -> Vec<Problem> {
        self.warnings
    }

    pub(super) fn sort(&mut self) {
        self.list
            .sort_by(|a, b| (&a.file, a.span.start, &a.message).cmp(&(&b.file, b.span.start, &b.message)));
        self.list.dedup();
    }
}

impl fmt::Display for Problems {
    /// One problem after the other, without snippets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One problem as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: Option<NamedSource<Arc<str>>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source.is_none() {
            write!(f, "{}", self.problem.file)?;
            if self.problem.line > 0 {
                write!(f, ":{}:{}", self.problem.line, self.problem.column)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem
            .hint
            .as_ref()
            .map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let span = self.problem.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

/// A hint that names what was probably meant, or else everything there is.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(best) = nearest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{best}`?"));
    }
    match candidates.as_slice() {
        [] => None,
        some if some.len() <= 12 => Some(format!("there is: {}", some.join(", "))),
        many => Some(format!("there is: {}, …", many[..12].join(", "))),
    }
}

/// The text with these places blanked, byte for byte, so that offsets stay true.
pub(super) fn blanked(text: &str, places: &[Range<usize>]) -> String {
    let hidden = |at: usize| places.iter().any(|place| place.contains(&at));
    let mut out = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        if char == '\n' || !hidden(at) {
            out.push(char);
        } else {
            out.extend(std::iter::repeat_n('*', char.len_utf8()));
        }
    }
    out
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
