//! A stand-in for GitHub: the REST API as `api.github.com` and GHES speak it, its rules and refusals, the webhooks,
//! and the people who push, review, comment and merge.
//!
//! The rules follow GitHub's REST API reference and its OpenAPI description. It never talks to the real GitHub, and
//! keeps nothing when it ends. Forgiving where the vendor is strict is a bug here.

mod accounts;
mod activity;
mod auth;
mod checks;
mod deeds;
mod git;
mod graphql;
mod hooklog;
mod mail;
mod moves;
mod objects;
mod people;
mod pulls;
mod refs;
mod render;
mod routes;
mod state;
mod talk;
mod views;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::stage::{Served, Stage, serve};
use super::wire::hook_client;

pub use self::deeds::{Change, NewPr};
pub use self::mail::{Delivery, Slip, signature};
use self::mail::{Mail, deliver_pending};
use self::state::{App, Holder, Kind, Token, World};
pub use self::state::{Level, Now};
pub use self::views::{SandboxCheck, SandboxMessage, SandboxPull};
pub use self::wire::Refusal;

/// The first id given is one more than this: large enough not to be taken for a number of something else.
const IDS_FROM: u64 = 1_000_000;

/// What the stand-in is to be.
#[derive(Clone)]
pub struct Options {
    /// The time that everything is stamped with.
    pub now: Now,
    /// The time that tokens are judged by. Clients that sign with the machine's clock need the machine's clock here.
    pub auth_now: Now,
    /// The port; 0 picks a free one.
    pub port: u16,
    /// The app, if the client signs in as one.
    pub app: Option<AppOptions>,
    /// Plain tokens and the logins they belong to; unknown logins become users.
    pub tokens: Vec<(SecretString, String)>,
    /// Whether webhooks are sent by themselves. Otherwise `deliver_pending` sends them.
    pub auto: bool,
    /// Where links for people (`html_url`) lead; the stand-in's own URL if absent.
    pub html_url: Option<String>,
}

impl Options {
    /// No app, no tokens, any port, webhooks by hand.
    pub fn new(now: Now) -> Self {
        Self {
            auth_now: Arc::clone(&now),
            now,
            port: 0,
            app: None,
            tokens: Vec::new(),
            auto: false,
            html_url: None,
        }
    }
}

/// A GitHub App.
#[derive(Debug, Clone)]
pub struct AppOptions {
    /// Its id, the issuer of its JSON Web Tokens.
    pub id: u64,
    /// Its short name; its bot is `<slug>[bot]`.
    pub slug: String,
    /// The RSA public key its JSON Web Tokens are checked with. Without it nobody can sign in as the app.
    pub public_key_pem: Option<String>,
}

/// GitHub, standing in. Clones are the same stand-in; it ends with the last one.
#[derive(Clone)]
pub struct GitHub {
    inner: Arc<Inner>,
}

struct Inner {
    world: Arc<Mutex<World>>,
    stage: Arc<Stage>,
    served: Served,
    client: reqwest::Client,
    /// One sender at a time, so that deliveries arrive in order.
    sending: Arc<tokio::sync::Mutex<()>>,
    pump: Option<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
    }
}

