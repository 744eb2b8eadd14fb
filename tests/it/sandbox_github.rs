//! The stand-in for GitHub, held to what GitHub does: spoken to over raw HTTP, as any client would.

mod access;
mod changes;
mod checks;
mod hooklog;
mod hooks;
mod objects;
mod shapes;
mod talk;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use stepherd::sandbox::github::{AppOptions, GitHub, Level, NewPr, Options};
use stepherd::sandbox::keys::AppKeys;

const REPO: &str = "acme/deploy";
const TOKEN: &str = "ghp_plain";
const APP_ID: u64 = 4711;
static KEYS: LazyLock<AppKeys> = LazyLock::new(|| AppKeys::generate().expect("randomness"));
const NOON: i64 = 1_795_176_000;

/// A stand-in with a repository, some people, and a client that is signed in.
struct Town {
    github: GitHub,
    clock: Arc<AtomicI64>,
    client: reqwest::Client,
    token: String,
    prefix: &'static str,
}

/// An answer.
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The body, if the status is this.
    #[track_caller]
    fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// A refusal with these words in it, of the vendor's shape.
    #[track_caller]
    fn expect_refusal(&self, status: u16, words: &str) {
        let body = self.expect(status);
        assert!(self.text.contains(words), "{words:?} is not in {}", self.text);
        assert!(
            body["message"].is_string() && body["documentation_url"].is_string(),
            "{body}"
        );
        assert_eq!(body["status"], json!(status.to_string()));
    }
}

impl Town {
    /// Signed in with a plain token that may push.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let clock = Arc::new(AtomicI64::new(NOON));
        let hand = Arc::clone(&clock);
        let now = move || Timestamp::from_second(hand.load(Ordering::SeqCst)).unwrap();
        let mut options = Options::new(Arc::new(now));
        options.tokens = vec![(TOKEN.to_owned().into(), "robot".to_owned())];
        options.app = Some(AppOptions {
            id: APP_ID,
            slug: "stepherd".to_owned(),
            public_key_pem: Some(KEYS.public_pem.clone()),
        });
        change(&mut options);
        let github = GitHub::start(options).await.unwrap();
        github
            .add_repo(
                REPO,
                &[
                    ("README.md", "hello\n"),
                    ("clusters/dc1.yaml", "a: 1\nb: 2\nc: 3\nd: 4\n"),
                ],
            )
            .unwrap();
        for login in ["alice", "bob"] {
            github.add_user(login);
            github.set_permission(REPO, login, Level::Write).unwrap();
        }
        github.set_permission(REPO, "robot", Level::Write).unwrap();
        Self {
            github,
            clock,
            client: reqwest::Client::builder()
                .user_agent("test")
                .no_proxy()
                .build()
                .unwrap(),
            token: TOKEN.to_owned(),
            prefix: "",
        }
    }

    /// Signed in as the app on the repository's owner.
    async fn as_app() -> Self {
        let mut town = Self::new().await;
        town.token = town.installation_token(json!({})).await;
        town
    }

    fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn jwt(&self) -> String {
        let now = self.now();
        self.jwt_with(
            jsonwebtoken::Algorithm::RS256,
            &json!({"iss": APP_ID.to_string(), "iat": now - 60, "exp": now + 540}),
        )
    }

    fn jwt_with(&self, algorithm: jsonwebtoken::Algorithm, claims: &Value) -> String {
        let key = match algorithm {
            jsonwebtoken::Algorithm::HS256 => jsonwebtoken::EncodingKey::from_secret(KEYS.public_pem.as_bytes()),
            _ => jsonwebtoken::EncodingKey::from_rsa_pem(KEYS.private_pem.as_bytes()).unwrap(),
        };
        jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), claims, &key).unwrap()
    }

    async fn installation_token(&self, body: Value) -> String {
        let jwt = self.jwt();
        let found = self
            .call_as(&jwt, "GET", &format!("/repos/{REPO}/installation"), Value::Null)
            .await
            .expect(200);
        let path = format!("/app/installations/{}/access_tokens", found["id"]);
        let minted = self.call_as(&jwt, "POST", &path, body).await.expect(201);
        minted["token"].as_str().unwrap().to_owned()
    }

    async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Got {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{}{path}", self.github.url(), self.prefix)
        };
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        got(request).await
    }

    /// A call at the API's root.
    async fn call(&self, method: &str, path: &str, body: Value) -> Got {
        self.call_as(&self.token, method, path, body).await
    }

    /// A call about the repository.
    async fn at(&self, method: &str, path: &str, body: Value) -> Got {
        self.call(method, &format!("/repos/{REPO}{path}"), body).await
    }

    async fn get(&self, path: &str) -> Value {
        self.at("GET", path, Value::Null).await.expect(200)
    }

    /// A branch from `main` with one commit that sets a file, made as an API client makes it; the answer is the commit.
    async fn branch_with(&self, branch: &str, path: &str, content: &str) -> String {
        let main = self.get("/git/ref/heads/main").await["object"]["sha"].clone();
        self.commit_on(&main, branch, path, content).await
    }

    async fn commit_on(&self, parent: &Value, branch: &str, path: &str, content: &str) -> String {
        let parent = parent.as_str().unwrap();
        let base = self.get(&format!("/git/commits/{parent}")).await["tree"]["sha"].clone();
        let entry = json!({"path": path, "mode": "100644", "type": "blob", "content": content});
        let tree = self
            .at("POST", "/git/trees", json!({"base_tree": base, "tree": [entry]}))
            .await
            .expect(201);
        let commit = json!({"message": format!("Set {path}"), "tree": tree["sha"], "parents": [parent]});
        let commit = self.at("POST", "/git/commits", commit).await.expect(201);
        let sha = commit["sha"].as_str().unwrap().to_owned();
        let name = format!("refs/heads/{branch}");
        self.at("POST", "/git/refs", json!({"ref": name, "sha": sha}))
            .await
            .expect(201);
        sha
    }

    async fn open(&self, branch: &str) -> u64 {
        let new = json!({"title": format!("From {branch}"), "head": branch, "base": "main", "body": "why"});
        let pull = self.at("POST", "/pulls", new).await.expect(201);
        pull["number"].as_u64().unwrap()
    }

    /// A pull request by alice.
    fn by_alice(&self, branch: &str, files: &[(&str, Option<&str>)]) -> u64 {
        let pr = NewPr {
            branch,
            base: "main",
            title: "Alice's change",
            body: "",
            files,
            fork: None,
        };
        self.github.open_pr_by_person(REPO, "alice", pr).unwrap()
    }
}

async fn got(request: reqwest::RequestBuilder) -> Got {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Got { status, headers, text }
}
