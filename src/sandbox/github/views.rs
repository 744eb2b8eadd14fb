//! What there is to see, for assertions and for the demo.

use super::GitHub;
use super::state::{Comment, World};
use super::wire::Refusal;

/// A message of a pull request's thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxMessage {
    /// The comment's id.
    pub id: u64,
    /// The author's login.
    pub author: String,
    /// What it says now.
    pub body: String,
    /// Whether it said something else before.
    pub edited: bool,
    /// How often it was edited.
    pub edits: u32,
    /// Reactions as `login:content`, oldest first.
    pub reactions: Vec<String>,
    /// The review comment it replies to.
    pub in_reply_to: Option<u64>,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxPull {
    /// Its number.
    pub number: u64,
    /// The author's login.
    pub author: String,
    /// Its title.
    pub title: String,
    /// Its body.
    pub body: String,
    /// The branch it is from.
    pub branch: String,
    /// The branch it would change.
    pub base: String,
    /// Its head commit.
    pub head: String,
    /// Whether it is open.
    pub open: bool,
    /// The merge commit, if it was merged.
    pub merged: Option<String>,
    /// The login of who merged it.
    pub merged_by: Option<String>,
    /// Its labels.
    pub labels: Vec<String>,
}

/// A check run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxCheck {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The commit it is about.
    pub head: String,
    /// What its maker calls it.
    pub external_id: String,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// The output's title.
    pub title: String,
    /// The output's summary.
    pub summary: String,
    /// Where "Details" leads, if its maker said.
    pub details_url: Option<String>,
}

impl GitHub {
    /// A pull request's comments and review comments, oldest first.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn thread(&self, repo: &str, number: u64) -> Result<Vec<SandboxMessage>, Refusal> {
        let world = self.world();
        let repo = world.repo(world.repo_id(repo)?)?;
        let said = repo.comments.values().map(|c| (c, None));
        let reviews = repo.review_comments.values().map(|c| (&c.said, c.in_reply_to));
        let mut all: Vec<(&Comment, Option<u64>)> = said.chain(reviews).filter(|(c, _)| c.number == number).collect();
        all.sort_by_key(|(c, _)| c.id);
        Ok(all.into_iter().map(|(c, to)| message(&world, c, to)).collect())
    }

    /// The repository's pull requests, oldest first.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn pulls(&self, repo: &str) -> Result<Vec<SandboxPull>, Refusal> {
        let world = self.world();
        let repo = world.repo(world.repo_id(repo)?)?;
        let view = |p: &super::state::Pull| SandboxPull {
            number: p.number,
            author: login(&world, p.author),
            title: p.title.clone(),
            body: p.body.clone().unwrap_or_default(),
            branch: p.head_ref.clone(),
            base: p.base_ref.clone(),
            head: p.head_sha.clone(),
            open: p.open,
            merged: p.merged.as_ref().map(|m| m.sha.clone()),
            merged_by: p.merged.as_ref().map(|m| login(&world, m.by)),
            labels: p.labels.clone(),
        };
        Ok(repo.pulls.values().map(view).collect())
    }

    /// The repository's branches and their heads, by name.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn branches(&self, repo: &str) -> Result<Vec<(String, String)>, Refusal> {
        let world = self.world();
        let refs = &world.repo(world.repo_id(repo)?)?.refs;
        let branch =
            |(name, sha): (&String, &String)| Some((name.strip_prefix("refs/heads/")?.to_owned(), sha.clone()));
        Ok(refs.iter().filter_map(branch).collect())
    }

    /// The repository's check runs, oldest first.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn check_runs(&self, repo: &str) -> Result<Vec<SandboxCheck>, Refusal> {
        let world = self.world();
        let view = |c: &super::state::CheckRun| SandboxCheck {
            id: c.id,
            name: c.name.clone(),
            head: c.head_sha.clone(),
            external_id: c.external_id.clone(),
            status: c.status.clone(),
            conclusion: c.conclusion.clone(),
            title: c.title.clone().unwrap_or_default(),
            summary: c.summary.clone().unwrap_or_default(),
            details_url: c.details_url.clone(),
        };
        Ok(world.repo(world.repo_id(repo)?)?.checks.values().map(view).collect())
    }

    /// A file's text at a branch, tag or commit; `None` if it is not there.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn file(&self, repo: &str, at: &str, path: &str) -> Result<Option<String>, Refusal> {
        let world = self.world();
        let id = world.repo_id(repo)?;
        let store = world.store(id)?;
        let commit = world.resolve(id, at).unwrap_or_default();
        let blob = store
            .flat_of_commit(&commit)
            .get(path)
            .and_then(|(_, sha)| store.blobs.get(sha));
        Ok(blob.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    /// How many commits a branch has that another has not.
    ///
    /// # Errors
    /// When repository or branches are unknown.
    pub fn commits_ahead(&self, repo: &str, base: &str, branch: &str) -> Result<usize, Refusal> {
        let world = self.world();
        let id = world.repo_id(repo)?;
        let head = |name| world.resolve(id, name).ok_or_else(Refusal::not_found);
        Ok(world.store(id)?.ahead(&head(base)?, &head(branch)?).len())
    }
}

fn message(world: &World, comment: &Comment, in_reply_to: Option<u64>) -> SandboxMessage {
    let reaction = |r: &super::state::Reaction| format!("{}:{}", login(world, r.user), r.content);
    SandboxMessage {
        id: comment.id,
        author: login(world, comment.author),
        body: comment.body.clone(),
        edited: comment.edits > 0,
        edits: comment.edits,
        reactions: comment.reactions.iter().map(reaction).collect(),
        in_reply_to,
    }
}

fn login(world: &World, account: u64) -> String {
    world
        .accounts
        .get(&account)
        .map_or_else(|| "ghost".to_owned(), |a| a.login.clone())
}
