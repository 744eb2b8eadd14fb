//! Edits on a branch of their own, and the pull request for it.
//!
//! Every part is found again instead of being made twice: the branch's name is unique to run and step, its one
//! commit says in its message which branch and which content it was made for, and GitHub takes one open pull
//! request per branch. The branch is made once, at its finished commit; nothing is ever pushed over it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Github;
use super::client::{Reply, Verb, undocumented};
use super::files::{Snapshot, Stop, encoded};
use super::markdown::{BODY_CHARS_MAX, fit, title_line};
use super::place::Place;
use super::pull::{Pull, Standing, failed, head_moved};
use super::token::{Need, Scope};
use crate::adapters::{CallError, Marker};
use crate::domain::doc::{Doc, Span};
use crate::domain::edit::{self, EditAction};
use crate::domain::effect::{ChangeIntent, Outcome};
use crate::domain::ids::{PrRef, Repo, Sha};
use crate::domain::run::OpenedPr;

const TITLE_CHARS_MAX: usize = 256;
const NEW_FILE_MODE: &str = "100644";

/// What is to be made where nothing is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Making {
    All,
    Nothing,
}

/// The default branch as it is now.
struct Base {
    branch: String,
    head: Sha,
    tree: Sha,
}

#[derive(Deserialize)]
struct Object {
    sha: Sha,
}

#[derive(Deserialize)]
struct Commit {
    message: String,
    tree: Object,
    parents: Vec<Object>,
}

/// A file before and after the edits.
struct Edited {
    mode: String,
    before: Option<String>,
    /// Bytes that are no text can be replaced and removed, but not edited.
    before_is_text: bool,
    after: Option<String>,
}

impl Github {
    pub(super) async fn make_change(&self, intent: &ChangeIntent, making: Making) -> Result<Outcome, CallError> {
        let outcome = match self.try_change(intent, making).await {
            Ok(outcome) => outcome,
            Err(Stop::Call(error)) => return Err(error),
            Err(Stop::Refused(reason)) => failed(reason),
        };
        if let Some(old) = intent
            .recorded
            .as_ref()
            .filter(|_| intent.replaces && making == Making::All)
        {
            self.give_way(old, &outcome).await?;
        }
        Ok(outcome)
    }

    /// Closes a pull request whose place another has taken, with a word. One that people have had a hand in meanwhile is
    /// left to them.
    async fn give_way(&self, old: &OpenedPr, outcome: &Outcome) -> Result<(), CallError> {
        let (new, why) = match outcome {
            Outcome::ChangeOpened(new) => (
                new.branch.as_str(),
                format!("{} takes its place, with the same edits.", new.pr),
            ),
            Outcome::ChangeUnneeded => (
                "",
                "Its edits are there by now, so that it is not needed any more.".to_owned(),
            ),
            _ => return Ok(()),
        };
        let pull = self.pull(&old.pr).await?;
        if pull.standing()? != Standing::Open || pull.head.sha != old.head || self.people_on(&old.pr).await?.is_some() {
            return Ok(());
        }
        let thread = Place::of(old.pr.clone()).thread();
        let marker = Marker(format!("gives-way/{}/{new}", old.branch));
        let word = format!("This conflicts with what was merged since. {why}");
        self.post_comment(&thread, &marker, &Doc::paragraph(vec![Span::text(word)]), true)
            .await?;
        let target = format!("/repos/{}/pulls/{}", old.pr.repo, old.pr.number);
        let closed = json!({ "state": "closed" });
        let scope = Scope::Repo(&old.pr.repo, Need::WritePulls);
        let reply = self.client.call(scope, Verb::Patch, &target, Some(&closed)).await?;
        reply.json::<Pull>().map(|_| ())
    }

    async fn try_change(&self, intent: &ChangeIntent, making: Making) -> Result<Outcome, Stop> {
        if let Some(recorded) = &intent.recorded
            && let Some(outcome) = self.judge_recorded(intent, recorded).await?
        {
            return Ok(outcome);
        }
        let base = self.base(&intent.repo).await?;
        if let Some(pull) = self.pull_of_branch(&intent.repo, &intent.branch).await? {
            return self.judge_found(intent, &base, pull).await;
        }
        let head = self.branch_head(&intent.repo, &intent.branch).await?;
        if making == Making::Nothing {
            return Ok(match head {
                Some(head) => failed(format!("its branch `{}` is there, at {}", intent.branch, head.short())),
                None => Outcome::NotDone,
            });
        }
        let head = match head {
            // An earlier try got this far. Its commit stands even if the default branch has moved on since: merging
            // takes care of that, and another commit would need another branch.
            Some(head) => self.own_head(intent, &base, head).await?,
            None => match self.commit(intent, &base).await? {
                Some(head) => head,
                None => return Ok(Outcome::ChangeUnneeded),
            },
        };
        self.open(intent, &base, &head).await
    }

