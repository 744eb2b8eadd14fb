//! What is told of jobs that fail, are restarted and are done by themselves.

use jiff::Timestamp;

use super::notice::of_several;
use super::{at_progress, minute, progress_text, retry_line};
use crate::domain::course::Crew;
use crate::domain::doc::{Block, Doc, Span, Tone};
use crate::domain::run::{Happened, History, Run};
use crate::domain::standing;

/// The entry as a message of its own.
pub(super) fn notice(run: &Run, entry: &History) -> Option<Doc> {
    match &entry.what {
        Happened::Restarted { .. } => Some(restart(run, &entry.what, entry.at)),
        Happened::Interrupted { .. } => Some(interruption(run, &entry.what)),
        Happened::DoneSince { step, job } => {
            let mut spans = vec![
                Span::text("✅ "),
                Span::strong(step.as_str()),
                Span::text(format!(
                    "{} has been completed by the service since it failed. ",
                    of_several(run, step, job)
                )),
            ];
            spans.extend(to_retry(run));
            Some(Doc {
                tone: Tone::Good,
                ..Doc::paragraph(spans)
            })
        }
        _ => None,
    }
}

fn restart(run: &Run, what: &Happened, at: Timestamp) -> Doc {
    let Happened::Restarted {
        step,
        job,
        reason,
        before,
        after,
        unattended,
        ..
    } = what
    else {
        return Doc::default();
    };
    let title = format!("🔁 {step}{} {}", of_several(run, step, job), restarted(what));
    let mut fields = vec![field("Seen", minute(at))];
    let crews = [("Before", before), ("Now", after)].into_iter();
    fields.extend(crews.filter_map(|(when, crew)| Some(field(when, crew.as_ref()?.to_string()))));
    let mut blocks = vec![Block::Heading(vec![Span::text(title)])];
    blocks.extend(reason.clone().map(Block::Verbatim));
    blocks.push(Block::Fields(fields));
    blocks.push(Block::Paragraph(after_restart(run, *unattended)));
    Doc {
        blocks,
        buttons: Vec::new(),
        tone: Tone::Busy,
    }
}

fn interruption(run: &Run, what: &Happened) -> Doc {
    let Happened::Interrupted {
        step,
        job,
        reason,
        progress,
        crew,
        until,
    } = what
    else {
        return Doc::default();
    };
    let title = format!(
        "❌ {step}{} failed{}",
        of_several(run, step, job),
        at_progress(*progress)
    );
    let mut fields = vec![field("Progress at failure", progress_text(*progress))];
    fields.extend(crew.as_ref().map(|crew| field("There", crew.to_string())));
    let until = minute(*until);
    let outlook = format!(
        "The service tries again by itself until {until}. The run waits for that, and fails if it is not restarted by \
         then. What you can do is to bring back what is missing."
    );
    Doc {
        blocks: vec![
            Block::Heading(vec![Span::text(title)]),
            Block::Verbatim(reason.clone()),
            Block::Fields(fields),
            Block::Paragraph(vec![Span::text(outlook)]),
        ],
        buttons: Vec::new(),
        tone: Tone::Bad,
    }
}

fn field(label: &str, text: String) -> (String, Vec<Span>) {
    (label.to_owned(), vec![Span::text(text)])
}

/// The same as a line of the history.
pub(super) fn happened(what: &Happened) -> String {
    match what {
        Happened::Restarted {
            step,
            job,
            reason,
            before,
            after,
            unattended,
            ..
        } => {
            let reason = reason.as_ref().map(|reason| format!("; it had failed: {reason}"));
            let not = if *unattended {
                "; the run does not follow it"
            } else {
                ""
            };
            let (how, there) = (restarted(what), there(before.as_ref(), after.as_ref()));
            format!("{step}: {job} {how}{}{there}{not}", reason.unwrap_or_default())
        }
        Happened::Interrupted {
            step,
            job,
            reason,
            progress,
            crew,
            until,
        } => {
            let there = crew.as_ref().map(|crew| format!("; there: {crew}")).unwrap_or_default();
            let (at, until) = (at_progress(*progress), minute(*until));
            format!("{step}: {job} failed{at}: {reason}{there}; the service tries again by itself until {until}")
        }
        Happened::DoneSince { step, job } => format!("{step}: {job} was completed by the service since it failed"),
        _ => String::new(),
    }
}

fn there(before: Option<&Crew>, after: Option<&Crew>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("; there: {before} before, {} now", after.numbers()),
        (None, Some(after)) => format!("; there: {after}"),
        _ => String::new(),
    }
}

/// What a restart was: `failed at 42 % and was restarted by the service (restart 1): it began again at 0 %, was 42 %`.
fn restarted(what: &Happened) -> String {
    let Happened::Restarted {
        restarts,
        progress: was,
        now,
        ..
    } = what
    else {
        return String::new();
    };
    let failed = was.map(|was| format!("failed at {was} and ")).unwrap_or_default();
    let number = if *restarts > 0 {
        format!(" (restart {restarts})")
    } else {
        String::new()
    };
    let how = match (was, now) {
        // From a checkpoint it goes on a little further back.
        (Some(was), Some(now)) if now.as_f64() < was.as_f64() / 2.0 => format!(": it began again at {now}, was {was}"),
        (Some(was), Some(now)) if now < was => format!(": it goes on at {now}, was {was}"),
        (Some(_), Some(now)) => format!(": it goes on at {now}"),
        (None, Some(now)) => format!(": it is at {now}, and how far it was before is not known"),
        (_, None) => String::new(),
    };
    format!("{failed}was restarted by the service{number}{how}")
}

/// What follows from a restart for those who read of it.
fn after_restart(run: &Run, unattended: bool) -> Vec<Span> {
    if !unattended {
        return vec![Span::text("The run follows it. Nothing for you to do.")];
    }
    let mut spans = vec![Span::text("The run has stopped and does not follow it. ")];
    spans.extend(to_retry(run));
    spans
}

fn to_retry(run: &Run) -> Vec<Span> {
    match standing::failure(run) {
        Some(why) => vec![Span::text("To go on with it: "), Span::code(retry_line(run, why))],
        None => Vec::new(),
    }
}
