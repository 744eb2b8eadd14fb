//! Requests, answers and refusals as the vendor words them.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::auth::Caller;

/// Largest `per_page`; more is silently cut to it.
const PER_PAGE_MAX: usize = 100;
const PER_PAGE: usize = 30;

/// The vendor says no.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `message` of the body.
    pub message: String,
    /// `errors` of the body; absent if empty.
    pub errors: Vec<Value>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.message)?;
        self.errors.iter().try_for_each(|error| write!(f, " {error}"))
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(super) fn new(status: u16, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
            errors: Vec::new(),
        }
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "Not Found")
    }

    pub(super) fn unprocessable(message: &str) -> Self {
        Self::new(422, message)
    }

    /// `Validation Failed` about one field.
    pub(super) fn field(resource: &str, field: &str, code: &str) -> Self {
        Self::validation(json!({"resource": resource, "field": field, "code": code}))
    }

    /// `Validation Failed` with words of its own.
    pub(super) fn custom(resource: &str, field: Option<&str>, message: &str) -> Self {
        let mut error = json!({"resource": resource, "code": "custom", "message": message});
        if let Some(field) = field {
            error["field"] = json!(field);
        }
        Self::validation(error)
    }

    pub(super) fn validation(error: Value) -> Self {
        Self {
            status: 422,
            message: "Validation Failed".to_owned(),
            errors: vec![error],
        }
    }

    /// The body's shape is wrong.
    pub(super) fn schema(problem: &str) -> Self {
        Self::unprocessable(&format!("Invalid request.\n\n{problem}"))
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::schema(&format!("\"{field}\" wasn't supplied."))
    }

    pub(super) fn into_reply(self) -> Reply {
        let mut body = json!({"message": self.message});
        if !self.errors.is_empty() {
            body["errors"] = Value::Array(self.errors);
        }
        body["documentation_url"] = json!("https://docs.github.com/rest");
        body["status"] = json!(self.status.to_string());
        Reply::json(self.status, body)
    }
}

/// An answer.
pub(super) struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    link: Option<String>,
    /// Where a redirect leads.
    location: Option<String>,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            content_type: "application/json; charset=utf-8",
            body: body.to_string().into_bytes(),
            link: None,
            location: None,
        }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self::json(200, body)
    }

    pub(super) fn created(body: Value) -> Self {
        Self::json(201, body)
    }

    pub(super) fn no_content() -> Self {
        Self::raw(204, Vec::new())
    }

    pub(super) fn raw(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/vnd.github.raw; charset=utf-8",
            body,
            link: None,
            location: None,
        }
    }

    /// One page of a list, with its neighbours in `Link`.
    pub(super) fn page(req: &Req, items: Vec<Value>) -> Self {
        let (items, link) = req.page_of(items);
        Self {
            link,
            ..Self::ok(Value::Array(items))
        }
    }

    /// One page of a list inside `{total_count, <name>}`.
    pub(super) fn counted_page(req: &Req, name: &str, items: Vec<Value>) -> Self {
        let total = items.len();
        let (items, link) = req.page_of(items);
        Self {
            link,
            ..Self::ok(json!({"total_count": total, name: items}))
        }
    }

    /// A redirect to this address.
    pub(super) fn at(self, location: String) -> Self {
        Self {
            location: Some(location),
            ..self
        }
    }

    /// With a `Link` to the next page, whose address differs in this parameter.
    pub(super) fn linked(self, req: &Req, name: &str, value: &str) -> Self {
        Self {
            link: Some(format!("<{}>; rel=\"next\"", req.url_with(name, value))),
            ..self
        }
    }

    pub(super) fn into_response(self, now: Timestamp, calls_left: u64, reset: i64) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if self.status != 204 {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        if let Some(Ok(link)) = self.link.map(HeaderValue::try_from) {
            headers.insert(header::LINK, link);
        }
        if let Some(Ok(location)) = self.location.map(HeaderValue::try_from) {
            headers.insert(header::LOCATION, location);
        }
        // Limits are told in absolute time, which only means something next to the answer's own clock.
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(date) = HeaderValue::try_from(date) {
            headers.insert(header::DATE, date);
        }
        headers.insert(
            "x-github-media-type",
            HeaderValue::from_static("github.v3; format=json"),
        );
        headers.insert("x-ratelimit-limit", HeaderValue::from(5000));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(calls_left));
        headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
        headers.insert("x-ratelimit-resource", HeaderValue::from_static("core"));
        response
    }
}

