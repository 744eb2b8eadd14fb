//! What can be done to issues, by people on the page and by the API alike. Each deed queues the webhooks that Jira
//! sends for it, whoever did it.

use jiff::SignedDuration;
use serde_json::Value;

use super::hooks::{Automation, Happening};
use super::state::{Body, Change, Comment, Issue};
use super::{Flavour, Inner, Jira, adf};
use crate::sandbox::NotPossible;
use crate::sandbox::wire::lock;

/// What a person writes: text as typed, or a document.
#[derive(Debug, Clone)]
pub struct Written(Body);

impl From<&str> for Written {
    fn from(text: &str) -> Self {
        Self(Body::Text(text.to_owned()))
    }
}

impl From<Value> for Written {
    fn from(doc: Value) -> Self {
        Self(Body::Adf(doc))
    }
}

impl Jira {
    /// A person moves the issue to this status, named by id or name. Returns the id of the webhook.
    ///
    /// # Errors
    /// When the workflow has no such way from here, or there is no such issue, person or status.
    pub async fn transition(&self, key: &str, user: &str, to: &str) -> Result<String, NotPossible> {
        let found = {
            let site = lock(&self.inner.site);
            let user = site.user(user).ok_or_else(|| no("person", user))?.account_id.clone();
            let issue = site.issue(key).ok_or_else(|| no("issue", key))?;
            let workflow = site.workflow(issue);
            let to = workflow.status(to).ok_or_else(|| no("status", to))?;
            let way = workflow.possible(&issue.status).find(|t| t.to == to.id);
            let way = way.ok_or_else(|| NotPossible(format!("{key} cannot move to {} from here", to.name)))?;
            (way.id.clone(), user)
        };
        let id = self
            .inner
            .transition(key, &found.0, &found.1)
            .ok_or_else(|| no("way", to))?;
        self.inner.flush().await;
        Ok(id)
    }

    /// A person comments. Returns the comment's id.
    ///
    /// # Errors
    /// When there is no such issue or person, or Jira would not take the document.
    pub async fn comment(&self, key: &str, user: &str, text: impl Into<Written>) -> Result<String, NotPossible> {
        let user = self.person(user)?;
        let Written(body) = text.into();
        if let Body::Adf(doc) = &body {
            adf::check(doc).map_err(NotPossible)?;
        }
        let id = self
            .inner
            .add_comment(key, &user, body, Vec::new(), None)
            .ok_or_else(|| no("issue", key))?;
        self.inner.flush().await;
        Ok(id)
    }

    /// A person writes what only this group may see. Webhooks tell of it all the same.
    ///
    /// # Errors
    /// When there is no such issue, person or group.
    pub async fn comment_to(&self, group: &str, key: &str, user: &str, text: &str) -> Result<String, NotPossible> {
        let user = self.person(user)?;
        if !lock(&self.inner.site).groups.contains_key(group) {
            return Err(no("group", group));
        }
        let (body, to) = (Body::Text(text.to_owned()), Some(group.to_owned()));
        let id = self.inner.add_comment(key, &user, body, Vec::new(), to);
        let id = id.ok_or_else(|| no("issue", key))?;
        self.inner.flush().await;
        Ok(id)
    }

    /// A person edits a comment, anybody's.
    ///
    /// # Errors
    /// When there is no such comment or person.
    pub async fn edit_comment(&self, key: &str, id: &str, user: &str, text: &str) -> Result<(), NotPossible> {
        let user = self.person(user)?;
        let done = self
            .inner
            .edit_comment(key, id, &user, Body::Text(text.to_owned()), Vec::new());
        done.ok_or_else(|| no("comment", id))?;
        self.inner.flush().await;
        Ok(())
    }

    /// A person deletes a comment, anybody's.
    ///
    /// # Errors
    /// When there is no such comment or person.
    pub async fn delete_comment(&self, key: &str, id: &str, user: &str) -> Result<(), NotPossible> {
        let user = self.person(user)?;
        self.inner
            .delete_comment(key, id, &user)
            .ok_or_else(|| no("comment", id))?;
        self.inner.flush().await;
        Ok(())
    }

    /// A person changes a field other than the status. Returns the id of the webhook.
    ///
    /// # Errors
    /// When there is no such issue or person.
    pub async fn set_field(&self, key: &str, user: &str, field: &str, value: Value) -> Result<String, NotPossible> {
        let user = self.person(user)?;
        let id = self
            .inner
            .set_field(key, &user, field, value)
            .ok_or_else(|| no("issue", key))?;
        self.inner.flush().await;
        Ok(id)
    }

    /// A person moves the issue to another project, where it gets this key and keeps its status. Jira tells of it as of any
    /// other edit.
    ///
    /// # Errors
    /// When there is no such issue, person or project.
    pub async fn move_to(&self, key: &str, user: &str, new_key: &str) -> Result<(), NotPossible> {
        let user = self.person(user)?;
        let now = (self.inner.now)();
        let project = new_key.rsplit_once('-').map_or("", |(project, _)| project).to_owned();
        {
            let mut site = lock(&self.inner.site);
            if !site.projects.contains_key(&project) {
                return Err(no("project", &project));
            }
            let id = site.new_id();
            let issue = site.issue(key).ok_or_else(|| no("issue", key))?;
            let (old_key, old) = (issue.key.clone(), issue.project.clone());
            let new = new_key.to_owned();
            let items = vec![
                site.change_item("project", [Some(&old), Some(&old), Some(&project), Some(&project)]),
                site.change_item("Key", [None, Some(&old_key), None, Some(&new)]),
            ];
            let issue = site.issue_mut(key).ok_or_else(|| no("issue", key))?;
            issue.former_keys.push(old_key);
            (issue.key, issue.project, issue.updated) = (new, project, now);
            issue.changes.push(Change {
                id,
                author: user,
                created: now,
                items,
            });
        }
        self.inner.flush().await;
        Ok(())
    }

