//! New messages in a thread: failures, restarts, notes and the end of a run, each said once.

use super::{
    after_failure, at_progress, class_text, failed_at, left_behind, minute, name, progress_text, restarted, retry_line,
};
use crate::domain::doc::{Block, Doc, Span, Tone};
use crate::domain::ids::StepName;
use crate::domain::pipeline::StepKind;
use crate::domain::run::{Failure, Happened, History, Run, Verdict};
use crate::domain::standing;

/// What a history entry says as a message of its own; `None` for entries that only the card shows.
pub fn notice(run: &Run, entry: &History) -> Option<Doc> {
    let (what, at) = (&entry.what, entry.at);
    match what {
        Happened::Failed(failure) => Some(failed(run, failure)),
        Happened::AutoRetried(failure) => Some(auto_retried(run, failure)),
        Happened::Restarted {
            step,
            job,
            reason,
            before,
            after,
            unattended,
            ..
        } => {
            let title = format!("🔁 {step}{} {}", of_several(run, step, job), restarted(what));
            let numbers = [("Before", before), ("Now", after)];
            let crews = numbers
                .into_iter()
                .filter_map(|(when, crew)| Some((when.to_owned(), vec![Span::text(crew.as_ref()?.to_string())])));
            let mut fields = vec![("Seen".to_owned(), vec![Span::text(minute(at))])];
            fields.extend(crews);
            let mut blocks = vec![Block::Heading(vec![Span::text(title)])];
            blocks.extend(reason.clone().map(Block::Verbatim));
            blocks.push(Block::Fields(fields));
            blocks.push(Block::Paragraph(after_restart(run, *unattended)));
            Some(Doc {
                blocks,
                buttons: Vec::new(),
                tone: Tone::Busy,
            })
        }
        Happened::Interrupted {
            step,
            job,
            reason,
            progress,
            crew,
            until,
        } => {
            let title = format!("❌ {step}{} failed{}", of_several(run, step, job), at_progress(*progress));
            let fields = [
                ("Progress at failure".to_owned(), vec![Span::text(progress_text(*progress))]),
                ("There".to_owned(), vec![Span::text(crew.as_ref().map(ToString::to_string).unwrap_or_default())]),
            ];
            let until = minute(*until);
            Some(Doc {
                blocks: vec![
                    Block::Heading(vec![Span::text(title)]),
                    Block::Verbatim(reason.clone()),
                    Block::Fields(fields.into()),
                    Block::Paragraph(vec![Span::text(format!(
                        "The service tries again by itself until {until}. The run waits for that, and fails if it is not \
                         restarted by then. Nothing for you to do but to bring back what is missing."
                    ))]),
                ],
                buttons: Vec::new(),
                tone: Tone::Bad,
            })
        }
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
        Happened::Noted { text, .. } => Some(Doc::paragraph(vec![Span::text(text)])),
        Happened::Finished {
            verdict: Verdict::Completed,
            ..
        } => {
            let spans = vec![Span::text("✅ "), Span::strong(name(run)), Span::text(" completed.")];
            Some(Doc {
                tone: Tone::Good,
                ..Doc::paragraph(spans)
            })
        }
        Happened::Finished {
            verdict: Verdict::Canceled { by },
            left,
        } => {
            let spans = vec![
                Span::text("⏹️ "),
                Span::strong(name(run)),
                Span::text(format!(" was stopped by {}. What is left:", by.name)),
            ];
            let mut doc = Doc::paragraph(spans);
            doc.blocks
                .push(Block::List(left.iter().map(|line| vec![Span::text(line)]).collect()));
            Some(doc)
        }
        Happened::Accepted { .. }
        | Happened::Queued { .. }
        | Happened::StepStarted { .. }
        | Happened::StepPassed(_)
        | Happened::PrOpened { .. }
        | Happened::Retried { .. }
        | Happened::Reattached { .. }
        | Happened::StopAsked { .. }
        // A question is a message of its own that shows its outcome later.
        | Happened::Asked { .. }
        | Happened::Answered { .. } => None,
    }
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

/// The job's name where the step has several.
fn of_several(run: &Run, step: &StepName, job: &str) -> String {
    match run.plan.step(step).map(|(_, spec)| &spec.kind) {
        Some(StepKind::Work(work)) if work.jobs.len() > 1 => format!(" ({job})"),
        _ => String::new(),
    }
}

fn failed(run: &Run, failure: &Failure) -> Doc {
    let mut doc = failure_doc(&failed_at(failure), failure);
    let next = after_failure(run, failure, !failure.left.is_empty());
    doc.blocks.push(Block::Paragraph(next));
    doc
}

fn auto_retried(run: &Run, failure: &Failure) -> Doc {
    let allowed = run.plan.step(&failure.step).map_or(0, |(_, step)| step.auto_retries);
    let mut doc = failure_doc(
        &format!("{} and is tried again without asking", failed_at(failure)),
        failure,
    );
    doc.tone = Tone::Busy;
    doc.blocks.push(Block::Paragraph(vec![Span::text(format!(
        "The plan allows {allowed} such retries of this step."
    ))]));
    doc
}

fn failure_doc(title: &str, failure: &Failure) -> Doc {
    let mut fields = vec![
        (
            "Progress at failure".to_owned(),
            vec![Span::text(progress_text(failure.progress))],
        ),
        ("Attempt".to_owned(), vec![Span::text(failure.attempt.to_string())]),
        ("Restarts".to_owned(), vec![Span::text(failure.restarts.to_string())]),
        ("Class".to_owned(), vec![Span::text(class_text(failure.class))]),
    ];
    if let Some(crew) = &failure.crew {
        fields.push(("There".to_owned(), vec![Span::text(crew.to_string())]));
    }
    if let Some(url) = &failure.link {
        fields.push(("Back-end".to_owned(), vec![Span::link("open", url)]));
    }
    fields.extend(
        left_behind(&failure.left)
            .into_iter()
            .map(|(label, jobs)| (label.to_owned(), jobs)),
    );
    let blocks = vec![
        Block::Heading(vec![Span::text(format!("❌ {title}"))]),
        Block::Verbatim(failure.reason.clone()),
        Block::Fields(fields),
    ];
    Doc {
        blocks,
        buttons: Vec::new(),
        tone: Tone::Bad,
    }
}
