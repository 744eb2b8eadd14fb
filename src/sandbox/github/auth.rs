//! Who calls and what they may: plain tokens, the app's JSON Web Token, installation tokens.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, header};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::git::object_id;
use super::render;
use super::state::{Access, Holder, Installation, Kind, Level, Permissions, Token, World};
use super::wire::{Refusal, Reply, Req};

/// A JSON Web Token may live so long, in seconds (Authenticating as a GitHub App).
const JWT_SECONDS_MAX: i64 = 600;
/// Clocks may differ by so much, in seconds.
const JWT_LEEWAY_S: i64 = 60;

/// Who calls.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A plain token.
    User(u64),
    /// The app itself, by JSON Web Token.
    App,
    /// The app as installed on an account.
    Installation {
        account: u64,
        bot: u64,
        permissions: Permissions,
        repos: Option<BTreeSet<u64>>,
    },
}

impl Caller {
    /// The account that acts. The app itself acts as nobody.
    pub(super) fn account(&self) -> u64 {
        match self {
            Self::User(id) => *id,
            Self::App => 0,
            Self::Installation { bot, .. } => *bot,
        }
    }

    /// An app needs leave of its own to write what will run with the repository's secrets.
    pub(super) fn may_change_workflows(&self) -> bool {
        match self {
            Self::Installation { permissions, .. } => permissions.get("workflows") == Some(&Access::Write),
            Self::User(_) | Self::App => true,
        }
    }
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// Any token.
    Token,
    /// The app's JSON Web Token.
    Jwt,
    /// The app's JSON Web Token; there is a repository in the path.
    JwtRepo,
    /// A permission on the organisation in the path.
    Org(&'static str),
    /// Any of these permissions on the repository in the path, `|` between them.
    Repo(&'static str, Access),
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: Value,
    iat: Option<i64>,
    exp: Option<i64>,
}

/// Who calls, by the `Authorization` header.
pub(super) fn authenticate(world: &World, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let bad = || Refusal::new(401, "Bad credentials");
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(Refusal::new(401, "Requires authentication"));
    };
    let (scheme, secret) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("token") {
        return Err(bad());
    }
    if secret.split('.').count() == 3 {
        return check_jwt(world, secret).map(|()| Caller::App);
    }
    let token = world.tokens.get(secret).ok_or_else(bad)?;
    if token.expires_at.is_some_and(|at| at <= (world.auth_now)()) {
        return Err(bad());
    }
    match token.holder {
        Holder::User(id) => Ok(Caller::User(id)),
        Holder::Installation(id) => {
            let installation = world.installations.get(&id).ok_or_else(bad)?;
            Ok(Caller::Installation {
                account: installation.account,
                bot: world.app.as_ref().map_or(0, |app| app.bot),
                permissions: token.permissions.clone(),
                repos: token.repos.clone(),
            })
        }
    }
}

fn check_jwt(world: &World, token: &str) -> Result<(), Refusal> {
    let undecodable = || Refusal::new(401, "A JSON web token could not be decoded");
    let app = world.app.as_ref().ok_or_else(undecodable)?;
    let pem = app.public_key_pem.as_ref().ok_or_else(undecodable)?;
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| undecodable())?;
    let mut rules = Validation::new(Algorithm::RS256);
    // The library would ask the machine's clock; ours is compared below.
    rules.validate_exp = false;
    rules.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules)
        .map_err(|_| undecodable())?
        .claims;
    let now = (world.auth_now)().as_second();
    let issuer = match &claims.iss {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if issuer != app.id.to_string() {
        return Err(Refusal::new(404, "Integration not found"));
    }
    match claims.exp {
        Some(exp) if exp > now + JWT_SECONDS_MAX => Err(Refusal::new(
            401,
            "'Expiration time' claim ('exp') is too far in the future",
        )),
        Some(exp) if exp > now => Ok(()),
        _ => Err(Refusal::new(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
        )),
    }?;
    if claims.iat.is_none_or(|iat| iat > now + JWT_LEEWAY_S) {
        return Err(Refusal::new(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        ));
    }
    Ok(())
}

/// Whether the caller may use the route at all; the answer is the repository in the path, 0 if there is none.
pub(super) fn admit(world: &World, caller: &Caller, need: Need, params: &[(String, String)]) -> Result<u64, Refusal> {
    let param = |name: &str| params.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let by_name = format!("{}/{}", param("owner"), param("repo"));
    // By its number it is known for ever, by its name until it goes elsewhere.
    let named = || match param("repo_id") {
        "" => world.repo_id(&by_name),
        id => {
            let id = id.parse().map_err(|_| Refusal::not_found())?;
            world.repo(id).map(|repo| repo.id)
        }
    };
    match (need, caller) {
        (Need::Jwt, Caller::App) => Ok(0),
        (Need::JwtRepo, Caller::App) => named(),
        (Need::Jwt | Need::JwtRepo, _) => Err(Refusal::new(401, "A JSON web token could not be decoded")),
        (_, Caller::App) => Err(Refusal::new(403, "Resource not accessible by integration")),
        (Need::Token, _) => Ok(0),
        (
            Need::Org(permission),
            Caller::Installation {
                account, permissions, ..
            },
        ) => {
            let org = world.person(param("org")).map_err(|_| Refusal::not_found())?;
            let may = org == *account && permissions.contains_key(permission);
            let refused = || Refusal::new(403, "Resource not accessible by integration");
            may.then_some(0).ok_or_else(refused)
        }
        (Need::Org(_), Caller::User(_)) => Ok(0),
        (Need::Repo(any_of, access), _) => {
            let repo = named()?;
            admit_to_repo(world, caller, repo, any_of, access)?;
            Ok(repo)
        }
    }
}

