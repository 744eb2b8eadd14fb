//! Answers to commands: what was asked for, or why not and what would help.

use jiff::Timestamp;

use super::{at_progress, by_itself, card, command_line, commas, headline, minute, name, values};
use crate::domain::command::{Arg, Command, Invocation, Misread, Verb};
use crate::domain::decide::{Doubt, NoRun};
use crate::domain::doc::{Block, Doc, Span};
use crate::domain::grammar;
use crate::domain::ids::{PrRef, Repo, RoleName, Sha};
use crate::domain::run::{Happened, History, LeftHow, LeftJob, Run, RunState, Verdict};
use crate::domain::standing;

/// One paragraph of plain text.
pub fn plain(text: &str) -> Doc {
    Doc::paragraph(vec![Span::text(text)])
}

/// A command was accepted, for platforms that wait for an answer. The card shows where the run stands and is kept up
/// to date; a second one in the answer would soon be wrong.
pub fn accepted(run: &Run, said: &str) -> Doc {
    Doc::paragraph(vec![
        Span::strong(name(run)),
        Span::text(format!(": {said}. Where it stands: ")),
        Span::code(command_line(run, "status")),
    ])
}

/// Somebody may not do this. `who` names them where the answer does not stand below their own words.
pub fn refused(invocation: &Invocation, who: Option<&str>, missing: &[RoleName], unknown: &[String]) -> Doc {
    let mut spans = vec![
        Span::text(format!("{} may not say ", who.unwrap_or("You"))),
        Span::code(grammar::written(invocation)),
        Span::text(": it takes the role "),
    ];
    if missing.is_empty() {
        spans = vec![
            Span::text("Nobody may say "),
            Span::code(grammar::written(invocation)),
            Span::text(": no role is configured for it"),
        ];
    }
    for (i, role) in missing.iter().enumerate() {
        spans.extend((i > 0).then(|| Span::text(" or ")));
        spans.push(Span::code(role.as_str()));
    }
    spans.push(Span::text(". Roles are given in people.toml by an administrator."));
    let mut doc = Doc::paragraph(spans);
    if !unknown.is_empty() {
        doc.blocks.push(Block::Paragraph(vec![Span::text(
            "What could not be found out counts as no:",
        )]));
        doc.blocks
            .push(Block::List(unknown.iter().map(|why| vec![Span::text(why)]).collect()));
    }
    doc
}

/// A platform still offers a command that is not configured any more.
pub fn no_such_command(command: &str) -> Doc {
    plain(&format!(
        "There is no command /{command} any more; the list of commands that you see is out of date."
    ))
}

/// It took effect before; its answer may have been lost with the process that was about to give it.
pub fn done_before(invocation: &Invocation) -> Doc {
    Doc::paragraph(vec![
        Span::code(grammar::written(invocation)),
        Span::text(" had been carried out before; its answer may have been lost."),
    ])
}

/// A start was not carried out, because somebody stopped the command in this thread while it waited.
pub fn stopped_while_it_waited(command: &str, by: &str, at: Timestamp) -> Doc {
    let at = minute(at);
    plain(&format!(
        "Not started: {by} said stop for /{command} here at {at}, while this waited. Say it again if it is still wanted."
    ))
}

/// It was said too long ago to be obeyed.
pub fn too_old(invocation: &Invocation, who: Option<&str>, at: Timestamp) -> Doc {
    Doc::paragraph(vec![
        Span::text(format!(
            "Nothing was done: {} this at {}, while stepherd was away or could not act. If it still holds, say it again: ",
            who.map_or_else(|| "you said".to_owned(), |who| format!("{who} did")),
            minute(at)
        )),
        Span::code(grammar::written(invocation)),
    ])
}

/// A stop that was said before the run it would meet was asked for.
pub fn stop_of_another(run: &Run, at: Timestamp) -> Doc {
    Doc::paragraph(vec![
        Span::text(format!("Nothing was stopped: you said this at {}, before ", minute(at))),
        Span::strong(name(run)),
        Span::text(" was asked for. To stop it: "),
        Span::code(command_line(run, "stop")),
    ])
}

