//! What stepherd shows: the status card of a run, notices, and answers, as neutral docs.
//!
//! A card is a function of the run alone (no clock), so rendering it twice gives the same text and a thread is
//! only touched when something changed. Every command shown stands in a `Code` span: no line of ours can be read
//! as a command.

mod answers;
mod asked;
mod by_itself;
mod notice;

pub use answers::{
    accepted, bad_start, done_before, foreign_commit, from_fork, happened, help, list, misread, moved, no_run,
    no_such_command, nothing_to_retry, nothing_to_stop, other_head, plain, refused, stop_of_another,
    stopped_while_it_waited, too_old, unknown_head, unseen, why,
};
pub use asked::{
    QuestionShown, answer_before_question, asked_by_you, closed_question, no_question, no_such_option,
    no_such_question, perhaps_asked_by_you, question, retry_before_failure, stale_retry, which_question,
};
pub use notice::notice;

use jiff::Timestamp;

use super::doc::{Block, Button, Doc, Span, Tone};
use super::ids::Percent;
use super::pipeline::Param;
use super::question;
use super::run::{
    Attempt, Failure, FailureClass, LeftHow, LeftJob, ObservedState, Passed, Phase, Run, RunState, Verdict,
};
use super::standing;

/// The status card of a run.
pub fn card(run: &Run) -> Doc {
    let mut blocks = vec![Block::Heading(vec![Span::text(headline(run))])];
    if !matches!(run.state, RunState::Queued { .. }) {
        blocks.push(Block::Progress(standing::progress(run)));
    }
    blocks.push(Block::Fields(fields(run)));
    if let Some(failure) = standing::failure(run) {
        blocks.push(Block::Verbatim(failure.reason.clone()));
    }
    blocks.push(Block::List(steps(run)));
    blocks.push(Block::Paragraph(next(run)));
    Doc {
        blocks,
        buttons: buttons(run),
        tone: tone(run),
    }
}

/// The card as the answer to somebody who asks where the run stands, with what it goes by. It is not kept up to date, so
/// it has no buttons.
pub fn status(run: &Run) -> Doc {
    let mut doc = card(run);
    doc.buttons.clear();
    doc.blocks.extend(values(run));
    doc
}

/// The values that the run goes by, in the plan's order, and where each came from.
fn values(run: &Run) -> Option<Block> {
    let line = |param: &Param| {
        let value = run.params.get(&param.name)?;
        let shown = if value.is_empty() { "empty" } else { value.as_str() };
        let from = run.sources.get(&param.name).map(|source| format!(", from {source}"));
        Some(vec![
            Span::strong(param.name.as_str()),
            Span::text(format!(" = {shown}{}", from.unwrap_or_default())),
        ])
    };
    let lines: Vec<Vec<Span>> = run.plan.params.iter().filter_map(line).collect();
    (!lines.is_empty()).then_some(Block::List(lines))
}

/// One line that says which run it is and where it stands: the card's heading and the check's title.
pub fn headline(run: &Run) -> String {
    format!("{} {} — {}", icon(run), name(run), state(run))
}

/// What people call the run: pipeline, what had to be named to start it, ticket, id. Also the name of a thread opened
/// for it.
pub fn name(run: &Run) -> String {
    let mut what = run.plan.title.clone();
    let named = run.plan.params.iter().filter(|param| param.default.is_none());
    for value in named.filter_map(|param| run.params.get(&param.name)) {
        what.push(' ');
        what.push_str(value);
    }
    let ticket = run
        .subject
        .ticket
        .as_ref()
        .map(|t| format!("{t} · "))
        .unwrap_or_default();
    format!("{what} · {ticket}{}", run.id)
}

fn icon(run: &Run) -> &'static str {
    match &run.state {
        RunState::Queued { .. } => "⏳",
        RunState::Active(_) if question::open(run).is_some() => "❓",
        RunState::Active(attempt) => match attempt.phase {
            Phase::Stopping { .. } => "⏹️",
            _ => "▶️",
        },
        RunState::Stopped { .. } => "❌",
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => "✅",
        RunState::Finished {
            verdict: Verdict::Canceled { .. },
            ..
        } => "⏹️",
    }
}

