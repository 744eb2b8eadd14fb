//! What went wrong, before it is known which step and attempt it belongs to.

use crate::domain::course::Crew;
use crate::domain::effect::Outcome;
use crate::domain::ids::Percent;
use crate::domain::run::{FailureClass, Observation};

/// What went wrong, before it is known which step and attempt it belongs to.
pub(super) struct What {
    pub(super) reason: String,
    pub(super) class: FailureClass,
    pub(super) progress: Option<Percent>,
    pub(super) link: Option<String>,
    pub(super) crew: Option<Crew>,
    /// Whether nobody but the back-end can begin again what failed.
    pub(super) by_itself: bool,
}

impl What {
    pub(super) fn new(reason: String, class: FailureClass) -> Self {
        Self {
            reason,
            class,
            progress: None,
            link: None,
            crew: None,
            by_itself: false,
        }
    }

    /// What nothing is known of yet.
    pub(super) fn nothing() -> Self {
        Self::new(String::new(), FailureClass::Infrastructure)
    }

    /// What is seen beside the reason.
    pub(super) fn seen(seen: &Observation) -> Self {
        Self {
            progress: seen.progress,
            link: seen.link.clone(),
            crew: seen.crew.clone(),
            ..Self::nothing()
        }
    }

    /// An outcome that does not belong to its act is a fault of ours: the run stops visibly rather than hang.
    pub(super) fn unexpected(outcome: &Outcome) -> Self {
        let reason = format!("stepherd got an outcome it did not expect: {outcome:?}");
        Self::new(reason, FailureClass::Infrastructure)
    }
}
