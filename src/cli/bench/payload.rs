//! Webhooks as GitHub sends them: a signed `issue_comment` of some 10 KB, most of it the addresses that GitHub puts
//! into every object. Each delivery differs from the next in its ids and its signature only, so that one buffer is
//! patched instead of thousands being kept.

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::adapters::signature::hmac_sha256_hex;

/// The webhook's secret.
pub(super) const SECRET: &str = "a-webhook-secret-of-the-benchmark";
/// The repository whose pull requests people comment on.
pub(super) const REPO: &str = "acme/application";
/// Who comments.
pub(super) const AUTHOR: u64 = 1001;
/// When every comment was written; the stand-in says the same.
pub(super) const WRITTEN: &str = "2026-11-20T09:00:00Z";
/// The number of the first pull request; all have nine digits.
pub(super) const FIRST_PR: u64 = 800_000_000;
/// The number of the first comment; all have ten digits.
pub(super) const FIRST_COMMENT: u64 = 7_000_000_000;

const PR_TOKEN: &str = "899999999";
const COMMENT_TOKEN: &str = "7999999999";
const DELIVERY_TOKEN: &str = "00000000-0000-0000-0000-000000000000";
/// What GitHub's payloads for a comment on a pull request come to.
const BODY_BYTES: usize = 10_240;

/// What distinguishes a delivery.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) comment: u64,
    pub(super) pr: u64,
    pub(super) delivery: [u8; 36],
    signature: [u8; 64],
}

/// A whole HTTP request with room for what distinguishes deliveries.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    bytes: Vec<u8>,
    body_at: usize,
    delivery_at: usize,
    signature_at: usize,
    comments_at: Vec<usize>,
    prs_at: Vec<usize>,
}

impl Envelope {
    /// A comment with this text. `fill` makes it as long as GitHub's are.
    pub(super) fn new(text: &str, fill: bool) -> Self {
        let mut said = text.to_owned();
        let mut body = payload(&said).to_string();
        let words = "The nightly run was slow again; I looked at the dashboards and could not see why yet.\n";
        while fill && body.len() + words.len() < BODY_BYTES {
            said.push_str(words);
            body = payload(&said).to_string();
        }
        let head = format!(
            "POST /webhooks/github HTTP/1.1\r\nHost: stepherd.example.org\r\nUser-Agent: GitHub-Hookshot/044aadd\r\n\
             Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\nX-GitHub-Delivery: {DELIVERY_TOKEN}\r\n\
             X-GitHub-Event: issue_comment\r\nX-GitHub-Hook-ID: 292430182\r\n\
             X-GitHub-Hook-Installation-Target-ID: 79929171\r\nX-GitHub-Hook-Installation-Target-Type: repository\r\n\
             X-Hub-Signature-256: sha256={}\r\n\r\n",
            body.len(),
            "0".repeat(64)
        );
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        let first = |token: &str| places(&bytes, token).first().copied().unwrap_or_default();
        Self {
            body_at: head.len(),
            delivery_at: first(DELIVERY_TOKEN),
            signature_at: first(&"0".repeat(64)),
            comments_at: places(&bytes, COMMENT_TOKEN),
            prs_at: places(&bytes, PR_TOKEN),
            bytes,
        }
    }

    /// Bytes of the payload.
    pub(super) fn body_bytes(&self) -> usize {
        self.bytes.len() - self.body_at
    }

    /// The payload alone.
    pub(super) fn body(&self) -> Vec<u8> {
        self.bytes[self.body_at..].to_vec()
    }

    /// Signs the delivery of a comment, before the clock starts.
    pub(super) fn sign(&mut self, comment: u64, pr: u64, delivery: [u8; 36]) -> Signed {
        let mut signed = Signed {
            comment,
            pr,
            delivery,
            signature: [b'0'; 64],
        };
        self.fill(&signed);
        let signature = hmac_sha256_hex(&SecretString::from(SECRET), &self.bytes[self.body_at..]);
        signed.signature.copy_from_slice(signature.as_bytes());
        signed
    }

    /// Proof and payload, for who needs no HTTP.
    pub(super) fn signature_and_body(&mut self, signed: &Signed) -> (String, &[u8]) {
        self.fill(signed);
        let signature = String::from_utf8_lossy(&signed.signature).into_owned();
        (signature, &self.bytes[self.body_at..])
    }