fn state(run: &Run) -> String {
    match &run.state {
        RunState::Queued { ahead } => format!("waits in line, {} before it", ahead.len()),
        RunState::Active(attempt) => {
            let title = &run.plan.steps[attempt.step].title;
            match &attempt.phase {
                _ if question::open(run).is_some() => format!("{title}: waits for an answer"),
                Phase::Stopping { by, .. } => format!("{title}: stopping, asked by {}", by.name),
                Phase::Checking { .. } => format!("{title}: looking at what is running"),
                Phase::Acting { waiting_for: Some(_) } => format!("{title}: waiting"),
                _ => match standing::last_seen(attempt).map(|seen| seen.state) {
                    Some(state) if is_waiting(state) => format!("{title}: waiting"),
                    Some(ObservedState::Starting) => format!("{title}: starting"),
                    _ if attempt.number > 1 => format!("{title}: resumed"),
                    _ => title.clone(),
                },
            }
        }
        RunState::Stopped { why, .. } => failed_at(why),
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => "completed".to_owned(),
        RunState::Finished {
            verdict: Verdict::Canceled { by },
            ..
        } => format!("stopped by {}", by.name),
    }
}

/// `Rebuild failed at 42 %`.
fn failed_at(why: &Failure) -> String {
    format!("{} failed{}", why.step, at_progress(why.progress))
}

fn fields(run: &Run) -> Vec<(String, Vec<Span>)> {
    let mut fields: Vec<(String, Vec<Span>)> = Vec::new();
    let mut field = |label: &str, spans: Vec<Span>| fields.push((label.to_owned(), spans));
    if let Some(attempt) = standing::attempt(run) {
        let step = &run.plan.steps[attempt.step];
        let place = format!("{} of {}: ", attempt.step + 1, run.plan.steps.len());
        field("Step", vec![Span::text(place), Span::strong(step.name.as_str())]);
        field("Attempt", vec![Span::text(attempt.number.to_string())]);
        if let Some((label, doing)) = doing(attempt) {
            field(label, vec![Span::text(doing)]);
        }
        if let Some(open) = question::open(run) {
            field("Question", vec![Span::text(open.text)]);
        }
        if let Some(crew) = standing::last_seen(attempt).and_then(|seen| seen.crew.as_ref()) {
            field("There", vec![Span::text(crew.to_string())]);
        }
        if let Some(eta) = eta(attempt).filter(|_| matches!(run.state, RunState::Active(_))) {
            field("Done by", vec![Span::text(eta)]);
        }
        if let Some(url) = standing::last_seen(attempt).and_then(|seen| seen.link.clone()) {
            field("Back-end", vec![Span::link("open", url)]);
        }
    }
    if let RunState::Queued { ahead } = &run.state {
        let mut spans = vec![Span::text(format!("{} in line; before it: ", ordinal(ahead.len())))];
        spans.extend(commas(ahead.iter().map(|id| Span::code(id.as_str()))));
        field("Position", spans);
    }
    if let Some(failure) = standing::failure(run) {
        field("Class", vec![Span::text(class_text(failure.class))]);
        let left = standing::attempt(run).map(standing::left).unwrap_or_default();
        for (label, jobs) in left_behind(&left) {
            field(label, jobs);
        }
    }
    field("Restarts", vec![Span::text(standing::restarts(run).to_string())]);
    if !run.prs.is_empty() {
        field(
            "Pull requests",
            commas(
                run.prs
                    .values()
                    .map(|opened| Span::link(opened.pr.to_string(), &opened.url)),
            ),
        );
    }
    if let Some(pinned) = &run.subject.pinned {
        field(
            "Commit",
            vec![
                Span::code(pinned.head.short()),
                Span::text(format!(" of {}", pinned.pr)),
            ],
        );
    }
    field(
        "Asked by",
        vec![
            Span::text(&run.asked_by.name),
            Span::text(format!(", {}", minute(run.asked_at))),
        ],
    );
    fields
}

/// Jobs that a failed step left behind, by what is known about them.
fn left_behind(left: &[LeftJob]) -> Vec<(&'static str, Vec<Span>)> {
    let words = [
        (LeftHow::Running, "Left running"),
        (LeftHow::MayRun, "May run"),
        (LeftHow::ToldToEnd, "Told to end"),
    ];
    let of = |how: LeftHow| commas(left.iter().filter(move |job| job.how == how).map(left_job));
    let fields = words.into_iter().map(|(how, label)| (label, of(how)));
    fields.filter(|(_, jobs)| !jobs.is_empty()).collect()
}

