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

impl Ask<'_> {
    /// Takes the answers out of the decision, if they are given together with others. Whoever has no role is answered by
    /// the platform's direct answer alone, never in a thread.
    pub(super) fn settle_answers(&self, decision: &mut Decision) -> Vec<Doc> {
        if !self.answered {
            keep_from_thread(decision);
        }
        let mut docs = Vec::new();
        if self.together.is_some() {
            for effect in std::mem::take(&mut decision.effects) {
                match effect {
                    Effect::Reply(reply) => docs.push(reply.doc),
                    other => decision.effects.push(other),
                }
            }
        }
        docs
    }

    /// Gives these answers together with others; `key` if nothing else came of the command.
    pub(super) fn answer_later(&self, docs: Vec<Doc>, key: Option<&str>) {
        if let Some(together) = self.together {
            let mut together = together.lock().unwrap_or_else(PoisonError::into_inner);
            together.docs.extend(docs);
            together.keys.extend(key.map(str::to_owned));
        }
    }
}

impl Engine {
    /// Gives an answer of which nothing else comes, now or together with others.
    pub(super) async fn only_answer(&self, ask: &Ask<'_>, mut decision: Decision) -> Result<(), Wait> {
        let docs = ask.settle_answers(&mut decision);
        if ask.together.is_some() {
            ask.answer_later(docs, Some(&ask.via.key));
        } else {
            self.commit_answer(&ask.via, ask.actor, decision, None, Cause::keyed(&ask.via.key))
                .await?;
        }
        Ok(())
    }

    /// One message for all commands of a text, and their keys with it. If stepherd dies before, those that took effect
    /// are told of as done, and the others are looked at again.
    pub(super) async fn answer_together(&self, said: &Said, answers: Answers) -> Result<(), Wait> {
        let via = Via {
            key: format!("{}:answers", said.key),
            thread: said.thread.clone(),
            handle: None,
            message: Some(said.message.clone()),
        };
        let decision = match answers.docs.is_empty() {
            true => Decision::default(),
            false => reply_with(&via, Doc::joined(answers.docs)),
        };
        let cause = Cause {
            also: answers.keys,
            ..Cause::keyed(&via.key)
        };
        self.commit_answer(&via, &said.actor, decision, None, cause).await?;
        Ok(())
    }

    /// Words of somebody without any role: nothing is asked, done or said, now or when they come again.
    pub(super) async fn ignored(&self, said: &Said, found: &[Found]) -> Result<String, Wait> {
        let mut names = BTreeMap::new();
        let named = found
            .iter()
            .map(|found| format!("{}:{}", said.key, name_within(found, &mut names)));
        let cause = Cause {
            also: named.collect(),
            ..Cause::keyed(&format!("{}:ignored", said.key))
        };
        self.commit(Decision::default(), None, cause).await?;
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
}

/// What is answered is answered by the platform's direct answer alone, never in a thread.
pub(super) fn keep_from_thread(decision: &mut Decision) {
    decision.effects.retain_mut(|effect| match effect {
        Effect::Reply(reply) => {
            reply.direct_only = true;
            reply.handle.is_some()
        }
        _ => true,
    });
}
