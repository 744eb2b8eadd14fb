//! The lines of a comment's body that may hold a command, whichever notation Jira sends it in.

use serde_json::Value;

use super::{adf, wiki};

/// The starts of the body's top-level paragraph lines; `None` if it is neither wiki text nor an ADF document.
pub(super) fn of_body(body: &Value) -> Option<Vec<String>> {
    match body {
        Value::String(text) => Some(wiki::lines(text)),
        Value::Object(_) => Some(adf::lines(body)),
        _ => None,
    }
}
