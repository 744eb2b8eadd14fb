//! Blobs, trees, commits, and files as they stand at a commit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::git::{Commit, FILE, Person, Store, TREE, put_path};
use super::render;
use super::state::World;
use super::wire::{Refusal, Reply, Req};

/// The contents API gives no content above this.
const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// What is below takes a permission of its own.
const WORKFLOWS: &str = ".github/workflows/";

/// `POST …/git/blobs`.
pub(super) fn create_blob(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let content = req.needed_text("content")?;
    let bytes = match req.text("encoding")?.unwrap_or("utf-8") {
        "utf-8" => content.as_bytes().to_vec(),
        "base64" => {
            let packed: String = content.split_ascii_whitespace().collect();
            let invalid = |_| Refusal::unprocessable("content is not valid Base64");
            BASE64.decode(packed).map_err(invalid)?
        }
        other => return Err(Refusal::unprocessable(&format!("Invalid encoding: {other}"))),
    };
    let sha = world.store_mut(req.repo)?.put_blob(bytes);
    let url = format!("{}/git/blobs/{sha}", render::repo_url(world, world.repo(req.repo)?));
    Ok(Reply::created(json!({"sha": sha, "url": url})))
}

/// `GET …/git/blobs/{sha}`.
pub(super) fn get_blob(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let sha = req.param("sha");
    let bytes = world.store(req.repo)?.blobs.get(sha).ok_or_else(Refusal::not_found)?;
    if wants_raw(req) {
        return Ok(Reply::raw(200, bytes.clone()));
    }
    Ok(Reply::ok(json!({
        "sha": sha,
        "node_id": format!("B_{sha}"),
        "size": bytes.len(),
        "url": format!("{}/git/blobs/{sha}", render::repo_url(world, world.repo(req.repo)?)),
        "content": lines_of_base64(bytes),
        "encoding": "base64",
    })))
}

/// `GET …/git/trees/{sha}`.
pub(super) fn get_tree(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = req.param("sha");
    let store = world.store(req.repo)?;
    let commit = world.resolve(req.repo, name).and_then(|sha| store.commits.get(&sha));
    let tree = commit.map_or(name, |c| c.tree.as_str());
    if !store.trees.contains_key(tree) {
        return Err(Refusal::not_found());
    }
    // Any value of `recursive` means yes, even `0` and `false`.
    let recursive = req.query("recursive").is_some();
    Ok(Reply::ok(tree_json(world, req.repo, tree, recursive)?))
}

fn tree_json(world: &World, repo: u64, tree: &str, recursive: bool) -> Result<Value, Refusal> {
    let (store, repo) = (world.store(repo)?, world.repo(repo)?);
    let mut entries = Vec::new();
    let mut todo = vec![(String::new(), tree.to_owned())];
    while let Some((prefix, tree)) = todo.pop() {
        for (name, (mode, sha)) in store.trees.get(&tree).into_iter().flatten() {
            let path = format!("{prefix}{name}");
            let size = store.blobs.get(sha).map(Vec::len);
            if recursive && mode == TREE {
                todo.push((format!("{path}/"), sha.clone()));
            }
            entries.push((path.clone(), render::tree_entry(world, repo, &path, mode, sha, size)));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
    let url = format!("{}/git/trees/{tree}", render::repo_url(world, repo));
    Ok(json!({"sha": tree, "url": url, "tree": entries, "truncated": false}))
}

/// `POST …/git/trees`.
pub(super) fn create_tree(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let Some(Value::Array(entries)) = req.body.get("tree") else {
        return Err(Refusal::missing("tree"));
    };
    if entries.is_empty() {
        return Err(Refusal::unprocessable("Invalid tree info"));
    }
    let below = |entry: &Value| entry["path"].as_str().is_some_and(|path| path.starts_with(WORKFLOWS));
    if entries.iter().any(below) && !req.caller.may_change_workflows() {
        return Err(Refusal::new(403, "Resource not accessible by integration"));
    }
    let base = req.owned("base_tree")?;
    let store = world.store_mut(req.repo)?;
    let mut flat = match base {
        None => Default::default(),
        Some(base) if store.trees.contains_key(&base) => store.flat(&base),
        Some(_) => return Err(Refusal::unprocessable("base_tree is not a valid tree oid")),
    };
    for entry in entries {
        let malformed = || Refusal::unprocessable("tree.path contains a malformed path component");
        let path = entry["path"].as_str().ok_or_else(|| Refusal::missing("path"))?;
        let bad_part = |part: &str| matches!(part, "" | "." | ".." | ".git");
        if path.split('/').any(bad_part) {
            return Err(malformed());
        }
        if entry.get("sha").is_some_and(Value::is_null) {
            let below = format!("{path}/");
            let before = flat.len();
            flat.retain(|known, _| known != path && !known.starts_with(&below));
            // Taking away what is not there is an error of the vendor's own kind.
            if flat.len() == before {
                return Err(Refusal::unprocessable("GitRPC::BadObjectState"));
            }
            continue;
        }
        let (mode, sha) = entry_object(store, entry)?;
        if mode == TREE {
            let below = store.flat(&sha);
            flat.retain(|known, _| !known.starts_with(&format!("{path}/")));
            below
                .into_iter()
                .for_each(|(name, object)| put_path(&mut flat, &format!("{path}/{name}"), object));
        } else {
            put_path(&mut flat, path, (mode, sha));
        }
    }
    let tree = store.put_tree(&flat);
    Ok(Reply::created(tree_json(world, req.repo, &tree, false)?))
}

/// The object that a new tree's entry names or brings.
fn entry_object(store: &mut Store, entry: &Value) -> Result<(String, String), Refusal> {
    let mode = entry["mode"].as_str().unwrap_or_default().to_owned();
    if !matches!(mode.as_str(), FILE | "100755" | TREE | "120000") {
        return Err(Refusal::unprocessable("Must supply a valid tree.mode"));
    }
    match (entry["sha"].as_str(), entry["content"].as_str()) {
        (Some(_), Some(_)) => Err(Refusal::unprocessable(
            "Must supply either tree.sha or tree.content, not both",
        )),
        (None, None) => Err(Refusal::unprocessable("Must supply either tree.sha or tree.content")),
        (None, Some(content)) => Ok((mode, store.put_blob(content.as_bytes().to_vec()))),
        (Some(sha), None) => {
            let known = if mode == TREE {
                store.trees.contains_key(sha)
            } else {
                store.blobs.contains_key(sha)
            };
            let wrong = || Refusal::unprocessable(&format!("tree.sha {sha} is not a valid object"));
            known.then(|| (mode, sha.to_owned())).ok_or_else(wrong)
        }
    }
}

/// `GET …/git/commits/{sha}`.
pub(super) fn get_commit(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let sha = req.param("sha");
    let commit = world.store(req.repo)?.commits.get(sha).ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::git_commit(world, world.repo(req.repo)?, sha, commit)))
}

