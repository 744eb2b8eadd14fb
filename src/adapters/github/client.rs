//! Calls to GitHub's REST API: who makes them, how long they may take, and which failures are worth another try.
//!
//! Only reads are tried again here: octocrab's own retries would repeat a mutation whose answer was lost. Addresses are
//! always relative, so a token only ever travels to the configured API and paging works on Enterprise Server too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use octocrab::Octocrab;
use octocrab::service::middleware::retry::RetryConfig;
use reqwest::header::HeaderMap;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::token::{Refused, Scope, Tokens};
use super::{Credentials, GithubConfig};
use crate::adapters::again::{Reads, is_passing};
use crate::adapters::http::{http_date, permanent, retry, seconds, unauthorized};
use crate::adapters::mask::Mask;
use crate::adapters::{CallError, json as text};
use crate::domain::run::FailureClass;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What GitHub asks for where a secondary limit comes without a time.
const LIMIT_PAUSE: Duration = Duration::from_secs(60);
/// The most items GitHub puts on a page.
const PAGE_LEN: usize = 100;
/// Thirty thousand comments on one pull request are more than GitHub takes.
const PAGES_MAX: usize = 300;
/// Where GraphQL is asked.
const GRAPHQL: &str = "/graphql";
/// A repository that was renamed is one redirect away.
const REDIRECTS_MAX: usize = 3;

/// HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
    Put,
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        })
    }
}

enum Access {
    Token(Octocrab),
    App(Tokens),
}

/// Where the API is.
pub(super) struct Home {
    base: url::Url,
    reads: Reads,
}

/// GitHub's API at one address.
pub(super) struct Client {
    access: Access,
    home: Arc<Home>,
    /// The account's token; an installation's is known by its form.
    mask: Mask,
}

/// An answer that came through whole; not necessarily a good one.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Where the next page begins, for lists that are paged by cursor. Only that is taken from the `Link` header.
    pub(super) next: Option<String>,
    /// What was asked in the end, after redirects.
    pub(super) target: String,
    /// The time by GitHub's clock.
    pub(super) date: Option<jiff::Timestamp>,
    body: Value,
    call: String,
}

impl Client {
    /// Must be called within a tokio runtime: octocrab starts a task per client.
    pub(super) fn new(config: &GithubConfig) -> Result<Self, String> {
        let bad = |what: &str| {
            let what = what.to_owned();
            move |e: octocrab::Error| format!("github: {what}: {}", explain(&e))
        };
        let no_url = || format!("github: `{}` is not a URL", config.api_url);
        let base = url::Url::parse(config.api_url.trim_end_matches('/')).map_err(|_| no_url())?;
        let builder = Octocrab::builder()
            .add_retry_config(RetryConfig::None)
            .set_connect_timeout(Some(CONNECT_TIMEOUT))
            .set_read_timeout(Some(CALL_TIMEOUT))
            .set_write_timeout(Some(CALL_TIMEOUT))
            // Paths are made in `exchange`: not all of GitHub's API is below one.
            .base_uri(base.origin().ascii_serialization())
            .map_err(|_| no_url())?;
        let home = Arc::new(Home {
            base,
            reads: Reads::default(),
        });
        let access = match &config.credentials {
            Credentials::Token(token) => {
                let client = builder.user_access_token(token.expose_secret().to_owned()).build();
                Access::Token(client.map_err(bad("cannot set up HTTP"))?)
            }
            Credentials::App { app_id, private_key } => {
                let app = builder
                    .app_from_rsa_pem((*app_id).into(), private_key.expose_secret())
                    .map_err(|_| "github: the app's private key is not an RSA key in PEM".to_owned())?
                    .build();
                Access::App(Tokens::new(app.map_err(bad("cannot set up HTTP"))?, home.clone()))
            }
        };
        let mask = match &config.credentials {
            Credentials::Token(token) => Mask::new([token.clone()]),
            Credentials::App { .. } => Mask::default(),
        };
        Ok(Self { access, home, mask })
    }

