//! Which run a command means when it does not name one.

use std::time::Duration;

use jiff::Timestamp;

use super::NoRun;
use crate::domain::command::Action;
use crate::domain::question;
use crate::domain::run::{Run, RunState};

/// For so long after a question was closed a bare answer may still be meant for it.
const ANSWERS_LAG: Duration = Duration::from_secs(3600);

/// The run meant in a thread by what was said then, of the runs that belong to it, newest first.
///
/// # Errors
/// Why none can be told. Nothing is ever guessed between several runs that the command would change.
pub fn target(action: Action, here: &[Run], said_at: Timestamp) -> Result<&Run, NoRun> {
    if action == Action::Answer {
        let asking: Vec<&Run> = here.iter().filter(|run| asks_or_asked(run, said_at)).collect();
        match asking.as_slice() {
            [] => {}
            [one] => return Ok(one),
            several => return Err(NoRun::Several(several.iter().map(|run| run.id.clone()).collect())),
        }
    }
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
    matches!((action, &run.state), (Action::Retry, RunState::Stopped { .. }))
}

/// Whether an answer said then may be meant for this run: it asks now, or its question was closed so shortly before
/// that whoever answers need not have seen it.
fn asks_or_asked(run: &Run, said_at: Timestamp) -> bool {
    let since = said_at.checked_sub(ANSWERS_LAG).unwrap_or(Timestamp::MIN);
    question::open(run).is_some() || run.questions.last().is_some_and(|closed| closed.closed_at >= since)
}
