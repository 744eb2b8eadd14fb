//! Whether whoever asks has a role. Only what configuration and payload leave open is asked of platforms.

use super::Engine;
use super::deliveries::Piece;
use super::intake::{Ask, Wait};
use crate::domain::ids::RoleName;
use crate::domain::policy::{self, Answer, Lookup, Permission};

impl Engine {
    /// Whether the actor has one of the roles.
    ///
    /// # Errors
    /// When a platform answers later and nothing else gives the role: nobody is refused for a limit or a fault.
    pub(super) async fn permission(&self, ask: &Ask<'_>, needed: &[RoleName]) -> Result<Permission, Wait> {
        let (people, actor) = (&self.catalog.people, ask.actor);
        let mut answers: Vec<(Lookup, Answer)> = Vec::new();
        let mut later = None;
        for lookup in policy::lookups(people, needed, actor) {
            match self.look_up(ask.delivery, &lookup).await {
                Ok(Answer::Yes) => {
                    // One grant suffices: nothing else needs to be asked or waited for.
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