    /// What the step's own record comes to; `None` if a new branch has taken its place.
    async fn judge_recorded(&self, intent: &ChangeIntent, recorded: &OpenedPr) -> Result<Option<Outcome>, CallError> {
        let pull = self.pull(&recorded.pr).await?;
        let same_head = pull.head.sha == recorded.head;
        let moved = || failed(head_moved(pull.number, &recorded.head, &pull.head.sha));
        let standing = pull.standing()?;
        if standing != Standing::Closed
            && same_head
            && let Some(reason) = pull.strays()
        {
            return Ok(Some(failed(reason)));
        }
        Ok(match standing {
            Standing::Merged(merged) if same_head => Some(Outcome::ChangeAlreadyMerged { merged }),
            // It conflicts with what was merged since.
            Standing::Open if same_head && intent.replaces && recorded.branch != intent.branch => None,
            Standing::Open if same_head => Some(Outcome::ChangeOpened(self.opened(&recorded.pr.repo, pull))),
            Standing::Closed if recorded.branch == intent.branch => Some(Outcome::ChangeClosed {
                pr: recorded.pr.clone(),
            }),
            Standing::Closed => None,
            Standing::Merged(_) | Standing::Open => Some(moved()),
        })
    }

    /// What a pull request comes to that was found by its branch and never recorded, because stepherd ended between
    /// opening and recording it.
    ///
    /// Names prove nothing, so its head must be the commit that stepherd makes for this branch. One that was merged
    /// meanwhile is opened all the same, as far as the step is concerned: it is recorded, and whoever looks at the
    /// merge finds it done at the recorded head.
    async fn judge_found(&self, intent: &ChangeIntent, base: &Base, pull: Pull) -> Result<Outcome, Stop> {
        if pull.standing()? == Standing::Closed {
            return Ok(Outcome::ChangeClosed {
                pr: PrRef {
                    repo: intent.repo.clone(),
                    number: pull.number,
                },
            });
        }
        if let Some(reason) = pull.strays() {
            return Err(Stop::Refused(reason));
        }
        self.own_head(intent, base, pull.head.sha.clone()).await?;
        Ok(Outcome::ChangeOpened(self.opened(&intent.repo, pull)))
    }

    /// The branch's pull request: an open one before a merged one before a closed one, then the newest.
    async fn pull_of_branch(&self, repo: &Repo, branch: &str) -> Result<Option<Pull>, CallError> {
        // Organisation and branch as one parameter; a bare branch would be ignored and list everything.
        let head = form_urlencoded::Serializer::new(String::new())
            .append_pair("head", &format!("{}:{branch}", repo.owner()))
            .append_pair("state", "all")
            .finish();
        let list = format!("/repos/{repo}/pulls?{head}");
        let mut best: Option<(u8, u64, Pull)> = None;
        let collect = |page: Vec<Value>| {
            for item in page {
                let pull: Pull = serde_json::from_value(item).map_err(|e| undocumented(&list, &e.to_string()))?;
                let rank = match pull.standing()? {
                    Standing::Open => 2,
                    Standing::Merged(_) => 1,
                    Standing::Closed => 0,
                };
                let better = best.as_ref().is_none_or(|(r, n, _)| (rank, pull.number) > (*r, *n));
                if pull.comes_from(repo, branch) && better {
                    best = Some((rank, pull.number, pull));
                }
            }
            Ok(None::<()>)
        };
        self.client
            .find(Scope::Repo(repo, Need::ReadPulls), &list, collect)
            .await?;
        Ok(best.map(|(_, _, pull)| pull))
    }

    async fn base(&self, repo: &Repo) -> Result<Base, Stop> {
        #[derive(Deserialize)]
        struct Repository {
            default_branch: String,
        }
        let target = format!("/repos/{repo}");
        let scope = Scope::Repo(repo, Need::Metadata);
        let found: Repository = self.client.get(scope, &target).await?.json()?;
        let branch = found.default_branch;
        let head = self
            .branch_head(repo, &branch)
            .await?
            .ok_or_else(|| Stop::Refused(format!("{repo} has no branch `{branch}` yet")))?;
        let tree = self.commit_at(repo, &head).await?.tree.sha;
        Ok(Base { branch, head, tree })
    }

