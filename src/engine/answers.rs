//! How answers are given: one message for all commands of a text, none in a thread to whoever has no role, and only so
//! many to anybody.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::intake::{Ask, Wait, name_within};
use super::{Cause, Engine};
use crate::domain::decide::{Decision, Via, reply_with};
use crate::domain::doc::Doc;
use crate::domain::effect::Effect;
use crate::domain::grammar::Found;
use crate::domain::run::Run;
use crate::domain::signal::{Actor, Said};
use crate::store::{Committed, StoreError};

/// The answers to commands that came together; they are given in one message.
#[derive(Default)]
pub(super) struct Answers {
    docs: Vec<Doc>,
    /// The keys of the commands of which nothing came but an answer.
    keys: Vec<String>,
}

impl Engine {
    /// One message for all commands of a text. Its own key comes first: if stepherd dies here, the commands of which
    /// nothing came but an answer are looked at again, and answered once all the same.
    pub(super) async fn answer_together(&self, said: &Said, answers: Answers) -> Result<(), Wait> {
        if !answers.docs.is_empty() {
            let via = Via {
                key: format!("{}:answers", said.key),
                thread: said.thread.clone(),
                handle: None,
                message: Some(said.message.clone()),
            };
            let decision = reply_with(&via, Doc::joined(answers.docs));
            self.commit_answer(&via, &said.actor, decision, None, Cause::keyed(&via.key))
                .await?;
        }
        for key in answers.keys {
            self.commit(Decision::default(), None, Cause::keyed(&key)).await?;
        }
        Ok(())
    }

    /// Words of somebody without any role: nothing is asked, done or said, now or when they come again.
    pub(super) async fn ignored(&self, said: &Said, found: &[Found]) -> Result<String, Wait> {
        let mut names = BTreeMap::new();
        for found in found {
            let key = format!("{}:{}", said.key, name_within(found, &mut names));
            self.commit(Decision::default(), None, Cause::keyed(&key)).await?;
        }
        Ok(format!("{} has no role: not answered", said.actor.account.id))
    }

    /// Commits without the answer if somebody has had enough of them in this thread; what takes effect does so.
    pub(super) async fn commit_answer(
        &self,
        via: &Via,
        actor: &Actor,
        mut decision: Decision,
        before: Option<&Run>,
        cause: Cause,
    ) -> Result<Committed, StoreError> {
        let in_thread = |effect: &Effect| matches!(effect, Effect::Reply(reply) if reply.handle.is_none());
        let counts = decision.run.is_none() && decision.effects.iter().any(in_thread);
        let (account, now) = (&actor.account, self.clock.now());
        if counts && self.strangers.answers(&via.thread, account, now) >= self.catalog.settings.engine.answers_max {
            tracing::warn!(thread = %via.thread, account = %account.id, "asks too often here; not answered");
            decision.effects.retain(|effect| !in_thread(effect));
        }
        let answers = decision.effects.iter().any(in_thread);
        let committed = self.commit(decision, before, cause).await?;
        if counts && answers && committed == Committed::Done {
            self.strangers.count_answer(&via.thread, account, now);
        }
        Ok(committed)
    }

    /// What becomes of answers before they are committed: nobody without a role is answered in a thread, answers that
    /// belong together are gathered, and nobody gets too many. `false` if nothing is left to commit now.
    pub(super) fn settle_answers(&self, ask: &Ask<'_>, nobody: bool, decision: &mut Decision) -> bool {
        if nobody {
            decision.effects.retain_mut(|effect| match effect {
                Effect::Reply(reply) => {
                    reply.direct_only = true;
                    reply.handle.is_some()
                }
                _ => true,
            });
        }
        let only_answers = decision.run.is_none() && decision.effects.iter().all(|e| matches!(e, Effect::Reply(_)));
        let Some(together) = ask.together.filter(|_| only_answers) else {
            return true;
        };
        let mut together = together.lock().unwrap_or_else(PoisonError::into_inner);
        for effect in std::mem::take(&mut decision.effects) {
            if let Effect::Reply(reply) = effect {
                together.docs.push(reply.doc);
            }
        }
        together.keys.push(ask.via.key.clone());
        false
    }
}
