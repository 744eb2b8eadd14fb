//! Which path leads to which rule, and what happens before and after every one of them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};

use jiff::Timestamp;

use super::auth::{Need, admit, authenticate};
use super::state::Access::{Read, Write};
use super::state::World;
use super::wire::{Refusal, Reply, Req, check_headers, parse_body};
use super::{accounts, activity, auth, checks, graphql, hooklog, lock, objects, pulls, refs, talk};

/// The primary rate limit.
pub(super) const CALLS_PER_HOUR: u64 = 5000;
/// The largest body looked at.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PATCH: MethodFilter = MethodFilter::PATCH;
const PUT: MethodFilter = MethodFilter::PUT;
const DELETE: MethodFilter = MethodFilter::DELETE;

type Verb = fn(&mut World, &Req) -> Result<Reply, Refusal>;
type Route = (MethodFilter, &'static str, Need, Verb);

/// When the primary rate limit starts anew: at the next full hour.
pub(super) fn next_hour(now: Timestamp) -> i64 {
    (now.as_second() / 3600 + 1) * 3600
}

/// What every route needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) world: Arc<Mutex<World>>,
}

/// The whole API, at the root and under GHES's prefix.
pub(super) fn all(shared: Shared) -> Router {
    let mut api = Router::new();
    let of_repo = OF_REPO.into_iter().chain(OF_GIT).chain(OF_TALK);
    let of_repo =
        of_repo.map(|(method, path, need, verb)| (method, format!("/repos/{{owner}}/{{repo}}{path}"), need, verb));
    let global = GLOBAL
        .into_iter()
        .map(|(method, path, need, verb)| (method, path.to_owned(), need, verb));
    for (method, path, need, verb) in global.chain(of_repo) {
        let by_number = path.strip_prefix("/repos/{owner}/{repo}");
        let by_number = by_number.map(|rest| format!("/repositories/{{repo_id}}{rest}"));
        for path in [Some(path.clone()), by_number].into_iter().flatten() {
            for prefix in ["", "/api/v3"] {
                api = api.route(&format!("{prefix}{path}"), endpoint(method, need, verb));
            }
        }
    }
    // Beside the REST API, not below it: GHES has it at /api/graphql.
    for path in ["/graphql", "/api/graphql"] {
        api = api.route(path, endpoint(POST, Need::Token, graphql::serve));
    }
    api.fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(shared)
}

const GLOBAL: [Route; 20] = [
    (GET, "/app/hook/deliveries", Need::Jwt, hooklog::list),
    (GET, "/app/hook/deliveries/{id}", Need::Jwt, hooklog::get),
    (POST, "/app/hook/deliveries/{id}/attempts", Need::Jwt, hooklog::again),
    (
        GET,
        "/installation/repositories",
        Need::Token,
        accounts::installation_repos,
    ),
    (GET, "/user/repos", Need::Token, accounts::user_repos),
    (GET, "/orgs/{org}/teams/{slug}", Need::Org("members"), accounts::team),
    (GET, "/user", Need::Token, accounts::me),
    (GET, "/user/{account_id}", Need::Token, accounts::by_id),
    (GET, "/users/{login}", Need::Token, accounts::by_login),
    (GET, "/rate_limit", Need::Token, accounts::rate_limit),
    (GET, "/app", Need::Jwt, auth::app),
    (GET, "/app/installations", Need::Jwt, auth::installations),
    (GET, "/app/installations/{id}", Need::Jwt, auth::installation),
    (POST, "/app/installations/{id}/access_tokens", Need::Jwt, auth::mint),
    (
        GET,
        "/repos/{owner}/{repo}/installation",
        Need::JwtRepo,
        auth::repo_installation,
    ),
    (GET, "/orgs/{org}/installation", Need::Jwt, auth::account_installation),
    (
        GET,
        "/users/{login}/installation",
        Need::Jwt,
        auth::account_installation,
    ),
    (
        GET,
        "/repos/{owner}/{repo}",
        Need::Repo("metadata", Read),
        accounts::repo,
    ),
    (
        GET,
        "/orgs/{org}/teams/{slug}/memberships/{login}",
        Need::Org("members"),
        accounts::membership,
    ),
    (
        GET,
        "/orgs/{org}/teams/{slug}/members",
        Need::Org("members"),
        accounts::members,
    ),
];

