//! Edits to files: bytes in, bytes out, comments and order kept where the format has them. Whatever a format's
//! library did, the result is read again: unless exactly the wanted value changed, the edit is an error and the
//! file stays as it is.

mod json;
mod pointer;
mod toml;
mod xml;
mod yaml;
mod yaml_text;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::{Template, TemplateError};

/// One edit of one file. `T` is a template before rendering and plain text after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit<T> {
    /// The file's path in the repository.
    pub path: T,
    /// What is done to it.
    pub action: EditAction<T>,
}

/// What an edit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EditAction<T> {
    /// The file's whole content, created if absent.
    Write {
        /// The content.
        content: T,
    },
    /// One value in a YAML, JSON or TOML file (by its ending), keeping everything else as it is.
    Set {
        /// JSON pointer (RFC 6901); missing objects on the way are created, missing array items are an error.
        pointer: T,
        /// The value, written as JSON (`3`, `"text"`, `{"a":1}`); text that is not JSON is taken as a string.
        value: T,
    },
    /// An XML element inserted once: nothing happens if an equal element is already there.
    InsertXml {
        /// The parent: element names from the root, `/project/modules`.
        parent: T,
        /// The element, as XML.
        element: T,
    },
    /// The file is removed; a file already absent is no change.
    Delete,
}

/// Why an edit cannot be made. The file is untouched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}: {message}", .line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct EditError {
    /// The file.
    pub path: String,
    /// The line in it, from 1, where that is known.
    pub line: Option<usize>,
    /// What is wrong, for people. May quote the file.
    pub message: String,
}

impl Edit<Template> {
    /// The edit with every template in it rendered over these values.
    pub fn render(&self, context: &serde_json::Value) -> Result<Edit<String>, TemplateError> {
        let text = |template: &Template| template.render(context);
        let action = match &self.action {
            EditAction::Write { content } => EditAction::Write {
                content: text(content)?,
            },
            EditAction::Set { pointer, value } => EditAction::Set {
                pointer: text(pointer)?,
                value: text(value)?,
            },
            EditAction::InsertXml { parent, element } => EditAction::InsertXml {
                parent: text(parent)?,
                element: text(element)?,
            },
            EditAction::Delete => EditAction::Delete,
        };
        Ok(Edit {
            path: text(&self.path)?,
            action,
        })
    }
}

/// The largest file that is edited or read, in bytes.
const FILE_MAX: usize = 1024 * 1024;

/// The file's content after the edit; `None` means that the file is absent afterwards. Content equal to `before`
/// means that there is nothing to do. `before` is `None` for an absent file, which only `Write` and `Delete` take.
pub fn apply(path: &str, before: Option<&str>, action: &EditAction<String>) -> Result<Option<String>, EditError> {
    check_path(path)?;
    let existing = || before.ok_or_else(|| Problem::new("the file does not exist"));
    let after = match action {
        EditAction::Write { content } => Ok(Some(content.clone())),
        EditAction::Delete => Ok(None),
        EditAction::Set { pointer, value } => existing().and_then(|text| set(path, text, pointer, value)).map(Some),
        EditAction::InsertXml { parent, element } => existing()
            .and_then(|text| {
                let (mark, text) = content(text)?;
                Ok(format!("{mark}{}", xml::insert(text, parent, element)?))
            })
            .map(Some),
    };
    after.map_err(|problem| problem.in_file(path))
}

/// The scalar at a JSON pointer in a YAML, JSON or TOML file (by its ending), as text; numbers as they are written
/// there. `None` when nothing or null is there; an object or a list there is an error.
pub fn read_value(path: &str, text: &str, pointer: &str) -> Result<Option<String>, EditError> {
    scalar(path, text, pointer).map_err(|problem| problem.in_file(path))
}

fn scalar(path: &str, text: &str, pointer: &str) -> Result<Option<String>, Problem> {
    let format = Format::of(path)?;
    let tokens = pointer::tokens(pointer)?;
    let (_, text) = content(text)?;
    let root = format.read(text)?;
    match pointer::get(&root, &tokens) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
        Some(Value::Number(number)) => {
            let written = format.number(text, &tokens, &root);
            Ok(Some(written.unwrap_or_else(|| number.to_string())))
        }
        Some(Value::Array(_)) => Err(Problem::new(format!("what is at `{pointer}` is a list, not a value"))),
        Some(Value::Object(_)) => Err(Problem::new(format!(
            "what is at `{pointer}` is an object, not a value"
        ))),
    }
}

