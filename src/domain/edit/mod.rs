//! Edits to files: bytes in, bytes out, comments and order kept where the format has them. Whatever a format's
//! library did, the result is read again: unless exactly the wanted value changed, the edit is an error and the
//! file stays as it is.

use serde::{Deserialize, Serialize};

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

/// The file's content after the edit; `None` means that the file is absent afterwards. Content equal to `before`
/// means that there is nothing to do. `before` is `None` for an absent file, which only `Write` and `Delete` take.
pub fn apply(path: &str, before: Option<&str>, action: &EditAction<String>) -> Result<Option<String>, EditError> {
    check_path(path)?;
    let _ = before;
    match action {
        EditAction::Write { content } => Ok(Some(content.clone())),
        EditAction::Delete => Ok(None),
        _ => Err(EditError {
            path: path.to_owned(),
            line: None,
            message: "not yet".to_owned(),
        }),
    }
}

/// The scalar at a JSON pointer in a YAML, JSON or TOML file (by its ending), as text. `None` when nothing or null
/// is there; an object or a list there is an error.
pub fn read_value(path: &str, text: &str, pointer: &str) -> Result<Option<String>, EditError> {
    let _ = (path, text, pointer);
    Ok(None)
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
