//! Whether whoever asks has a role. Only what configuration and payload leave open is asked of platforms.

use super::Engine;
use super::deliveries::Piece;
use super::intake::Wait;
use crate::domain::ids::RoleName;
use crate::domain::policy::{self, Answer, Lookup, Permission};
use crate::domain::signal::Actor;

impl Engine {
    /// Whether the actor has one of the roles.
    ///
    /// # Errors
    /// When a platform answers later and nothing else gives the role: nobody is refused for a limit or a fault.
    pub(super) async fn permission(
        &self,
        actor: &Actor,
        delivery: &Piece,
        needed: &[RoleName],
    ) -> Result<Permission, Wait> {
        let people = &self.catalog.people;
        let mut answers: Vec<(Lookup, Answer)> = Vec::new();
        let mut later = None;
        let now = self.clock.now();
        // Who was found to have no role a moment ago is not asked about again.
        let lookups = match self.strangers.is_nobody(&actor.account, now) {
            true => Vec::new(),
            false => policy::lookups(people, needed, actor),
        };
        for lookup in lookups {
            match self.look_up(delivery, &lookup).await {
                Ok(Answer::Yes) => {
                    // One grant suffices: nothing else needs to be asked or waited for.
                    self.strangers.acquaint(&actor.account, now);
                    answers.push((lookup, Answer::Yes));
                    return Ok(policy::judge(people, needed, actor, &answers));
                }
                Ok(answer) => answers.push((lookup, answer)),
                Err(wait) => later = Some(wait),
            }
        }
        match later {
            Some(wait) => Err(wait),
            None => Ok(policy::judge(people, needed, actor, &answers)),
        }
    }

    async fn look_up(&self, delivery: &Piece, lookup: &Lookup) -> Result<Answer, Wait> {
        let vendor = lookup.account.platform.as_str();
        let Some(threads) = self.hands.threads.get(&lookup.account.platform) else {
            return Ok(Answer::Unknown(format!("{vendor} is switched off")));
        };
        let answer = self.ask_outside(vendor, delivery, threads.answer_lookup(lookup));
        match answer.await? {
            Ok(true) => Ok(Answer::Yes),
            Ok(false) => Ok(Answer::No),
            Err(why) => Ok(Answer::Unknown(why)),
        }
    }
}
