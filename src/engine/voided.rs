//! Starts that somebody stopped while they waited.

use super::Engine;
use super::intake::{Ask, Wait};
use crate::domain::card;
use crate::domain::command::{Action, Command, Invocation, Trigger};
use crate::domain::decide::reply_with;
use crate::domain::grammar::{self, Found};
use crate::domain::signal::{ActorKind, Signal};
use crate::store::{ClaimedDelivery, MayBeVoided, StoreError, Voided};

impl Engine {
    /// A stop that names no run stops also what was to start one: starts of the command that wait in earlier deliveries
    /// of its thread. If this is one, how many there were; what has started until now is there to be seen then.
    pub(super) async fn void_starts(
        &self,
        ask: &Ask<'_>,
        invocation: &Invocation,
        command: &Command,
    ) -> Result<Option<usize>, Wait> {
        let names_run = invocation.args.iter().any(|(name, _)| name.as_str() == "run");
        let ClaimedDelivery { claim, delivery, .. } = &ask.delivery.claimed;
        let (Action::Stop, false, Some(thread)) = (invocation.action, names_run, &delivery.thread) else {
            return Ok(None);
        };
        let voided = Voided {
            command: invocation.command.to_string(),
            by: ask.actor.name.clone(),
            at: ask.looked.at(),
        };
        let mut starts = 0;
        for seq in self.store.void_starts(thread, claim.seq, &voided).await? {
            let waiting = match self.store.delivery_by_seq(seq).await {
                Ok(Some((_, waiting))) => waiting,
                // Whoever takes it up says what is wrong with it.
                Ok(None) | Err(StoreError::Unreadable { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let signals = self.read(&waiting).unwrap_or_default();
            let waiting = signals.iter().map(|signal| self.starts(signal, command, &voided));
            starts += waiting.sum::<usize>();
        }
        Ok(Some(starts))
    }

    /// How often this starts the command, as far as it was said before the stop. Whether those who said it may is not
    /// looked at.
    fn starts(&self, signal: &Signal, command: &Command, voided: &Voided) -> usize {
        let is_start = |found: &Found| matches!(found, Found::Invocation(said) if said.action == Action::Start && said.command == command.name);
        let starts = |trigger: &&Trigger| {
            let mut verbs = command.verbs.iter();
            verbs.any(|verb| verb.name == trigger.verb && verb.action == Action::Start)
        };
        let counts = |kind, at| kind == ActorKind::Human && at <= voided.at;
        match signal {
            Signal::Said(said) if counts(said.actor.kind, said.at) => {
                let found = grammar::find(&said.text, &self.catalog.commands, &said.thread.platform);
                found.iter().filter(|found| is_start(found)).count()
            }
            Signal::Invoked(invoked) if counts(invoked.actor.kind, invoked.at) => {
                self.resolve(invoked).iter().filter(|found| is_start(found)).count()
            }
            Signal::TicketMoved(moved) if counts(moved.actor.kind, moved.at) => {
                let meant = |trigger: &&Trigger| trigger.on.means_ticket(&moved.ticket, &moved.to);
                command.triggers.iter().filter(meant).filter(starts).count()
            }
            Signal::PrChanged(changed) if counts(changed.actor.kind, changed.at) => {
                let meant = |trigger: &&Trigger| trigger.on.means_pr(changed);
                command.triggers.iter().filter(meant).filter(starts).count()
            }
            _ => 0,
        }
    }

    /// Tells who said start that somebody has said stop since.
    pub(super) async fn answer_voided(&self, ask: &Ask<'_>, start: Option<MayBeVoided>) -> Result<String, Wait> {
        let voided = match &start {
            Some(start) => self.store.voided(start).await?,
            None => None,
        };
        if let Some(Voided { command, by, at }) = voided {
            let doc = card::stopped_while_it_waited(&command, &by, at);
            self.only_answer(ask, reply_with(&ask.via, doc)).await?;
        }
        Ok("stopped while it waited".to_owned())
    }
}