/// No run is meant.
pub fn no_run(invocation: &Invocation, why: &NoRun) -> Doc {
    let example = |id: &str| Span::code(format!("{} run={id}", grammar::written(invocation)));
    let list = Span::code(format!("/{} list", invocation.command));
    match why {
        NoRun::NoneHere => Doc::paragraph(vec![
            Span::text("No run belongs to this thread. Name one, like "),
            example("URMO7YZ2"),
            Span::text("; to see them all: "),
            list,
        ]),
        NoRun::OnlyWaiting(starts) => {
            let what = match starts {
                1 => "1 start of ".to_owned(),
                many => format!("{many} starts of "),
            };
            Doc::paragraph(vec![
                Span::text("Stopped before it began: "),
                Span::text(what),
                Span::code(format!("/{}", invocation.command)),
                Span::text(" waited in this thread, and will not take effect. No run was under way here."),
            ])
        }
        NoRun::Unknown(id) => Doc::paragraph(vec![
            Span::text("There is no run "),
            Span::code(id),
            Span::text(". To see the runs there are: "),
            list,
        ]),
        NoRun::NotHere => Doc::paragraph(vec![
            Span::code(format!("/{} {}", invocation.command, invocation.verb)),
            Span::text(" may not be said here. An administrator lists the places in "),
            Span::code(format!("commands/{}.toml", invocation.command)),
            Span::text("; in a run's own threads it needs no listing."),
        ]),
        NoRun::Several(ids) => {
            let mut spans = vec![Span::text(
                "Several runs belong to this thread. Name the one you mean: ",
            )];
            spans.extend(commas(ids.iter().map(|id| example(id.as_str()))));
            Doc::paragraph(spans)
        }
    }
}

/// A start with values that will not do.
pub fn bad_start(invocation: &Invocation, problem: &str) -> Doc {
    let mut spans = vec![Span::text("Nothing was started. ")];
    spans.extend(with_code(problem));
    spans.extend([
        Span::text(". What it takes: "),
        Span::code(format!("/{} help {}", invocation.command, invocation.verb)),
    ]);
    Doc::paragraph(spans)
}

/// It is not known which commit of the pull request was reviewed.
pub fn unknown_head(invocation: &Invocation, pr: &PrRef, doubt: Doubt) -> Doc {
    let why = match doubt {
        Doubt::Untold => "it had not heard of that commit before you wrote, and cannot read when it was pushed",
        Doubt::Pushed => "commits were pushed after you wrote or in that very second",
        Doubt::Unheard => "its branch was moved in ways that stepherd had not heard of when you wrote",
        Doubt::Unsure => "it cannot read whether the branch was still where it had last heard of when you wrote",
    };
    Doc::paragraph(vec![
        Span::text(format!(
            "Nothing was started: stepherd cannot tell which commit of {pr} you reviewed, because {why}. Say it again \
             with that commit: "
        )),
        Span::code(format!(
            "{} sha=<the full SHA you reviewed>",
            grammar::written(invocation)
        )),
    ])
}

/// The pull request cannot be looked at.
pub fn unseen(pr: &PrRef, why: &str) -> Doc {
    plain(&format!("Nothing was started: stepherd cannot look at {pr}. {why}"))
}

/// The pull request brings commits of a fork.
pub fn from_fork(pr: &PrRef, from: Option<&Repo>) -> Doc {
    let whose = from.map_or_else(
        || "a repository that is gone, or that stepherd may not see".to_owned(),
        |fork| format!("the fork {fork}, where anybody may push"),
    );
    Doc::paragraph(vec![
        Span::text(format!(
            "Nothing was started: the commits of {pr} come from {whose}. An administrator can allow forks: "
        )),
        Span::code("allow_forks"),
        Span::text(" in stepherd.toml."),
    ])
}

/// The pull request's repository has another name now.
pub fn moved(pr: &PrRef, to: &PrRef) -> Doc {
    plain(&format!("Nothing was started: {pr} is {to} now. Say it again there."))
}

