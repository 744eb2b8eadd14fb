//! What was changed of a ticket after it was moved.
//!
//! Who moves a ticket approves what stands there then. Whoever may edit it can change that a moment later, before stepherd
//! reads it: what a run would be started with must be what was approved.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::template::Template;

/// The ticket itself decides what is done with it: its place counts whatever else is used.
const ALWAYS: [&str; 2] = ["key", "project"];

/// What the ticket's own history tells of the time after a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// All of it: the newest change of each field that was changed, by the field's id.
    Told(BTreeMap<String, FieldEdit>),
    /// It cannot be read in full: why.
    Untold(String),
}

/// A field was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEdit {
    /// Who did it, by the name that people see. Outside input.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Which of a ticket's fields count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldsUsed {
    /// Any of them.
    All,
    /// These, by id.
    Only(BTreeSet<String>),
}

/// Why what a move would start may not be what was approved with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Altered {
    /// These fields were changed after it.
    Fields(BTreeMap<String, FieldEdit>),
    /// Whether any was cannot be told: why.
    Untold(String),
}

impl FieldsUsed {
    /// The fields that templates over `ticket` and `fields.…` use.
    pub fn of<'a>(templates: impl IntoIterator<Item = &'a Template>) -> Self {
        let mut used = BTreeSet::from(ALWAYS.map(str::to_owned));
        for template in templates {
            // One that cannot be read renders nothing either.
            let Ok(names) = template.names() else {
                return Self::All;
            };
            for name in names.iter().filter(|name| *name != "ticket") {
                let field = name.strip_prefix("fields.").and_then(|field| field.split('.').next());
                // What goes through all fields, or finds its way to one by other means, may use any.
                let Some(field) = field else {
                    return Self::All;
                };
                used.insert(field.to_owned());
            }
        }
        Self::Only(used)
    }

    fn counts(&self, field: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(used) => used.contains(field),
        }
    }
}

impl Since {
    /// Why nothing may follow from the move, where these fields count.
    pub fn altered(&self, used: &FieldsUsed) -> Option<Altered> {
        let edits = match self {
            Self::Told(edits) => edits,
            Self::Untold(why) => return Some(Altered::Untold(why.clone())),
        };
        let changed = edits.iter().filter(|(field, _)| used.counts(field));
        let changed: BTreeMap<_, _> = changed.map(|(field, edit)| (field.clone(), edit.clone())).collect();
        (!changed.is_empty()).then_some(Altered::Fields(changed))
    }
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(fields) => {
                let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
                write!(f, "changed after the move: {}", fields.join(", "))
            }
            Self::Untold(why) => write!(f, "whether anything was changed after the move cannot be told: {why}"),
        }
    }
}
