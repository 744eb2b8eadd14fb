//! How things look in the vendor's JSON. Field lists after the vendor's OpenAPI description (`@octokit/openapi`).

mod checks;
mod git;
mod pulls;
mod talk;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(super) use self::checks::{check_run, status, workflow_run};
pub(super) use self::git::{commit, git_commit, git_ref, tree_entry};
pub(super) use self::pulls::{approval, full_pull, issue, label, pull, review};
pub(super) use self::talk::{REACTIONS, comment, reaction, review_comment};
use super::git::object_id;
use super::state::{Access, Account, Installation, Kind, Level, Permissions, Repo, World};

/// Seconds, as the vendor has them.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn time_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(time(at)))
}

pub(super) fn node_id(kind: &str, id: impl std::fmt::Display) -> String {
    format!("{kind}_{}", BASE64.encode(id.to_string()))
}

/// An account; `null` if it is gone.
pub(super) fn account(world: &World, id: u64) -> Value {
    world.accounts.get(&id).map_or(Value::Null, |a| simple_user(world, a))
}

pub(super) fn simple_user(world: &World, account: &Account) -> Value {
    let Account { id, login, kind } = account;
    // The vendor escapes the brackets of `name[bot]` in links.
    let in_path = login.replace('[', "%5B").replace(']', "%5D");
    let url = format!("{}/users/{in_path}", world.url);
    let kind = match kind {
        Kind::User => "User",
        Kind::Bot => "Bot",
        Kind::Organization => "Organization",
    };
    json!({
        "login": login,
        "id": id,
        "node_id": node_id("U", id),
        "avatar_url": format!("{}/avatars/u/{id}?v=4", world.html),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("{}/{in_path}", world.html),
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
        "type": kind,
        "user_view_type": "public",
        "site_admin": false,
    })
}

/// A profile: an account with what people tell about themselves, which is nothing here.
pub(super) fn public_user(world: &World, account: &Account) -> Value {
    let mut user = simple_user(world, account);
    for name in [
        "name",
        "company",
        "location",
        "email",
        "hireable",
        "bio",
        "twitter_username",
    ] {
        user[name] = Value::Null;
    }
    user["blog"] = json!("");
    for name in ["public_repos", "public_gists", "followers", "following"] {
        user[name] = json!(0);
    }
    user["created_at"] = json!("2020-01-01T00:00:00Z");
    user["updated_at"] = json!("2020-01-01T00:00:00Z");
    user
}

/// An organisation as webhooks show it.
pub(super) fn organization(world: &World, account: &Account) -> Value {
    let url = format!("{}/orgs/{}", world.url, account.login);
    json!({
        "login": account.login,
        "id": account.id,
        "node_id": node_id("O", account.id),
        "url": url,
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events"),
        "hooks_url": format!("{url}/hooks"),
        "issues_url": format!("{url}/issues"),
        "members_url": format!("{url}/members{{/member}}"),
        "public_members_url": format!("{url}/public_members{{/member}}"),
        "avatar_url": format!("{}/avatars/u/{}?v=4", world.html, account.id),
        "description": null,
    })
}

/// A team, also as its members see it.
pub(super) fn team(world: &World, org: &Account, slug: &str, members: usize) -> Value {
    let id = checks::suite_id(&object_id("team", format!("{}/{slug}", org.login).as_bytes()));
    let url = format!("{}/organizations/{}/team/{id}", world.url, org.id);
    let mut owner = organization(world, org);
    for name in ["public_repos", "public_gists", "followers", "following"] {
        owner[name] = json!(0);
    }
    for name in ["has_organization_projects", "has_repository_projects"] {
        owner[name] = json!(true);
    }
    for name in ["created_at", "updated_at"] {
        owner[name] = json!("2020-01-01T00:00:00Z");
    }
    owner["html_url"] = json!(format!("{}/{}", world.html, org.login));
    owner["type"] = json!("Organization");
    owner["archived_at"] = Value::Null;
    json!({
        "id": id,
        "node_id": node_id("T", id),
        "name": slug,
        "slug": slug,
        "description": null,
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "permission": "pull",
        "url": url,
        "html_url": format!("{}/orgs/{}/teams/{slug}", world.html, org.login),
        "members_url": format!("{url}/members{{/member}}"),
        "repositories_url": format!("{url}/repos"),
        "parent": null,
        "members_count": members,
        "repos_count": 0,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "organization": owner,
        "type": "organization",
        "organization_id": org.id,
    })
}

