//! Questions as messages, open and closed, and what is said to an answer or a retry that means something else.

use jiff::Timestamp;

use super::{commas, headline, minute, name, retry_line};
use crate::domain::doc::{Block, Button, Doc, Span, Tone};
use crate::domain::ids::QuestionId;
use crate::domain::pipeline::AskOption;
use crate::domain::question::{self, ClosedQuestion, Closing, Open};
use crate::domain::run::{By, Failure, Happened, History, Run, RunState};

/// A question as a thread shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionShown {
    /// The message.
    pub doc: Doc,
    /// Whether it waits for an answer.
    pub open: bool,
}

/// The question with this id as it is now: open, with what to type and press, or closed, with how and by whom.
pub fn question(run: &Run, id: &QuestionId) -> Option<QuestionShown> {
    if let Some(open) = question::open(run).filter(|open| open.id == id) {
        return Some(QuestionShown {
            doc: asking(run, &open),
            open: true,
        });
    }
    let closed = question::closed(run, id.as_str())?;
    Some(QuestionShown {
        doc: no_longer_asking(run, closed),
        open: false,
    })
}

fn asking(run: &Run, open: &Open<'_>) -> Doc {
    let mut blocks = vec![
        Block::Paragraph(vec![Span::text("❓ "), Span::strong(open.text)]),
        Block::Paragraph(to_answer(run, open)),
    ];
    blocks.extend(excluded(run, open).map(|who| Block::Paragraph(vec![Span::text(who)])));
    Doc {
        blocks,
        buttons: buttons(run, open),
        tone: Tone::Busy,
    }
}

fn no_longer_asking(run: &Run, closed: &ClosedQuestion) -> Doc {
    let mut spans = match &closed.how {
        Closing::Answered { by, value } => vec![
            Span::text("✅ Answered by "),
            Span::strong(&by.name),
            Span::text(": "),
            Span::text(label(run, closed, value)),
        ],
        Closing::Expired => vec![Span::text("⌛ Nobody answered in time")],
        Closing::Stopped { by } => vec![
            Span::text("⏹️ Not answered: "),
            Span::strong(&by.name),
            Span::text(" stopped the run"),
        ],
        Closing::Withdrawn => vec![Span::text("Not answered: the run went on without it")],
    };
    spans.push(Span::text(format!(" ({}).", minute(closed.closed_at))));
    let blocks = vec![
        Block::Paragraph(vec![Span::text("❓ "), Span::text(&closed.text)]),
        Block::Paragraph(spans),
    ];
    Doc {
        blocks,
        ..Doc::default()
    }
}

/// What the option that was chosen says.
fn label(run: &Run, closed: &ClosedQuestion, value: &str) -> String {
    let step = run.plan.step(&closed.step).map(|(_, step)| step);
    let options = step.map(question::options).unwrap_or_default();
    let option = options.iter().find(|option| option.value == value);
    option.map_or(value, |option| &option.label).to_owned()
}

/// What to type to answer.
pub(super) fn to_answer(run: &Run, open: &Open<'_>) -> Vec<Span> {
    let mut spans = vec![Span::text("To answer: ")];
    spans.extend(commas(lines(run, open)));
    spans
}

fn lines<'a>(run: &'a Run, open: &'a Open<'_>) -> impl Iterator<Item = Span> + 'a {
    let line = |option: &AskOption| Span::code(answer_line(run, open, option));
    open.spec.options.iter().map(line)
}

/// The exact command for this answer. It names the question where the bare answer could be meant for an earlier one.
fn answer_line(run: &Run, open: &Open<'_>, option: &AskOption) -> String {
    if question::was_offered_before(run, open, &option.value) {
        return named_answer_line(run, open, option);
    }
    format!("/{} answer {} run={}", run.plan.command, option.value, run.id)
}

fn named_answer_line(run: &Run, open: &Open<'_>, option: &AskOption) -> String {
    let (command, value) = (&run.plan.command, &option.value);
    format!("/{command} answer {value} run={} question={}", run.id, open.id)
}

/// Who may not answer, whatever their roles.
fn excluded(run: &Run, open: &Open<'_>) -> Option<String> {
    let starter = &run.asked_by;
    let started = format!("{}, who started this run", starter.name);
    let is_starter = |by: &&By| by.account == starter.account || (by.person.is_some() && by.person == starter.person);
    let resumer = run.resumed_by.as_ref().filter(|by| !is_starter(by));
    let resumed = resumer.map(|by| format!(", nor {}, who resumed it", by.name));
    open.spec
        .not_the_asker
        .then(|| format!("Not to be answered by {started}{}.", resumed.unwrap_or_default()))
}

/// A button for each option. It carries the question: pressed late, it answers no other.
pub(super) fn buttons(run: &Run, open: &Open<'_>) -> Vec<Button> {
    let button = |option: &AskOption| Button {
        label: option.label.clone(),
        command: run.plan.command.to_string(),
        verb: "answer".to_owned(),
        args: vec![
            ("value".to_owned(), option.value.clone()),
            ("question".to_owned(), open.id.to_string()),
            ("run".to_owned(), run.id.to_string()),
        ],
    };
    open.spec.options.iter().map(button).collect()
}

