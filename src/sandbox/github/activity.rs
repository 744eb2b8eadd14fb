//! What happened to a repository's branches, newest first ("List repository activities").

use jiff::Timestamp;
use serde_json::{Value, json};

use super::render;
use super::state::World;
use super::wire::{Refusal, Reply, Req};

const KINDS: [&str; 6] = [
    "push",
    "force_push",
    "branch_creation",
    "branch_deletion",
    "pr_merge",
    "merge_queue_merge",
];
const PERIODS: [&str; 5] = ["day", "week", "month", "quarter", "year"];
/// Stands where there was no commit.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// One change of one branch.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    id: u64,
    before: String,
    after: String,
    reference: String,
    at: Timestamp,
    kind: &'static str,
    actor: u64,
}

/// `GET …/activity`.
pub(super) fn list(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let among = |name: &str, known: &[&str]| match req.query(name) {
        Some(given) if !known.contains(&given) => Err(Refusal::unprocessable(&format!("Invalid {name}: {given}"))),
        given => Ok(given),
    };
    let (kind, direction) = (among("activity_type", &KINDS)?, among("direction", &["asc", "desc"])?);
    among("time_period", &PERIODS)?;
    let reference = req.query("ref").map(|name| match name.strip_prefix("refs/") {
        Some(_) => name.to_owned(),
        None => format!("refs/heads/{name}"),
    });
    let actor = req.query("actor").map(|login| world.person(login)).transpose()?;
    let mut found: Vec<&Activity> = world
        .repo(req.repo)?
        .activity
        .iter()
        .filter(|activity| reference.as_ref().is_none_or(|name| activity.reference == *name))
        .filter(|activity| kind.is_none_or(|kind| activity.kind == kind))
        .filter(|activity| actor.is_none_or(|actor| activity.actor == actor))
        .collect();
    if direction != Some("asc") {
        found.reverse();
    }
    if let Some(cursor) = req.query("after") {
        let at = found.iter().position(|activity| activity.id.to_string() == cursor);
        found.drain(..=at.ok_or_else(|| Refusal::unprocessable("Invalid cursor"))?);
    }
    let more = found.len() > req.per_page();
    found.truncate(req.per_page());
    let reply = Reply::ok(found.iter().map(|activity| shown(world, activity)).collect());
    Ok(match found.last().filter(|_| more) {
        Some(last) => reply.linked(req, "after", &last.id.to_string()),
        None => reply,
    })
}

fn shown(world: &World, activity: &Activity) -> Value {
    json!({
        "id": activity.id,
        "node_id": format!("PSH_{}", activity.id),
        "before": activity.before,
        "after": activity.after,
        "ref": activity.reference,
        "timestamp": render::time(activity.at),
        "activity_type": activity.kind,
        "actor": render::account(world, activity.actor),
    })
}

impl World {
    /// Remembers that a branch now is where it was not before.
    pub(super) fn record_activity(
        &mut self,
        repo: u64,
        actor: u64,
        reference: &str,
        (before, after): (Option<&str>, Option<&str>),
    ) -> Result<(), Refusal> {
        let kind = match (before, after) {
            (None, _) => "branch_creation",
            (_, None) => "branch_deletion",
            (Some(before), Some(after)) if self.store(repo)?.contains(after, before) => "push",
            _ => "force_push",
        };
        let activity = Activity {
            id: self.fresh_id(),
            before: before.unwrap_or(NO_COMMIT).to_owned(),
            after: after.unwrap_or(NO_COMMIT).to_owned(),
            reference: reference.to_owned(),
            at: self.now(),
            kind,
            actor,
        };
        self.repo_mut(repo)?.activity.push(activity);
        Ok(())
    }

    /// What the branch's last change was: the merge of a pull request.
    pub(super) fn was_merge(&mut self, repo: u64) -> Result<(), Refusal> {
        if let Some(last) = self.repo_mut(repo)?.activity.last_mut() {
            last.kind = "pr_merge";
        }
        Ok(())
    }
}