/// Links of a repository: the field is `<name>_url`.
const REPO_LINKS: [(&str, &str); 36] = [
    ("archive", "/{archive_format}{/ref}"),
    ("assignees", "/assignees{/user}"),
    ("blobs", "/git/blobs{/sha}"),
    ("branches", "/branches{/branch}"),
    ("collaborators", "/collaborators{/collaborator}"),
    ("comments", "/comments{/number}"),
    ("commits", "/commits{/sha}"),
    ("compare", "/compare/{base}...{head}"),
    ("contents", "/contents/{+path}"),
    ("contributors", "/contributors"),
    ("deployments", "/deployments"),
    ("downloads", "/downloads"),
    ("events", "/events"),
    ("forks", "/forks"),
    ("git_commits", "/git/commits{/sha}"),
    ("git_refs", "/git/refs{/sha}"),
    ("git_tags", "/git/tags{/sha}"),
    ("hooks", "/hooks"),
    ("issue_comment", "/issues/comments{/number}"),
    ("issue_events", "/issues/events{/number}"),
    ("issues", "/issues{/number}"),
    ("keys", "/keys{/key_id}"),
    ("labels", "/labels{/name}"),
    ("languages", "/languages"),
    ("merges", "/merges"),
    ("milestones", "/milestones{/number}"),
    ("notifications", "/notifications{?since,all,participating}"),
    ("pulls", "/pulls{/number}"),
    ("releases", "/releases{/id}"),
    ("stargazers", "/stargazers"),
    ("statuses", "/statuses/{sha}"),
    ("subscribers", "/subscribers"),
    ("subscription", "/subscription"),
    ("tags", "/tags"),
    ("teams", "/teams"),
    ("trees", "/git/trees{/sha}"),
];

pub(super) fn repo_url(world: &World, repo: &Repo) -> String {
    format!("{}/repos/{}", world.url, repo.full_name)
}

pub(super) fn repo_html(world: &World, repo: &Repo) -> String {
    format!("{}/{}", world.html, repo.full_name)
}

pub(super) fn repo(world: &World, repo: &Repo) -> Value {
    let (url, html) = (repo_url(world, repo), repo_html(world, repo));
    let open = repo.pulls.values().filter(|p| p.open).count();
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("id", json!(repo.id));
    set("node_id", json!(node_id("R", repo.id)));
    set("name", json!(repo.name));
    set("full_name", json!(repo.full_name));
    set("private", json!(repo.private));
    set("visibility", json!(if repo.private { "private" } else { "public" }));
    set("owner", account(world, repo.owner));
    set("html_url", json!(html));
    set("fork", json!(repo.fork));
    set("url", json!(url));
    for (name, path) in REPO_LINKS {
        set(&format!("{name}_url"), json!(format!("{url}{path}")));
    }
    set("clone_url", json!(format!("{html}.git")));
    set("svn_url", json!(html));
    set("git_url", json!(format!("git://git.invalid/{}.git", repo.full_name)));
    set("ssh_url", json!(format!("git@git.invalid:{}.git", repo.full_name)));
    set("default_branch", json!(repo.default_branch));
    for name in ["description", "homepage", "language", "license", "mirror_url"] {
        set(name, Value::Null);
    }
    for name in [
        "forks",
        "watchers",
        "forks_count",
        "stargazers_count",
        "watchers_count",
        "size",
    ] {
        set(name, json!(0));
    }
    set("open_issues", json!(open));
    set("open_issues_count", json!(open));
    for name in ["has_issues", "has_projects", "has_wiki", "has_downloads"] {
        set(name, json!(true));
    }
    for name in ["has_pages", "has_discussions", "archived", "disabled", "is_template"] {
        set(name, json!(false));
    }
    for name in ["created_at", "updated_at", "pushed_at"] {
        set(name, json!(time(repo.created_at)));
    }
    set("topics", json!([]));
    Value::Object(body)
}

