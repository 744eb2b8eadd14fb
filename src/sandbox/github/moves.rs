//! Repositories that go elsewhere: renamed, transferred, deleted. Requests by a former name are redirected to the
//! repository's number, 301 for a GET and 307 for the rest (GitHub docs, "Follow redirects").

use serde_json::json;

use super::GitHub;
use super::state::World;
use super::wire::{Refusal, Reply};

impl GitHub {
    /// Renames a repository, or transfers it to another account, which becomes an organisation if it is unknown.
    /// Its former name leads there until another repository takes it.
    ///
    /// # Errors
    /// When the repository is unknown or the new name is not `owner/name`.
    pub fn move_repo(&self, from: &str, to: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let id = world.repo_id(from)?;
        let malformed = || Refusal::unprocessable("a repository's full name is owner/name");
        let (owner, name) = to.split_once('/').ok_or_else(malformed)?;
        let owner = world.owner_of_this_name(owner);
        let former = world.repo(id)?.full_name.to_lowercase();
        let repo = world.repo_mut(id)?;
        repo.owner = owner;
        repo.name = name.to_owned();
        repo.full_name = to.to_owned();
        world.former_names.insert(former, id);
        Ok(())
    }

    /// Deletes a repository, a fork for instance. Pull requests from it stay, and say `head.repo: null`.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn delete_repo(&self, repo: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let id = world.repo_id(repo)?;
        world.repos.remove(&id);
        Ok(())
    }
}

impl World {
    /// Where a request by a former name belongs.
    pub(super) fn redirect(&self, is_get: bool, path: &str, query: &str) -> Option<Reply> {
        let (prefix, rest) = path.split_once("/repos/")?;
        let mut parts = rest.splitn(3, '/');
        let name = format!("{}/{}", parts.next()?, parts.next()?);
        if self.repo_id(&name).is_ok() {
            return None;
        }
        let id = self.former_names.get(&name.to_lowercase())?;
        let below = parts.next().map(|below| format!("/{below}")).unwrap_or_default();
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        let location = format!("{}{prefix}/repositories/{id}{below}{query}", self.url);
        let body = json!({
            "message": "Moved Permanently",
            "url": location,
            "documentation_url": "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects",
        });
        Some(Reply::json(if is_get { 301 } else { 307 }, body).at(location))
    }
}
