//! What is known about the commit that a start on a pull request means: what was recorded, and what the forge says now.

use std::time::Duration;

use super::Engine;
use super::intake::{Ask, Wait};
use crate::adapters::PrSeen;
use crate::domain::command::Invocation;
use crate::domain::decide::{HeadKnown, HeadThen, Origin, PrHead};
use crate::domain::ids::{PrRef, Sha};

/// How soon the forge's record of pushes is looked at again where it lags behind what happens.
const RECORD_AGAIN: Duration = Duration::from_secs(5);

impl Engine {
    /// What whoever asked can have seen. Platforms tell times in whole seconds, so a head of the very second of the
    /// command may be newer than what was reviewed, and does not count.
    pub(super) async fn head_known(&self, ask: &Ask<'_>, invocation: &Invocation) -> Result<HeadKnown, Wait> {
        let Some(pr) = ask.pr else { return Ok(HeadKnown::NoPr) };
        let unseen = |why| Ok(HeadKnown::Unseen { pr: pr.clone(), why });
        let Some(forge) = &self.hands.forge else {
            return unseen("No forge is switched on.".to_owned());
        };
        let vendor = self.forge_vendor();
        let delivery = ask.delivery;
        let seen = match ask.pr_seen {
            // The look at the pull request itself has shown it.
            Some(seen) => Ok(seen.clone()),
            None => self.ask_outside(&vendor, delivery, forge.pull_request(pr)).await?,
        };
        let seen = match seen {
            Ok(seen) => seen,
            Err(why) => return unseen(self.absent(delivery, why)?),
        };
        let at = ask.looked.at();
        let before = at.checked_sub(Duration::from_secs(1)).unwrap_or(at);
        let (recorded, at_command) = match ask.head {
            // The event itself says which one.
            Some(head) => (Some(head.clone()), HeadThen::Commit(head.clone())),
            None => {
                let recorded = self.store.head_before(pr, before).await?.map(|seen| seen.head);
                let told = self
                    .ask_outside(&vendor, delivery, forge.head_at(&seen, before))
                    .await?;
                (recorded, told.unwrap_or(HeadThen::Unclear))
            }
        };
        let named = named(invocation);
        if named.is_none() && at_command == HeadThen::Behind && self.is_fresh(delivery) {
            return Err(Wait::Later {
                why: "the forge's record of pushes is not up to date".to_owned(),
                after: Some(RECORD_AGAIN),
            });
        }
        // Several processes take deliveries in at once: what told of another head may have come first and still be in
        // another's hands. Where the forge's own record agrees with ours there is none.
        let agreed = recorded.clone().map(HeadThen::Commit).as_ref() == Some(&at_command);
        if !agreed && self.store.earlier_untried(&ask.delivery.claimed).await? {
            return Err(Wait::Later {
                why: "earlier deliveries come first".to_owned(),
                after: None,
            });
        }
        let meant = named
            .as_ref()
            .or(recorded.as_ref())
            .filter(|commit| **commit != seen.now.head);
        let belongs = match meant {
            None => true,
            Some(commit) => match self
                .ask_outside(&vendor, delivery, forge.has_commit(pr, commit))
                .await?
            {
                Ok(is_one) => is_one,
                Err(why) => return unseen(why),
            },
        };
        Ok(HeadKnown::Seen(Box::new(PrHead {
            pr: pr.clone(),
            origin: origin(pr, &seen, forge.takes_forks()),
            live: seen.now.head,
            recorded,
            at_command,
            belongs,
        })))
    }
}

/// The commit that the command names.
fn named(invocation: &Invocation) -> Option<Sha> {
    let (_, text) = invocation.args.iter().find(|(name, _)| name.as_str() == "sha")?;
    text.parse().ok()
}

fn origin(pr: &PrRef, seen: &PrSeen, forks_are_taken: bool) -> Origin {
    if seen.pr != *pr {
        Origin::Moved(seen.pr.clone())
    } else if forks_are_taken || seen.head_repo.as_ref() == Some(&pr.repo) {
        Origin::Trusted
    } else {
        Origin::Fork(seen.head_repo.clone())
    }
}
