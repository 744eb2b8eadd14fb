//! The main job as a tale: what people and machines do, and what must be seen before the next thing happens.

use serde_json::Value;

use super::scene::{Message, ROOM};
use super::show::{Show, Trouble};
use crate::sandbox::town::{APP, CHANNEL, GUILD, REPO, TENANT, TICKET, Town};

/// Why the rebuild fails, as the rebuild service says it.
pub(super) const REASON: &str = "farmer-2 lost its index segment 1187 of 2806 (disk full)";
/// Where it fails.
pub(super) const FAILS_AT: u32 = 42;
/// The pull request on which the run is resumed.
pub(super) const RETRY_ON: u64 = 2;
/// How many farmers a rebuild needs.
pub(super) const FARMERS: u32 = 3;
const ADA_IN_JIRA: &str = "557058:ada";

/// Tells it.
pub(super) async fn tell(show: &mut Show) -> Result<(), Trouble> {
    approve(show).await?;
    farm(show).await?;
    rebuild(show).await?;
    resume(show).await?;
    finish(show).await
}

async fn approve(show: &mut Show) -> Result<(), Trouble> {
    show.town.dcr.set_farmers(TENANT, 0);
    show.screen.stage(&format!(
        "Ada moves {TICKET} to “Approved” in Jira. It names the tenant {TENANT}."
    ));
    let moved = show.town.jira.transition(TICKET, ADA_IN_JIRA, "Approved").await;
    moved.map_err(stuck)?;
    show.until("two merged pull requests", |scene, _| scene.merged() == 2)
        .await
}

async fn farm(show: &mut Show) -> Result<(), Trouble> {
    show.until("the sync of the merged commit", |_, town| {
        town.argocd
            .shows(APP)
            .is_some_and(|(sync, health, _)| town.argocd.syncs(APP) == 1 && sync == "Synced" && health == "Healthy")
    })
    .await?;
    show.screen.stage(&format!(
        "Argo CD has synced {APP} to the merged commit. Farmers come up."
    ));
    for ready in 0..FARMERS {
        show.town.dcr.set_farmers(TENANT, ready);
        let wanted = format!("{ready} of min {FARMERS}");
        show.until(&format!("the card to say “{wanted}”"), |scene, _| {
            scene.card().contains(&wanted)
        })
        .await?;
    }
    show.town.dcr.set_farmers(TENANT, FARMERS);
    show.until("the rebuild to begin", |_, town| town.dcr.begun(TENANT) == 1)
        .await
}

async fn rebuild(show: &mut Show) -> Result<(), Trouble> {
    show.screen
        .stage(&format!("{FARMERS} farmers are ready. The rebuild begins by itself."));
    for percent in [4, 11, 19, 30, FAILS_AT] {
        progress(show, percent).await?;
    }
    show.screen
        .stage(&format!("The rebuild service reports that it failed at {FAILS_AT} %."));
    show.town.dcr.fail(TENANT, REASON);
    show.until("the failure to be told in every thread", |scene, _| {
        let is_notice = |said: &Message| !said.is_card() && said.text.contains(REASON);
        let told = scene
            .threads
            .iter()
            .filter(|thread| thread.messages.iter().any(is_notice));
        told.count() >= 4 && scene.card().contains("failed")
    })
    .await
}

async fn resume(show: &mut Show) -> Result<(), Trouble> {
    show.screen
        .stage("The rebuild service restarts it by itself, from where it was.");
    show.town.dcr.auto_restart(TENANT);
    show.until("the restart to be told in every thread", |scene, _| {
        let is_notice = |said: &Message| !said.is_card() && said.text.contains("was restarted by the service");
        let told = scene
            .threads
            .iter()
            .filter(|thread| thread.messages.iter().any(is_notice));
        told.count() >= 4
    })
    .await?;
    show.screen.stage(&format!(
        "Ada writes “/dcr retry” on {REPO}#{RETRY_ON}. stepherd follows what runs; what is done stays done."
    ));
    let said = show.town.github.comment(REPO, RETRY_ON, "ada", "/dcr retry");
    said.map_err(stuck)?;
    show.until("the run to follow the rebuild again", |scene, _| {
        !scene.card().contains("failed")
    })
    .await?;
    progress(show, 58).await?;
    show.screen.stage("Ada asks in Discord: /dcr status");
    let asked = show
        .town
        .discord
        .slash(&Town::ada(), GUILD, CHANNEL, "dcr", "status", &[] as &[(&str, Value)])
        .await
        .map_err(stuck)?;
    if let Some(problem) = asked.problem {
        return Err(Trouble::Stuck(problem));
    }
    show.until("the answer in Discord", |scene, _| scene.said(ROOM).len() > 1)
        .await?;
    for percent in [71, 86, 97] {
        progress(show, percent).await?;
    }
    Ok(())
}

async fn finish(show: &mut Show) -> Result<(), Trouble> {
    show.screen.stage("The rebuild is done.");
    show.town.dcr.complete(TENANT);
    show.until("the ticket to be done", |_, town| {
        town.jira.status(TICKET).as_deref() == Some("Done")
    })
    .await?;
    show.until_at_rest().await
}

async fn progress(show: &mut Show, percent: u32) -> Result<(), Trouble> {
    show.town.dcr.advance(TENANT, f64::from(percent));
    let wanted = format!(" {percent} %");
    show.until(&format!("the card to say “{percent} %”"), |scene, _| {
        scene.card().contains(&wanted)
    })
    .await
}

fn stuck(why: impl std::fmt::Display) -> Trouble {
    Trouble::Stuck(why.to_string())
}
