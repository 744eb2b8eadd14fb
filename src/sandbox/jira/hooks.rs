//! What a Jira site sends out: the bodies of its webhooks, in all the shapes that sites are known to send, and the
//! queue they wait in.

use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::sign::Signing;
use super::state::{Comment, Issue, Site, Status};

/// What a webhook's body looks like. All off is Cloud's, or Data Center's, usual shape. Data Center tells of a comment
/// twice: as `comment_created` without the issue, and as an `issue_commented` update with it; Cloud once, with the issue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The user has `name` and `key` and no `accountId`, even on Cloud.
    pub dc_user: bool,
    /// `user.active` is a string.
    pub active_as_text: bool,
    /// There is no changelog.
    pub no_changelog: bool,
    /// The changelog has the resolution before the status.
    pub two_items: bool,
    /// The changelog's status comes from where it goes.
    pub from_equals_to: bool,
    /// `changelog.id` is a number.
    pub numeric_changelog_id: bool,
    /// `bulkOperationMetaData` is there.
    pub bulk: bool,
    /// Comments come without their issue.
    pub comment_without_issue: bool,
    /// Comment bodies are documents instead of strings.
    pub comment_as_adf: bool,
    /// Each comment also comes as an `issue_commented` update.
    pub issue_commented_too: bool,
    /// `X-Atlassian-Webhook-Flow` is `Secondary`.
    pub secondary_flow: bool,
    /// `X-Atlassian-Webhook-Identifier` is not there, as on older Data Centers.
    pub no_identifier: bool,
    /// The body is an Automation rule's.
    pub automation: Option<Automation>,
}

/// What an Automation rule sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Automation {
    /// "Issue data (Jira format)": `{"issue": …}` and nothing else.
    IssueData,
    /// "Issue data (Automation format)": the issue at top level.
    Flat,
    /// "Custom data": this text with the smart values `{{issue.key}}`, `{{issue.id}}`, `{{initiator.accountId}}`,
    /// `{{fieldChange.from}}`, `{{fieldChange.fromString}}`, `{{fieldChange.to}}`, `{{fieldChange.toString}}`,
    /// `{{comment.id}}`, `{{comment.body}}` and `{{webhookEvent}}` filled in; what does not apply becomes empty.
    Custom(String),
}

/// A webhook that was, or will be, sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `X-Atlassian-Webhook-Identifier`, the same for each attempt.
    pub id: String,
    /// `jira:issue_updated`
    pub event: String,
    /// The body as sent.
    pub body: String,
    /// Each time it was sent, and what came back.
    pub attempts: Vec<Attempt>,
    /// It will never be sent by itself.
    pub lost: bool,
}

/// One time that a webhook was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The status answered; 0 if there was no answer.
    pub status: u16,
    /// The body answered, or why there was none.
    pub answer: String,
}

impl Attempt {
    /// Whether Jira would send it again.
    pub fn is_retried(&self) -> bool {
        matches!(self.status, 0 | 408 | 409 | 425 | 429 | 500..)
    }
}

pub(super) struct Request {
    pub(super) target: Url,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

pub(super) struct Outbox {
    pub(super) target: Option<Url>,
    pub(super) signing: Signing,
    pub(super) shape: Shape,
    pub(super) auto: bool,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) epoch: i64,
}

impl Outbox {
    pub(super) fn queue(&mut self, event: &str, body: String) -> String {
        let n = self.deliveries.len() + 1;
        let id = format!("{:08x}-0000-4000-8000-{n:012x}", self.epoch & 0xffff_ffff);
        self.deliveries.push(Delivery {
            id: id.clone(),
            event: event.to_owned(),
            body,
            attempts: Vec::new(),
            lost: false,
        });
        id
    }

    pub(super) fn waiting(&self) -> Vec<String> {
        let waits = |d: &&Delivery| d.attempts.is_empty() && !d.lost;
        self.deliveries.iter().filter(waits).map(|d| d.id.clone()).collect()
    }

    /// Where to send it and all of its headers, for the attempt after `attempts` others.
    pub(super) fn request(&self, id: &str, now: Timestamp) -> Option<Request> {
        let delivery = self.deliveries.iter().find(|d| d.id == id)?;
        let target = self.target.clone()?;
        let mut headers = vec![
            ("content-type".to_owned(), "application/json; charset=UTF-8".to_owned()),
            ("user-agent".to_owned(), "Atlassian Webhook HTTP Client".to_owned()),
        ];
        // An Automation rule's request is no webhook: it has no identifier.
        if !matches!(self.signing, Signing::Automation { .. }) {
            let flow = if self.shape.secondary_flow {
                "Secondary"
            } else {
                "Primary"
            };
            if !self.shape.no_identifier {
                headers.push(("x-atlassian-webhook-identifier".into(), id.to_owned()));
            }
            headers.push(("x-atlassian-webhook-flow".into(), flow.into()));
            if !delivery.attempts.is_empty() {
                headers.push(("x-atlassian-webhook-retry".into(), delivery.attempts.len().to_string()));
            }
        }
        headers.extend(self.signing.header("POST", &target, delivery.body.as_bytes(), now));
        let body = delivery.body.clone();
        Some(Request { target, headers, body })
    }
}

/// Something that happened to an issue.
pub(super) struct Happening<'s> {
    pub(super) site: &'s Site,
    pub(super) shape: &'s Shape,
    pub(super) issue: &'s Issue,
    pub(super) user: &'s str,
    pub(super) now: Timestamp,
}

