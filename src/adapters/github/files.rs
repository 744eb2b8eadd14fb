//! Files as one commit has them. An edit is computed from exactly the tree it will be committed on, so a push to the
//! default branch meanwhile cannot mix two states.

use std::collections::BTreeMap;

use base64::Engine as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Github;
use super::client::{Client, Reply, undocumented};
use super::token::{Need, Scope};
use crate::adapters::CallError;
use crate::adapters::http::permanent;
use crate::domain::edit::check_path;
use crate::domain::ids::{Repo, Sha};
use crate::domain::run::FailureClass;

const SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// Why an act comes to an early end.
#[derive(Debug)]
pub(super) enum Stop {
    /// A call did not work.
    Call(CallError),
    /// It cannot be done as it was asked for.
    Refused(String),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// `100644`, or `100755` for an executable.
    pub(super) mode: String,
    pub(super) bytes: Vec<u8>,
}

/// Files below one root tree.
pub(super) struct Snapshot<'a> {
    client: &'a Client,
    repo: &'a Repo,
    root: Sha,
    /// Trees read so far.
    trees: BTreeMap<Sha, Vec<Entry>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    path: String,
    mode: String,
    r#type: String,
    sha: Sha,
}

#[derive(Deserialize)]
struct Blob {
    content: String,
    encoding: String,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(client: &'a Client, repo: &'a Repo, root: Sha) -> Self {
        Self {
            client,
            repo,
            root,
            trees: BTreeMap::new(),
        }
    }

    /// The file at this path; `None` if nothing is there.
    pub(super) async fn file(&mut self, path: &str) -> Result<Option<File>, Stop> {
        let mut tree = self.root.clone();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let Some(entry) = self.entry(&tree, part).await? else {
                return Ok(None);
            };
            let what = match (entry.r#type.as_str(), entry.mode.as_str(), parts.peek()) {
                ("tree", _, Some(_)) => {
                    tree = entry.sha;
                    continue;
                }
                ("blob", "100644" | "100755", None) => {
                    let bytes = blob(self.client, self.repo, &entry.sha).await?;
                    let mode = entry.mode;
                    return Ok(Some(File { mode, bytes }));
                }
                ("tree", _, None) => "a directory",
                ("blob", "120000", _) => "a symbolic link",
                ("blob", ..) => "a file",
                ("commit", ..) => "a submodule",
                _ => "neither a file nor a directory",
            };
            return Err(Stop::Refused(format!("{path}: `{part}` is {what} in {}", self.repo)));
        }
        Ok(None)
    }

    async fn entry(&mut self, tree: &Sha, name: &str) -> Result<Option<Entry>, CallError> {
        #[derive(Deserialize)]
        struct Tree {
            tree: Vec<Entry>,
            #[serde(default)]
            truncated: bool,
        }
        if !self.trees.contains_key(tree) {
            let target = format!("/repos/{}/git/trees/{tree}", self.repo);
            let reply = self
                .client
                .get(Scope::Repo(self.repo, Need::ReadContents), &target)
                .await?;
            let read: Tree = reply.json()?;
            if read.truncated {
                let why = format!("GitHub GET {target}: the directory is too large to be read");
                return Err(permanent(why, FailureClass::User));
            }
            self.trees.insert(tree.clone(), read.tree);
        }
        let entries = self.trees.get(tree).into_iter().flatten();
        Ok(entries.into_iter().find(|entry| entry.path == name).cloned())
    }
}

impl Github {
    /// A file of the default branch.
    pub(super) async fn read_default(&self, repo: &Repo, path: &str) -> Result<Option<String>, CallError> {
        #[derive(Deserialize)]
        struct Content {
            r#type: String,
            sha: Sha,
            #[serde(flatten)]
            blob: Option<Blob>,
        }
        check_path(path).map_err(|e| permanent(e.to_string(), FailureClass::User))?;
        let scope = Scope::Repo(repo, Need::ReadContents);
        let target = format!("/repos/{repo}/contents/{}", encoded(path));
        let reply = self.client.get(scope, &target).await?;
        if reply.status == 404 {
            // No such file, or no such repository, or one stepherd may not see: only the first is an answer.
            let there = self.client.get(scope, &format!("/repos/{repo}")).await?;
            return if there.is_success() {
                Ok(None)
            } else {
                Err(there.refusal())
            };
        }
        let not_text = |what: &str| permanent(format!("{path} in {repo} is {what}"), FailureClass::User);
        let content: serde_json::Value = reply.json()?;
        if content.is_array() {
            return Err(not_text("a directory"));
        }
        let content: Content =
            serde_json::from_value(content).map_err(|e| undocumented(&format!("GET {target}"), &e.to_string()))?;
        if content.r#type != "file" {
            return Err(not_text("not a file"));
        }
        let bytes = match content.blob {
            Some(inline) if inline.encoding == "base64" => inline.decode(&target)?,
            // Above a megabyte the content is not sent along.
            _ => blob(&self.client, repo, &content.sha).await?,
        };
        String::from_utf8(bytes).map(Some).map_err(|_| not_text("not text"))
    }
}

async fn blob(client: &Client, repo: &Repo, sha: &Sha) -> Result<Vec<u8>, CallError> {
    let target = format!("/repos/{repo}/git/blobs/{sha}");
    let blob: Blob = client
        .get(Scope::Repo(repo, Need::ReadContents), &target)
        .await
        .and_then(Reply::json)?;
    blob.decode(&target)
}

impl Blob {
    fn decode(self, target: &str) -> Result<Vec<u8>, CallError> {
        let call = format!("GET {target}");
        match self.encoding.as_str() {
            "utf-8" => Ok(self.content.into_bytes()),
            "base64" => {
                let packed: String = self.content.split_ascii_whitespace().collect();
                base64::engine::general_purpose::STANDARD
                    .decode(packed)
                    .map_err(|e| undocumented(&call, &e.to_string()))
            }
            other => Err(undocumented(&call, &format!("the encoding is `{other}`"))),
        }
    }
}

/// A path or branch as part of an address; slashes stay.
pub(super) fn encoded(path: &str) -> String {
    utf8_percent_encode(path, SEGMENTS).to_string()
}
