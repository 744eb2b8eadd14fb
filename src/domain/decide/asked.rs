//! What people ask for: start, retry, stop, answer; and what they want to know: status, why, list, help.

use super::answering;
use super::draft::Draft;
use super::{Asked, Decision, Doubt, Facts, HeadKnown, HeadThen, Known, LockChange, Origin, PrHead, StartFacts, Via};
use super::{age, ending, jobs, steps};
use crate::domain::card;
use crate::domain::command::Action;
use crate::domain::doc::Doc;
use crate::domain::effect::{Effect, Reply};
use crate::domain::ids::{ParamName, RunId, Sha, ThreadRef};
use crate::domain::policy::Permission;
use crate::domain::question;
use crate::domain::run::{Attempt, Happened, History, Phase, Pinned, Run, RunState, Subject};
use crate::domain::start::{self, Resolved};

/// Decides what follows from a command. Whatever is refused is answered with what would help.
pub(super) fn decide(run: Option<&Run>, asked: &Asked, facts: &Facts) -> Decision {
    let role = match &asked.permission {
        Permission::Granted { role, .. } => role.to_string(),
        Permission::Refused { missing, unknown } => {
            let doc = card::refused(&asked.invocation, asked.wordless_by(), missing, unknown);
            return answer(&asked.via, doc);
        }
    };
    if let Some(doc) = age::outdated(run, asked, facts.now) {
        return answer(&asked.via, doc);
    }
    match (asked.invocation.action, &asked.known, run) {
        (_, Known::NoRun(why), _) => answer(&asked.via, card::no_run(&asked.invocation, why)),
        (Action::Start, Known::Start(known), _) => start(asked, known, role, facts),
        (Action::List, Known::List(runs), _) => answer(&asked.via, card::list(runs)),
        (Action::Help, Known::Help(command), _) => answer(&asked.via, card::help(command, asked.asked_verb())),
        (Action::Status, _, Some(run)) => answer(&asked.via, card::status(run)),
        (Action::Why, Known::History(history), Some(run)) => answer(&asked.via, card::why(run, history)),
        (Action::Retry, Known::History(history), Some(run)) => retry(run, asked, history, facts),
        (Action::Stop, _, Some(run)) => stop(run, asked, facts),
        (Action::Answer, Known::Answer(known), Some(run)) => answering::decide(run, asked, *known, facts),
        // The shell found out something else than the action needs: a fault of ours, said openly.
        _ => answer(
            &asked.via,
            card::plain("stepherd could not find out what it needs to do this; please report it"),
        ),
    }
}

/// An answer to a command.
pub(super) fn reply(via: &Via, doc: Doc) -> Effect {
    Effect::Reply(Reply {
        key: via.key.clone(),
        thread: via.thread.clone(),
        handle: via.handle.clone(),
        doc,
        direct_only: false,
    })
}

pub(super) fn answer(via: &Via, doc: Doc) -> Decision {
    Decision {
        effects: vec![reply(via, doc)],
        ..Decision::default()
    }
}

impl Asked {
    pub(super) fn arg(&self, name: &str) -> Option<&str> {
        let name: ParamName = name.parse().ok()?;
        self.invocation.args.get(&name).map(String::as_str)
    }

    fn asked_verb(&self) -> Option<&str> {
        self.arg("verb")
    }

    /// Who did it, where it was a button or a moved ticket: nothing that "you" could be understood from.
    pub(super) fn wordless_by(&self) -> Option<&str> {
        let wordless = self.via.message.is_none() && self.via.handle.is_none();
        wordless.then_some(self.by.name.as_str())
    }
}

/// Shows that the command was taken: a reaction on a message, and an answer where the platform waits for one.
/// Elsewhere the status card speaks, so that threads stay short.
pub(super) fn accept(draft: &mut Draft<'_>, via: &Via, said: &str) {
    draft
        .effects
        .extend(via.message.iter().map(|message| Effect::Acknowledge {
            message: message.clone(),
        }));
    let elsewhere = !draft.run.audience.contains(&via.thread);
    if via.handle.is_some() || elsewhere {
        draft.effects.push(reply(via, card::accepted(&draft.run, said)));
    }
}

