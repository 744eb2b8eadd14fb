//! What people do besides stepherd: push, open, comment, review, approve, merge, close.

use serde_json::json;

use super::git::{FILE, Flat, Store, put_path};
use super::pulls::{HowToMerge, NewPull, commit};
use super::state::{CheckRun, Kind, Level, World};
use super::wire::Refusal;
use super::{GitHub, render};

/// A file and what becomes of it: its new content, or `None` to remove it.
pub type Change<'a> = (&'a str, Option<&'a str>);

/// A pull request by a person.
#[derive(Debug, Clone, Copy)]
pub struct NewPr<'a> {
    /// The branch; made from the base if it is not there.
    pub branch: &'a str,
    /// The branch it would change.
    pub base: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its body.
    pub body: &'a str,
    /// What its commit changes.
    pub files: &'a [Change<'a>],
    /// The `owner/name` of the fork that the branch is in, if any.
    pub fork: Option<&'a str>,
}

/// What people do. Everything here tells the webhook, as it does on GitHub.
impl GitHub {
    /// Pushes a commit to a branch, which is made from the default branch if it is not there; the answer is the
    /// commit.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn push(&self, login: &str, repo: &str, branch: &str, files: &[Change<'_>]) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let default = world.repo(id)?.default_branch.clone();
        world.push(id, actor, branch, &default, files)
    }

    /// Opens a pull request; the answer is its number.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn open_pr_by_person(&self, repo: &str, login: &str, pr: NewPr<'_>) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let head_repo = pr.fork.map_or(Ok(id), |fork| world.repo_id(fork))?;
        world.push(head_repo, actor, pr.branch, pr.base, pr.files)?;
        let owner = pr.fork.and_then(|fork| fork.split_once('/'));
        let head = owner.map_or_else(|| pr.branch.to_owned(), |(owner, _)| format!("{owner}:{}", pr.branch));
        let new = NewPull {
            title: pr.title.to_owned(),
            body: Some(pr.body.to_owned()),
            head,
            base: pr.base.to_owned(),
            draft: false,
        };
        world.open(id, actor, new)
    }

    /// Pushes a commit to a pull request's branch; the answer is the new head.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn push_to_pr(&self, repo: &str, number: u64, login: &str, files: &[Change<'_>]) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let pull = world.pull(id, number)?.clone();
        world.push(pull.head_repo, actor, &pull.head_ref, &pull.base_ref, files)
    }

    /// Comments on a pull request; the answer is the comment's id.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn comment(&self, repo: &str, number: u64, login: &str, body: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.comment(id, number, actor, body.to_owned())
    }

    /// Comments in a person's name through somebody else's app.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn comment_via_app(&self, repo: &str, number: u64, login: &str, body: &str, app: u64) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.comment_via(id, number, actor, body.to_owned(), Some(app))
    }

    /// Replaces all commits of a pull request's branch by one on its base; the answer is the new head.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn force_push_to_pr(
        &self,
        repo: &str,
        number: u64,
        login: &str,
        files: &[Change<'_>],
    ) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let pull = world.pull(id, number)?.clone();
        let sha = world.commit_on(pull.head_repo, actor, &pull.base_sha, files)?;
        world.move_ref(
            pull.head_repo,
            actor,
            &format!("refs/heads/{}", pull.head_ref),
            Some(&sha),
        )?;
        Ok(sha)
    }

    /// Moves a pull request's branch to a commit that is there already.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn push_to(&self, repo: &str, number: u64, login: &str, sha: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let pull = world.pull(id, number)?.clone();
        world.move_ref(
            pull.head_repo,
            actor,
            &format!("refs/heads/{}", pull.head_ref),
            Some(sha),
        )
    }

    /// Points a pull request at another branch of its repository.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn retarget_pr(&self, repo: &str, number: u64, login: &str, base: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.retarget(id, number, actor, base.to_owned())
    }

    /// Changes a comment.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn edit_comment(&self, repo: &str, comment: u64, login: &str, body: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        if world.repo(id)?.review_comments.contains_key(&comment) {
            return world.edit_review_comment(id, comment, actor, body.to_owned());
        }
        world.edit_comment(id, comment, actor, body.to_owned())
    }

    /// Deletes a comment.
    ///
    /// # Errors
    /// When repository, comment or person are unknown.
    pub fn delete_comment(&self, repo: &str, comment: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        if world.repo(id)?.review_comments.contains_key(&comment) {
            return world.delete_review_comment(id, comment, actor);
        }
        world.delete_comment(id, comment, actor)
    }

    /// Comments on a line of a file of a pull request; the answer is the comment's id.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn review_comment(
        &self,
        repo: &str,
        number: u64,
        login: &str,
        (path, line): (&str, u64),
        body: &str,
    ) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.review_comment(id, number, actor, (path.to_owned(), Some(line)), body.to_owned())
    }

    /// Replies in the thread of a review comment; the answer is the reply's id.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn reply_to_review(&self, repo: &str, number: u64, to: u64, login: &str, body: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.reply(id, number, to, actor, body.to_owned())
    }

    /// Approves a pull request.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn approve(&self, repo: &str, number: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.approve(id, number, actor)
    }

    /// Merges a pull request with a merge commit; the answer is that commit.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn merge_by_person(&self, repo: &str, number: u64, login: &str) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let how = HowToMerge {
            method: "merge".to_owned(),
            title: None,
            message: None,
            sha: None,
        };
        world.merge(id, number, actor, &how)
    }

    /// Closes a pull request without merging it.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn close_pr(&self, repo: &str, number: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.close(id, number, actor)
    }

    /// Opens a closed pull request again.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn reopen_pr(&self, repo: &str, number: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.reopen(id, number, actor)
    }

    /// Puts a label on a pull request, or takes it off.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn label(&self, repo: &str, number: u64, login: &str, label: &str, on: bool) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let labels = &mut world.pull_mut(id, number)?.labels;
        labels.retain(|known| known != label);
        if on {
            labels.push(label.to_owned());
        }
        let action = if on { "labeled" } else { "unlabeled" };
        let label = json!({"label": render::label(&world, world.repo(id)?, label)});
        world.emit_pull(action, id, number, actor, label);
        Ok(())
    }

    /// Deletes a branch; a pull request from it is closed.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn delete_branch(&self, repo: &str, branch: &str, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.move_ref(id, actor, &format!("refs/heads/{branch}"), None)
    }

    /// A check of some other CI is completed on a commit; the answer is its id.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn finish_check(&self, repo: &str, sha: &str, name: &str, conclusion: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let id = world.repo_id(repo)?;
        let actor = world.add_account("ci[bot]", Kind::Bot);
        let now = world.now();
        let check = CheckRun {
            id: 0,
            ours: false,
            name: name.to_owned(),
            head_sha: sha.to_owned(),
            external_id: String::new(),
            details_url: None,
            status: "completed".to_owned(),
            conclusion: Some(conclusion.to_owned()),
            started_at: now,
            completed_at: Some(now),
            title: None,
            summary: None,
            text: None,
        };
        world.add_check(id, check, actor)
    }

    /// Somebody asks for a check to be run again.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn rerequest_check(&self, repo: &str, check: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.emit_check("rerequested", id, check, actor);
        Ok(())
    }

    /// A workflow run is completed on a commit; the answer is its id.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn finish_workflow(&self, repo: &str, sha: &str, name: &str, conclusion: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let id = world.repo_id(repo)?;
        let run = world.fresh_id();
        let actor = world.add_account("ci[bot]", Kind::Bot);
        let fields = render::workflow_run(&world, world.repo(id)?, (run, actor), sha, (name, conclusion));
        world.emit("workflow_run", "completed", id, actor, fields);
        Ok(run)
    }

    /// The webhook's first delivery, as when it is set up.
    pub fn ping(&self) {
        let mut world = self.world();
        let (now, url) = (render::time(world.now()), format!("{}/app/hook", world.url));
        let config = json!({"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": url});
        let hook = json!({
            "type": "App",
            "id": 1,
            "name": "web",
            "active": true,
            "events": world.mail.events(),
            "config": config,
            "created_at": now,
            "updated_at": now,
            "deliveries_url": format!("{url}/deliveries"),
            "app_id": world.app.as_ref().map(|app| app.id),
        });
        let hook = json!({"zen": "Speak like a human.", "hook_id": 1, "hook": hook});
        let sender = world.app.as_ref().map_or(0, |app| app.bot);
        world.emit("ping", "", 0, sender, hook);
    }
}