const OF_REPO: [Route; 20] = [
    (GET, "/activity", Need::Repo("contents", Read), activity::list),
    (
        GET,
        "/pulls/{n}/commits",
        Need::Repo("pull_requests", Read),
        pulls::commits,
    ),
    (
        GET,
        "/collaborators",
        Need::Repo("metadata", Read),
        accounts::collaborators,
    ),
    (
        GET,
        "/collaborators/{login}/permission",
        Need::Repo("metadata", Read),
        accounts::permission,
    ),
    (GET, "/pulls", Need::Repo("pull_requests", Read), pulls::list),
    (POST, "/pulls", Need::Repo("pull_requests", Write), pulls::create),
    (GET, "/pulls/{n}", Need::Repo("pull_requests", Read), pulls::get),
    (PATCH, "/pulls/{n}", Need::Repo("pull_requests", Write), pulls::update),
    (
        GET,
        "/pulls/{n}/reviews",
        Need::Repo("pull_requests", Read),
        pulls::reviews,
    ),
    // `contents` is asked for once the pull request is known to exist.
    (PUT, "/pulls/{n}/merge", Need::Repo("metadata", Read), pulls::merge),
    (
        GET,
        "/issues/{n}",
        Need::Repo("issues|pull_requests", Read),
        pulls::issue,
    ),
    (POST, "/check-runs", Need::Repo("checks", Write), checks::create),
    (GET, "/check-runs/{id}", Need::Repo("checks", Read), checks::get),
    (PATCH, "/check-runs/{id}", Need::Repo("checks", Write), checks::update),
    (
        GET,
        "/commits/{sha}/check-runs",
        Need::Repo("checks", Read),
        checks::list,
    ),
    (
        POST,
        "/statuses/{sha}",
        Need::Repo("statuses", Write),
        checks::create_status,
    ),
    (
        GET,
        "/commits/{sha}/statuses",
        Need::Repo("statuses", Read),
        checks::statuses,
    ),
    (
        GET,
        "/commits/{sha}/status",
        Need::Repo("statuses", Read),
        checks::combined_status,
    ),
    (GET, "/commits/{sha}", Need::Repo("contents", Read), refs::commit),
    (GET, "/contents", Need::Repo("contents", Read), objects::contents),
];

const OF_GIT: [Route; 15] = [
    (
        GET,
        "/compare/{*basehead}",
        Need::Repo("contents", Read),
        objects::compare,
    ),
    (
        GET,
        "/contents/{*path}",
        Need::Repo("contents", Read),
        objects::contents,
    ),
    (GET, "/branches", Need::Repo("contents", Read), refs::branches),
    (GET, "/branches/{*name}", Need::Repo("contents", Read), refs::branch),
    (GET, "/git/ref/{*name}", Need::Repo("contents", Read), refs::get),
    (
        GET,
        "/git/matching-refs/{*name}",
        Need::Repo("contents", Read),
        refs::matching,
    ),
    (POST, "/git/refs", Need::Repo("contents", Write), refs::create),
    (PATCH, "/git/refs/{*name}", Need::Repo("contents", Write), refs::update),
    (DELETE, "/git/refs/{*name}", Need::Repo("contents", Write), refs::delete),
    (POST, "/git/blobs", Need::Repo("contents", Write), objects::create_blob),
    (GET, "/git/blobs/{sha}", Need::Repo("contents", Read), objects::get_blob),
    (POST, "/git/trees", Need::Repo("contents", Write), objects::create_tree),
    (
        GET,
        "/git/trees/{*sha}",
        Need::Repo("contents", Read),
        objects::get_tree,
    ),
    (
        POST,
        "/git/commits",
        Need::Repo("contents", Write),
        objects::create_commit,
    ),
    (
        GET,
        "/git/commits/{sha}",
        Need::Repo("contents", Read),
        objects::get_commit,
    ),
];

const TALK: &str = "issues|pull_requests";