    /// Makes one call on behalf of whoever may in this scope; `target` is percent-encoded and starts with `/`.
    ///
    /// # Errors
    /// `Retry` when no whole answer came, GitHub asks to come back, or refuses stepherd's credentials (401); `Permanent`
    /// for 403. Every other status is a `Reply`.
    pub(super) async fn call(
        &self,
        scope: Scope<'_>,
        verb: Verb,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Reply, CallError> {
        let reply = match &self.access {
            Access::Token(client) => {
                let reply = send(client, &self.home, verb, target, body).await;
                reply.map_err(CallError::from)
            }
            Access::App(tokens) => tokens.call(scope, verb, target, body).await,
        };
        self.masked(reply)
    }

    /// Proxies and debug pages quote the request, credentials and all. A good answer is left as it is: a file's text
    /// is what it is.
    fn masked(&self, reply: Result<Reply, CallError>) -> Result<Reply, CallError> {
        let mut reply = reply.map_err(|error| self.mask.error(error))?;
        if !reply.is_success() {
            self.mask.refusal(&mut reply.body);
        }
        Ok(reply)
    }

    pub(super) async fn get(&self, scope: Scope<'_>, target: &str) -> Result<Reply, CallError> {
        self.call(scope, Verb::Get, target, None).await
    }

    /// Asks GraphQL, for what the REST API does not tell or do; the answer's `data`.
    ///
    /// # Errors
    /// As of `call`; `Permanent` also where GraphQL reports errors.
    pub(super) async fn graphql(&self, scope: Scope<'_>, query: &str, variables: Value) -> Result<Value, CallError> {
        let body = json!({ "query": query, "variables": variables });
        let reply = self.call(scope, Verb::Post, GRAPHQL, Some(&body)).await?;
        if !reply.is_success() {
            return Err(reply.refusal());
        }
        let errors = reply.body.get("errors").and_then(Value::as_array);
        if let Some(first) = errors.and_then(|errors| errors.first()) {
            let why = reply.describe();
            // "Rate limits and query limits for the GraphQL API": a limit comes with status 200.
            return Err(if first.get("type").and_then(Value::as_str) == Some("RATE_LIMITED") {
                retry(why, Some(LIMIT_PAUSE), FailureClass::RateLimit)
            } else {
                permanent(why, FailureClass::User)
            });
        }
        let Reply { mut body, call, .. } = reply;
        match body.get_mut("data").map(Value::take) {
            Some(data) if data.is_object() => Ok(data),
            _ => Err(undocumented(&call, "`data` is missing")),
        }
    }

    /// As the app itself or the token's account: `/app`, `/user`.
    pub(super) async fn get_own(&self, target: &str) -> Result<Reply, CallError> {
        self.get(Scope::Own, target).await
    }

    /// Whatever `pick` finds first in a list's pages. The address of the next page is made here and not taken from
    /// the `Link` header, which names a host.
    pub(super) async fn find<T, F>(&self, scope: Scope<'_>, list: &str, mut pick: F) -> Result<Option<T>, CallError>
    where
        F: FnMut(Vec<Value>) -> Result<Option<T>, CallError>,
    {
        let joint = if list.contains('?') { '&' } else { '?' };
        for page in 1..=PAGES_MAX {
            let target = format!("{list}{joint}per_page={PAGE_LEN}&page={page}");
            let mut body: Value = self.get(scope, &target).await?.json()?;
            // Some lists come wrapped, with a count beside them.
            for name in ["check_runs", "repositories"] {
                if let Some(wrapped) = body.get_mut(name) {
                    body = wrapped.take();
                }
            }
            let Value::Array(items) = body else {
                return Err(undocumented(&format!("GET {list}"), "not a list"));
            };
            let last = items.len() < PAGE_LEN;
            let found = pick(items)?;
            if found.is_some() || last {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a 2xx.
    ///
    /// # Errors
    /// `Permanent` for any other status; `Retry` for a 2xx that lacks what the type needs, as if it had been cut.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        if !self.is_success() {
            return Err(self.refusal());
        }
        serde_json::from_value(self.body).map_err(|e| undocumented(&self.call, &e.to_string()))
    }

    /// GitHub's words.
    pub(super) fn message(&self) -> String {
        message_in(&self.body)
    }

    /// What was called and what GitHub said.
    pub(super) fn describe(&self) -> String {
        describe(&self.call, self.status, &self.message())
    }

    /// Whether this was refused for want of a permission.
    pub(super) fn lacks_permission(&self) -> bool {
        !self.is_success() && lacks_permission(&self.message())
    }

    /// This answer as a permanent failure. 404 is also GitHub's way of saying "not for you".
    pub(super) fn refusal(&self) -> CallError {
        let class = match self.status {
            403 | 404 | 410 | 451 => FailureClass::Permission,
            _ => FailureClass::User,
        };
        permanent(self.describe(), class)
    }
}

/// One call, and again wherever GitHub says that it belongs now, as long as that is the same GitHub: a token never
/// travels elsewhere, and an answer from elsewhere is never believed.
pub(super) async fn send(
    client: &Octocrab,
    home: &Home,
    verb: Verb,
    target: &str,
    body: Option<&Value>,
) -> Result<Reply, Refused> {
    let once = || send_once(client, &home.base, verb, target, body);
    match verb {
        Verb::Get => home.reads.read(once, |refused| is_passing(&refused.error)).await,
        Verb::Post | Verb::Patch | Verb::Put | Verb::Delete => once().await,
    }
}

async fn send_once(
    client: &Octocrab,
    base: &url::Url,
    verb: Verb,
    target: &str,
    body: Option<&Value>,
) -> Result<Reply, Refused> {
    let mut target = target.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let call = format!("{verb} {}", target.split('?').next().unwrap_or_default());
        let path = path(base, &target);
        let exchange = tokio::time::timeout(CALL_TIMEOUT, exchange(client, verb, &path, &call, body));
        let answer = exchange
            .await
            .unwrap_or_else(|_| Err(lost(&call, "no answer in time")))?;
        if !matches!(answer.status, 301 | 302 | 307 | 308) {
            return judged(answer, target, call);
        }
        let elsewhere = || {
            let why = format!(
                "GitHub {call}: {} to somewhere else, which is not followed",
                answer.status
            );
            permanent(why, FailureClass::Permission)
        };
        // "Repeat the request verbatim" is what 307 and 308 mean for what changes something.
        let verbatim = verb == Verb::Get || matches!(answer.status, 307 | 308);
        let location = answer.headers.get("location").and_then(|at| at.to_str().ok());
        let next = location.filter(|_| verbatim).and_then(|at| same_api(base, at));
        target = next.ok_or_else(elsewhere)?;
    }
    Err(lost(&format!("{verb} {target}"), "redirected over and over").into())
}

/// The path and query of a target. Enterprise Server has REST at `/api/v3` and GraphQL beside it, at `/api/graphql`.
fn path(base: &url::Url, target: &str) -> String {
    let root = base.path().trim_end_matches('/');
    let root = match target {
        GRAPHQL => root.strip_suffix("/v3").unwrap_or(root),
        _ => root,
    };
    format!("{root}{target}")
}

/// The path and query below the API's address, if this is an address there.
fn same_api(base: &url::Url, location: &str) -> Option<String> {
    let to = base.join(location).ok()?;
    let plain = to.username().is_empty() && to.password().is_none();
    if to.origin() != base.origin() || !plain {
        return None;
    }
    let path = to.path().strip_prefix(base.path().trim_end_matches('/'))?;
    let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
    path.starts_with('/').then(|| format!("{path}{query}"))
}

/// What came back, as it came.
struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Bytes,
}

async fn exchange(
    client: &Octocrab,
    verb: Verb,
    target: &str,
    call: &str,
    body: Option<&Value>,
) -> Result<Answer, CallError> {
    let response = match verb {
        Verb::Get => client._get(target).await,
        Verb::Post => client._post(target, body).await,
        Verb::Patch => client._patch(target, body).await,
        Verb::Put => client._put(target, body).await,
        Verb::Delete => client._delete(target, body).await,
    }
    .map_err(|error| failed(call, &error))?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| lost(call, &error.to_string()))?
        .to_bytes();
    Ok(Answer { status, headers, bytes })
}

