//! From an invocation to a committed decision: which run it means, who may, and what else must be known.

use super::intake::{Ask, Wait};
use super::{Cause, Engine, STALE_MAX};
use crate::domain::card;
use crate::domain::command::{Action, Command, Invocation, Verb};
use crate::domain::decide::{
    AnswerFacts, Asked, Decision, Event, Known, NoRun, SaidAt, StartFacts, Via, answering_roles, decide, target,
};
use crate::domain::edit;
use crate::domain::ids::{PrRef, RoleName, ThreadRef};
use crate::domain::pipeline::Pipeline;
use crate::domain::places::any_holds;
use crate::domain::policy::{self, Permission, SamePerson};
use crate::domain::question;
use crate::domain::run::{By, Run, RunState};
use crate::domain::signal::Actor;
use crate::domain::start::{self, FileValues, FileWanted, Params, Resolved};
use crate::store::{Committed, MayBeVoided, Place, RunFilter, StoreError};

impl Engine {
    /// Decides about an invocation and commits, again from the start when what it rests on changed meanwhile.
    pub(super) async fn invoke(&self, ask: &Ask<'_>, invocation: &Invocation) -> Result<String, Wait> {
        let Some((command, verb)) = self.declared(invocation) else {
            return Ok(format!("/{} {} is not declared", invocation.command, invocation.verb));
        };
        let said = self.said_at(ask);
        for _ in 0..STALE_MAX {
            let mut meant = self.meant_run(ask, invocation, command).await?;
            let run = meant.as_ref().ok().and_then(Option::as_ref);
            let permission = match self
                .permission(ask.actor, ask.delivery, roles(invocation, verb, run))
                .await
            {
                Ok(permission) => permission,
                Err(Wait::Later { why, .. }) if said.is_too_old(invocation.action, self.clock.now()) => {
                    return self.give_up(ask, &why).await;
                }
                Err(wait) => return Err(wait),
            };
            let granted = matches!(permission, Permission::Granted { .. });
            if granted && let Some(waiting) = self.void_starts(ask, invocation, command).await? {
                meant = or_waiting(self.meant_run(ask, invocation, command).await?, waiting);
            }
            let Some(via) = self.via(ask, granted).await? else {
                return Ok("had already taken effect".to_owned());
            };
            let run = meant.as_ref().ok().and_then(Option::as_ref);
            let known = match &meant {
                Err(why) => Known::NoRun(why.clone()),
                Ok(_) if !granted => Known::Run,
                Ok(run) => self.known(ask, invocation, command, run.as_ref()).await?,
            };
            let asked = Asked {
                invocation: invocation.clone(),
                via: via.clone(),
                by: by(ask.actor, &permission),
                permission,
                said,
                known,
            };
            let decision = decide(run, &Event::Asked(Box::new(asked)), &self.facts());
            let decided = self.commit_decided(ask, invocation, run, &via, decision, granted);
            if let Some(note) = decided.await? {
                return Ok(note);
            }
        }
        Err(Wait::Later {
            why: "what it rests on changes too fast".to_owned(),
            after: None,
        })
    }

    /// Whether they may cannot be told in time, so nothing is done and nothing is said.
    async fn give_up(&self, ask: &Ask<'_>, why: &str) -> Result<String, Wait> {
        self.commit(Decision::default(), None, Cause::keyed(&ask.via.key))
            .await?;
        Ok(format!("too old by now, and it is not known whether they may: {why}"))
    }

    /// How it came, and the key that it takes effect under. One move of a ticket may be told by several (a webhook and a
    /// rule), each with rights of its own: a telling that is refused does not use it up, and is not heard of where it has
    /// taken effect (`None`).
    async fn via(&self, ask: &Ask<'_>, granted: bool) -> Result<Option<Via>, StoreError> {
        if granted || !ask.stands {
            return Ok(Some(ask.via.clone()));
        }
        let taken = self.store.accepted(&ask.via.key).await?;
        let key = format!("{}:refused:{}", ask.via.key, ask.actor.account.id);
        Ok((!taken).then(|| Via { key, ..ask.via.clone() }))
    }