fn set(path: &str, text: &str, pointer: &str, value: &str) -> Result<String, Problem> {
    let format = Format::of(path)?;
    let tokens = pointer::tokens(pointer)?;
    if tokens.is_empty() {
        return Err(Problem::new("the pointer names the whole file; write it instead"));
    }
    let new = pointer::NewValue::parse(value);
    let (mark, body) = content(text)?;
    let before = format.read(body)?;
    if let Some(value) = pointer::get(&before, &tokens) {
        let written = value
            .is_number()
            .then(|| format.number(body, &tokens, &before))
            .flatten();
        if new.is_already(value, written.as_deref()) {
            return Ok(text.to_owned());
        }
    }
    let wanted = pointer::set(before.clone(), &tokens, &new)?;
    let after = match format {
        Format::Yaml => yaml::write(body, &tokens, &new, &before)?,
        Format::Json => json::write(body, &tokens, &new)?,
        Format::Toml => toml::write(body, &tokens, &new)?,
    };
    let read = format.read(&after).map_err(|problem| {
        Problem::new(format!(
            "with `{pointer}` set the file could not be read again: {}",
            problem.message
        ))
    })?;
    if read == wanted {
        Ok(format!("{mark}{after}"))
    } else {
        Err(Problem::new(format!(
            "`{pointer}` cannot be set without changing something else"
        )))
    }
}

/// A byte order mark, kept, and the text after it.
fn content(text: &str) -> Result<(&str, &str), Problem> {
    const MARK: &str = "\u{feff}";
    if text.len() > FILE_MAX {
        return Err(Problem::new(format!("the file is larger than {FILE_MAX} bytes")));
    }
    Ok(if text.starts_with(MARK) {
        text.split_at(MARK.len())
    } else {
        ("", text)
    })
}

/// A format that values can be set in.
#[derive(Debug, Clone, Copy)]
enum Format {
    Yaml,
    Json,
    Toml,
}

impl Format {
    fn of(path: &str) -> Result<Self, Problem> {
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("json" | "jsonc") => Ok(Self::Json),
            Some("toml") => Ok(Self::Toml),
            _ => Err(Problem::new(
                "values can be read and set in .yaml, .yml, .json, .jsonc and .toml files only",
            )),
        }
    }

    fn read(self, text: &str) -> Result<Value, Problem> {
        match self {
            Self::Yaml => yaml::read(text),
            Self::Json => json::read(text),
            Self::Toml => toml::read(text),
        }
    }

    fn number(self, text: &str, tokens: &[String], root: &Value) -> Option<String> {
        match self {
            Self::Yaml => yaml::number(text, tokens, root),
            Self::Json => json::number(text, tokens),
            Self::Toml => toml::number(text, tokens),
        }
    }
}

/// What is wrong, before it is known in which file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    line: Option<usize>,
    message: String,
}

impl Problem {
    fn new(message: impl Into<String>) -> Self {
        Self {
            line: None,
            message: message.into(),
        }
    }

    fn at(line: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            message: message.into(),
        }
    }

    fn in_file(self, path: &str) -> EditError {
        EditError {
            path: path.to_owned(),
            line: self.line,
            message: self.message,
        }
    }
}

/// The line, from 1, of a byte.
fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Whether a path stays inside the repository and outside of what git keeps there.
pub fn check_path(path: &str) -> Result<(), EditError> {
    let problem = if path.is_empty() {
        "a file's path is empty"
    } else if path.len() > 1_000 {
        "the path is longer than 1000 bytes"
    } else if path.starts_with('/') {
        "the path must be relative to the repository"
    } else if path.contains('\\') || path.chars().any(char::is_control) {
        "the path must not contain backslashes or control characters"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "the path must not contain `.`, `..` or empty parts"
    } else if path.split('/').any(is_git_dir) {
        "the path must not lead into `.git`"
    } else {
        return Ok(());
    };
    Err(EditError {
        path: path.chars().filter(|c| !c.is_control()).take(200).collect(),
        line: None,
        message: problem.to_owned(),
    })
}

/// Also as file systems that fold case, drop trailing dots and spaces, skip invisible characters or know short
/// names and streams would read it.
fn is_git_dir(part: &str) -> bool {
    let plain: String = part
        .chars()
        .filter(
            |c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'),
        )
        .collect();
    let plain = plain.split(':').next().unwrap_or_default();
    let plain = plain.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    plain == ".git" || plain == "git~1"
}