fn start(asked: &Asked, known: &StartFacts, role: String, facts: &Facts) -> Decision {
    let prepared = match prepare(asked, known, facts) {
        Ok(prepared) => prepared,
        Err(doc) => return answer(&asked.via, doc),
    };
    let ahead = runs_ahead(known);
    let run = Run {
        id: facts.new_run.clone(),
        version: 1,
        plan: known.plan.clone(),
        params: prepared.params.values,
        sources: prepared.params.sources,
        subject: prepared.subject,
        asked_by: asked.by.clone(),
        asked_at: facts.now,
        said_at: Some(asked.said.at),
        resumed_by: None,
        audience: prepared.audience,
        passed: Vec::new(),
        prs: std::collections::BTreeMap::new(),
        tried: std::collections::BTreeMap::new(),
        questions: Vec::new(),
        state: RunState::Queued { ahead: ahead.clone() },
        changed_at: Some(facts.now),
        history_len: 0,
    };
    let mut draft = Draft::new(run, facts);
    draft.record(Happened::Accepted {
        by: asked.by.clone(),
        thread: asked.via.thread.clone(),
        role,
    });
    draft.locks = LockChange::Join(known.queues.clone());
    if ahead.is_empty() {
        steps::begin(&mut draft, 0);
    } else {
        draft.record(Happened::Queued { position: ahead.len() });
    }
    accept(&mut draft, &asked.via, "started");
    draft.done()
}

struct Prepared {
    params: Resolved,
    subject: Subject,
    audience: Vec<ThreadRef>,
}

fn prepare(asked: &Asked, known: &StartFacts, facts: &Facts) -> Result<Prepared, Doc> {
    let params = known
        .params
        .clone()
        .map_err(|problem| card::bad_start(&asked.invocation, &problem))?;
    let pinned = pin(&known.head, asked)?;
    let mut audience = vec![asked.via.thread.clone()];
    let named = start::audience(&known.plan, &params.values, &facts.new_run)
        .map_err(|problem| card::bad_start(&asked.invocation, &problem))?;
    for thread in named {
        if !audience.contains(&thread) {
            audience.push(thread);
        }
    }
    let subject = Subject {
        ticket: start::ticket_of(&known.plan, &params.values),
        pinned,
    };
    Ok(Prepared {
        params,
        subject,
        audience,
    })
}

/// The commit that was reviewed: the head before the command was given, or the one the person names. stepherd never
/// fills in the current head by itself: it may have been pushed after the review. Nor does it take a commit that is
/// not the pull request's own, or one that is not to be trusted.
fn pin(head: &HeadKnown, asked: &Asked) -> Result<Option<Pinned>, Doc> {
    let named = asked.arg("sha").and_then(|text| text.parse::<Sha>().ok());
    let head = match (head, &named) {
        (HeadKnown::NoPr, None) => return Ok(None),
        (HeadKnown::NoPr, Some(_)) => {
            let problem = "`sha` names the commit that was reviewed on a pull request, and this was not asked on one";
            return Err(card::bad_start(&asked.invocation, problem));
        }
        (HeadKnown::Unseen { pr, why }, _) => return Err(card::unseen(pr, why)),
        (HeadKnown::Seen(head), _) => head,
    };
    match &head.origin {
        Origin::Trusted => {}
        Origin::Fork(from) => return Err(card::from_fork(&head.pr, from.as_ref())),
        Origin::Moved(to) => return Err(card::moved(&head.pr, to)),
    }
    let commit = match (before_command(head), named) {
        (Ok(known), None) => known,
        (Ok(known), Some(named)) if known == named => known,
        (Ok(known), Some(named)) => return Err(card::other_head(&asked.invocation, &named, &known)),
        (Err(_), Some(named)) => named,
        (Err(doubt), None) => return Err(card::unknown_head(&asked.invocation, &head.pr, doubt)),
    };
    if commit != head.live && !head.belongs {
        return Err(card::foreign_commit(&head.pr, &commit));
    }
    Ok(Some(Pinned {
        pr: head.pr.clone(),
        head: commit,
    }))
}