/// The commit is not one of the pull request's own.
pub fn foreign_commit(pr: &PrRef, commit: &Sha) -> Doc {
    Doc::paragraph(vec![
        Span::text("Nothing was started: "),
        Span::code(commit.short()),
        Span::text(format!(
            " is not among the commits of {pr}. It may have been pushed away since, or belong to something else. Look \
             at what is there now, and say it again."
        )),
    ])
}

/// The commit named is not the head that was recorded.
pub fn other_head(invocation: &Invocation, named: &Sha, recorded: &Sha) -> Doc {
    Doc::paragraph(vec![
        Span::text("Nothing was started: you named "),
        Span::code(named.short()),
        Span::text(", but the pull request's head was "),
        Span::code(recorded.short()),
        Span::text(" when you wrote. Look at what changed, then say "),
        Span::code(format!("/{} {}", invocation.command, invocation.verb)),
        Span::text(" again."),
    ])
}

/// There is nothing to retry.
pub fn nothing_to_retry(run: &Run) -> Doc {
    let mut doc = card(run);
    doc.buttons.clear();
    let why =
        "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:";
    doc.blocks.insert(0, Block::Paragraph(vec![Span::text(why)]));
    doc
}

/// There is nothing to stop.
pub fn nothing_to_stop(run: &Run) -> Doc {
    Doc::paragraph(vec![
        Span::text("There is nothing more to stop: "),
        Span::text(headline(run)),
    ])
}

/// Text that starts like a command but is none.
pub fn misread(misread: &Misread) -> Doc {
    let mut spans = with_code(&misread.problem);
    spans.push(Span::text(". "));
    if let Some(suggestion) = &misread.suggestion {
        spans.extend([Span::text("Did you mean "), Span::code(suggestion), Span::text("? ")]);
    }
    spans.extend([
        Span::text("What can be said: "),
        Span::code(format!("/{} help", misread.command)),
    ]);
    Doc::paragraph(spans)
}

/// A problem in words: what stands between backticks is code.
fn with_code(problem: &str) -> Vec<Span> {
    let pieces = problem.split('`').enumerate().filter(|(_, piece)| !piece.is_empty());
    pieces
        .map(|(place, piece)| {
            if place % 2 == 0 {
                Span::text(piece)
            } else {
                Span::code(piece)
            }
        })
        .collect()
}

/// Runs that are under way, newest first.
pub fn list(runs: &[Run]) -> Doc {
    if runs.is_empty() {
        return plain("No run is under way.");
    }
    let line = |run: &Run| {
        let progress = match run.state {
            RunState::Active(_) => format!(" · {}", standing::progress(run)),
            _ => String::new(),
        };
        vec![Span::text(format!(
            "{}{progress} · since {}",
            headline(run),
            minute(run.asked_at)
        ))]
    };
    Doc {
        blocks: vec![Block::List(runs.iter().map(line).collect())],
        ..Doc::default()
    }
}

/// What can be said: all verbs, or one with its arguments.
pub fn help(command: &Command, verb: Option<&str>) -> Doc {
    let asked = verb.and_then(|name| command.verbs.iter().find(|v| v.name.as_str() == name));
    let verbs: Vec<&Verb> = asked.map_or_else(|| command.verbs.iter().collect(), |verb| vec![verb]);
    let mut blocks = vec![Block::Paragraph(vec![
        Span::code(format!("/{}", command.name)),
        Span::text(format!(" — {}", command.summary)),
    ])];
    blocks.push(Block::List(verbs.iter().map(|verb| usage(command, verb)).collect()));
    if let Some(verb) = asked {
        if !verb.args.is_empty() {
            blocks.push(Block::List(verb.args.iter().map(argument).collect()));
        }
        blocks.push(Block::Paragraph(vec![
            Span::text("For example: "),
            Span::code(&verb.example),
        ]));
    }
    Doc {
        blocks,
        ..Doc::default()
    }
}

