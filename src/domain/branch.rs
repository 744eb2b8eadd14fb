//! Step-unique branch names: `{ticket}_{run}_Step{Name}`, parsed both ways. What is made here is always a valid
//! git reference, because every part is valid by construction.

use super::ids::{RunId, StepName, TicketKey};

/// What a step's branch name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepBranch {
    /// The run's ticket, if it has one.
    pub ticket: Option<TicketKey>,
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepName,
    /// 1, or more when a pull request closed unmerged forced a new branch.
    pub number: u32,
}

/// The branch of one step of one run: `SREPROV-3072_URMO7YZ2_StepHistoryUpdate`, with `_2` after it for the second
/// such branch. Numbers 0 and 1 both mean the first.
pub fn branch_name(ticket: Option<&TicketKey>, run: &RunId, step: &StepName, number: u32) -> String {
    let ticket = ticket.map_or_else(String::new, |ticket| format!("{ticket}_"));
    let number = if number > 1 {
        format!("_{number}")
    } else {
        String::new()
    };
    format!("{ticket}{run}_Step{step}{number}")
}

impl StepBranch {
    /// Reads exactly what `branch_name` writes; anything else is somebody else's branch.
    pub fn parse(name: &str) -> Option<Self> {
        // From the right, for a ticket's project may hold an underscore and step names never do.
        let (rest, last) = name.rsplit_once('_')?;
        let (rest, step, number) = match last.strip_prefix("Step") {
            Some(step) => (rest, step, 1),
            None => {
                let (rest, step) = rest.rsplit_once('_')?;
                (rest, step.strip_prefix("Step")?, later_number(last)?)
            }
        };
        let (ticket, run) = match rest.rsplit_once('_') {
            Some((ticket, run)) => (Some(ticket.parse().ok()?), run),
            None => (None, rest),
        };
        Some(Self {
            ticket,
            run: run.parse().ok()?,
            step: step.parse().ok()?,
            number,
        })
    }
}

fn later_number(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|number| canonical && *number > 1)
}