/// `GET …/compare/{base}...{head}`: how two commits of one repository stand to each other.
pub(super) fn compare(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let (base, head) = req.param("basehead").split_once("...").ok_or_else(Refusal::not_found)?;
    let named = |name| world.resolve(req.repo, name).ok_or_else(Refusal::not_found);
    let (base, head) = (named(base)?, named(head)?);
    let store = world.store(req.repo)?;
    let (ahead, behind) = (store.ahead(&base, &head), store.ahead(&head, &base));
    let common = store.merge_base(&base, &head).ok_or_else(Refusal::not_found)?;
    let repo = world.repo(req.repo)?;
    let shown = |sha: &String| {
        let commit = store.commits.get(sha).ok_or_else(Refusal::not_found)?;
        Ok(render::commit(world, repo, sha, commit))
    };
    let status = match (ahead.is_empty(), behind.is_empty()) {
        (true, true) => "identical",
        (false, true) => "ahead",
        (true, false) => "behind",
        (false, false) => "diverged",
    };
    let page = format!("{}/compare/{base}...{head}", render::repo_html(world, repo));
    Ok(Reply::ok(json!({
        "url": format!("{}/compare/{base}...{head}", render::repo_url(world, repo)),
        "html_url": page,
        "permalink_url": page,
        "diff_url": format!("{page}.diff"),
        "patch_url": format!("{page}.patch"),
        "base_commit": shown(&base)?,
        "merge_base_commit": shown(&common)?,
        "status": status,
        "ahead_by": ahead.len(),
        "behind_by": behind.len(),
        "total_commits": ahead.len(),
        "commits": ahead.iter().map(shown).collect::<Result<Vec<_>, Refusal>>()?,
        "files": [],
    })))
}

/// `POST …/git/commits`.
pub(super) fn create_commit(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let message = req.needed_text("message")?.to_owned();
    let tree = req.needed_text("tree")?.to_owned();
    let mut parents = Vec::new();
    for parent in req.body.get("parents").and_then(Value::as_array).into_iter().flatten() {
        parents.push(parent.as_str().unwrap_or_default().to_owned());
    }
    let store = world.store(req.repo)?;
    if !store.trees.contains_key(&tree) {
        return Err(Refusal::unprocessable("Tree SHA does not exist"));
    }
    if !parents.iter().all(|p| store.commits.contains_key(p)) {
        return Err(Refusal::unprocessable(
            "Parent SHA does not exist or is not a commit object",
        ));
    }
    let caller = world.signature(req.caller.account());
    let author = person(req.body.get("author"), &caller)?;
    let committer = match req.body.get("committer") {
        None => author.clone(),
        given => person(given, &caller)?,
    };
    let commit = Commit {
        tree,
        parents,
        message,
        author,
        committer,
    };
    let sha = world.store_mut(req.repo)?.put_commit(commit.clone());
    Ok(Reply::created(render::git_commit(
        world,
        world.repo(req.repo)?,
        &sha,
        &commit,
    )))
}

