//! What a Jira site holds: people, groups, workflows, issues, comments; and how they look as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Flavour, Rights, adf, wiki};

/// A person or an app with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JiraUser {
    /// Cloud's account id.
    pub account_id: String,
    /// Data Center's user name.
    pub name: String,
    /// Data Center's user key.
    pub key: String,
    /// The e-mail address.
    pub email: String,
    /// The name that people see.
    pub display_name: String,
    /// The account is not closed.
    pub active: bool,
    /// The account is an app's.
    pub app: bool,
}

impl JiraUser {
    /// A person: account id, Data Center name and key are made of the short name.
    pub fn person(name: &str, display_name: &str) -> Self {
        Self {
            account_id: format!("557058:{name}"),
            name: name.to_owned(),
            key: format!("JIRAUSER-{name}"),
            email: format!("{name}@example.com"),
            display_name: display_name.to_owned(),
            active: true,
            app: false,
        }
    }
}

/// A status of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `10011`
    pub id: String,
    /// `Approved`; translatable on real sites.
    pub name: String,
}

/// A transition of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// `31`
    pub id: String,
    /// `Approve`
    pub name: String,
    /// The ids of the statuses from which it is possible; empty means all.
    pub from: Vec<String>,
    /// The id of the status that it leads to.
    pub to: String,
}

/// The statuses of a project's issues and the ways between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workflow {
    /// All statuses; new issues are in the first.
    pub statuses: Vec<Status>,
    /// All transitions.
    pub transitions: Vec<Transition>,
}

impl Workflow {
    /// `Open (10010) → Approved (10011) → In Progress (10012) → Done (10013) | Failed (10014)`, and from Failed back
    /// to In Progress and to Open.
    pub fn approval() -> Self {
        let status = |id: &str, name: &str| Status {
            id: id.into(),
            name: name.into(),
        };
        let way = |id: &str, name: &str, from: &[&str], to: &str| Transition {
            id: id.into(),
            name: name.into(),
            from: from.iter().map(|f| (*f).to_owned()).collect(),
            to: to.into(),
        };
        Self {
            statuses: vec![
                status("10010", "Open"),
                status("10011", "Approved"),
                status("10012", "In Progress"),
                status("10013", "Done"),
                status("10014", "Failed"),
            ],
            transitions: vec![
                way("11", "Approve", &["10010"], "10011"),
                way("21", "Start", &["10011", "10014"], "10012"),
                way("31", "Finish", &["10012"], "10013"),
                way("41", "Fail", &["10011", "10012"], "10014"),
                way("51", "Reopen", &["10011", "10014"], "10010"),
            ],
        }
    }

    pub(super) fn status(&self, id_or_name: &str) -> Option<&Status> {
        self.statuses
            .iter()
            .find(|s| s.id == id_or_name || s.name.eq_ignore_ascii_case(id_or_name))
    }

    pub(super) fn possible(&self, from: &str) -> impl Iterator<Item = &Transition> {
        self.transitions
            .iter()
            .filter(move |t| t.from.is_empty() || t.from.iter().any(|f| f == from))
    }
}

pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) workflow: Workflow,
}

pub(super) struct Issue {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) project: String,
    pub(super) status: String,
    pub(super) fields: Map<String, Value>,
    pub(super) comments: Vec<Comment>,
    /// Oldest first.
    pub(super) changes: Vec<Change>,
    pub(super) hidden: bool,
    /// The keys that it had in other projects; they lead to it.
    pub(super) former_keys: Vec<String>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

impl Issue {
    fn is_called(&self, any: &str) -> bool {
        let mut keys = [&self.key, &self.id].into_iter().chain(&self.former_keys);
        keys.any(|key| key.eq_ignore_ascii_case(any))
    }
}

/// Something that was changed, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) id: String,
    pub(super) author: String,
    pub(super) created: Timestamp,
    pub(super) items: Vec<Value>,
}

/// A body as it was written: in version 3's format, or in version 2's.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Adf(Value),
    Text(String),
}

impl Body {
    pub(super) fn raw(&self) -> Value {
        match self {
            Self::Adf(doc) => doc.clone(),
            Self::Text(text) => text.clone().into(),
        }
    }

    pub(super) fn plain(&self) -> String {
        match self {
            Self::Adf(doc) => adf::plain(doc),
            Self::Text(text) => wiki::plain(text),
        }
    }