fn judged(answer: Answer, target: String, call: String) -> Result<Reply, Refused> {
    let Answer { status, headers, bytes } = answer;
    let success = (200..300).contains(&status);
    let body = if bytes.is_empty() {
        if success && !matches!(status, 204 | 205) {
            return Err(lost(&call, "the answer is empty").into());
        }
        Value::Null
    } else {
        match text::read(&bytes) {
            Ok(body) => body,
            // A failure's body need not be JSON (a proxy's page); a success's must be, or the answer was cut.
            Err(_) if !success => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) => return Err(lost(&call, &format!("the answer is not whole JSON: {e}")).into()),
        }
    };
    let message = message_in(&body);
    match judge(&call, status, Some(&headers), &message) {
        Some(error) => Err(Refused {
            unauthorized: status == 401,
            lacks_permission: status == 403 && lacks_permission(&message),
            error,
        }),
        None => Ok(Reply {
            status,
            next: next_cursor(&headers),
            target,
            date: headers.get("date").and_then(|at| http_date(at.to_str().ok()?)),
            body,
            call,
        }),
    }
}

/// Whether GitHub refuses because of what the app, or its token, is not allowed to do.
fn lacks_permission(message: &str) -> bool {
    message.contains("not accessible by integration") || message.contains("`workflows` permission")
}

