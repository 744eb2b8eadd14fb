//! A real PostgreSQL for the tests: the one that `STEPHERD_TEST_DATABASE_URL` names, or a private one that ends with
//! this process. There is no running without: absent means a failure that says what to do.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use stepherd::store::Store;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;

/// The server's address, and what keeps it running: its end of the pipe closes with this process.
struct Server {
    url: String,
    _private: Option<Mutex<Child>>,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var("STEPHERD_TEST_DATABASE_URL") {
        Ok(url) => Server { url, _private: None },
        Err(_) => private(),
    })
}

fn private() -> Server {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{}", std::process::id()));
    let mut child = Command::new("bash")
        .arg(root.join("tests/postgres.sh"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs tests/postgres.sh");
    let mut said = String::new();
    BufReader::new(child.stdout.as_mut().expect("it is piped"))
        .read_line(&mut said)
        .unwrap();
    let url = said
        .trim()
        .strip_prefix("url ")
        .expect("a PostgreSQL to test with: see what tests/postgres.sh said above");
    Server {
        url: url.to_owned(),
        _private: Some(Mutex::new(child)),
    }
}

async fn admin() -> PgConnection {
    PgConnection::connect(&server().url).await.unwrap()
}

/// A new, empty database of its own.
pub struct Database {
    name: String,
    /// As `Store::open` takes it.
    pub url: String,
}

impl Database {
    pub async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stepherd_test_{}_{number}", std::process::id());
        let create = format!("CREATE DATABASE {name}");
        admin().await.execute(AssertSqlSafe(create)).await.unwrap();
        let mut url = url::Url::parse(&server().url).unwrap();
        url.set_path(&format!("/{name}"));
        Self { name, url: url.into() }
    }

    /// A store on it that goes by the time it is told, as tests turn it, and not by the server's clock.
    pub async fn store(&self) -> Store {
        let store = Store::open(&self.url).await.unwrap();
        self.turn_clock_by_hand().await;
        store
    }

    /// From now on leases go by the time that each process takes it to be.
    pub async fn turn_clock_by_hand(&self) {
        let function = "CREATE OR REPLACE FUNCTION stepherd_now(BIGINT) RETURNS BIGINT LANGUAGE sql AS 'SELECT $1'";
        self.by_hand().await.execute(function).await.unwrap();
    }

    /// A connection behind the store's back.
    pub async fn by_hand(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// The server's socket.
    fn socket(&self) -> PathBuf {
        let options = PgConnectOptions::from_str(&self.url).unwrap();
        let folder = options.get_socket().expect("the tests' own server listens on a socket");
        folder.join(format!(".s.PGSQL.{}", options.get_port()))
    }

    /// What the tests' own server has said so far.
    pub fn server_log(&self) -> String {
        let folder = self.socket().parent().unwrap().to_owned();
        std::fs::read_to_string(folder.join("log")).unwrap()
    }

    /// Ends it; a failed test leaves it behind to be looked at, if the server outlives the test.
    pub async fn drop(self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin().await.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

/// A way to the server that can be cut.
pub struct Wire {
    /// As `Store::open` takes it.
    pub url: String,
    up: Arc<AtomicBool>,
    cut: Arc<Notify>,
    swallowing: Arc<AtomicBool>,
    swallow: Arc<Notify>,
}

impl Wire {
    pub async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut url = url::Url::parse(&database.url).unwrap();
        url.set_query(None);
        url.set_port(Some(port)).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        let wire = Self {
            url: url.into(),
            up: Arc::new(AtomicBool::new(true)),
            cut: Arc::default(),
            swallowing: Arc::default(),
            swallow: Arc::default(),
        };
        let (up, cut) = (wire.up.clone(), wire.cut.clone());
        let (swallowing, swallow) = (wire.swallowing.clone(), wire.swallow.clone());
        let socket = database.socket();
        tokio::spawn(async move {
            loop {
                let (here, _) = listener.accept().await.unwrap();
                if up.load(Ordering::SeqCst) {
                    let swallowed = swallowing.load(Ordering::SeqCst);
                    tokio::spawn(forward(here, socket.clone(), swallowed, cut.clone(), swallow.clone()));
                }
            }
        });
        wire
    }

    /// From now on connections stay open and nothing comes through, through none that there are now and through no new
    /// one: as a network does that drops packets.
    pub fn swallow(&self) {
        self.swallowing.store(true, Ordering::SeqCst);
        self.swallow.notify_waiters();
    }

    pub fn down(&self) {
        self.up.store(false, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    /// New connections come through again. Those that were swallowed never do.
    pub fn up(&self) {
        self.swallowing.store(false, Ordering::SeqCst);
        self.up.store(true, Ordering::SeqCst);
    }
}

async fn forward(mut here: TcpStream, socket: PathBuf, swallowed: bool, cut: Arc<Notify>, swallow: Arc<Notify>) {
    let (cut, swallow) = (cut.notified(), swallow.notified());
    if swallowed {
        cut.await;
        return;
    }
    let mut there = UnixStream::connect(socket).await.unwrap();
    let mut cut = std::pin::pin!(cut);
    tokio::select! {
        _ = copy_bidirectional(&mut here, &mut there) => return,
        () = &mut cut => return,
        () = swallow => {}
    }
    // Held open on both sides, and nobody reads.
    cut.await;
}