    /// Commits what was decided about an invocation; what came of it, or `None` if it is to be decided again.
    async fn commit_decided(
        &self,
        ask: &Ask<'_>,
        invocation: &Invocation,
        run: Option<&Run>,
        via: &Via,
        mut decision: Decision,
        granted: bool,
    ) -> Result<Option<String>, Wait> {
        let Invocation { command, verb, .. } = invocation;
        let docs = ask.settle_answers(&mut decision);
        if ask.together.is_some() && decision.is_nothing() {
            ask.answer_later(docs, Some(&via.key));
            return Ok(Some(format!("/{command} {verb}: answered")));
        }
        let started = decision.run.as_ref().map(|run| format!(" run {}", run.id));
        let start = (invocation.action == Action::Start).then(|| MayBeVoided {
            seq: ask.delivery.claimed.claim.seq,
            command: command.to_string(),
            said_at: ask.at,
        });
        let cause = Cause {
            unless_voided: start.clone(),
            ..Cause::keyed(&via.key)
        };
        let note = match self.commit_answer(via, ask.actor, decision, run, cause).await? {
            Committed::Stale => return Ok(None),
            Committed::Voided => self.answer_voided(ask, start).await?,
            Committed::AlreadyDone => {
                // Its answer may not have been given.
                ask.answer_later(vec![card::done_before(invocation)], None);
                "had already taken effect".to_owned()
            }
            Committed::Done | Committed::LeaseLost => {
                ask.answer_later(docs, None);
                if granted {
                    self.metrics.command(command, verb);
                    format!("/{command} {verb}{}", started.unwrap_or_default())
                } else {
                    note_refusal(ask, &format!("/{command} {verb}"))
                }
            }
        };
        Ok(Some(note))
    }

    fn said_at(&self, ask: &Ask<'_>) -> SaidAt {
        SaidAt {
            at: (ask.at.checked_sub(ask.ahead).unwrap_or(ask.at)).min(ask.delivery.claimed.delivery.received_at),
            counts_for: (!ask.stands).then_some(self.catalog.settings.engine.command_max_age),
        }
    }

    fn declared(&self, invocation: &Invocation) -> Option<(&Command, &Verb)> {
        let command = self
            .catalog
            .commands
            .iter()
            .find(|command| command.name == invocation.command)?;
        let verb = command.verbs.iter().find(|verb| verb.name == invocation.verb)?;
        Some((command, verb))
    }

    /// The run an invocation means; `Ok(None)` for those that mean none. Whether a run exists that this thread may not
    /// speak of is never told.
    async fn meant_run(
        &self,
        ask: &Ask<'_>,
        invocation: &Invocation,
        command: &Command,
    ) -> Result<Result<Option<Run>, NoRun>, StoreError> {
        let control = any_holds(&command.control, &ask.via.thread.platform, ask.within);
        if ask.within.is_empty() || (invocation.action == Action::Start && !control) {
            return Ok(Err(NoRun::NotHere));
        }
        if invocation.action == Action::Start || (control && matches!(invocation.action, Action::List | Action::Help)) {
            return Ok(Ok(None));
        }
        let here = self.runs_here(ask, command).await?;
        if here.is_empty() && !control {
            return Ok(Err(NoRun::NotHere));
        }
        if matches!(invocation.action, Action::List | Action::Help) {
            return Ok(Ok(None));
        }
        if let Some(id) = arg(invocation, "run") {
            let run = match id.parse() {
                Ok(id) => self.store.run(&id).await?,
                Err(_) => None,
            };
            let run = run.filter(|run| run.plan.command == invocation.command);
            let run = match run {
                Some(run) if control || self.belongs_here(ask, &run).await? => Some(run),
                _ => None,
            };
            return Ok(run.map(Some).ok_or_else(|| NoRun::Unknown(id.to_owned())));
        }
        if let Some(id) = arg(invocation, "question")
            && let Some(run) = here.iter().find(|run| question::is_of(run, id))
        {
            return Ok(Ok(Some(run.clone())));
        }
        Ok(target(invocation.action, &here, self.said_at(ask).at).map(|run| Some(run.clone())))
    }

