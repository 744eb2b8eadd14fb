//! Users, organisations, teams and who may do what.

use serde_json::json;

use super::auth::Caller;
use super::render;
use super::state::{Kind, Level, World};
use super::wire::{Refusal, Reply, Req};

/// `GET /user`: whose plain token this is.
pub(super) fn me(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let Caller::User(id) = req.caller else {
        return Err(Refusal::new(403, "Resource not accessible by integration"));
    };
    let account = world.accounts.get(&id).ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::public_user(world, account)))
}

/// `GET /user/{account_id}`.
pub(super) fn by_id(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let account = world
        .accounts
        .get(&req.number("account_id")?)
        .ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::public_user(world, account)))
}

/// `GET /users/{login}`.
pub(super) fn by_login(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let account = world
        .account_by_login(req.param("login"))
        .ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::public_user(world, account)))
}

/// `GET /repos/{owner}/{repo}`.
pub(super) fn repo(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let level = match req.caller {
        Caller::User(id) => world.level(repo, id),
        _ => Level::Read,
    };
    Ok(Reply::ok(render::full_repo(world, repo, level)))
}

/// `GET …/collaborators/{login}/permission`.
pub(super) fn permission(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    if let Caller::User(id) = req.caller
        && world.level(repo, id) < Level::Write
    {
        return Err(Refusal::new(
            403,
            "Must have push access to view collaborator permission.",
        ));
    }
    let login = req.param("login");
    let nobody = || Refusal::new(404, &format!("{login} is not a user"));
    let account = world
        .account_by_login(login)
        .filter(|a| a.kind != Kind::Organization)
        .ok_or_else(nobody)?;
    let level = world.level(repo, account.id);
    let mut user = render::simple_user(world, account);
    user["permissions"] = render::level_flags(level);
    user["role_name"] = json!(level.role());
    Ok(Reply::ok(
        json!({"permission": level.permission(), "role_name": level.role(), "user": user}),
    ))
}

/// `GET …/collaborators`: whoever has been given a level, and the owner.
pub(super) fn collaborators(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    if let Caller::User(id) = req.caller
        && world.level(repo, id) < Level::Write
    {
        return Err(Refusal::new(
            403,
            "Must have push access to view repository collaborators.",
        ));
    }
    let least = match req.query("permission") {
        None | Some("pull") => Level::Read,
        Some("triage") => Level::Triage,
        Some("push") => Level::Write,
        Some("maintain") => Level::Maintain,
        Some("admin") => Level::Admin,
        Some(_) => return Err(Refusal::field("Repository", "permission", "invalid")),
    };
    let given = repo.levels.keys().copied().chain([repo.owner]);
    let listed = given
        .filter(|id| world.level(repo, *id) >= least)
        .filter_map(|id| world.accounts.get(&id))
        .filter(|account| account.kind != Kind::Organization)
        .map(|account| {
            let level = world.level(repo, account.id);
            let mut user = render::simple_user(world, account);
            user["permissions"] = render::level_flags(level);
            user["role_name"] = json!(level.role());
            user
        })
        .collect();
    Ok(Reply::page(req, listed))
}

/// `GET /orgs/{org}/teams/{slug}/members`: those who accepted.
pub(super) fn members(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let org = world
        .account_by_login(req.param("org"))
        .ok_or_else(Refusal::not_found)?;
    let slug = req.param("slug").to_lowercase();
    let team = world.teams.get(&(org.id, slug)).ok_or_else(Refusal::not_found)?;
    let active = team.iter().filter(|(_, member)| member.active);
    let listed = active
        .filter_map(|(id, _)| world.accounts.get(id))
        .map(|account| render::simple_user(world, account));
    Ok(Reply::page(req, listed.collect()))
}

/// `GET /orgs/{org}/teams/{slug}`.
pub(super) fn team(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let org = world
        .account_by_login(req.param("org"))
        .ok_or_else(Refusal::not_found)?;
    let slug = req.param("slug").to_lowercase();
    let members = world
        .teams
        .get(&(org.id, slug.clone()))
        .ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::team(world, org, &slug, members.len())))
}

/// `GET /orgs/{org}/teams/{slug}/memberships/{login}`.
pub(super) fn membership(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let account = |name| {
        world
            .account_by_login(req.param(name))
            .map(|a| a.id)
            .ok_or_else(Refusal::not_found)
    };
    let (org, user) = (account("org")?, account("login")?);
    let slug = req.param("slug").to_lowercase();
    let member = world.teams.get(&(org, slug.clone())).and_then(|team| team.get(&user));
    let member = member.ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(json!({
        "url": format!("{}/organizations/{org}/team/{slug}/memberships/{}", world.url, req.param("login")),
        "role": member.role,
        "state": if member.active { "active" } else { "pending" },
    })))
}

/// `GET /rate_limit`: costs nothing.
pub(super) fn rate_limit(world: &mut World, _: &Req) -> Result<Reply, Refusal> {
    let reset = world.calls_reset;
    let core = json!({"limit": 5000, "used": 5000 - world.calls_left, "remaining": world.calls_left, "reset": reset});
    let search = json!({"limit": 30, "used": 0, "remaining": 30, "reset": reset});
    Ok(Reply::ok(
        json!({"resources": {"core": core, "search": search}, "rate": core}),
    ))
}

/// `GET /installation/repositories`: what the installation whose token this is covers.
pub(super) fn installation_repos(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let Caller::Installation { account, repos, .. } = &req.caller else {
        let why = "You must authenticate with an installation access token in order to list repositories for an installation.";
        return Err(Refusal::new(403, why));
    };
    let covered = world
        .repos
        .values()
        .filter(|repo| repo.owner == *account && repos.as_ref().is_none_or(|only| only.contains(&repo.id)));
    let items = covered.map(|repo| render::repo(world, repo)).collect();
    Ok(Reply::counted_page(req, "repositories", items))
}

/// `GET /user/repos`: what the account owns or was given rights on; public ones of others are not among them.
pub(super) fn user_repos(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let Caller::User(id) = req.caller else {
        return Err(Refusal::new(403, "Resource not accessible by integration"));
    };
    let mut found: Vec<_> = world
        .repos
        .values()
        .filter(|repo| repo.owner == id || repo.levels.get(&id).is_some_and(|level| *level > Level::None))
        .collect();
    match req.query("sort").unwrap_or("full_name") {
        "full_name" => found.sort_by(|a, b| a.full_name.cmp(&b.full_name)),
        "created" | "updated" | "pushed" => found.sort_by_key(|repo| std::cmp::Reverse(repo.created_at)),
        _ => {
            return Err(Refusal::unprocessable(
                "sort is not one of created, updated, pushed, full_name",
            ));
        }
    }
    let items = found
        .into_iter()
        .map(|repo| render::full_repo(world, repo, world.level(repo, id)))
        .collect();
    Ok(Reply::page(req, items))
}
