//! The steps of a pipeline file as they are written: flat, every key that some kind of step has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::merge::{RawBy, RawDeferred, RawLeaves, RawMethod};
use super::page::At;
use super::values::Scalar;

/// A step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    /// Its name, unique in the pipeline; part of its branch's name.
    pub(super) name: At<String>,
    /// What people call it.
    pub(super) title: At<String>,
    /// What it does.
    pub(super) kind: At<RawStepKind>,
    /// How long one attempt may take, not counting time the back-end waits for something else: 90m, 7d. Without it
    /// 15m for change and tell, 7d for merge and ask; for work 1h, or none if it has `stall`.
    pub(super) timeout: Option<At<String>>,
    /// How many further attempts are made without asking, for failures that are not the user's. 0 to 10; without it, 0.
    #[schemars(range(min = 0, max = 10))]
    pub(super) auto_retries: Option<u32>,
    /// What the step leaves behind in the world, for whoever stops the run after it.
    pub(super) leaves: Option<RawLeaves>,

    /// change: the repository, as owner/name or git@host:owner/name.git. A template.
    pub(super) repo: Option<At<String>>,
    /// change: title of the pull request and first line of the commit. A template.
    pub(super) pr_title: Option<At<String>>,
    /// change: body of the pull request, Markdown. A template; what expressions give is escaped.
    pub(super) pr_body: Option<At<String>>,
    /// change: the edits, made in order as one commit.
    pub(super) edit: Option<At<Vec<RawEdit>>>,

    /// merge: the earlier change step whose pull request is meant.
    pub(super) branch_of: Option<At<String>>,
    /// merge: who merges; without it, stepherd.
    pub(super) by: Option<At<RawBy>>,
    /// merge: how stepherd merges; without it, a merge commit.
    pub(super) method: Option<At<RawMethod>>,
    /// merge: applications that the merge feeds and that a later step brings to the running system. Each is read right
    /// before the merge: if it is synced automatically, the step fails with that reason and nothing is merged; as long as
    /// it cannot be read, nothing is merged either.
    pub(super) deferred: Option<At<Vec<RawDeferred>>>,

    /// work: the jobs, all at once. The step passes when every one succeeded.
    pub(super) job: Option<At<Vec<RawJob>>>,
    /// work: what the first failed job does to the others; without it, they are left running.
    pub(super) on_failure: Option<At<RawOnFailure>>,
    /// work: how often each job is looked at: 30s. Without it, 15s.
    pub(super) every: Option<At<String>>,

    /// work: how long the jobs may stay where they are, without progress or a change of state: 12h. Waits do not count.
    /// With it, `timeout` may be left out.
    pub(super) stall: Option<At<String>>,
    /// work: how long a job that begins by itself may show what may be the end of an earlier one before people are asked.
    /// Without it, 30m.
    pub(super) unsure_after: Option<At<String>>,
    /// work: how long a back-end that tries again by itself is waited for. Without it, 30m.
    pub(super) restart_within: Option<At<String>>,
    /// work: whether a job that its back-end restarts after the step has failed is followed without asking. Without it,
    /// people are told, and say `retry`.
    pub(super) follow_restarts: Option<At<bool>>,

    /// ask: the question. A template.
    pub(super) question: Option<At<String>>,
    /// ask: the options; the first answer wins.
    pub(super) option: Option<At<Vec<RawOption>>>,
    /// ask: who may answer, any of these roles.
    pub(super) roles: Option<At<Vec<At<String>>>>,
    /// ask: whether neither who started the run nor who resumed it last may answer, from any of their accounts. Without
    /// it, true if one of the roles has `approves = true` in people.toml.
    pub(super) not_the_asker: Option<At<bool>>,

    /// tell: move a ticket.
    pub(super) move_ticket: Option<At<RawMove>>,
    /// tell: post a note to every thread of the run. A template.
    pub(super) note: Option<At<String>>,
}

/// The five kinds of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawStepKind {
    /// Edit files in a repository on a branch of this step; open or find the pull request.
    Change,
    /// Merge, or wait for the merge of, the pull request that an earlier step opened.
    Merge,
    /// One job or a parallel set of jobs on back-ends.
    Work,
    /// A question with options to named roles.
    Ask,
    /// Move a ticket, post a note.
    Tell,
}

/// One edit of one file: a path and one of `write`, `set`, `insert_xml`, `delete`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEdit {
    /// The file's path in the repository. A template.
    pub(super) path: At<String>,
    /// The file's whole content, created if absent. A template.
    pub(super) write: Option<At<String>>,
    /// One value in a YAML, JSON or TOML file; everything else in it stays as it is.
    pub(super) set: Option<RawSet>,
    /// An XML element inserted once.
    pub(super) insert_xml: Option<RawInsertXml>,
    /// The file is removed.
    pub(super) delete: Option<At<bool>>,
}

/// One value in a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSet {
    /// JSON pointer (RFC 6901); missing objects on the way are created. A template.
    pub(super) pointer: At<String>,
    /// The value; text is read as JSON where it is JSON, else it is a string. A template.
    pub(super) value: At<Scalar>,
}

/// An XML element.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInsertXml {
    /// The parent: element names from the root, /project/modules. A template.
    pub(super) parent: At<String>,
    /// The element, as XML. A template.
    pub(super) element: At<String>,
}

/// One job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    /// Its name, unique in the step.
    pub(super) name: At<String>,
    /// The back-end it runs on: argocd, dcr.
    pub(super) backend: At<String>,
    /// Whether stepherd starts it; otherwise it only observes what starts by itself. Without it, true for argocd. What dcr
    /// does begins by itself, and cannot be started.
    pub(super) start: Option<At<bool>>,
    /// What the back-end needs to know. Templates. argocd: app, project; and revision, prune, app_namespace. dcr: tenant;
    /// and watch (rebuild, farmers), min_farmers, farm_size, link.
    #[serde(default)]
    pub(super) with: BTreeMap<At<String>, At<Scalar>>,
}

/// What the first failed job does to the others, and what becomes of jobs that still run when the step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawOnFailure {
    /// The step fails at once; nothing more is started or looked at, and what runs is left running and listed.
    Leave,
    /// The step fails at once; what was started is told to end.
    Cancel,
    /// The step fails when the others have ended.
    Drain,
}

/// One option of a question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOption {
    /// What to type.
    pub(super) value: At<String>,
    /// What it says.
    pub(super) label: At<String>,
    /// Whether the run goes on; otherwise it ends as canceled. Without it, true.
    pub(super) go_on: Option<bool>,
}

/// Moving a ticket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMove {
    /// The ticket. A template; without it, the run's own.
    pub(super) ticket: Option<At<String>>,
    /// The status it should have afterwards, by id or name.
    pub(super) to: At<String>,
}