const OF_TALK: [Route; 16] = [
    (GET, "/issues/{n}/comments", Need::Repo(TALK, Read), talk::list),
    (POST, "/issues/{n}/comments", Need::Repo(TALK, Write), talk::create),
    (GET, "/issues/comments", Need::Repo(TALK, Read), talk::list_all),
    (GET, "/issues/comments/{id}", Need::Repo(TALK, Read), talk::get),
    (PATCH, "/issues/comments/{id}", Need::Repo(TALK, Write), talk::edit),
    (DELETE, "/issues/comments/{id}", Need::Repo(TALK, Write), talk::delete),
    (
        GET,
        "/issues/comments/{id}/reactions",
        Need::Repo(TALK, Read),
        talk::reactions,
    ),
    (
        POST,
        "/issues/comments/{id}/reactions",
        Need::Repo(TALK, Write),
        talk::react,
    ),
    (
        GET,
        "/pulls/{n}/comments",
        Need::Repo("pull_requests", Read),
        talk::list_reviews,
    ),
    (
        POST,
        "/pulls/{n}/comments",
        Need::Repo("pull_requests", Write),
        talk::create_review,
    ),
    (
        POST,
        "/pulls/{n}/comments/{id}/replies",
        Need::Repo("pull_requests", Write),
        talk::create_reply,
    ),
    (
        GET,
        "/pulls/comments",
        Need::Repo("pull_requests", Read),
        talk::list_all_reviews,
    ),
    (
        GET,
        "/pulls/comments/{id}",
        Need::Repo("pull_requests", Read),
        talk::get_review,
    ),
    (
        PATCH,
        "/pulls/comments/{id}",
        Need::Repo("pull_requests", Write),
        talk::edit_review,
    ),
    (
        DELETE,
        "/pulls/comments/{id}",
        Need::Repo("pull_requests", Write),
        talk::delete_review,
    ),
    (
        POST,
        "/pulls/comments/{id}/reactions",
        Need::Repo("pull_requests", Write),
        talk::react_to_review,
    ),
];

fn endpoint(method: MethodFilter, need: Need, verb: Verb) -> MethodRouter<Shared> {
    on(
        method,
        move |State(shared): State<Shared>, params: RawPathParams, request: Request| async move {
            let params: Vec<(String, String)> = params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
            let query = parts.uri.query().unwrap_or_default();
            let world = &mut lock(&shared.world);
            let asked = Asked {
                is_get: method == GET,
                path: parts.uri.path(),
                query,
                headers: &parts.headers,
                body: &body,
            };
            let reply = world.serve(need, verb, params, &asked);
            respond(world, reply)
        },
    )
}

async fn nothing_here(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let world = &mut lock(&shared.world);
    let refusal = check_headers(&headers).err().unwrap_or_else(Refusal::not_found);
    respond(world, Err(refusal))
}

fn respond(world: &World, reply: Result<Reply, Refusal>) -> Response {
    reply
        .unwrap_or_else(Refusal::into_reply)
        .into_response(world.now(), world.calls_left, world.calls_reset)
}

/// A request as it came.
struct Asked<'a> {
    is_get: bool,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

impl World {
    fn serve(
        &mut self,
        need: Need,
        verb: Verb,
        params: Vec<(String, String)>,
        asked: &Asked<'_>,
    ) -> Result<Reply, Refusal> {
        check_headers(asked.headers)?;
        let caller = authenticate(self, asked.headers)?;
        if self.now().as_second() >= self.calls_reset {
            self.calls_left = CALLS_PER_HOUR;
            self.calls_reset = next_hour(self.now());
        }
        if !asked.path.ends_with("/rate_limit") {
            let used_up = || Refusal::new(403, "API rate limit exceeded for this token.");
            self.calls_left = self.calls_left.checked_sub(1).ok_or_else(used_up)?;
        }
        if let Some(elsewhere) = self.redirect(asked.is_get, asked.path, asked.query) {
            return Ok(elsewhere);
        }
        let repo = admit(self, &caller, need, &params)?;
        let accept = asked
            .headers
            .get(header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let req = Req {
            caller,
            repo,
            url: format!("{}{}", self.url, asked.path),
            params,
            query: form_urlencoded::parse(asked.query.as_bytes()).into_owned().collect(),
            body: parse_body(asked.body)?,
            accept: accept.to_owned(),
        };
        verb(self, &req)
    }
}