impl GitHub {
    /// Starts serving.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let client = hook_client();
        let stirred = Arc::new(Notify::new());
        let world = Arc::new(Mutex::new(new_world(&options)));
        let stage = Arc::new(Stage::default());
        let routes = routes::all(routes::Shared {
            world: Arc::clone(&world),
        });
        let served = serve(routes, Arc::clone(&stage), options.port).await?;
        {
            let mut world = lock(&world);
            world.html = options.html_url.unwrap_or_else(|| served.url.clone());
            world.url = served.url.clone();
            world.mail.stirred = Some(Arc::clone(&stirred));
        }
        let sending = Arc::new(tokio::sync::Mutex::new(()));
        let pump = options.auto.then(|| {
            let (world, client, sending) = (Arc::clone(&world), client.clone(), Arc::clone(&sending));
            tokio::spawn(async move {
                loop {
                    stirred.notified().await;
                    let _one = sending.lock().await;
                    deliver_pending(&world, &client).await;
                }
            })
            .abort_handle()
        });
        Ok(Self {
            inner: Arc::new(Inner {
                world,
                stage,
                served,
                client,
                sending,
                pump,
            }),
        })
    }

    /// The API's root, `http://127.0.0.1:port`. The same API is under `/api/v3`, as GHES has it.
    pub fn url(&self) -> &str {
        &self.inner.served.url
    }

    /// What was called, and how to misbehave.
    pub fn stage(&self) -> &Stage {
        &self.inner.stage
    }

    /// Where webhooks go, and what they are signed with. `form` sends them form-encoded instead of as JSON.
    pub fn set_webhook(&self, url: &str, secret: SecretString, form: bool) {
        self.world().mail.set_hook(url, secret, form);
    }

    /// The only events the webhook gets from now on: `issue_comment`, `pull_request` and so on.
    pub fn subscribe(&self, events: &[&str]) {
        self.world().mail.subscribe(events);
    }

    /// Sends the webhooks that wait, one after another, and those that come up meanwhile. The answers' statuses,
    /// 0 where there was none.
    pub async fn deliver_pending(&self) -> Vec<u16> {
        let _one = self.inner.sending.lock().await;
        deliver_pending(&self.inner.world, &self.inner.client).await
    }

    /// Every delivery so far, oldest first, sent or not.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.world().mail.deliveries().to_vec()
    }

    /// What is known of every delivery so far without its payload, oldest first.
    pub fn slips(&self) -> Vec<Slip> {
        self.world().mail.slips()
    }

    /// Sends a delivery once more, with the same id. `false` if there is none with this id.
    pub fn redeliver(&self, id: &str) -> bool {
        self.world().mail.again(id)
    }

    /// From now on webhooks are kept back.
    pub fn hold_deliveries(&self) {
        self.world().mail.hold();
    }

    /// Lets go of what was kept back: first these, by delivery id and in this order, then the rest as it came.
    pub fn release_deliveries(&self, first: &[String]) {
        self.world().mail.release(first);
    }

    /// Never sends what waits or is kept back, as in an outage; the answer is how many were lost. They can be
    /// redelivered.
    pub fn lose_deliveries(&self) -> usize {
        self.world().mail.lose()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.inner.world)
    }
}

fn new_world(options: &Options) -> World {
    let mut world = World {
        now: Arc::clone(&options.now),
        auth_now: Arc::clone(&options.auth_now),
        url: String::new(),
        html: String::new(),
        app: None,
        accounts: BTreeMap::new(),
        repos: BTreeMap::new(),
        former_names: BTreeMap::new(),
        stores: BTreeMap::new(),
        teams: BTreeMap::new(),
        installations: BTreeMap::new(),
        tokens: BTreeMap::new(),
        mail: Mail::default(),
        calls_left: routes::CALLS_PER_HOUR,
        calls_reset: routes::next_hour((options.now)()),
        slow_mergeability: 0,
        last_id: IDS_FROM,
    };
    if let Some(app) = &options.app {
        let bot = world.add_account(&format!("{}[bot]", app.slug), Kind::Bot);
        world.app = Some(App {
            id: app.id,
            slug: app.slug.clone(),
            bot,
            public_key_pem: app.public_key_pem.clone(),
        });
    }
    for (secret, login) in &options.tokens {
        let user = world.add_account(login, Kind::User);
        let token = Token {
            holder: Holder::User(user),
            permissions: BTreeMap::new(),
            repos: None,
            expires_at: None,
        };
        world.tokens.insert(secret.expose_secret().to_owned(), token);
    }
    world
}

/// A panic in another test thread must not hide what happened.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
