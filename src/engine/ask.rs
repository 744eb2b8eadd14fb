//! From an invocation to a committed decision: which run it means, who may, and what else must be known.

use std::collections::BTreeMap;

use super::intake::{Ask, Wait};
use super::{Cause, Engine, STALE_MAX};
use crate::domain::command::{Action, Command, Invocation, Verb};
use crate::domain::decide::{
    AnswerFacts, Asked, Decision, Event, Known, NoRun, SaidAt, StartFacts, Via, answering_roles, decide, target,
};
use crate::domain::edit;
use crate::domain::ids::{ParamName, PrRef, RoleName, ThreadRef};
use crate::domain::pipeline::Pipeline;
use crate::domain::policy::{self, Permission, SamePerson};
use crate::domain::question;
use crate::domain::run::{By, Run, RunState};
use crate::domain::signal::Actor;
use crate::domain::start::{self, FileWanted, Params};
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
            let permission = match self.permission(ask, roles(invocation, verb, run)).await {
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
            let started = decision
                .run
                .as_ref()
                .map(|run| format!(" run {}", run.id))
                .unwrap_or_default();
            let start = (invocation.action == Action::Start).then(|| MayBeVoided {
                seq: ask.delivery.claimed.claim.seq,
                command: invocation.command.to_string(),
                said_at: ask.at,
            });
            let cause = Cause {
                unless_voided: start.clone(),
                ..Cause::keyed(&via.key)
            };
            match self.commit(decision, run, cause).await? {
                Committed::Voided => return self.answer_voided(ask, start).await,
                Committed::Stale => {}
                Committed::AlreadyDone => return Ok("had already taken effect".to_owned()),
                Committed::Done | Committed::LeaseLost if granted => {
                    self.metrics.command(&invocation.command, &invocation.verb);
                    return Ok(format!("/{} {}{started}", invocation.command, invocation.verb));
                }
                Committed::Done | Committed::LeaseLost => {
                    return Ok(format!("/{} {}: refused", invocation.command, invocation.verb));
                }
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

    fn said_at(&self, ask: &Ask<'_>) -> SaidAt {
        SaidAt {
            at: ask.at.min(ask.delivery.claimed.delivery.received_at),
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

    /// The run an invocation means; `Ok(None)` for those that mean none.
    async fn meant_run(
        &self,
        ask: &Ask<'_>,
        invocation: &Invocation,
        command: &Command,
    ) -> Result<Result<Option<Run>, NoRun>, StoreError> {
        if matches!(invocation.action, Action::Start | Action::List | Action::Help) {
            return Ok(Ok(None));
        }
        if let Some(id) = arg(invocation, "run") {
            let run = match id.parse() {
                Ok(id) => self.store.run(&id).await?,
                Err(_) => None,
            };
            let run = run.filter(|run| run.plan.command == invocation.command);
            return Ok(run.map(Some).ok_or_else(|| NoRun::Unknown(id.to_owned())));
        }
        let mut here = self.runs_in(&ask.via.thread, command).await?;
        if here.is_empty()
            && let Some(pr) = ask.pr
        {
            // A review thread: it belongs to the runs of its pull request.
            here = self.runs_on(pr, command).await?;
        }
        if let Some(id) = arg(invocation, "question")
            && let Some(run) = here.iter().find(|run| question::is_of(run, id))
        {
            return Ok(Ok(Some(run.clone())));
        }
        Ok(target(invocation.action, &here, self.said_at(ask).at).map(|run| Some(run.clone())))
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
            Ok(params) => start::lock_names(plan, params),
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
    async fn params(&self, ask: &Ask<'_>, plan: &Pipeline, args: &Params) -> Result<Result<Params, String>, Wait> {
        let mut files: BTreeMap<ParamName, Option<String>> = BTreeMap::new();
        loop {
            match start::file_wanted(plan, args, &files) {
                Err(problem) => return Ok(Err(problem)),
                Ok(None) => return Ok(start::resolve(plan, args, &files)),
                Ok(Some(wanted)) => match self.value_in_file(ask, &wanted).await? {
                    Ok(value) => files.insert(wanted.param, value),
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