/// A repository when it is asked for itself.
pub(super) fn full_repo(world: &World, found: &Repo, level: Level) -> Value {
    let mut body = repo(world, found);
    body["network_count"] = json!(0);
    body["subscribers_count"] = json!(0);
    body["permissions"] = level_flags(level);
    for (method, name) in [
        ("merge", "allow_merge_commit"),
        ("squash", "allow_squash_merge"),
        ("rebase", "allow_rebase_merge"),
    ] {
        body[name] = json!(found.merge_methods.contains(method));
    }
    body["delete_branch_on_merge"] = json!(false);
    body
}

pub(super) fn level_flags(level: Level) -> Value {
    json!({
        "pull": level >= Level::Read,
        "triage": level >= Level::Triage,
        "push": level >= Level::Write,
        "maintain": level >= Level::Maintain,
        "admin": level >= Level::Admin,
    })
}

pub(super) fn permissions(permissions: &Permissions) -> Value {
    let word = |access: &Access| if *access == Access::Write { "write" } else { "read" };
    permissions
        .iter()
        .map(|(name, access)| (name.clone(), json!(word(access))))
        .collect()
}

pub(super) fn app(world: &World) -> Value {
    let Some(app) = &world.app else {
        return Value::Null;
    };
    let granted = world.installations.values().next().map(|i| permissions(&i.permissions));
    let mut body = some_app(world, app.id, &app.slug, account(world, app.bot));
    body["permissions"] = granted.unwrap_or_else(|| json!({}));
    body["installations_count"] = json!(world.installations.len());
    body
}

/// The app of some other CI.
fn foreign_app(world: &World) -> Value {
    some_app(world, 15_368, "ci", Value::Null)
}

fn some_app(world: &World, id: u64, slug: &str, owner: Value) -> Value {
    let mut owner = owner;
    if owner.is_null() {
        let account = Account {
            id,
            login: slug.to_owned(),
            kind: Kind::Organization,
        };
        owner = simple_user(world, &account);
    }
    json!({
        "id": id,
        "slug": slug,
        "client_id": format!("Iv23li{id:014}"),
        "node_id": node_id("A", id),
        "owner": owner,
        "name": slug,
        "description": null,
        "external_url": world.html,
        "html_url": format!("{}/apps/{slug}", world.html),
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "permissions": {},
        "events": [],
    })
}

pub(super) fn installation(world: &World, installation: &Installation) -> Value {
    let url = format!("{}/app/installations/{}", world.url, installation.id);
    let (app_id, slug) = world.app.as_ref().map_or((0, ""), |app| (app.id, app.slug.as_str()));
    let account_json = account(world, installation.account);
    json!({
        "id": installation.id,
        "client_id": format!("Iv23li{app_id:014}"),
        "account": account_json,
        "access_tokens_url": format!("{url}/access_tokens"),
        "repositories_url": format!("{}/installation/repositories", world.url),
        "html_url": format!("{}/settings/installations/{}", world.html, installation.id),
        "app_id": app_id,
        "app_slug": slug,
        "target_id": installation.account,
        "target_type": account_json["type"],
        "permissions": permissions(&installation.permissions),
        "events": world.mail.events(),
        "repository_selection": "all",
        "single_file_name": null,
        "suspended_by": null,
        "suspended_at": null,
        "created_at": time(installation.created_at),
        "updated_at": time(installation.created_at),
    })
}