/// Whether the caller has any of these permissions on the repository.
pub(super) fn admit_to_repo(
    world: &World,
    caller: &Caller,
    repo: u64,
    any_of: &str,
    access: Access,
) -> Result<(), Refusal> {
    let repo = world.repo(repo)?;
    match caller {
        Caller::App => Err(Refusal::not_found()),
        Caller::Installation {
            account,
            permissions,
            repos,
            ..
        } => {
            let covered = repo.owner == *account && repos.as_ref().is_none_or(|only| only.contains(&repo.id));
            if !covered && repo.private {
                return Err(Refusal::not_found());
            }
            let may = any_of
                .split('|')
                .any(|name| permissions.get(name).is_some_and(|has| *has >= access));
            if may && (covered || access == Access::Read) {
                return Ok(());
            }
            Err(Refusal::new(403, "Resource not accessible by integration"))
        }
        Caller::User(id) => {
            let level = world.level(repo, *id);
            if level == Level::None {
                return Err(Refusal::not_found());
            }
            if access == Access::Write && any_of == "checks" {
                return Err(Refusal::new(403, "You must authenticate via a GitHub App."));
            }
            // Whoever may read may open pull requests and comment.
            let social = any_of.contains("pull_requests");
            if access == Access::Read || social || level >= Level::Write {
                return Ok(());
            }
            Err(Refusal::new(403, "Resource not accessible by personal access token"))
        }
    }
}

/// `GET /app`.
pub(super) fn app(world: &mut World, _: &Req) -> Result<Reply, Refusal> {
    let app = render::app(world);
    if app.is_null() {
        return Err(Refusal::not_found());
    }
    Ok(Reply::ok(app))
}

/// `GET /app/installations`.
pub(super) fn installations(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let all = world
        .installations
        .values()
        .map(|i| render::installation(world, i))
        .collect();
    Ok(Reply::page(req, all))
}

/// `GET /app/installations/{id}`.
pub(super) fn installation(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let found = world
        .installations
        .get(&req.number("id")?)
        .ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::installation(world, found)))
}

/// `GET /repos/{owner}/{repo}/installation`.
pub(super) fn repo_installation(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let owner = world.repo(req.repo)?.owner;
    let found = world.installation_on(owner).ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::installation(world, found)))
}

/// `GET /orgs/{org}/installation` and `GET /users/{login}/installation`.
pub(super) fn account_installation(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let login = format!("{}{}", req.param("org"), req.param("login"));
    let account = world.account_by_login(&login).ok_or_else(Refusal::not_found)?;
    let as_org = !req.param("org").is_empty();
    if as_org != (account.kind == Kind::Organization) {
        return Err(Refusal::not_found());
    }
    let found = world.installation_on(account.id).ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::installation(world, found)))
}

/// `POST /app/installations/{id}/access_tokens`.
pub(super) fn mint(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    let installation = world.installations.get(&id).cloned().ok_or_else(Refusal::not_found)?;
    let permissions = narrowed_permissions(&installation, req.body.get("permissions"))?;
    let repos = narrowed_repos(world, &installation, req)?;
    let expires_at = (world.auth_now)() + SignedDuration::from_hours(1);
    let serial = world.fresh_id();
    let secret = format!("ghs_{}", &object_id("token", format!("{id}/{serial}").as_bytes())[..36]);
    let selection = if repos.is_some() { "selected" } else { "all" };
    let mut body = json!({
        "token": secret,
        "expires_at": render::time(expires_at),
        "permissions": render::permissions(&permissions),
        "repository_selection": selection,
    });
    if let Some(only) = &repos {
        body["repositories"] = only
            .iter()
            .filter_map(|r| world.repo(*r).ok())
            .map(|r| render::repo(world, r))
            .collect();
    }
    let token = Token {
        holder: Holder::Installation(id),
        permissions,
        repos,
        expires_at: Some(expires_at),
    };
    world.tokens.insert(secret, token);
    Ok(Reply::created(body))
}

fn narrowed_permissions(installation: &Installation, wanted: Option<&Value>) -> Result<Permissions, Refusal> {
    let Some(wanted) = wanted.and_then(Value::as_object) else {
        return Ok(installation.permissions.clone());
    };
    let not_granted = || Refusal::unprocessable("The permissions requested are not granted to this installation.");
    let mut narrowed: Permissions = wanted
        .iter()
        .map(|(name, access)| {
            let access = match access.as_str() {
                Some("read") => Access::Read,
                Some("write") => Access::Write,
                _ => return Err(not_granted()),
            };
            let has = installation.permissions.get(name).copied().ok_or_else(not_granted)?;
            (has >= access).then(|| (name.clone(), access)).ok_or_else(not_granted)
        })
        .collect::<Result<_, Refusal>>()?;
    // Whatever is asked for, this is always among it.
    narrowed.entry("metadata".to_owned()).or_insert(Access::Read);
    Ok(narrowed)
}

fn narrowed_repos(world: &World, installation: &Installation, req: &Req) -> Result<Option<BTreeSet<u64>>, Refusal> {
    let missing = || {
        Refusal::unprocessable(
            "There is at least one repository that does not exist or is not accessible to the parent installation.",
        )
    };
    let of_owner = || world.repos.values().filter(|r| r.owner == installation.account);
    let mut only = BTreeSet::new();
    for name in req
        .body
        .get("repositories")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        only.insert(
            of_owner()
                .find(|r| Some(r.name.as_str()) == name.as_str())
                .ok_or_else(missing)?
                .id,
        );
    }
    for id in req
        .body
        .get("repository_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        only.insert(of_owner().find(|r| Some(r.id) == id.as_u64()).ok_or_else(missing)?.id);
    }
    Ok((!only.is_empty()).then_some(only))
}
