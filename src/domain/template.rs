//! Templates in configuration, rendered by minijinja with fuel.

use serde::{Deserialize, Serialize};

/// Source of a template, checked at load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(String);

impl Template {
    /// Takes source as it is; `check` says whether it compiles.
    pub fn new(source: impl Into<String>) -> Self {
        Self(source.into())
    }
    /// The source.
    pub fn source(&self) -> &str {
        &self.0
    }
}