    fn person(&self, any: &str) -> Result<String, NotPossible> {
        let site = lock(&self.inner.site);
        site.user(any)
            .map(|u| u.account_id.clone())
            .ok_or_else(|| no("person", any))
    }
}

fn no(what: &str, name: &str) -> NotPossible {
    NotPossible(format!("there is no {what} {name}"))
}

impl Inner {
    /// Takes the transition with this id if it is possible now.
    pub(super) fn transition(&self, key: &str, transition: &str, user: &str) -> Option<String> {
        let now = (self.now)();
        let mut site = lock(&self.site);
        let changelog = site.new_id();
        let (from, to) = {
            let issue = site.issue(key)?;
            let workflow = site.workflow(issue);
            let way = workflow.possible(&issue.status).find(|t| t.id == transition)?;
            (
                workflow.status(&issue.status)?.clone(),
                workflow.status(&way.to)?.clone(),
            )
        };
        let item = site.change_item("status", [&from.id, &from.name, &to.id, &to.name].map(Some));
        let issue = site.issue_mut(key)?;
        issue.status.clone_from(&to.id);
        issue.updated = now;
        issue.changes.push(Change {
            id: changelog.clone(),
            author: user.to_owned(),
            created: now,
            items: vec![item],
        });
        let issue = site.issue(key)?;
        let mut outbox = lock(&self.outbox);
        let happening = Happening {
            site: &site,
            shape: &outbox.shape,
            issue,
            user,
            now,
        };
        let body = happening.transitioned(&from, &to, &changelog);
        Some(outbox.queue("jira:issue_updated", body))
    }

    fn set_field(&self, key: &str, user: &str, field: &str, value: Value) -> Option<String> {
        let now = (self.now)();
        let mut site = lock(&self.site);
        let changelog = site.new_id();
        let issue = site.issue_mut(key)?;
        let before = issue.fields.insert(field.to_owned(), value.clone()).unwrap_or_default();
        issue.updated = now;
        let [old, new] = [&before, &value].map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        let item = site.change_item(field, [None, Some(&old), None, Some(&new)]);
        let issue = site.issue_mut(key)?;
        issue.changes.push(Change {
            id: changelog.clone(),
            author: user.to_owned(),
            created: now,
            items: vec![item],
        });
        let issue = site.issue(key)?;
        let mut outbox = lock(&self.outbox);
        let happening = Happening {
            site: &site,
            shape: &outbox.shape,
            issue,
            user,
            now,
        };
        let body = happening.edited(field, &before, &value, &changelog);
        Some(outbox.queue("jira:issue_updated", body))
    }

    pub(super) fn add_comment(
        &self,
        key: &str,
        user: &str,
        body: Body,
        properties: Vec<(String, Value)>,
        group: Option<String>,
    ) -> Option<String> {
        let now = (self.now)();
        let id = {
            let mut site = lock(&self.site);
            let id = site.new_id();
            let issue = site.issue_mut(key)?;
            issue.updated = now;
            issue.comments.push(Comment {
                id: id.clone(),
                author: user.to_owned(),
                group,
                body,
                edits: 0,
                properties,
                created: now,
                updated: now,
            });
            id
        };
        self.tell_of_comment("comment_created", key, &id, user)?;
        Some(id)
    }

    pub(super) fn edit_comment(
        &self,
        key: &str,
        id: &str,
        user: &str,
        body: Body,
        properties: Vec<(String, Value)>,
    ) -> Option<()> {
        let now = (self.now)();
        {
            let mut site = lock(&self.site);
            let issue = site.issue_mut(key)?;
            let comment = issue.comments.iter_mut().find(|c| c.id == id)?;
            issue.updated = now;
            comment.body = body;
            comment.edits += 1;
            // No clock is so slow that an edit leaves no trace.
            comment.updated = now.max(comment.updated + SignedDuration::from_millis(1));
            for (key, value) in properties {
                comment.properties.retain(|(k, _)| *k != key);
                comment.properties.push((key, value));
            }
        }
        self.tell_of_comment("comment_updated", key, id, user)
    }

    pub(super) fn delete_comment(&self, key: &str, id: &str, user: &str) -> Option<()> {
        self.tell_of_comment("comment_deleted", key, id, user)?;
        let mut site = lock(&self.site);
        let issue = site.issue_mut(key)?;
        issue.comments.retain(|c| c.id != id);
        issue.updated = (self.now)();
        Some(())
    }

    fn tell_of_comment(&self, event: &str, key: &str, id: &str, user: &str) -> Option<()> {
        let site = lock(&self.site);
        let issue: &Issue = site.issue(key)?;
        let comment = issue.comments.iter().find(|c| c.id == id)?;
        let mut outbox = lock(&self.outbox);
        // The rule that sends the issue is one that fires on transitions.
        if matches!(outbox.shape.automation, Some(Automation::IssueData | Automation::Flat)) {
            return Some(());
        }
        let happening = Happening {
            site: &site,
            shape: &outbox.shape,
            issue,
            user,
            now: (self.now)(),
        };
        let body = happening.commented(event, comment);
        let twice = outbox.shape.issue_commented_too || site.flavour == Flavour::DataCenter;
        let is_rule = outbox.shape.automation.is_some();
        let again = (twice && !is_rule && event == "comment_created").then(|| happening.issue_commented(comment));
        outbox.queue(event, body);
        if let Some(again) = again {
            outbox.queue("jira:issue_updated", again);
        }
        Some(())
    }
}