    pub(super) fn shown(&self, adf_wanted: bool) -> Value {
        match (self, adf_wanted) {
            (Self::Adf(doc), true) => doc.clone(),
            (Self::Adf(doc), false) => adf::wiki(doc).into(),
            (Self::Text(text), true) => adf::from_text(text),
            (Self::Text(text), false) => text.clone().into(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Comment {
    pub(super) id: String,
    pub(super) author: String,
    /// The only group that may see it.
    pub(super) group: Option<String>,
    pub(super) body: Body,
    pub(super) edits: u32,
    pub(super) properties: Vec<(String, Value)>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

pub(super) struct Group {
    pub(super) id: String,
    pub(super) members: Vec<String>,
}

pub(super) struct Site {
    pub(super) url: String,
    pub(super) flavour: Flavour,
    pub(super) bot: String,
    pub(super) rights: Rights,
    pub(super) lists_properties: bool,
    /// Names that administrators gave to fields, by id; two fields may have one.
    pub(super) field_names: BTreeMap<String, String>,
    pub(super) projects: BTreeMap<String, Project>,
    pub(super) users: Vec<JiraUser>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) issues: Vec<Issue>,
    next_id: u64,
}

impl Site {
    pub(super) fn new(url: &str, flavour: Flavour, bot: JiraUser) -> Self {
        Self {
            url: url.to_owned(),
            flavour,
            bot: bot.account_id.clone(),
            rights: Rights::default(),
            lists_properties: true,
            field_names: BTreeMap::new(),
            projects: BTreeMap::new(),
            users: vec![bot],
            groups: BTreeMap::new(),
            issues: Vec::new(),
            next_id: 10_000,
        }
    }

    pub(super) fn new_id(&mut self) -> String {
        self.next_id += 1;
        self.next_id.to_string()
    }

    /// By account id, Data Center name or key.
    pub(super) fn user(&self, any: &str) -> Option<&JiraUser> {
        self.users
            .iter()
            .find(|u| [&u.account_id, &u.name, &u.key].into_iter().any(|v| v == any))
    }

    pub(super) fn issue(&self, key: &str) -> Option<&Issue> {
        self.issues.iter().find(|i| i.is_called(key))
    }

    pub(super) fn issue_mut(&mut self, key: &str) -> Option<&mut Issue> {
        self.issues.iter_mut().find(|i| i.is_called(key))
    }

    /// The comments that the bot may see: of restricted ones those of its own groups.
    pub(super) fn comments_of<'i>(&self, issue: &'i Issue) -> impl Iterator<Item = &'i Comment> {
        let member = |group: &String| self.groups.get(group).is_some_and(|g| g.members.contains(&self.bot));
        let seen = issue.comments.iter();
        seen.filter(move |comment| comment.group.as_ref().is_none_or(member))
    }

    pub(super) fn workflow(&self, issue: &Issue) -> &Workflow {
        &self.projects[&issue.project].workflow
    }

    pub(super) fn user_json(&self, any: &str) -> Value {
        let Some(user) = self.user(any) else {
            return Value::Null;
        };
        match self.flavour {
            Flavour::Cloud => json!({
                "self": format!("{}/rest/api/3/user?accountId={}", self.url, user.account_id),
                "accountId": user.account_id,
                "accountType": if user.app { "app" } else { "atlassian" },
                "emailAddress": user.email,
                "avatarUrls": {},
                "displayName": user.display_name,
                "active": user.active,
                "timeZone": "Etc/UTC",
            }),
            Flavour::DataCenter => self.dc_user_json(user),
        }
    }

    pub(super) fn dc_user_json(&self, user: &JiraUser) -> Value {
        json!({
            "self": format!("{}/rest/api/2/user?username={}", self.url, user.name),
            "name": user.name,
            "key": user.key,
            "emailAddress": user.email,
            "avatarUrls": {},
            "displayName": user.display_name,
            "active": user.active,
            "timeZone": "Etc/UTC",
        })
    }

    pub(super) fn status_json(&self, issue: &Issue, id: &str) -> Value {
        let name = self.workflow(issue).status(id).map_or("", |s| s.name.as_str());
        json!({
            "self": format!("{}/rest/api/2/status/{id}", self.url),
            "description": "",
            "iconUrl": format!("{}/", self.url),
            "name": name,
            "id": id,
            "statusCategory": {"id": 4, "key": "indeterminate", "colorName": "yellow", "name": "In Progress"},
        })
    }

    /// All of an issue's fields that its page shows.
    pub(super) fn fields_json(&self, issue: &Issue) -> Map<String, Value> {
        let mut fields = issue.fields.clone();
        let project = &self.projects[&issue.project];
        let standing = json!({
            "status": self.status_json(issue, &issue.status),
            "project": {"id": project.id, "key": issue.project, "name": project.name},
            "issuetype": {"id": "10001", "name": "Task", "subtask": false},
            "created": written(issue.created),
            "updated": written(issue.updated),
        });
        if let Value::Object(standing) = standing {
            fields.extend(standing);
        }
        fields
    }

    /// What people call a field.
    pub(super) fn field_name(&self, id: &str) -> String {
        let own = match (id, id.strip_prefix("customfield_")) {
            (_, Some(number)) => format!("Field {number}"),
            ("fixVersions", _) => "Fix Version/s".to_owned(),
            ("versions", _) => "Affects Version/s".to_owned(),
            ("issuelinks", _) => "Linked Issues".to_owned(),
            (other, _) => format!("{}{}", other[..1].to_uppercase(), &other[1..]),
        };
        self.field_names.get(id).cloned().unwrap_or(own)
    }

    pub(super) fn issue_json(&self, issue: &Issue, version: &str, fields: Map<String, Value>) -> Value {
        json!({
            "id": issue.id,
            "self": format!("{}/rest/api/{version}/issue/{}", self.url, issue.id),
            "key": issue.key,
            "fields": fields,
        })
    }

    pub(super) fn comment_json(&self, issue: &Issue, comment: &Comment, version: &str, properties: bool) -> Value {
        let author = self.user_json(&comment.author);
        let mut shown = json!({
            "self": format!("{}/rest/api/{version}/issue/{}/comment/{}", self.url, issue.id, comment.id),
            "id": comment.id,
            "author": author,
            "body": comment.body.shown(version == "3"),
            "updateAuthor": author,
            "created": written(comment.created),
            "updated": written(comment.updated),
        });
        if self.flavour == Flavour::Cloud {
            shown["jsdPublic"] = true.into();
        }
        if let Some(group) = &comment.group {
            let id = self.groups.get(group).map(|group| group.id.as_str());
            shown["visibility"] = json!({"type": "group", "value": group, "identifier": id});
        }
        if properties {
            let all = comment
                .properties
                .iter()
                .map(|(key, value)| json!({"key": key, "value": value}));
            shown["properties"] = all.collect();
        }
        shown
    }
}

/// Jira's way to write a time: `2024-05-31T12:31:42.467+0000`.
pub(super) fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f%z").to_string()
}