    /// The command's runs that belong to the thread, or to the pull request that it is a review thread of.
    async fn runs_here(&self, ask: &Ask<'_>, command: &Command) -> Result<Vec<Run>, StoreError> {
        let here = self.runs_in(&ask.via.thread, command).await?;
        match ask.pr {
            Some(pr) if here.is_empty() => self.runs_on(pr, command).await,
            _ => Ok(here),
        }
    }

    /// The command's runs that belong to this thread, newest first: all that are live, however many have come and gone
    /// since; else the newest of those that have ended.
    async fn runs_in(&self, thread: &ThreadRef, command: &Command) -> Result<Vec<Run>, StoreError> {
        let mut filter = RunFilter {
            place: Some(Place::Thread(thread.clone())),
            live_only: true,
            ..RunFilter::default()
        };
        let mut here = self.store.runs(&filter).await?;
        here.retain(|run| run.plan.command == command.name);
        if here.is_empty() {
            filter.live_only = false;
            filter.pipeline = Some(command.pipeline.to_string());
            here = self.store.runs(&filter).await?;
            here.retain(|run| run.plan.command == command.name);
        }
        Ok(here)
    }

    /// Whether the run belongs to the thread or to its pull request.
    async fn belongs_here(&self, ask: &Ask<'_>, run: &Run) -> Result<bool, StoreError> {
        let places = [
            Some(Place::Thread(ask.via.thread.clone())),
            ask.pr.cloned().map(Place::Pr),
        ];
        for place in places.into_iter().flatten() {
            if self.store.belongs(&run.id, &place).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The command's live runs that were asked for on this pull request or opened it, newest first.
    async fn runs_on(&self, pr: &PrRef, command: &Command) -> Result<Vec<Run>, StoreError> {
        let filter = RunFilter {
            place: Some(Place::Pr(pr.clone())),
            live_only: true,
            pipeline: Some(command.pipeline.to_string()),
            ..RunFilter::default()
        };
        self.store.runs(&filter).await
    }

    async fn known(
        &self,
        ask: &Ask<'_>,
        invocation: &Invocation,
        command: &Command,
        run: Option<&Run>,
    ) -> Result<Known, Wait> {
        Ok(match (invocation.action, run) {
            (Action::Start, _) => Known::Start(Box::new(self.start_facts(ask, invocation, command).await?)),
            (Action::List, _) if !any_holds(&command.control, &ask.via.thread.platform, ask.within) => {
                let mut here = self.runs_here(ask, command).await?;
                here.retain(|run| !matches!(run.state, RunState::Finished { .. }));
                Known::List(here)
            }
            (Action::List, _) => {
                let filter = RunFilter {
                    pipeline: Some(command.pipeline.to_string()),
                    live_only: true,
                    limit: 20,
                    ..RunFilter::default()
                };
                Known::List(self.store.runs(&filter).await?)
            }
            (Action::Help, _) => Known::Help(Box::new(command.clone())),
            (Action::Answer, Some(run)) => Known::Answer(self.answer_facts(ask.actor, run)),
            (Action::Why | Action::Retry, Some(run)) => Known::History(self.store.history(&run.id).await?),
            _ => Known::Run,
        })
    }

    /// Whether whoever answers is who brought the run to its question. stepherd itself is nobody.
    fn answer_facts(&self, actor: &Actor, run: &Run) -> AnswerFacts {
        let same = |by: Option<&By>| match by.and_then(|by| by.account.as_ref()) {
            Some(account) => policy::same_person(&self.catalog.people, &actor.account, account),
            None => SamePerson::No,
        };
        AnswerFacts {
            starter: same(Some(&run.asked_by)),
            resumer: same(run.resumed_by.as_ref()),
        }
    }

    async fn start_facts(&self, ask: &Ask<'_>, invocation: &Invocation, command: &Command) -> Result<StartFacts, Wait> {
        let Some(plan) = self.catalog.pipelines.get(&command.pipeline) else {
            // The catalog checks this at load; a plan that is gone anyway must not start anything.
            return Err(Wait::Later {
                why: format!("pipeline {} is not configured", command.pipeline),
                after: None,
            });
        };
        let params = self.params(ask, plan, &invocation.args).await?;
        let names = match &params {
            Ok(params) => start::lock_names(plan, &params.values),
            Err(_) => Ok(Vec::new()),
        };
        let (params, names) = match names {
            Ok(names) => (params, names),
            Err(problem) => (Err(problem), Vec::new()),
        };
        let head = self.head_known(ask, invocation).await?;
        Ok(StartFacts {
            plan: plan.clone(),
            params,
            queues: self.store.lock_queues(&names).await?,
            head,
        })
    }

    /// The parameters' values, reading the files they may stand in.
    async fn params(&self, ask: &Ask<'_>, plan: &Pipeline, args: &Params) -> Result<Result<Resolved, String>, Wait> {
        let mut files = FileValues::new();
        loop {
            match start::file_wanted(plan, args, &files) {
                Err(problem) => return Ok(Err(problem)),
                Ok(None) => return Ok(start::resolve(plan, args, &files)),
                Ok(Some(wanted)) => match self.value_in_file(ask, &wanted).await? {
                    Ok(value) => files.insert((wanted.param, wanted.place), value),
                    Err(problem) => return Ok(Err(problem)),
                },
            };
        }
    }

    async fn value_in_file(&self, ask: &Ask<'_>, wanted: &FileWanted) -> Result<Result<Option<String>, String>, Wait> {
        let Some(forge) = &self.hands.forge else {
            return Ok(Err(format!(
                "`{}` stands in {}, but no forge is switched on",
                wanted.param, wanted.repo
            )));
        };
        let vendor = self.forge_vendor();
        let read = self.ask_outside(&vendor, ask.delivery, forge.read_file(&wanted.repo, &wanted.path));
        Ok(match read.await? {
            Ok(None) => Ok(None),
            Ok(Some(text)) => edit::read_value(&wanted.path, &text, &wanted.pointer).map_err(|e| e.to_string()),
            Err(why) => Err(format!("cannot read {} of {}: {why}", wanted.path, wanted.repo)),
        })
    }
}

/// The roles that an invocation takes: a question's own for its answer, else the verb's.
fn roles<'a>(invocation: &Invocation, verb: &'a Verb, run: Option<&'a Run>) -> &'a [RoleName] {
    let asked = run.and_then(|run| answering_roles(run, arg(invocation, "question")));
    match (invocation.action, asked) {
        (Action::Answer, Some(roles)) => roles,
        _ => &verb.roles,
    }
}

/// The run that a stop means; where none is live that could be meant, the starts that it stopped while they waited.
fn or_waiting(meant: Result<Option<Run>, NoRun>, waiting: usize) -> Result<Option<Run>, NoRun> {
    let is_over = match &meant {
        Ok(Some(run)) => matches!(run.state, RunState::Finished { .. }),
        Ok(None) | Err(NoRun::NoneHere) => true,
        Err(_) => false,
    };
    if is_over && waiting > 0 {
        Err(NoRun::OnlyWaiting(waiting))
    } else {
        meant
    }
}

/// An argument's value.
fn arg<'a>(invocation: &'a Invocation, name: &str) -> Option<&'a str> {
    let named = invocation.args.iter().find(|(arg, _)| arg.as_str() == name);
    named.map(|(_, value)| value.as_str())
}

fn by(actor: &Actor, permission: &Permission) -> By {
    let person = match permission {
        Permission::Granted { person, .. } => person.clone(),
        Permission::Refused { .. } => None,
    };
    By {
        account: Some(actor.account.clone()),
        person,
        name: actor.name.clone(),
    }
}

/// Whoever wonders in the log why nothing happened finds it there.
fn note_refusal(ask: &Ask<'_>, said: &str) -> String {
    let (by, thread) = (&ask.actor.account.id, &ask.via.thread);
    tracing::info!(command = said, %by, %thread, "a command was refused");
    format!("{said}: refused")
}