/// `sync at 42 %`, with the way there.
fn left_job(left: &LeftJob) -> Span {
    let text = format!("{}{}", left.job, at_progress(left.progress));
    match &left.link {
        Some(url) => Span::link(text, url),
        None => Span::text(text),
    }
}

/// What the attempt is doing, waits for or asks, and which of these it is.
pub fn doing(attempt: &Attempt) -> Option<(&'static str, String)> {
    const WAITING: &str = "Waiting for";
    match &attempt.phase {
        Phase::Acting { waiting_for } => waiting_for.clone().map(|what| (WAITING, what)),
        Phase::Asking { .. } => None,
        _ => {
            let seen = standing::last_seen(attempt)?;
            let label = if is_waiting(seen.state) { WAITING } else { "Doing" };
            seen.detail.clone().map(|detail| (label, detail))
        }
    }
}

/// When what goes by itself and runs will be done, at the rate of late.
fn eta(attempt: &Attempt) -> Option<String> {
    let job = standing::live_job(attempt)?;
    let runs = job.seen.as_ref()?.state == ObservedState::Running;
    (runs && job.course.baseline.is_some()).then(|| match job.course.eta {
        Some(at) => format!("{}, at the rate of late", minute(at)),
        None => "unknown".to_owned(),
    })
}

fn is_waiting(state: ObservedState) -> bool {
    matches!(state, ObservedState::Waiting | ObservedState::Pending)
}

fn steps(run: &Run) -> Vec<Vec<Span>> {
    let now = standing::attempt(run).map(|attempt| attempt.step);
    let line = |(index, step): (usize, &super::pipeline::StepSpec)| {
        let passed = run.passed.iter().find(|passed| passed.step == step.name);
        let mark = match (passed, now == Some(index), &run.state) {
            (Some(_), _, _) => "✅",
            (None, true, RunState::Stopped { .. }) => "❌",
            (None, true, _) => "▶️",
            (None, false, _) => "▫️",
        };
        let note = passed.map(remarks).unwrap_or_default();
        vec![
            Span::text(format!("{mark} ")),
            Span::text(step.title.as_str()),
            Span::text(note),
        ]
    };
    run.plan.steps.iter().enumerate().map(line).collect()
}

/// What there is to say about a step that passed, most of all when it did not go smoothly.
fn remarks(passed: &Passed) -> String {
    let mut remarks: Vec<String> = passed.note.iter().cloned().collect();
    if passed.attempts > 1 {
        remarks.push(format!("{} attempts", passed.attempts));
    }
    match passed.restarts {
        0 => {}
        1 => remarks.push("1 restart".to_owned()),
        n => remarks.push(format!("{n} restarts")),
    }
    if remarks.is_empty() {
        return String::new();
    }
    format!(" — {}", remarks.join(", "))
}

/// What to type next.
fn next(run: &Run) -> Vec<Span> {
    let command = |verb: &str| Span::code(command_line(run, verb));
    match &run.state {
        RunState::Queued { .. } => vec![
            Span::text("It starts by itself when its turn comes. To give up: "),
            command("stop"),
        ],
        RunState::Active(attempt) => match &attempt.phase {
            Phase::Asking { .. } | Phase::Watching { .. } if question::open(run).is_some() => {
                question::open(run).map_or_else(Vec::new, |open| asked::to_answer(run, &open))
            }
            Phase::Stopping { look: true, .. } => {
                vec![Span::text(
                    "It ends as soon as stepherd has looked what became of the last try.",
                )]
            }
            Phase::Stopping { .. } => vec![Span::text("It ends as soon as what runs has ended.")],
            _ => vec![
                Span::text(outlook(attempt)),
                Span::text(if only_watched(attempt) {
                    " To end the run, while what it watches goes on without it: "
                } else {
                    " To cancel: "
                }),
                command("stop"),
            ],
        },
        RunState::Stopped { why, attempt } => after_failure(run, why, !standing::left(attempt).is_empty()),
        RunState::Finished { .. } => vec![Span::text("Nothing left to do.")],
    }
}

