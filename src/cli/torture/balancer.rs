//! A load balancer as small as one can be: each connection goes to some replica that takes it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Where one replica listens; `None` while it is known to be down.
#[derive(Debug, Clone, Copy, Default)]
struct Back {
    address: Option<SocketAddr>,
    /// It did not answer when last asked: others are tried first, as every balancer does that asks.
    silent: bool,
}

/// Where the replicas listen now.
#[derive(Clone, Default)]
pub(super) struct Backs(Arc<Mutex<Vec<Back>>>);

impl Backs {
    /// So many replicas, all down.
    pub(super) fn down(replicas: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Back::default(); replicas])))
    }

    /// The replica listens there from now on, or nowhere.
    pub(super) fn set(&self, replica: usize, address: Option<SocketAddr>) {
        if let Some(place) = self.lock().get_mut(replica) {
            *place = Back { address, silent: false };
        }
    }

    /// Whether the replica answered when it was asked just now.
    pub(super) fn answers(&self, replica: usize, answers: bool) {
        if let Some(place) = self.lock().get_mut(replica) {
            place.silent = !answers;
        }
    }

    /// Where the replica listens.
    pub(super) fn address(&self, replica: usize) -> Option<SocketAddr> {
        self.lock().get(replica)?.address
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Back>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that may be up, another one first each time, and those that did not answer last.
    fn from(&self, turn: usize) -> Vec<SocketAddr> {
        let backs = self.lock();
        let turned = backs.iter().cycle().skip(turn % backs.len().max(1)).take(backs.len());
        let mut turned: Vec<Back> = turned.copied().collect();
        turned.sort_by_key(|back| back.silent);
        turned.into_iter().filter_map(|back| back.address).collect()
    }
}

/// The balancer, at work; dropping it ends it.
pub(super) struct Balancer {
    /// `http://127.0.0.1:port`
    pub(super) url: String,
    task: AbortHandle,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Balancer {
    /// Starts it on loopback.
    pub(super) async fn start(backs: Backs) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let turn = Arc::new(AtomicUsize::new(0));
        let serving = async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let backs = backs.from(turn.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(carry(client, backs));
            }
        };
        Ok(Self {
            url,
            task: tokio::spawn(serving).abort_handle(),
        })
    }
}

/// To the first that does not refuse. If all do, the client sees its connection cut.
async fn carry(mut client: TcpStream, backs: Vec<SocketAddr>) {
    for back in backs {
        if let Ok(mut back) = TcpStream::connect(back).await {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut back).await;
            return;
        }
    }
}
