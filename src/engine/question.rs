//! Questions in threads: each is one message that shows the question while it is open and its outcome afterwards.

use super::Engine;
use super::dispatch::{Trouble, Went, believe_gone, digest};
use super::effects::InHand;
use crate::adapters::Marker;
use crate::domain::card;
use crate::domain::ids::{QuestionId, RunId, ThreadRef};
use crate::store::{EffectSettled, Sent};

impl Engine {
    /// Makes the thread show the question as it is now. Its message is posted while the question is open, and edited as
    /// soon as it is closed, without regard to the spacing of edits: nobody must be offered what no longer counts. A
    /// message that people have deleted is not posted again, and neither is one that was never posted once the question
    /// is closed.
    pub(super) async fn question(
        &self,
        one: &InHand,
        thread: &ThreadRef,
        question: &QuestionId,
        id: &RunId,
    ) -> Result<Went, Trouble> {
        let done = Ok(Went::So(EffectSettled::Done));
        let maybe_done = one.effect.maybe_done;
        let Some(run) = self.store.run(id).await? else {
            return done;
        };
        let Some(shown) = card::question(&run, question) else {
            return done;
        };
        let digest = digest(&shown.doc);
        let marker = Marker(format!("{id}/question/{question}"));
        let purpose = format!("question:{question}");
        let message = match self.store.sent(Some(id), thread, &purpose).await? {
            Some(sent) if sent.digest == digest => return done,
            Some(sent) => {
                self.still_held(one)?;
                if !self.threads(thread)?.edit(&sent.message, &marker, &shown.doc).await? {
                    believe_gone(one)?;
                }
                sent.message
            }
            // Nobody has seen it, unless an earlier try got through although its answer was lost.
            None if !shown.open && !maybe_done => return done,
            None => {
                let Some(place) = self.below_card(id, thread).await? else {
                    return Ok(self.after_card(id, thread));
                };
                let threads = self.threads(&place)?;
                self.still_held(one)?;
                let posted = threads.post(&place, &marker, &shown.doc, None, maybe_done);
                let posted = posted.await?.message;
                self.still_alone(one, threads, &posted, &marker).await?;
                posted
            }
        };
        let sent = Sent {
            message,
            digest,
            at: self.clock.now(),
            opened: None,
        };
        self.store.record_sent(Some(id), thread, &purpose, &sent).await?;
        done
    }
}
