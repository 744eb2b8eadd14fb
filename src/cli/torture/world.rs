//! What goes on in the town by itself: back-ends progress, fail and complete; Argo CD watches git; the post is
//! delivered again until it is accepted, and now and then once too often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::count::Way;
use super::people::{Field, Tenant};
use crate::clock::Dice;
use crate::sandbox::town::{REPO, Town};

/// How many farmers a rebuild needs.
pub(super) const FARMERS: u32 = 2;
/// How often the back-ends move on.
const BEAT: Duration = Duration::from_millis(150);
/// How often the post is gone through.
const POST: Duration = Duration::from_millis(300);
/// More than any torture uses up.
const CALLS: u64 = 10_000_000;

/// For how many beats an end stands before the farm is switched off, so that everybody has seen it.
const STANDS: u32 = 20;

/// One tenant's farmers and rebuilds, for ever. A rebuild begins when the farmers come, and when it is done they go.
pub(super) async fn rebuild(field: Arc<Field>, tenant: Tenant, mut dice: Dice) {
    let town = &field.town;
    let name = tenant.name.as_str();
    let (mut progress, mut fails_at, mut beats) = (0, None, 0);
    town.dcr.set_farmers(name, 0);
    loop {
        tokio::time::sleep(BEAT).await;
        let hurry = field.winding_down.is_cancelled();
        let Some(flags) = town.dcr.flags(name) else { return };
        beats += 1;
        if flags.has_completed {
            if beats >= STANDS {
                (progress, beats) = (0, 0);
                town.dcr.set_farmers(name, 0);
                // The farm is switched on again for the next one.
                tokio::time::sleep(BEAT).await;
                town.dcr.set_farmers(name, FARMERS);
            }
        } else if flags.has_failed {
            if hurry || dice.one_in(8) {
                town.dcr.set_farmers(name, FARMERS);
            }
            // The service restarts it by itself, from where it was or from nothing.
            if town.dcr.flags(name).is_some_and(|flags| flags.has_failed) && beats >= STANDS {
                (fails_at, beats) = (None, 0);
                if dice.one_in(2) {
                    town.dcr.auto_restart(name);
                } else {
                    progress = 0;
                    town.dcr.restart_anew(name);
                }
            }
        } else if !flags.has_started {
            if hurry || dice.one_in(8) {
                fails_at = dice.one_in(3).then(|| dice.between(5, 90));
                town.dcr.set_farmers(name, FARMERS);
            }
        } else if !hurry && dice.one_in(40) {
            town.dcr.set_farmers(name, FARMERS - 1);
        } else {
            progress += if hurry { 60 } else { dice.between(2, 20) };
            let fails = fails_at.filter(|at| !hurry && progress >= *at);
            beats = go_on(town, name, progress, fails, &mut dice).unwrap_or(beats);
        }
    }
}

/// One beat of a rebuild that runs; a new count of beats if it has ended.
fn go_on(town: &Town, tenant: &str, progress: u64, fails: Option<u64>, dice: &mut Dice) -> Option<u32> {
    if let Some(at) = fails {
        town.dcr.advance(tenant, percent(at));
        let reason = format!("shard {} is damaged", dice.between(1, 4096));
        town.dcr.fail(tenant, &reason);
    } else if progress >= 100 {
        town.dcr.complete(tenant);
    } else {
        town.dcr.advance(tenant, percent(progress));
        return None;
    }
    Some(0)
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn percent(progress: u64) -> f64 {
    progress.min(99) as f64
}

/// Argo CD notices each merge, in the application that it is for, for ever. Now and then the sync after it fails.
pub(super) async fn watch_git(field: Arc<Field>, mut dice: Dice) {
    let mut known = BTreeSet::new();
    loop {
        tokio::time::sleep(BEAT).await;
        let pulls = field.town.github.pulls(REPO).unwrap_or_default();
        for pull in pulls
            .iter()
            .filter(|pull| !known.contains(&pull.number))
            .collect::<Vec<_>>()
        {
            let (Some(merged), Some((tenant, _))) = (&pull.merged, pull.title.split_once(": ")) else {
                continue;
            };
            let app = format!("dcr-{tenant}");
            if !field.winding_down.is_cancelled() && dice.one_in(12) {
                field
                    .town
                    .argocd
                    .fail_next_sync(&app, "one or more objects failed to apply");
            }
            field.town.argocd.git_moved(&app, merged);
            known.insert(pull.number);
        }
    }
}

/// What was not accepted is sent again, with the same id, for ever; and some of what was accepted, too.
pub(super) async fn deliver(field: Arc<Field>, mut dice: Dice) {
    let town = &field.town;
    loop {
        tokio::time::sleep(POST).await;
        town.github.set_calls_left(CALLS);
        for slip in town
            .github
            .slips()
            .into_iter()
            .filter(|slip| !slip.waits && !slip.accepted)
        {
            town.github.redeliver(&slip.id);
        }
        town.jira.retry_failed().await;
        if !field.winding_down.is_cancelled() && dice.one_in(4) {
            once_too_often(&field, &mut dice).await;
        }
    }
}

/// Platforms deliver again what they are not sure of.
async fn once_too_often(field: &Field, dice: &mut Dice) {
    let given = {
        let book = field.book();
        dice.pick(&book.given).cloned()
    };
    let Some(given) = given else { return };
    match given.way {
        Way::Comment => {
            let slips: BTreeMap<u64, String> = field
                .town
                .github
                .slips()
                .into_iter()
                .filter_map(|slip| Some((slip.comment?, slip.id)))
                .collect();
            let slip = given.id.parse().ok().and_then(|comment: u64| slips.get(&comment));
            if let Some(slip) = slip {
                field.town.github.redeliver(slip);
            }
        }
        Way::Approval => {
            field.town.jira.redeliver(&given.id).await;
        }
        // Only what was accepted may come again: the rest was shown to people as failed.
        Way::Slash | Way::Button if given.accepted => {
            let _ = field.town.discord.redeliver(&given.id).await;
        }
        Way::Ticket | Way::Slash | Way::Button => {}
    }
}
