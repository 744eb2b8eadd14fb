//! A GitHub stand-in with one repository, and stepherd's adapter talking to it as an app.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use stepherd::adapters::github::{Credentials, Github, GithubConfig};
use stepherd::clock::{Clock, SystemClock};
use stepherd::domain::ids::{Repo, Sha};
use stepherd::sandbox::github::{AppOptions, GitHub, NewPr, Options};
use stepherd::sandbox::keys::AppKeys;
use stepherd::sandbox::stage::{Fault, FaultKind};

pub(super) const APP_ID: u64 = 4711;
pub(super) static KEYS: LazyLock<AppKeys> = LazyLock::new(|| AppKeys::generate().expect("randomness"));
pub(super) const REPO: &str = "acme/deploy";
const TOKEN: &str = "ghp_machine";

pub(super) struct Scene {
    pub(super) github: GitHub,
    pub(super) ours: Arc<Github>,
    seconds: Arc<AtomicI64>,
}

impl Scene {
    /// stepherd acts as an app.
    pub(super) async fn app() -> Self {
        Self::new(Credentials::App {
            app_id: APP_ID,
            private_key: KEYS.private_pem.clone().into(),
        })
        .await
    }

    /// stepherd acts with the token of an account.
    pub(super) async fn token() -> Self {
        Self::new(Credentials::Token(TOKEN.to_owned().into())).await
    }

    /// As an app that leaves the branches of merged steps where they are.
    pub(super) async fn keeping_branches() -> Self {
        let scene = Self::app().await;
        let credentials = Credentials::App {
            app_id: APP_ID,
            private_key: KEYS.private_pem.clone().into(),
        };
        Self {
            ours: ours(&scene.github, credentials, false),
            ..scene
        }
    }

    async fn new(credentials: Credentials) -> Self {
        let seconds = Arc::new(AtomicI64::new(1_760_000_000));
        let clock = Arc::clone(&seconds);
        let now = move || Timestamp::from_second(clock.load(Ordering::SeqCst)).expect("a time");
        let github = GitHub::start(Options {
            // Tokens are signed with the machine's clock by octocrab.
            auth_now: Arc::new(|| SystemClock.now()),
            app: Some(AppOptions {
                id: APP_ID,
                slug: "stepherd".to_owned(),
                public_key_pem: Some(KEYS.public_pem.clone()),
            }),
            tokens: vec![(TOKEN.to_owned().into(), "machine".to_owned())],
            ..Options::new(Arc::new(now))
        })
        .await
        .expect("a port");
        let files = [
            ("values.yaml", "# tenants\ncomcast: 1\n"),
            ("conf/app.json", "{\"a\": 1}\n"),
            ("README.md", "hello\n"),
        ];
        github.add_repo(REPO, &files).expect("a repository");
        github.add_user("octocat");
        let write = stepherd::sandbox::github::Level::Write;
        for login in ["machine", "octocat"] {
            github.set_permission(REPO, login, write).expect("an account");
        }
        let ours = ours(&github, credentials, true);
        Self { github, ours, seconds }
    }

    pub(super) fn pass_seconds(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(super) fn misbehave(&self, method: &str, path: &str, kind: FaultKind) {
        self.github.stage().misbehave(Fault::new(method, path, 1, kind));
    }

    /// How many calls of this kind there have been.
    pub(super) fn calls(&self, method: &str, path: &str) -> usize {
        let calls = self.github.stage().calls_to(method, path);
        calls.iter().filter(|call| call.path.ends_with(path)).count()
    }

    pub(super) fn branch(&self, name: &str) -> Option<String> {
        let branches = self.github.branches(REPO).expect("the repository");
        branches.into_iter().find(|(n, _)| n == name).map(|(_, sha)| sha)
    }

    pub(super) fn main(&self) -> Sha {
        sha(&self.branch("main").expect("the default branch"))
    }

    /// A call by somebody else's program, with the machine account's token; the answer must be good.
    pub(super) async fn by_hand(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &serde_json::Value,
    ) -> serde_json::Value {
        let client = reqwest::Client::builder()
            .user_agent("by-hand")
            .build()
            .expect("a client");
        let url = format!("{}/repos/{REPO}{path}", self.github.url());
        let call = client.request(method, url).bearer_auth(TOKEN).json(body);
        let answer = call.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("JSON")
    }

    /// A pull request by a person.
    pub(super) fn somebodys_pr(&self, branch: &str) -> u64 {
        let pr = NewPr {
            branch,
            base: "main",
            title: "Something",
            body: "",
            files: &[("src.txt", Some("one\ntwo\n"))],
            fork: None,
        };
        self.github
            .open_pr_by_person(REPO, "octocat", pr)
            .expect("a pull request")
    }
}

fn ours(github: &GitHub, credentials: Credentials, delete_merged_branches: bool) -> Arc<Github> {
    let config = GithubConfig {
        api_url: format!("{}/api/v3", github.url()),
        web_url: None,
        webhook_secrets: vec![],
        credentials,
        own_account_id: None,
        allow_forks: false,
        delete_merged_branches,
    };
    Github::new(config).expect("a client")
}

pub(super) fn repo() -> Repo {
    REPO.parse().expect("a repository")
}

pub(super) fn sha(text: &str) -> Sha {
    text.parse().expect("a SHA")
}