/// Whether stepherd only watches what runs: to stop the run ends nothing else.
fn only_watched(attempt: &Attempt) -> bool {
    let jobs = standing::jobs(attempt);
    !jobs.is_empty() && jobs.iter().all(|job| !job.start)
}

/// What to type after a failure, and what that does to jobs that were left behind.
fn after_failure(run: &Run, why: &Failure, left: bool) -> Vec<Span> {
    let (retry, stop) = if left {
        (
            "To go on, with what still runs taken up: ",
            ". To give up, end what still runs and free its locks: ",
        )
    } else {
        ("To go on: ", ". To give up and free its locks: ")
    };
    vec![
        Span::text(retry),
        Span::code(retry_line(run, why)),
        Span::text(stop),
        Span::code(command_line(run, "stop")),
    ]
}

/// What will happen without anybody typing anything.
fn outlook(attempt: &Attempt) -> &'static str {
    match (&attempt.phase, standing::last_seen(attempt).map(|seen| seen.state)) {
        (Phase::Acting { waiting_for: Some(_) }, _) => "It goes on by itself once that is there.",
        (_, Some(state)) if is_waiting(state) => "It goes on by itself once that is there.",
        (_, Some(ObservedState::Unknown)) => "It is looked at again and again until that is clear.",
        _ => "Nothing to do.",
    }
}

fn buttons(run: &Run) -> Vec<Button> {
    let button = |label: &str, verb: &str, mut args: Vec<(String, String)>| {
        args.push(("run".to_owned(), run.id.to_string()));
        Button {
            label: label.to_owned(),
            command: run.plan.command.to_string(),
            verb: verb.to_owned(),
            args,
        }
    };
    match (&run.state, question::open(run)) {
        (RunState::Stopped { why, .. }, _) => {
            let failure = named_failure(why).map(|seq| ("failure".to_owned(), seq.to_string()));
            vec![
                button("Retry", "retry", failure.into_iter().collect()),
                button("Stop", "stop", Vec::new()),
            ]
        }
        (_, Some(open)) => asked::buttons(run, &open),
        _ => Vec::new(),
    }
}

/// The failure's number, unless it was stored before failures had numbers.
fn named_failure(why: &Failure) -> Option<u64> {
    (why.seq > 0).then_some(why.seq)
}

/// The exact command that resumes the run from this failure and from no later one.
fn retry_line(run: &Run, why: &Failure) -> String {
    let failure = named_failure(why).map(|seq| format!(" failure={seq}"));
    format!("{}{}", command_line(run, "retry"), failure.unwrap_or_default())
}

fn tone(run: &Run) -> Tone {
    match &run.state {
        RunState::Queued { .. } => Tone::Neutral,
        RunState::Active(_) => Tone::Busy,
        RunState::Stopped { .. } => Tone::Bad,
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => Tone::Good,
        RunState::Finished {
            verdict: Verdict::Canceled { .. },
            ..
        } => Tone::Neutral,
    }
}

/// The exact command for this run.
fn command_line(run: &Run, verb: &str) -> String {
    format!("/{} {verb} run={}", run.plan.command, run.id)
}

fn class_text(class: FailureClass) -> &'static str {
    match class {
        FailureClass::User => "user: something that a person wrote or configured",
        FailureClass::Infrastructure => "infrastructure: a machine, a network or a service",
        FailureClass::Flaky => "flaky: it may pass when tried again",
        FailureClass::Permission => "permission: a right is missing",
        FailureClass::RateLimit => "rate limit: a vendor's limit was hit",
    }
}

fn progress_text(progress: Option<Percent>) -> String {
    progress.map_or_else(|| "not known".to_owned(), |progress| progress.to_string())
}

/// ` at 42 %`; nothing when it is not known.
fn at_progress(progress: Option<Percent>) -> String {
    progress.map_or_else(String::new, |progress| format!(" at {progress}"))
}

fn ordinal(n: usize) -> String {
    let suffix = match (n % 10, n % 100) {
        (1, t) if t != 11 => "st",
        (2, t) if t != 12 => "nd",
        (3, t) if t != 13 => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn commas(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut joined = Vec::new();
    for span in spans {
        if !joined.is_empty() {
            joined.push(Span::text(", "));
        }
        joined.push(span);
    }
    joined
}
