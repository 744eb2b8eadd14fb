//! Which run a command means when it does not name one.

use super::NoRun;
use crate::domain::command::Action;
use crate::domain::run::{Phase, Run, RunState};

/// The run meant in a thread, of the runs that belong to it, newest first.
///
/// # Errors
/// Why none can be told. Nothing is ever guessed between several runs that the command would change.
pub fn target(action: Action, here: &[Run]) -> Result<&Run, NoRun> {
    let live: Vec<&Run> = here
        .iter()
        .filter(|run| !matches!(run.state, RunState::Finished { .. }))
        .collect();
    let fitting: Vec<&&Run> = live.iter().filter(|run| fits(action, run)).collect();
    match (live.as_slice(), fitting.as_slice()) {
        ([], _) => here.first().ok_or(NoRun::NoneHere),
        ([one], _) => Ok(one),
        (_, [one]) => Ok(one),
        (several, _) => Err(NoRun::Several(several.iter().map(|run| run.id.clone()).collect())),
    }
}

/// Whether the action could do something to a run that stands so.
fn fits(action: Action, run: &Run) -> bool {
    match (action, &run.state) {
        (Action::Retry, RunState::Stopped { .. }) => true,
        (Action::Answer, RunState::Active(attempt)) => matches!(attempt.phase, Phase::Asking { .. }),
        _ => false,
    }
}
