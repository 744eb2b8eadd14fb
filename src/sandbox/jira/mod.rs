//! The stand-in for Jira: Cloud (REST versions 3 and 2) or Data Center (version 2), with workflows that allow what
//! they allow, comments, groups, and webhooks that are really signed and really sent.
//!
//! Nothing that Jira does not promise holds here: creating a comment twice makes two.
//! Shapes: the Jira Cloud platform REST API's OpenAPI document, and Atlassian's pages on webhooks.

mod adf;
mod hooks;
mod issues;
mod people;
mod routes;
mod search;
mod sign;
mod state;
mod wiki;

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use url::Url;

pub use self::hooks::{Attempt, Automation, Delivery, Shape};
pub use self::issues::Written;
pub use self::sign::Signing;
pub use self::state::{JiraUser, Status, Transition, Workflow};

use self::hooks::Outbox;
use self::state::{Group, Issue, Project, Site};
use super::stage::{Served, Stage, serve};
use super::wire::{hook_client, lock};
use super::{NotPossible, Now, SandboxMessage};

/// Which product the stand-in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Versions 3 and 2, `Basic email:token`, accounts by id.
    Cloud,
    /// Version 2 only, `Bearer` personal access token, accounts by name and key.
    DataCenter,
}

/// How the site is set up.
#[derive(Clone)]
pub struct JiraOptions {
    /// The time.
    pub now: Now,
    /// The product.
    pub flavour: Flavour,
    /// The account that calls the API.
    pub bot: JiraUser,
    /// Its API token or personal access token. Made up, hence plain text.
    pub token: String,
    /// Where webhooks go; none are sent without.
    pub webhook: Option<Url>,
    /// How they are signed.
    pub signing: Signing,
    /// They go out at once instead of waiting for `Jira::deliver_pending`.
    pub auto: bool,
}

/// What the bot's account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// See users and groups.
    pub browse_users: bool,
    /// Comment.
    pub comment: bool,
    /// Move issues.
    pub transition: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            browse_users: true,
            comment: true,
            transition: true,
        }
    }
}

/// A comment as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxComment {
    /// Its id.
    pub id: String,
    /// The display name of its author.
    pub author: String,
    /// What people read.
    pub text: String,
    /// What was sent: a document or wiki markup.
    pub raw: Value,
    /// How often it was edited.
    pub edits: u32,
    /// Its properties.
    pub properties: Vec<(String, Value)>,
}

struct Inner {
    now: Now,
    token: String,
    site: Mutex<Site>,
    outbox: Mutex<Outbox>,
    client: reqwest::Client,
}

/// A Jira site, being served.
pub struct Jira {
    /// `http://127.0.0.1:port`
    pub url: String,
    /// What was asked of it, and how it misbehaves.
    pub stage: Arc<Stage>,
    inner: Arc<Inner>,
    _served: Served,
}