    async fn branch_head(&self, repo: &Repo, branch: &str) -> Result<Option<Sha>, CallError> {
        #[derive(Deserialize)]
        struct Reference {
            object: Object,
        }
        let target = format!("/repos/{repo}/git/ref/heads/{}", encoded(branch));
        let reply = self.client.get(Scope::Repo(repo, Need::ReadContents), &target).await?;
        // 409: the repository is empty.
        if matches!(reply.status, 404 | 409) {
            return Ok(None);
        }
        Ok(Some(reply.json::<Reference>()?.object.sha))
    }

    async fn commit_at(&self, repo: &Repo, sha: &Sha) -> Result<Commit, CallError> {
        let target = format!("/repos/{repo}/git/commits/{sha}");
        let scope = Scope::Repo(repo, Need::ReadContents);
        self.client.get(scope, &target).await.and_then(Reply::json)
    }

    /// The head, if it is the commit that stepherd makes for this branch. What its message says can be copied by
    /// anybody, so it counts by its content: this step's edits, on a commit of the default branch, and nothing else.
    async fn own_head(&self, intent: &ChangeIntent, base: &Base, head: Sha) -> Result<Sha, Stop> {
        let not_ours = |why: &str| {
            Stop::Refused(format!(
                "branch `{}` of {} is at {head}, a commit that is not stepherd's: {why}",
                intent.branch, intent.repo
            ))
        };
        let commit = self.commit_at(&intent.repo, &head).await?;
        let last = commit.message.trim_end().rsplit("\n\n").next().unwrap_or_default();
        if last != trailers(&intent.branch, &commit.tree.sha) {
            return Err(not_ours("someone pushed to stepherd's branch"));
        }
        let [parent] = commit.parents.as_slice() else {
            return Err(not_ours("it has more or fewer than one parent"));
        };
        if parent.sha != base.head && !self.is_on_default(&intent.repo, &parent.sha, base).await? {
            return Err(not_ours("it stands on commits that are not on the default branch"));
        }
        let tree = self.commit_at(&intent.repo, &parent.sha).await?.tree.sha;
        if self.tree(intent, &tree).await?.as_ref() != Some(&commit.tree.sha) {
            return Err(not_ours("it changes something else than this step does"));
        }
        Ok(head)
    }

    /// Whether the default branch holds this commit.
    async fn is_on_default(&self, repo: &Repo, commit: &Sha, base: &Base) -> Result<bool, CallError> {
        #[derive(Deserialize)]
        struct Comparison {
            status: String,
        }
        // By its name: since `base` was read it may have moved on, to the very commit that is asked about.
        let branch = encoded(&base.branch);
        let target = format!("/repos/{repo}/compare/{commit}...{branch}?per_page=1");
        let reply = self.client.get(Scope::Repo(repo, Need::ReadContents), &target).await?;
        // They have no history in common.
        if reply.status == 404 {
            return Ok(false);
        }
        let found: Comparison = reply.json()?;
        Ok(matches!(found.status.as_str(), "ahead" | "identical"))
    }

    /// Makes the commit and then the branch at it; `None` if the edits change nothing.
    async fn commit(&self, intent: &ChangeIntent, base: &Base) -> Result<Option<Sha>, Stop> {
        let repo = &intent.repo;
        let Some(tree) = self.tree(intent, &base.tree).await? else {
            return Ok(None);
        };
        let message = format!("{}\n\n{}", title(intent), trailers(&intent.branch, &tree));
        let commit = json!({ "message": message, "tree": tree, "parents": [base.head] });
        let commit: Object = self.create(repo, "git/commits", &commit).await?.json()?;
        let reference = json!({ "ref": format!("refs/heads/{}", intent.branch), "sha": commit.sha });
        let reply = self.create(repo, "git/refs", &reference).await?;
        if reply.is_success() {
            return Ok(Some(commit.sha));
        }
        if reply.status == 422
            && let Some(head) = self.branch_head(repo, &intent.branch).await?
        {
            // Made by an earlier try whose answer was lost, or by another worker just now.
            return self.own_head(intent, base, head).await.map(Some);
        }
        // Also where not all of GitHub's servers know the commit yet.
        Err(Stop::Call(reply.refusal()))
    }