/// A request that has been taken apart.
pub(super) struct Req {
    pub(super) caller: Caller,
    /// The repository in the path, which the caller may see.
    pub(super) repo: u64,
    /// Scheme, host, prefix and path, for `Link`.
    pub(super) url: String,
    pub(super) params: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Map<String, Value>,
    pub(super) accept: String,
}

impl Req {
    /// A part of the path; empty if the route has none of that name.
    pub(super) fn param(&self, name: &str) -> &str {
        find(&self.params, name).unwrap_or_default()
    }

    /// A number in the path; anything else there is a path that does not exist.
    pub(super) fn number(&self, name: &str) -> Result<u64, Refusal> {
        self.param(name).parse().map_err(|_| Refusal::not_found())
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// A text of the body; absent and `null` are the same.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, Refusal> {
        match self.body.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Refusal::schema(&format!(
                "For 'properties/{field}', {other} is not a string."
            ))),
        }
    }

    pub(super) fn owned(&self, field: &str) -> Result<Option<String>, Refusal> {
        Ok(self.text(field)?.map(str::to_owned))
    }

    pub(super) fn needed_text(&self, field: &str) -> Result<&str, Refusal> {
        self.text(field)?.ok_or_else(|| Refusal::missing(field))
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, Refusal> {
        match self.body.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Refusal::schema(&format!(
                "For 'properties/{field}', {other} is not a boolean."
            ))),
        }
    }

    fn page_of(&self, items: Vec<Value>) -> (Vec<Value>, Option<String>) {
        let per_page = self.per_page();
        let page = self.count("page").unwrap_or(1);
        let last = items.len().div_ceil(per_page).max(1);
        let mut links = Vec::new();
        let mut link = |to: usize, rel: &str| links.push(format!("<{}>; rel=\"{rel}\"", self.page_url(to)));
        if page > 1 {
            link((page - 1).min(last), "prev");
        }
        if page < last {
            link(page + 1, "next");
            link(last, "last");
        }
        if page > 1 {
            link(1, "first");
        }
        let items = items.into_iter().skip((page - 1) * per_page).take(per_page).collect();
        (items, (!links.is_empty()).then(|| links.join(", ")))
    }

    /// How many items a page of the answer may hold.
    pub(super) fn per_page(&self) -> usize {
        self.count("per_page").unwrap_or(PER_PAGE).min(PER_PAGE_MAX)
    }

    fn count(&self, name: &str) -> Option<usize> {
        let given = self.query(name)?.parse().ok();
        given.filter(|n: &usize| *n > 0)
    }

    fn page_url(&self, page: usize) -> String {
        self.url_with("page", &page.to_string())
    }

    /// The request's own address with another value of this parameter.
    fn url_with(&self, changed: &str, to: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.query.iter().filter(|(name, _)| name != changed) {
            query.append_pair(name, value);
        }
        query.append_pair(changed, to);
        format!("{}?{}", self.url, query.finish())
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// The body as a JSON object. No body is an empty object.
pub(super) fn parse_body(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refusal::new(400, "Body should be a JSON object")),
        Err(_) => Err(Refusal::new(400, "Problems parsing JSON")),
    }
}

/// What the vendor demands of every request before it looks at what is asked.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get(header::USER_AGENT).is_none_or(HeaderValue::is_empty) {
        return Err(Refusal::new(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.",
        ));
    }
    match headers.get("x-github-api-version").map(HeaderValue::as_bytes) {
        None | Some(b"2022-11-28" | b"2026-03-10") => Ok(()),
        Some(_) => Err(Refusal::new(400, "The API version in the request is not supported.")),
    }
}
