//! The seven-field status of a long process, as the process itself publishes it (`processStatus`). Reading is
//! strict about what decides (the four flags) and lenient about what decorates (progress). A combination of flags
//! that the process cannot honestly be in is `Inconsistent`, never done.

use serde_json::{Map, Value, json};

use super::ids::Percent;

/// The longest failure reason that is kept, in characters.
const REASON_MAX: usize = 4_000;

/// What a long process says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Whether it was started.
    pub has_started: bool,
    /// Whether it runs now.
    pub is_running: bool,
    /// Whether it ended well.
    pub has_completed: bool,
    /// Whether it failed.
    pub has_failed: bool,
    /// How far it is; absent when it does not say or says something unreadable.
    pub progress: Option<Percent>,
    /// Why it failed; absent when empty. Outside input, at most 4000 characters.
    pub failure_reason: Option<String>,
    /// How often it was restarted by its own supervisor.
    pub restart_count: u32,
}

/// What the four flags mean together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessPhase {
    /// Not started.
    Waiting,
    /// Started, not yet running.
    Starting,
    /// Running.
    Running,
    /// Failed.
    Failed,
    /// Ended well.
    Done,
    /// The flags contradict one another; says nothing, least of all success.
    Inconsistent,
}

impl ProcessStatus {
    /// Reads the document. Names are camelCase; progress is `progressPercentage`, else `rebuildPercentage`, as a
    /// number or as text with or without `%`. A missing or non-boolean flag is an error that names the field;
    /// unknown fields are ignored.
    pub fn from_json(document: &Value) -> Result<Self, String> {
        let fields = document
            .as_object()
            .ok_or_else(|| format!("the process status must be an object, got {}", kind(document)))?;
        Ok(Self {
            has_started: flag(fields, "hasStarted")?,
            is_running: flag(fields, "isRunning")?,
            has_completed: flag(fields, "hasCompleted")?,
            has_failed: flag(fields, "hasFailed")?,
            progress: ["progressPercentage", "rebuildPercentage"]
                .iter()
                .find_map(|name| fields.get(*name).and_then(percent)),
            failure_reason: reason(fields),
            restart_count: restarts(fields)?,
        })
    }

    /// The document with exactly its seven fields. Progress is a number, or null when unknown.
    pub fn to_json(&self) -> Value {
        json!({
            "hasStarted": self.has_started,
            "isRunning": self.is_running,
            "hasCompleted": self.has_completed,
            "hasFailed": self.has_failed,
            "progressPercentage": self.progress.map(Percent::as_f64),
            "failureReason": self.failure_reason,
            "restartCount": self.restart_count,
        })
    }

    /// What the flags mean together.
    pub fn phase(&self) -> ProcessPhase {
        match (self.has_started, self.is_running, self.has_completed, self.has_failed) {
            (false, false, false, false) => ProcessPhase::Waiting,
            (true, false, false, false) => ProcessPhase::Starting,
            (true, true, false, false) => ProcessPhase::Running,
            (true, false, false, true) => ProcessPhase::Failed,
            (true, false, true, false) => ProcessPhase::Done,
            _ => ProcessPhase::Inconsistent,
        }
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match fields.get(name) {
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!(
            "`{name}` in the process status must be true or false, got {}",
            kind(other)
        )),
        None => Err(format!("`{name}` is missing in the process status")),
    }
}

/// Progress decorates and never decides, so an unreadable one is absent rather than an error.
fn percent(value: &Value) -> Option<Percent> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let text = text.trim();
            text.strip_suffix('%').unwrap_or(text).trim_end().parse().ok()?
        }
        _ => return None,
    };
    (!number.is_nan()).then(|| Percent::clamped(number))
}

/// A reason that is no text is kept as the JSON it is.
fn reason(fields: &Map<String, Value>) -> Option<String> {
    let text = match fields.get("failureReason")? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    (!text.trim().is_empty()).then(|| text.chars().take(REASON_MAX).collect())
}

/// A count that cannot be read is an error: a restart would be missed.
fn restarts(fields: &Map<String, Value>) -> Result<u32, String> {
    let value = match fields.get("restartCount") {
        None | Some(Value::Null) => return Ok(0),
        Some(value) => value,
    };
    let count = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    };
    count
        .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
        .ok_or_else(|| {
            format!(
                "`restartCount` in the process status must be a whole number from 0, got {}",
                kind(value)
            )
        })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