fn usage(command: &Command, verb: &Verb) -> Vec<Span> {
    let args: String = verb
        .args
        .iter()
        .map(|arg| {
            if arg.required {
                format!(" <{}>", arg.name)
            } else {
                format!(" [{}=…]", arg.name)
            }
        })
        .collect();
    let roles = if verb.roles.is_empty() {
        "nobody".to_owned()
    } else {
        verb.roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join(" or ")
    };
    vec![
        Span::code(format!("/{} {}{args}", command.name, verb.name)),
        Span::text(format!(" — {}. Who may: {roles}.", verb.help.trim_end_matches('.'))),
    ]
}

fn argument(arg: &Arg) -> Vec<Span> {
    vec![Span::code(arg.name.as_str()), Span::text(format!(" — {}", arg.help))]
}

/// Why a run stands where it does: who decided what, when, and under which role.
pub fn why(run: &Run, history: &[History]) -> Doc {
    let lines = history
        .iter()
        .map(|entry| vec![Span::text(format!("{} — {}", minute(entry.at), happened(&entry.what)))]);
    let mut blocks = vec![
        Block::Heading(vec![Span::text(headline(run))]),
        Block::List(lines.collect()),
    ];
    blocks.extend(values(run));
    blocks.push(Block::Paragraph(vec![Span::text(format!(
        "Plan and parameters as of its start. Asked in {}.",
        run.audience.first().map_or_else(String::new, ToString::to_string)
    ))]));
    Doc {
        blocks,
        ..Doc::default()
    }
}

/// One line of history, in words.
pub fn happened(what: &Happened) -> String {
    match what {
        Happened::Accepted { by, thread, role } => {
            format!("accepted from {} in {thread}, allowed by the role {role}", by.name)
        }
        Happened::Queued { position } => format!("waits in line with {position} before it"),
        Happened::StepStarted { step, attempt } => format!("{step}: attempt {attempt} began"),
        Happened::StepPassed(passed) => {
            format!(
                "{}: passed{}",
                passed.step,
                passed.note.as_ref().map(|n| format!(" ({n})")).unwrap_or_default()
            )
        }
        Happened::PrOpened { step, pr, branch } => format!("{step}: {pr} on branch {branch}"),
        Happened::MadeAnew { step, pr } => {
            format!("{step}: {pr} conflicts with what was merged since; the same edits are made anew")
        }
        Happened::Restarted { .. } | Happened::Interrupted { .. } | Happened::DoneSince { .. } => {
            by_itself::happened(what)
        }
        Happened::Failed(failure) => format!(
            "{}: failed{}: {}{}",
            failure.step,
            at_progress(failure.progress),
            failure.reason,
            left_in_words(&failure.left)
        ),
        Happened::AutoRetried(failure) => format!(
            "{}: failed and was tried again without asking: {}",
            failure.step, failure.reason
        ),
        Happened::Retried { by } => format!("resumed by {}", by.name),
        Happened::Reattached { step } => format!("{step}: found still running or done; nothing was started"),
        Happened::StopAsked { by } => format!("{} said stop", by.name),
        Happened::Asked { step, question, .. } => format!("{step}: asked “{question}”"),
        Happened::Noted { step, text } => format!("{step}: {text}"),
        Happened::Answered { by, value, .. } => format!("{} answered {value}", by.name),
        Happened::Finished {
            verdict: Verdict::Completed,
            ..
        } => "completed".to_owned(),
        Happened::Finished {
            verdict: Verdict::Canceled { by },
            left,
        } => format!("stopped by {}: {}", by.name, left.join("; ")),
    }
}

/// `; left running: a, b; told to end: c`.
fn left_in_words(left: &[LeftJob]) -> String {
    let words = [
        (LeftHow::Running, "left running"),
        (LeftHow::MayRun, "may run"),
        (LeftHow::ToldToEnd, "told to end"),
    ];
    let part = |(how, word): (LeftHow, &str)| {
        let jobs = left.iter().filter(|job| job.how == how).map(|job| job.job.as_str());
        let jobs: Vec<&str> = jobs.collect();
        (!jobs.is_empty()).then(|| format!("; {word}: {}", jobs.join(", ")))
    };
    words.into_iter().filter_map(part).collect()
}