/// The `cursor` of the address that `Link` calls the next one.
fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let link = headers.get("link")?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    let (_, query) = address.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "cursor")
        .map(|(_, cursor)| cursor.into_owned())
}

/// What a status means for every call alike. `None` where the caller has to know what was asked.
fn judge(call: &str, status: u16, headers: Option<&HeaderMap>, message: &str) -> Option<CallError> {
    let header = |name: &str| headers?.get(name)?.to_str().ok().map(str::trim);
    let after = header("retry-after").and_then(|given| match given.parse() {
        Ok(wait) => seconds(wait),
        // HTTP allows a date as well.
        Err(_) => until(http_date(given)?, header("date")?),
    });
    let spent = header("x-ratelimit-remaining") == Some("0");
    let lower = message.to_ascii_lowercase();
    let limited = ["secondary rate limit", "rate limit exceeded", "abuse detection"]
        .iter()
        .any(|words| lower.contains(words));
    let why = describe(call, status, message);
    match status {
        429 => {}
        403 if after.is_some() || spent || limited => {}
        401 => return Some(unauthorized(&why)),
        403 => return Some(permanent(why, FailureClass::Permission)),
        408 | 500.. => return Some(retry(why, after, FailureClass::Infrastructure)),
        _ => return None,
    }
    let reset = || until_reset(header("x-ratelimit-reset")?, header("date")?);
    let after = after.or_else(|| spent.then(reset).flatten()).unwrap_or(LIMIT_PAUSE);
    Some(retry(why, Some(after), FailureClass::RateLimit))
}

/// How long until the budget is full again, by GitHub's own clock.
fn until_reset(reset: &str, date: &str) -> Option<Duration> {
    until(jiff::Timestamp::from_second(reset.parse().ok()?).ok()?, date)
}

/// How long from the time of the answer to this one; a second at least.
fn until(at: jiff::Timestamp, date: &str) -> Option<Duration> {
    let wait = at.as_second().checked_sub(http_date(date)?.as_second())?;
    seconds(wait.max(1) as f64)
}

/// octocrab gave no answer; an error that GitHub itself sent is judged as one.
fn failed(call: &str, error: &octocrab::Error) -> CallError {
    if let octocrab::Error::GitHub { source, .. } = error {
        let status = source.status_code.as_u16();
        return judge(call, status, source.headers.as_ref(), &source.message)
            .unwrap_or_else(|| permanent(describe(call, status, &source.message), FailureClass::Permission));
    }
    match error {
        octocrab::Error::JWT { .. } => permanent(
            format!("GitHub {call}: the app's key cannot sign"),
            FailureClass::Permission,
        ),
        octocrab::Error::UriParse { .. } | octocrab::Error::Uri { .. } => {
            permanent(format!("GitHub {call}: not an address"), FailureClass::User)
        }
        other => lost(call, &explain(other)),
    }
}

/// The error and its causes on one line. octocrab's own text may end in a stack trace.
fn explain(error: &octocrab::Error) -> String {
    let mut text = error.to_string().lines().next().unwrap_or_default().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn lost(call: &str, why: &str) -> CallError {
    retry(format!("GitHub {call}: {why}"), None, FailureClass::Infrastructure)
}

/// A 2xx that does not say what it is documented to say: taken for one that was cut.
pub(super) fn undocumented(call: &str, why: &str) -> CallError {
    lost(call, &format!("the answer is not as documented: {why}"))
}

fn describe(call: &str, status: u16, message: &str) -> String {
    format!("GitHub {call}: {status} {message}")
}

/// GitHub's `message`, with the messages or codes of its `errors`, as one line.
fn message_in(body: &Value) -> String {
    let mut parts = Vec::new();
    match body {
        Value::String(text) => parts.push(text.clone()),
        _ => parts.extend(body.get("message").and_then(Value::as_str).map(str::to_owned)),
    }
    for error in body.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let said = [Some(error), error.get("message"), error.get("code")];
        parts.extend(said.into_iter().flatten().find_map(Value::as_str).map(str::to_owned));
    }
    parts.join("; ").split_whitespace().collect::<Vec<_>>().join(" ")
}