/// `author` or `committer` of a request; name and e-mail are required if it is given.
fn person(given: Option<&Value>, caller: &Person) -> Result<Person, Refusal> {
    let Some(Value::Object(given)) = given else {
        return Ok(caller.clone());
    };
    let text = |map: &Map<String, Value>, field: &str| map.get(field).and_then(Value::as_str).map(str::to_owned);
    let date = match text(given, "date") {
        None => caller.date,
        Some(date) => date
            .parse::<Timestamp>()
            .map_err(|_| Refusal::schema(&format!("For 'properties/date', \"{date}\" is not a valid date-time.")))?,
    };
    Ok(Person {
        name: text(given, "name").ok_or_else(|| Refusal::missing("name"))?,
        email: text(given, "email").ok_or_else(|| Refusal::missing("email"))?,
        date,
    })
}

impl World {
    /// How an account signs its commits.
    pub(super) fn signature(&self, account: u64) -> Person {
        let login = self.accounts.get(&account).map_or("ghost", |a| a.login.as_str());
        Person {
            name: login.to_owned(),
            email: format!("{account}+{login}@users.noreply.github.com"),
            date: self.now(),
        }
    }
}

/// `GET …/contents/{path}`.
pub(super) fn contents(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let name = req.query("ref").unwrap_or(&repo.default_branch);
    let no_commit = || Refusal::new(404, &format!("No commit found for the ref {name}"));
    let commit = world.resolve(req.repo, name).ok_or_else(no_commit)?;
    let store = world.store(req.repo)?;
    let path = req.param("path").trim_matches('/');
    let flat = store.flat_of_commit(&commit);
    if let Some((_, sha)) = flat.get(path) {
        let bytes = store.blobs.get(sha).ok_or_else(Refusal::not_found)?;
        if wants_raw(req) {
            return Ok(Reply::raw(200, bytes.clone()));
        }
        let mut body = content_entry(world, req.repo, path, name, "file", sha, bytes.len())?;
        let small = bytes.len() <= CONTENT_BYTES_MAX;
        body["encoding"] = json!(if small { "base64" } else { "none" });
        body["content"] = json!(if small { lines_of_base64(bytes) } else { String::new() });
        return Ok(Reply::ok(body));
    }
    let mut tree = store.commits.get(&commit).map(|c| c.tree.clone()).unwrap_or_default();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let entry = store.trees.get(&tree).and_then(|t| t.get(part));
        tree = entry
            .filter(|(mode, _)| mode == TREE)
            .map(|(_, id)| id.clone())
            .ok_or_else(Refusal::not_found)?;
    }
    let mut entries = Vec::new();
    for (entry, (mode, sha)) in store.trees.get(&tree).into_iter().flatten() {
        let below = format!("{path}/{entry}");
        let size = store.blobs.get(sha).map_or(0, Vec::len);
        let kind = if mode == TREE { "dir" } else { "file" };
        entries.push(content_entry(
            world,
            req.repo,
            below.trim_start_matches('/'),
            name,
            kind,
            sha,
            size,
        )?);
    }
    Ok(Reply::ok(Value::Array(entries)))
}

fn content_entry(
    world: &World,
    repo: u64,
    path: &str,
    at: &str,
    kind: &str,
    sha: &str,
    size: usize,
) -> Result<Value, Refusal> {
    let repo = world.repo(repo)?;
    let (api, page) = (render::repo_url(world, repo), render::repo_html(world, repo));
    let (object, view) = if kind == "dir" {
        ("trees", "tree")
    } else {
        ("blobs", "blob")
    };
    let url = format!("{api}/contents/{path}?ref={at}");
    let git = format!("{api}/git/{object}/{sha}");
    let html = format!("{page}/{view}/{at}/{path}");
    let download = (kind == "file").then(|| format!("{page}/raw/{at}/{path}"));
    Ok(json!({
        "name": path.rsplit('/').next().unwrap_or(path),
        "path": path,
        "sha": sha,
        "size": size,
        "url": url,
        "html_url": html,
        "git_url": git,
        "download_url": download,
        "type": kind,
        "_links": {"self": url, "git": git, "html": html},
    }))
}

fn wants_raw(req: &Req) -> bool {
    let kinds = ["application/vnd.github.raw", "application/vnd.github.v3.raw"];
    req.accept.split(',').any(|accept| {
        let kind = accept.split([';', '+']).next().unwrap_or_default().trim();
        kinds.contains(&kind)
    })
}

/// The vendor breaks Base64 into lines of sixty, each ended.
fn lines_of_base64(bytes: &[u8]) -> String {
    let packed = BASE64.encode(bytes);
    let mut text = String::with_capacity(packed.len() + packed.len() / 60 + 1);
    for (at, c) in packed.chars().enumerate() {
        if at > 0 && at % 60 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push('\n');
    text
}