impl Happening<'_> {
    /// The body of `jira:issue_updated` after a change of status.
    pub(super) fn transitioned(&self, from: &Status, to: &Status, changelog: &str) -> String {
        let from = if self.shape.from_equals_to { to } else { from };
        let mut item = json!({
            "field": "status", "fieldtype": "jira",
            "from": from.id, "fromString": from.name, "to": to.id, "toString": to.name,
        });
        if self.site.flavour == super::Flavour::Cloud {
            item["fieldId"] = "status".into();
        }
        let mut items = vec![item];
        if self.shape.two_items {
            let resolution = json!({
                "field": "resolution", "fieldtype": "jira", "fieldId": "resolution",
                "from": null, "fromString": null, "to": "10000", "toString": "Done",
            });
            items.insert(0, resolution);
        }
        let change = [from.id.as_str(), &from.name, &to.id, &to.name];
        self.updated("issue_generic", items, changelog, &change)
    }

    /// The body of `jira:issue_updated` after a change of another field.
    pub(super) fn edited(&self, field: &str, from: &Value, to: &Value, changelog: &str) -> String {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let item = self
            .site
            .change_item(field, [None, Some(&text(from)), None, Some(&text(to))]);
        self.updated(
            "issue_updated",
            vec![item],
            changelog,
            &["", &text(from), "", &text(to)],
        )
    }

    fn updated(&self, kind: &str, items: Vec<Value>, changelog: &str, change: &[&str; 4]) -> String {
        if let Some(automation) = &self.shape.automation {
            return self.automated(automation, "jira:issue_updated", change, None);
        }
        let mut body = self.envelope("jira:issue_updated");
        body["issue_event_type_name"] = kind.into();
        body["issue"] = self.issue_json();
        if !self.shape.no_changelog {
            let id = match changelog.parse::<u64>() {
                Ok(number) if self.shape.numeric_changelog_id => number.into(),
                _ => Value::from(changelog),
            };
            body["changelog"] = json!({"id": id, "items": items});
        }
        body.to_string()
    }

    /// The body of `comment_created`, `comment_updated` or `comment_deleted`.
    pub(super) fn commented(&self, event: &str, comment: &Comment) -> String {
        if let Some(automation) = &self.shape.automation {
            return self.automated(automation, event, &["", "", "", ""], Some(comment));
        }
        let mut body = json!({"timestamp": self.now.as_millisecond(), "webhookEvent": event});
        body["comment"] = self.comment_json(comment);
        let cloud = self.site.flavour == super::Flavour::Cloud;
        if cloud && !self.shape.comment_without_issue {
            body["issue"] = self.issue_json();
        }
        if cloud {
            body["eventType"] = "primaryAction".into();
        }
        body.to_string()
    }

    /// The body of the update that repeats a comment.
    pub(super) fn issue_commented(&self, comment: &Comment) -> String {
        let mut body = self.envelope("jira:issue_updated");
        body["issue_event_type_name"] = "issue_commented".into();
        body["issue"] = self.issue_json();
        body["comment"] = self.comment_json(comment);
        body.to_string()
    }

    fn envelope(&self, event: &str) -> Value {
        let mut user = match self.site.user(self.user) {
            Some(user) if self.shape.dc_user => self.site.dc_user_json(user),
            _ => self.site.user_json(self.user),
        };
        if self.shape.active_as_text {
            user["active"] = user["active"].to_string().into();
        }
        let mut body = json!({"timestamp": self.now.as_millisecond(), "webhookEvent": event, "user": user});
        if self.shape.bulk {
            body["bulkOperationMetaData"] = json!({"bulkOperationId": 1, "totalItemCount": 1});
        }
        body
    }

    fn issue_json(&self) -> Value {
        self.site.issue_json(self.issue, "2", self.site.fields_json(self.issue))
    }

    fn comment_json(&self, comment: &Comment) -> Value {
        let mut shown = self.site.comment_json(self.issue, comment, "2", false);
        shown["body"] = comment.body.shown(self.shape.comment_as_adf);
        if let Some(author) = self.site.user(&comment.author).filter(|_| self.shape.dc_user) {
            shown["author"] = self.site.dc_user_json(author);
            shown["updateAuthor"] = shown["author"].clone();
        }
        shown
    }

    fn automated(&self, how: &Automation, event: &str, change: &[&str; 4], comment: Option<&Comment>) -> String {
        let template = match how {
            Automation::IssueData => return json!({"issue": self.issue_json()}).to_string(),
            Automation::Flat => return self.issue_json().to_string(),
            Automation::Custom(template) => template,
        };
        let user = self.site.user(self.user).map_or("", |u| u.account_id.as_str());
        let said = comment.map(|c| c.body.plain()).unwrap_or_default();
        let values = [
            ("{{issue.key}}", self.issue.key.as_str()),
            ("{{issue.id}}", &self.issue.id),
            ("{{initiator.accountId}}", user),
            ("{{fieldChange.from}}", change[0]),
            ("{{fieldChange.fromString}}", change[1]),
            ("{{fieldChange.to}}", change[2]),
            ("{{fieldChange.toString}}", change[3]),
            ("{{comment.id}}", comment.map_or("", |c| c.id.as_str())),
            ("{{comment.body}}", &said),
            ("{{webhookEvent}}", event),
        ];
        values.iter().fold(template.clone(), |text, (name, value)| {
            let quoted = Value::from(*value).to_string();
            text.replace(name, &quoted[1..quoted.len() - 1])
        })
    }
}
