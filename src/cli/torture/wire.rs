//! The way from one replica to PostgreSQL, which can go dark or become slow.
//!
//! A dark wire is what a partition looks like from inside: nothing is refused and nothing is cut, bytes just do not
//! arrive. What was sent into the dark arrives once the wire is open again, as TCP has it.
//!
//! A wire can also be caught at the worst moment: when the replica has changed rows and is about to commit.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use url::Url;

const PORT: u16 = 5432;

/// What happens to bytes, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They pass.
    Open,
    /// They do not arrive.
    Dark,
    /// Each piece of them arrives this much later.
    Slow(Duration),
    /// They pass until the replica commits a transaction of many statements; with that the wire goes dark.
    UntilCommit,
}

/// A transaction of so many statements is one of the engine's: it holds rows that every replica needs.
const MANY_STATEMENTS: usize = 6;
/// How PostgreSQL's simple queries begin and end a transaction.
const BEGIN: &[u8] = b"BEGIN";
const COMMIT: &[u8] = b"COMMIT\0";

/// Where the server really is.
#[derive(Clone)]
enum Server {
    Tcp(String, u16),
    Socket(PathBuf),
}

/// The wire, at work; dropping it cuts it.
pub(super) struct Wire {
    /// What the replica is told as the database's address.
    pub(super) url: String,
    mode: watch::Sender<Mode>,
    task: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// Lays a wire to the server of this address.
    pub(super) async fn lay(database: &str) -> Result<Self, String> {
        let mut url = Url::parse(database).map_err(|e| format!("the database's address cannot be read: {e}"))?;
        let server = server(&url);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != "host" && name != "port")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        url.set_host(Some("127.0.0.1")).map_err(|e| e.to_string())?;
        url.set_port(Some(port))
            .map_err(|()| "the database's address takes no port".to_owned())?;
        let (mode, _) = watch::channel(Mode::Open);
        let task = tokio::spawn(carry_all(listener, server, mode.clone())).abort_handle();
        Ok(Self {
            url: url.into(),
            mode,
            task,
        })
    }

    /// From now on this happens to bytes.
    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Goes dark in the middle of a commit, if one comes in this time.
    pub(super) async fn catch_commit(&self, patience: Duration) {
        self.set(Mode::UntilCommit);
        let mut mode = self.mode.subscribe();
        let dark = mode.wait_for(|mode| *mode == Mode::Dark);
        // Where nothing was caught the replica is hit at any other moment.
        let _ = tokio::time::timeout(patience, dark).await;
    }
}

/// The server's place: `host` in the query, a folder of sockets included, goes before the address's own.
fn server(url: &Url) -> Server {
    let said = |wanted: &str| {
        url.query_pairs()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let port = said("port")
        .and_then(|port| port.parse().ok())
        .or(url.port())
        .unwrap_or(PORT);
    let host = said("host").or_else(|| url.host_str().map(str::to_owned));
    match host.unwrap_or_else(|| "localhost".to_owned()) {
        folder if folder.starts_with('/') => Server::Socket(PathBuf::from(folder).join(format!(".s.PGSQL.{port}"))),
        host => Server::Tcp(host, port),
    }
}

async fn carry_all(listener: TcpListener, server: Server, mode: watch::Sender<Mode>) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (server, mode) = (server.clone(), mode.clone());
        carried.spawn(async move {
            match server {
                Server::Tcp(host, port) => match TcpStream::connect((host, port)).await {
                    Ok(server) => carry(client, server, mode).await,
                    Err(_) => drop(client),
                },
                Server::Socket(path) => match UnixStream::connect(path).await {
                    Ok(server) => carry(client, server, mode).await,
                    Err(_) => drop(client),
                },
            }
        });
    }
}

async fn carry(client: TcpStream, server: impl AsyncRead + AsyncWrite, mode: watch::Sender<Mode>) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    tokio::join!(
        pump(from_client, to_server, &mode, true),
        pump(from_server, to_client, &mode, false)
    );
}

/// Carries bytes one way to their end.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mode: &watch::Sender<Mode>,
    from_client: bool,
) {
    let mut modes = mode.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    let mut statements = 0;
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        let piece = buffer.get(..read).unwrap_or_default();
        if from_client {
            let says = |what: &[u8]| piece.windows(what.len()).any(|at| at == what);
            if says(COMMIT) && statements >= MANY_STATEMENTS {
                mode.send_if_modified(|mode| {
                    let caught = *mode == Mode::UntilCommit;
                    if caught {
                        *mode = Mode::Dark;
                    }
                    caught
                });
            }
            statements = if says(BEGIN) { 0 } else { statements + 1 };
        }
        let Ok(now) = modes.wait_for(|mode| *mode != Mode::Dark).await.map(|mode| *mode) else {
            return;
        };
        if let Mode::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if piece.is_empty() {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}