impl World {
    fn push(
        &mut self,
        repo: u64,
        actor: u64,
        branch: &str,
        from: &str,
        files: &[Change<'_>],
    ) -> Result<String, Refusal> {
        let parent = self.branch_head(repo, branch).or_else(|| self.branch_head(repo, from));
        let sha = self.commit_on(repo, actor, &parent.ok_or_else(Refusal::not_found)?, files)?;
        self.move_ref(repo, actor, &format!("refs/heads/{branch}"), Some(&sha))?;
        Ok(sha)
    }

    /// A commit that changes these files, on no branch yet.
    fn commit_on(&mut self, repo: u64, actor: u64, parent: &str, files: &[Change<'_>]) -> Result<String, Refusal> {
        let by = self.signature(actor);
        let store = self.store_mut(repo)?;
        let flat = store.flat_of_commit(parent);
        let flat = changed(store, flat, files);
        let tree = store.put_tree(&flat);
        let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        let message = format!("Change {}", names.join(", "));
        Ok(store.put_commit(commit(tree, vec![parent.to_owned()], message, &by)))
    }

    fn approve(&mut self, repo: u64, number: u64, actor: u64) -> Result<(), Refusal> {
        let counts = self.level(self.repo(repo)?, actor) >= Level::Write;
        let pull = self.pull_mut(repo, number)?;
        if pull.author == actor {
            return Err(Refusal::unprocessable("Can not approve your own pull request"));
        }
        pull.reviewers.insert(actor);
        if counts {
            pull.approvals.insert(actor);
        }
        let fields = render::approval(self, self.repo(repo)?, self.pull(repo, number)?, actor);
        self.emit("pull_request_review", "submitted", repo, actor, fields);
        Ok(())
    }
}

/// Makes the changes to a tree.
pub(super) fn changed(store: &mut Store, mut flat: Flat, files: &[Change<'_>]) -> Flat {
    for (path, content) in files {
        match content {
            Some(content) => {
                let blob = store.put_blob(content.as_bytes().to_vec());
                put_path(&mut flat, path, (FILE.to_owned(), blob));
            }
            None => {
                flat.remove(*path);
            }
        }
    }
    flat
}