impl Jira {
    /// Serves it on this port; 0 picks a free one.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(options: JiraOptions, port: u16) -> std::io::Result<Self> {
        let epoch = (options.now)().as_second();
        let outbox = Outbox {
            target: options.webhook,
            signing: options.signing,
            shape: Shape::default(),
            auto: options.auto,
            deliveries: Vec::new(),
            epoch,
        };
        let inner = Arc::new(Inner {
            now: options.now,
            token: options.token,
            site: Mutex::new(Site::new("", options.flavour, options.bot)),
            outbox: Mutex::new(outbox),
            client: hook_client(),
        });
        let stage = Arc::new(Stage::default());
        let served = serve(routes::routes(Arc::clone(&inner)), Arc::clone(&stage), port).await?;
        lock(&inner.site).url.clone_from(&served.url);
        Ok(Self {
            url: served.url.clone(),
            stage,
            inner,
            _served: served,
        })
    }

    /// Adds a project.
    pub fn add_project(&self, key: &str, name: &str, workflow: Workflow) {
        let mut site = lock(&self.inner.site);
        let id = site.new_id();
        site.projects.insert(
            key.to_owned(),
            Project {
                id,
                name: name.to_owned(),
                workflow,
            },
        );
    }

    /// Adds an account, or changes it.
    pub fn add_user(&self, user: JiraUser) {
        let mut site = lock(&self.inner.site);
        site.users.retain(|known| known.account_id != user.account_id);
        site.users.push(user);
    }

    /// Adds a group of accounts, named by account id, name or key.
    pub fn add_group(&self, name: &str, members: &[&str]) {
        let mut site = lock(&self.inner.site);
        let n = site.new_id();
        let members = members
            .iter()
            .filter_map(|m| site.user(m))
            .map(|u| u.account_id.clone())
            .collect();
        site.groups.insert(
            name.to_owned(),
            Group {
                id: format!("276f955c-63d7-42c8-9520-0000000{n}"),
                members,
            },
        );
    }

    /// An administrator gives a field this name, which others may have, too.
    pub fn name_field(&self, id: &str, name: &str) {
        let mut site = lock(&self.inner.site);
        site.field_names.insert(id.to_owned(), name.to_owned());
    }

    /// Adds an issue, in the workflow's first status.
    ///
    /// # Errors
    /// When its project or the project's first status is missing.
    pub fn add_issue(&self, key: &str, summary: &str, fields: Map<String, Value>) -> Result<(), NotPossible> {
        let now = (self.inner.now)();
        let mut site = lock(&self.inner.site);
        let project = key.rsplit_once('-').map_or("", |(p, _)| p).to_owned();
        let first = site.projects.get(&project).and_then(|p| p.workflow.statuses.first());
        let status = first
            .ok_or_else(|| NotPossible(format!("{key} has no project with a status")))?
            .id
            .clone();
        let id = site.new_id();
        let mut fields = fields;
        fields.insert("summary".into(), summary.into());
        site.issues.push(Issue {
            id,
            key: key.to_owned(),
            project,
            status,
            fields,
            comments: Vec::new(),
            changes: Vec::new(),
            hidden: false,
            former_keys: Vec::new(),
            created: now,
            updated: now,
        });
        Ok(())
    }

    /// Hides the issue from the bot, or shows it again.
    pub fn hide(&self, key: &str, hidden: bool) {
        if let Some(issue) = lock(&self.inner.site).issue_mut(key) {
            issue.hidden = hidden;
        }
    }

    /// What the bot may do from now on.
    pub fn set_rights(&self, rights: Rights) {
        lock(&self.inner.site).rights = rights;
    }

    /// Whether lists of comments show properties when asked to. Not all sites do; each comment's are always there.
    pub fn set_lists_properties(&self, shown: bool) {
        lock(&self.inner.site).lists_properties = shown;
    }

    /// Where webhooks go from now on.
    pub fn set_webhook(&self, url: Option<Url>, signing: Signing) {
        let mut outbox = lock(&self.inner.outbox);
        outbox.target = url;
        outbox.signing = signing;
    }

    /// What webhooks look like from now on.
    pub fn set_shape(&self, shape: Shape) {
        lock(&self.inner.outbox).shape = shape;
    }

    /// Whether webhooks go out at once.
    pub fn set_auto(&self, auto: bool) {
        lock(&self.inner.outbox).auto = auto;
    }

    /// The issue's comments, oldest first.
    pub fn comments(&self, key: &str) -> Vec<SandboxComment> {
        let site = lock(&self.inner.site);
        let comments = site.issue(key).map(|i| i.comments.as_slice()).unwrap_or_default();
        let shown = comments.iter().map(|c| SandboxComment {
            id: c.id.clone(),
            author: site.user(&c.author).map(|u| u.display_name.clone()).unwrap_or_default(),
            text: c.body.plain(),
            raw: c.body.raw(),
            edits: c.edits,
            properties: c.properties.clone(),
        });
        shown.collect()
    }

    /// The issue's comments as messages.
    pub fn messages(&self, key: &str) -> Vec<SandboxMessage> {
        let comments = self.comments(key).into_iter();
        comments
            .map(|c| SandboxMessage {
                author: c.author,
                body: c.text,
                edits: c.edits,
                reactions: Vec::new(),
            })
            .collect()
    }

    /// The name of the issue's status.
    pub fn status(&self, key: &str) -> Option<String> {
        let site = lock(&self.inner.site);
        let issue = site.issue(key)?;
        site.workflow(issue).status(&issue.status).map(|s| s.name.clone())
    }

    /// All webhooks so far, sent or not, in order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.inner.outbox).deliveries.clone()
    }

    /// Sends what waits, oldest first, and returns what was sent.
    pub async fn deliver_pending(&self) -> Vec<Delivery> {
        let waiting = lock(&self.inner.outbox).waiting();
        for id in &waiting {
            self.inner.send(id).await;
        }
        self.deliveries()
            .into_iter()
            .filter(|d| waiting.contains(&d.id))
            .collect()
    }

    /// Sends this webhook, again if it was sent before, with the same id. `None` if there is none, or nowhere to.
    pub async fn redeliver(&self, id: &str) -> Option<Attempt> {
        self.inner.send(id).await
    }

    /// Sends again what Jira would send again by itself.
    pub async fn retry_failed(&self) -> Vec<Delivery> {
        let failed = |d: &Delivery| d.attempts.last().is_some_and(Attempt::is_retried);
        let ids: Vec<String> = self.deliveries().into_iter().filter(failed).map(|d| d.id).collect();
        for id in &ids {
            self.inner.send(id).await;
        }
        self.deliveries().into_iter().filter(|d| ids.contains(&d.id)).collect()
    }

    /// What waits will never be sent by itself. Returns how many.
    pub fn lose_pending(&self) -> usize {
        let mut outbox = lock(&self.inner.outbox);
        let waiting = outbox.waiting();
        for delivery in outbox.deliveries.iter_mut().filter(|d| waiting.contains(&d.id)) {
            delivery.lost = true;
        }
        waiting.len()
    }
}

impl Inner {
    async fn send(&self, id: &str) -> Option<Attempt> {
        let ready = lock(&self.outbox).request(id, (self.now)())?;
        let mut request = self.client.post(ready.target).body(ready.body);
        for (name, value) in ready.headers {
            request = request.header(name, value);
        }
        let attempt = match request.send().await {
            Ok(response) => Attempt {
                status: response.status().as_u16(),
                answer: response.text().await.unwrap_or_default(),
            },
            Err(error) => Attempt {
                status: 0,
                answer: error.without_url().to_string(),
            },
        };
        let mut outbox = lock(&self.outbox);
        let delivery = outbox.deliveries.iter_mut().find(|d| d.id == id)?;
        delivery.attempts.push(attempt.clone());
        Some(attempt)
    }

    /// Sends what waits if the site sends by itself.
    async fn flush(&self) {
        let waiting = {
            let outbox = lock(&self.outbox);
            if outbox.auto { outbox.waiting() } else { Vec::new() }
        };
        for id in waiting {
            self.send(&id).await;
        }
    }
}