    /// The tree that the edits make of this one; `None` if they change nothing. Trees are named by what is in them, so
    /// the same edits of the same tree always come to the same name.
    async fn tree(&self, intent: &ChangeIntent, from: &Sha) -> Result<Option<Sha>, Stop> {
        let entries = self.edited(intent, from).await?;
        if entries.is_empty() {
            return Ok(None);
        }
        let request = json!({ "base_tree": from, "tree": entries });
        let made: Object = self.create(&intent.repo, "git/trees", &request).await?.json()?;
        Ok(Some(made.sha).filter(|sha| sha != from))
    }

    /// The tree entries that the edits come to.
    async fn edited(&self, intent: &ChangeIntent, tree: &Sha) -> Result<Vec<Value>, Stop> {
        let mut snapshot = Snapshot::new(&self.client, &intent.repo, tree.clone());
        let mut files: BTreeMap<&str, Edited> = BTreeMap::new();
        for edit in &intent.edits {
            let path = edit.path.as_str();
            edit::check_path(path).map_err(|e| Stop::Refused(e.to_string()))?;
            if !files.contains_key(path) {
                files.insert(path, Edited::read(&mut snapshot, path).await?);
            }
            if let Some(file) = files.get_mut(path) {
                file.apply(path, &edit.action)?;
            }
        }
        Ok(files
            .into_iter()
            .filter(|(_, file)| file.is_changed())
            .map(|(path, file)| match file.after {
                Some(content) => json!({ "path": path, "mode": file.mode, "type": "blob", "content": content }),
                None => json!({ "path": path, "mode": file.mode, "type": "blob", "sha": Value::Null }),
            })
            .collect())
    }

    async fn open(&self, intent: &ChangeIntent, base: &Base, head: &Sha) -> Result<Outcome, Stop> {
        let request = json!({
            "title": title(intent),
            "head": intent.branch,
            "base": base.branch,
            "body": fit(&intent.body, BODY_CHARS_MAX),
        });
        let reply = self.create(&intent.repo, "pulls", &request).await?;
        if reply.status == 422 {
            return match self.pull_of_branch(&intent.repo, &intent.branch).await? {
                Some(pull) => self.judge_found(intent, base, pull).await,
                // Also where not all of GitHub's servers know the branch yet.
                None => Err(Stop::Call(reply.refusal())),
            };
        }
        let pull: Pull = reply.json()?;
        Ok(if pull.head.sha == *head {
            Outcome::ChangeOpened(self.opened(&intent.repo, pull))
        } else {
            failed(head_moved(pull.number, head, &pull.head.sha))
        })
    }

    async fn create(&self, repo: &Repo, list: &str, body: &Value) -> Result<Reply, CallError> {
        let target = format!("/repos/{repo}/{list}");
        let need = match list {
            "pulls" => Need::WritePulls,
            _ => Need::WriteContents,
        };
        self.client
            .call(Scope::Repo(repo, need), Verb::Post, &target, Some(body))
            .await
    }
}

impl Edited {
    async fn read(snapshot: &mut Snapshot<'_>, path: &str) -> Result<Self, Stop> {
        let file = snapshot.file(path).await?;
        let mode = file.as_ref().map_or(NEW_FILE_MODE, |f| f.mode.as_str()).to_owned();
        let text = file.map(|f| String::from_utf8(f.bytes));
        let before_is_text = !matches!(text, Some(Err(_)));
        let before = text.map(|t| t.unwrap_or_default());
        Ok(Self {
            mode,
            after: before.clone(),
            before,
            before_is_text,
        })
    }

    fn apply(&mut self, path: &str, action: &EditAction<String>) -> Result<(), Stop> {
        let needs_text = !matches!(action, EditAction::Write { .. } | EditAction::Delete);
        if needs_text && !self.before_is_text && self.after == self.before {
            return Err(Stop::Refused(format!("{path} is not text")));
        }
        self.after =
            edit::apply(path, self.after.as_deref(), action).map_err(|error| Stop::Refused(error.to_string()))?;
        Ok(())
    }

    fn is_changed(&self) -> bool {
        // Text never equals bytes that are none.
        self.after != self.before || !self.before_is_text
    }
}

fn title(intent: &ChangeIntent) -> String {
    title_line(&intent.title).chars().take(TITLE_CHARS_MAX).collect()
}

/// The end of the commit's message. The tree makes an amended commit recognisable that kept the message.
fn trailers(branch: &str, tree: &Sha) -> String {
    format!("Stepherd-Branch: {branch}\nStepherd-Tree: {tree}")
}