/// The head when the command was given. What was recorded and what the forge says must agree: a webhook may have been
/// lost or late, and a branch may have been moved there and back. A forge that keeps no record says at least where the
/// branch is now: if that is what was recorded before the command, nothing speaks against it. It takes a lost webhook and
/// a push back within the moment between command and start to be wrong then, and what is pinned was the head, in the
/// open, before the command was given. A record that contradicts, or that cannot be read, is no missing one.
fn before_command(head: &PrHead) -> Result<Sha, Doubt> {
    match (&head.recorded, &head.at_command) {
        (Some(recorded), HeadThen::Commit(told)) if recorded == told => Ok(recorded.clone()),
        (Some(_), HeadThen::Commit(_)) => Err(Doubt::Unheard),
        (Some(recorded), HeadThen::NoRecord) if *recorded == head.live => Ok(recorded.clone()),
        (Some(_), HeadThen::NoRecord | HeadThen::Behind | HeadThen::Unclear) => Err(Doubt::Unsure),
        (None, HeadThen::Commit(told)) if *told == head.live => Ok(told.clone()),
        (None, HeadThen::Commit(_)) => Err(Doubt::Pushed),
        (None, HeadThen::NoRecord | HeadThen::Behind | HeadThen::Unclear) => Err(Doubt::Untold),
    }
}

/// All runs before a newcomer, each once, the holders first.
fn runs_ahead(known: &StartFacts) -> Vec<RunId> {
    let longest = known
        .queues
        .iter()
        .map(|(_, queue)| queue.len())
        .max()
        .unwrap_or_default();
    let mut ahead = Vec::new();
    for place in 0..longest {
        for run in known.queues.iter().filter_map(|(_, queue)| queue.get(place)) {
            if !ahead.contains(run) {
                ahead.push(run.clone());
            }
        }
    }
    ahead
}

/// A retry is for the failure that it was offered for, or for the one that stood when it was said.
fn retry(run: &Run, asked: &Asked, history: &[History], facts: &Facts) -> Decision {
    let offered_for = asked.arg("failure");
    let stands = match &run.state {
        RunState::Stopped { why, .. } => Some(why.seq.to_string()),
        _ => None,
    };
    if let Some(failure) = offered_for.filter(|failure| stands.as_deref() != Some(failure)) {
        return answer(&asked.via, card::stale_retry(run, history, failure));
    }
    let RunState::Stopped { why, attempt } = &run.state else {
        return answer(&asked.via, card::nothing_to_retry(run));
    };
    if offered_for.is_none() && !question::can_mean(asked.said.at, why.at) {
        return answer(&asked.via, card::retry_before_failure(run, why, asked.said.at));
    }
    let attempt = attempt.clone();
    let mut draft = Draft::change(run, facts);
    draft.run.resumed_by = Some(asked.by.clone());
    draft.record(Happened::Retried { by: asked.by.clone() });
    steps::resume(&mut draft, &Attempt { auto: 0, ..attempt }, false);
    accept(&mut draft, &asked.via, "resumed");
    draft.done()
}

fn stop(run: &Run, asked: &Asked, facts: &Facts) -> Decision {
    if matches!(run.state, RunState::Finished { .. }) || is_stopping(run) {
        return answer(&asked.via, card::nothing_to_stop(run));
    }
    let mut draft = Draft::change(run, facts);
    draft.record(Happened::StopAsked { by: asked.by.clone() });
    match run.state.clone() {
        // A step that failed may have left jobs behind that still run.
        RunState::Active(attempt) | RunState::Stopped { attempt, .. } => {
            jobs::stop(&mut draft, attempt, asked.by.clone());
        }
        RunState::Queued { .. } | RunState::Finished { .. } => {
            ending::finish_canceled(&mut draft, asked.by.clone(), &[])
        }
    }
    accept(&mut draft, &asked.via, "stopping");
    draft.done()
}

fn is_stopping(run: &Run) -> bool {
    matches!(&run.state, RunState::Active(attempt) if matches!(attempt.phase, Phase::Stopping { .. }))
}