    /// The request, ready to be sent.
    pub(super) fn fill(&mut self, signed: &Signed) -> &[u8] {
        let comment = signed.comment.to_string();
        let pr = signed.pr.to_string();
        put(&mut self.bytes, self.delivery_at, &signed.delivery);
        put(&mut self.bytes, self.signature_at, &signed.signature);
        for at in &self.comments_at {
            put(&mut self.bytes, *at, comment.as_bytes());
        }
        for at in &self.prs_at {
            put(&mut self.bytes, *at, pr.as_bytes());
        }
        &self.bytes
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn places(bytes: &[u8], token: &str) -> Vec<usize> {
    let windows = bytes.windows(token.len()).enumerate();
    windows
        .filter(|(_, window)| *window == token.as_bytes())
        .map(|(at, _)| at)
        .collect()
}

/// Sixty-four bits that look like chance and never repeat for different numbers (splitmix64).
pub(super) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A delivery's id, as random as GitHub's.
pub(super) fn uuid(number: u64) -> [u8; 36] {
    let (high, low) = (mixed(number), mixed(!number));
    let text = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    let mut id = [b'0'; 36];
    id.copy_from_slice(text.as_bytes());
    id
}

fn payload(text: &str) -> Value {
    let api = format!("https://api.github.com/repos/{REPO}");
    let page = format!("https://github.com/{REPO}/pull/{PR_TOKEN}");
    let issue = format!("{api}/issues/{PR_TOKEN}");
    let comment = format!("{api}/issues/comments/{COMMENT_TOKEN}");
    json!({
        "action": "created",
        "issue": {
            "url": issue, "repository_url": api, "labels_url": format!("{issue}/labels{{/name}}"),
            "comments_url": format!("{issue}/comments"), "events_url": format!("{issue}/events"), "html_url": page,
            "id": 2_646_319_174_u64, "node_id": "PR_kwDOBMXxE85_pQ0m", "number": number(PR_TOKEN),
            "title": "Raise the farmers' memory limit", "user": user("grace", 1002),
            "labels": [{
                "id": 5_904_122_971_u64, "node_id": "LA_kwDOBMXxE88AAAABX-vYGw", "url": format!("{api}/labels/operations"),
                "name": "operations", "color": "0e8a16", "default": false, "description": "Touches a running cluster"
            }],
            "state": "open", "locked": false, "assignee": null, "assignees": [], "milestone": null, "comments": 3,
            "created_at": "2026-11-19T15:12:44Z", "updated_at": WRITTEN, "closed_at": null,
            "author_association": "MEMBER", "active_lock_reason": null, "draft": false,
            "pull_request": {
                "url": format!("{api}/pulls/{PR_TOKEN}"), "html_url": page, "diff_url": format!("{page}.diff"),
                "patch_url": format!("{page}.patch"), "merged_at": null
            },
            "body": "The rebuild of large tenants runs out of memory at about 60 %.", "reactions": reactions(&issue),
            "timeline_url": format!("{issue}/timeline"), "performed_via_github_app": null, "state_reason": null
        },
        "comment": {
            "url": comment, "html_url": format!("{page}#issuecomment-{COMMENT_TOKEN}"), "issue_url": issue,
            "id": number(COMMENT_TOKEN), "node_id": "IC_kwDOBMXxE86O6XJn", "user": user("ada", AUTHOR),
            "created_at": WRITTEN, "updated_at": WRITTEN, "author_association": "MEMBER", "body": text,
            "reactions": reactions(&comment), "performed_via_github_app": null
        },
        "repository": repository(&api),
        "organization": {
            "login": "acme", "id": 79_929_171, "node_id": "MDEyOk9yZ2FuaXphdGlvbjc5OTI5MTcx",
            "url": "https://api.github.com/orgs/acme", "repos_url": "https://api.github.com/orgs/acme/repos",
            "events_url": "https://api.github.com/orgs/acme/events", "hooks_url": "https://api.github.com/orgs/acme/hooks",
            "issues_url": "https://api.github.com/orgs/acme/issues",
            "members_url": "https://api.github.com/orgs/acme/members{/member}",
            "public_members_url": "https://api.github.com/orgs/acme/public_members{/member}",
            "avatar_url": "https://avatars.githubusercontent.com/u/79929171?v=4", "description": ""
        },
        "sender": user("ada", AUTHOR)
    })
}

fn number(token: &str) -> Value {
    token.parse::<u64>().map_or(Value::Null, Value::from)
}

fn user(login: &str, id: u64) -> Value {
    let url = format!("https://api.github.com/users/{login}");
    let mut user = Map::new();
    user.insert("login".to_owned(), login.into());
    user.insert("id".to_owned(), id.into());
    user.insert("node_id".to_owned(), "MDQ6VXNlcjU4MzIzMQ==".into());
    let avatar = format!("https://avatars.githubusercontent.com/u/{id}?v=4");
    user.insert("avatar_url".to_owned(), avatar.into());
    user.insert("gravatar_id".to_owned(), "".into());
    user.insert("url".to_owned(), url.clone().into());
    user.insert("html_url".to_owned(), format!("https://github.com/{login}").into());
    for (name, path) in [
        ("followers", "followers"),
        ("following", "following{/other_user}"),
        ("gists", "gists{/gist_id}"),
        ("starred", "starred{/owner}{/repo}"),
        ("subscriptions", "subscriptions"),
        ("organizations", "orgs"),
        ("repos", "repos"),
        ("events", "events{/privacy}"),
        ("received_events", "received_events"),
    ] {
        user.insert(format!("{name}_url"), format!("{url}/{path}").into());
    }
    user.insert("type".to_owned(), "User".into());
    user.insert("user_view_type".to_owned(), "public".into());
    user.insert("site_admin".to_owned(), false.into());
    Value::Object(user)
}

fn reactions(of: &str) -> Value {
    json!({
        "url": format!("{of}/reactions"), "total_count": 0, "+1": 0, "-1": 0, "laugh": 0, "hooray": 0, "confused": 0,
        "heart": 0, "rocket": 0, "eyes": 0
    })
}

/// The addresses that GitHub puts into every repository, by name and path.
const ADDRESSES: [(&str, &str); 37] = [
    ("forks", "forks"),
    ("keys", "keys{/key_id}"),
    ("collaborators", "collaborators{/collaborator}"),
    ("teams", "teams"),
    ("hooks", "hooks"),
    ("issue_events", "issues/events{/number}"),
    ("events", "events"),
    ("assignees", "assignees{/user}"),
    ("branches", "branches{/branch}"),
    ("tags", "tags"),
    ("blobs", "git/blobs{/sha}"),
    ("git_tags", "git/tags{/sha}"),
    ("git_refs", "git/refs{/sha}"),
    ("trees", "git/trees{/sha}"),
    ("statuses", "statuses/{sha}"),
    ("languages", "languages"),
    ("stargazers", "stargazers"),
    ("contributors", "contributors"),
    ("subscribers", "subscribers"),
    ("subscription", "subscription"),
    ("commits", "commits{/sha}"),
    ("git_commits", "git/commits{/sha}"),
    ("comments", "comments{/number}"),
    ("issue_comment", "issues/comments{/number}"),
    ("contents", "contents/{+path}"),
    ("compare", "compare/{base}...{head}"),
    ("merges", "merges"),
    ("archive", "{archive_format}{/ref}"),
    ("downloads", "downloads"),
    ("issues", "issues{/number}"),
    ("pulls", "pulls{/number}"),
    ("milestones", "milestones{/number}"),
    ("notifications", "notifications{?since,all,participating}"),
    ("labels", "labels{/name}"),
    ("releases", "releases{/id}"),
    ("deployments", "deployments"),
    ("clone", "application.git"),
];

fn repository(api: &str) -> Value {
    let mut repository = Map::new();
    let mut put = |name: &str, value: Value| repository.insert(name.to_owned(), value);
    put("id", 80_080_147.into());
    put("node_id", "MDEwOlJlcG9zaXRvcnk4MDA4MDE0Nw==".into());
    put("name", "application".into());
    put("full_name", REPO.into());
    put("private", true.into());
    put("owner", user("acme", 79_929_171));
    put("html_url", format!("https://github.com/{REPO}").into());
    put("description", "What our customers use".into());
    put("fork", false.into());
    put("url", api.into());
    for (name, path) in ADDRESSES {
        put(&format!("{name}_url"), format!("{api}/{path}").into());
    }
    for name in ["created_at", "updated_at", "pushed_at"] {
        put(name, WRITTEN.into());
    }
    for name in [
        "size",
        "stargazers_count",
        "watchers_count",
        "forks_count",
        "open_issues_count",
    ] {
        put(name, 42.into());
    }
    for name in [
        "has_issues",
        "has_projects",
        "has_downloads",
        "has_wiki",
        "has_pages",
        "archived",
        "disabled",
    ] {
        put(name, false.into());
    }
    put("language", "Rust".into());
    put("visibility", "private".into());
    put("default_branch", "main".into());
    put("topics", json!(["operations", "billing"]));
    Value::Object(repository)
}