/// The answer is to a question that is closed.
pub fn closed_question(run: &Run, closed: &ClosedQuestion) -> Doc {
    let at = minute(closed.closed_at);
    let mut spans = match &closed.how {
        Closing::Answered { by, value } => vec![
            Span::text("Already answered by "),
            Span::text(&by.name),
            Span::text(format!(" at {at}: ")),
            Span::code(value),
            Span::text(". "),
        ],
        Closing::Expired => vec![Span::text(format!(
            "That question expired at {at}: nobody answered in time. "
        ))],
        Closing::Stopped { by } => vec![
            Span::text("That question is closed: "),
            Span::text(&by.name),
            Span::text(format!(" stopped the run at {at}. ")),
        ],
        Closing::Withdrawn => vec![Span::text(format!(
            "That question is closed: the run went on without an answer at {at}. "
        ))],
    };
    spans.push(Span::text(format!(
        "It was: “{}” Your answer changed nothing.",
        closed.text
    )));
    let mut doc = Doc::paragraph(spans);
    doc.blocks.extend(asks_now(run).map(Block::Paragraph));
    doc
}

/// What the run asks now, for somebody whose answer was to something else.
fn asks_now(run: &Run) -> Option<Vec<Span>> {
    let open = question::open(run)?;
    let mut spans = vec![Span::text("It asks now: "), Span::strong(open.text), Span::text(" ")];
    spans.extend(to_answer(run, &open));
    Some(spans)
}

/// The run never asked this.
pub fn no_such_question(run: &Run, id: &str) -> Doc {
    let mut doc = Doc::paragraph(vec![
        Span::strong(name(run)),
        Span::text(" has asked no question "),
        Span::code(id),
        Span::text("."),
    ]);
    doc.blocks.extend(asks_now(run).map(Block::Paragraph));
    doc
}

/// The run asks nothing now.
pub fn no_question(run: &Run) -> Doc {
    match run.questions.last() {
        Some(closed) => closed_question(run, closed),
        None => Doc::paragraph(vec![
            Span::text("This run asks nothing now: "),
            Span::text(headline(run)),
        ]),
    }
}

/// No such option.
pub fn no_such_option(run: &Run, open: &Open<'_>, said: &str) -> Doc {
    let mut spans = vec![Span::code(said), Span::text(" is none of the answers. They are: ")];
    spans.extend(commas(lines(run, open)));
    Doc::paragraph(spans)
}

/// The answer was said before the question was asked, so it was meant for something else.
pub fn answer_before_question(run: &Run, open: &Open<'_>, option: &AskOption, said_at: Timestamp) -> Doc {
    Doc::paragraph(vec![
        Span::text(format!(
            "This was said at {}, before the run asked “{}” at {}, so it is not taken as an answer to that. If you mean it: ",
            second(said_at),
            open.text,
            second(open.asked_at())
        )),
        Span::code(named_answer_line(run, open, option)),
    ])
}

/// The answer fits more than one question of the run.
pub fn which_question(run: &Run, open: &Open<'_>, option: &AskOption) -> Doc {
    Doc::paragraph(vec![
        Span::text("This run has asked before, and "),
        Span::code(&option.value),
        Span::text(format!(
            " was an answer then, too. Nothing was changed. If you mean “{}”: ",
            open.text
        )),
        Span::code(named_answer_line(run, open, option)),
    ])
}

/// Whoever answers is who brought the run here.
pub fn asked_by_you(open: &Open<'_>, did: &str) -> Doc {
    Doc::paragraph(vec![Span::text(format!(
        "“{}” is for somebody else to answer: you {did}. Nothing was changed.",
        open.text
    ))])
}

/// Whoever answers may be who brought the run here: nothing says that they are not.
pub fn perhaps_asked_by_you(open: &Open<'_>, who: &str, did: &str) -> Doc {
    Doc::paragraph(vec![Span::text(format!(
        "“{}” is for somebody other than {who} to answer, who {did}. stepherd cannot tell whether that is you: nothing \
         links your account here with one there. Nothing was changed. An administrator can link accounts to persons in \
         people.toml.",
        open.text
    ))])
}

/// The retry was offered for a failure that no longer stands.
pub fn stale_retry(run: &Run, history: &[History], failure: &str) -> Doc {
    let failed = history.iter().find_map(|entry| match &entry.what {
        Happened::Failed(failed) if entry.seq.to_string() == failure => Some((entry.seq, failed)),
        _ => None,
    });
    let Some((seq, failure)) = failed else {
        return Doc::paragraph(vec![
            Span::strong(name(run)),
            Span::text(format!(" had no failure {failure}. Where it stands: {}", headline(run))),
        ]);
    };
    let what = format!("{}, attempt {}", failure.step, failure.attempt);
    let next = history.iter().find_map(|entry| match &entry.what {
        Happened::Retried { by } if entry.seq > seq => Some(format!("{} resumed it", by.name)),
        Happened::StopAsked { by } if entry.seq > seq => Some(format!("{} stopped the run", by.name)),
        _ => None,
    });
    let at = history
        .iter()
        .find(|entry| entry.seq > seq && matches!(entry.what, Happened::Retried { .. } | Happened::StopAsked { .. }));
    let at = at.map(|entry| format!(" at {}", minute(entry.at))).unwrap_or_default();
    let next = next.unwrap_or_else(|| "the run has gone on since".to_owned());
    let mut spans = vec![Span::text(format!(
        "This retry was offered for an earlier failure ({what}): {next}{at}. Nothing was started now. Where it stands: {}",
        headline(run)
    ))];
    if let RunState::Stopped { why, .. } = &run.state {
        spans.extend([Span::text(". To go on from there: "), Span::code(retry_line(run, why))]);
    }
    Doc::paragraph(spans)
}

/// The retry was said before the failure that stands now, so it was meant for something else.
pub fn retry_before_failure(run: &Run, why: &Failure, said_at: Timestamp) -> Doc {
    Doc::paragraph(vec![
        Span::text(format!(
            "This was said at {}, before {} (attempt {}) failed at {}. Nothing was started. If you still want it: ",
            second(said_at),
            why.step,
            why.attempt,
            second(why.at)
        )),
        Span::code(retry_line(run, why)),
    ])
}

fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
