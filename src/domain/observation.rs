//! What is seen by looking at a job.

use serde::{Deserialize, Serialize};

use super::course::Crew;
use super::ids::Percent;

/// What a back-end says about a job, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Its state.
    pub state: ObservedState,
    /// How far it is.
    pub progress: Option<Percent>,
    /// What it is doing or waiting for. Outside input.
    pub detail: Option<String>,
    /// Why it failed, as the back-end gave it. Outside input.
    pub reason: Option<String>,
    /// How often the back-end restarted it by itself.
    pub restarts: u32,
    /// Where a person can look.
    pub link: Option<String>,
    /// All that tells this end of the job from another one, to be compared only. Absent where nothing can be mistaken
    /// for an earlier end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Who works on it, where the back-end says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crew: Option<Crew>,
}

impl Observation {
    /// Nothing but a state.
    pub fn of(state: ObservedState) -> Self {
        Self {
            state,
            progress: None,
            detail: None,
            reason: None,
            restarts: 0,
            link: None,
            mark: None,
            crew: None,
        }
    }

    /// Whether the job failed and its back-end will try again by itself: too few are there to work on it.
    pub fn tries_again(&self) -> bool {
        self.state == ObservedState::Failed && self.crew.as_ref().is_some_and(|crew| !crew.is_enough())
    }
}

/// A job's state. Unknown vendor values become `Unknown`, which is never terminal and never success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObservedState {
    /// Nothing runs there yet.
    Pending,
    /// It was started and does not run yet.
    Starting,
    /// It runs.
    Running,
    /// It was started and waits for something else (farmers below the minimum); the deadline stands still.
    Waiting,
    /// Done well.
    Succeeded,
    /// Failed.
    Failed,
    /// Canceled.
    Canceled,
    /// Not needed; counts as passed.
    Skipped,
    /// The back-end contradicts itself or says something new.
    Unknown,
}

impl ObservedState {
    /// Whether it will not change any more by itself.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Skipped)
    }
}
