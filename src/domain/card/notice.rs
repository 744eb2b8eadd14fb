//! New messages in a thread: failures, restarts, notes and the end of a run, each said once.

use super::{after_failure, by_itself, class_text, failed_at, left_behind, name, progress_text};
use crate::domain::doc::{Block, Doc, Span, Tone};
use crate::domain::ids::StepName;
use crate::domain::pipeline::StepKind;
use crate::domain::run::{Failure, Happened, History, Run, Verdict};

/// What a history entry says as a message of its own; `None` for entries that only the card shows.
pub fn notice(run: &Run, entry: &History) -> Option<Doc> {
    match &entry.what {
        Happened::Failed(failure) => Some(failed(run, failure)),
        Happened::AutoRetried(failure) => Some(auto_retried(run, failure)),
        Happened::Restarted { .. } | Happened::Interrupted { .. } | Happened::DoneSince { .. } => {
            by_itself::notice(run, entry)
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
        | Happened::MadeAnew { .. }
        | Happened::Retried { .. }
        | Happened::Reattached { .. }
        | Happened::StopAsked { .. }
        // A question is a message of its own that shows its outcome later.
        | Happened::Asked { .. }
        | Happened::Answered { .. } => None,
    }
}

/// The job's name where the step has several.
pub(super) fn of_several(run: &Run, step: &StepName, job: &str) -> String {
    match run.plan.step(step).map(|(_, spec)| &spec.kind) {
        Some(StepKind::Work(work)) if work.jobs.len() > 1 => format!(" ({job})"),
        _ => String::new(),
    }
}

fn failed(run: &Run, failure: &Failure) -> Doc {
    let mut doc = failure_doc(run, &failed_at(failure), failure);
    let next = after_failure(run, failure, !failure.left.is_empty());
    doc.blocks.push(Block::Paragraph(next));
    doc
}

fn auto_retried(run: &Run, failure: &Failure) -> Doc {
    let allowed = run.plan.step(&failure.step).map_or(0, |(_, step)| step.auto_retries);
    let mut doc = failure_doc(
        run,
        &format!("{} and is tried again without asking", failed_at(failure)),
        failure,
    );
    doc.tone = Tone::Busy;
    doc.blocks.push(Block::Paragraph(vec![Span::text(format!(
        "The plan allows {allowed} such retries of this step."
    ))]));
    doc
}

fn failure_doc(run: &Run, title: &str, failure: &Failure) -> Doc {
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
        let label = match run.plan.step(&failure.step).map(|(_, step)| &step.kind) {
            Some(StepKind::Change(_) | StepKind::Merge(_)) => "Pull request",
            _ => "Back-end",
        };
        fields.push((label.to_owned(), vec![Span::link("open", url)]));
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
