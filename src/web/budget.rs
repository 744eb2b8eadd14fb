//! The budget of body bytes in flight: however many requests come at once, what they hold in memory has an end, and
//! nobody can hold so much of it that others find no room.
//!
//! Bytes are counted as they arrive and given back when the delivery is stored or the request ends, whichever way it
//! ends. Nobody waits for room: a request that finds none is told to come back, and holds nothing meanwhile.
//!
//! A request counts in three scopes at once: all requests, those of its platform, and those of its peer, where the
//! peer is known. Each scope bounds all its bytes, and within them the bytes and the number of its large bodies. So
//! the last quarter of every scope is left to small bodies, which is what commands and buttons come in; no platform
//! takes more than half of the budget, and no peer more than a quarter. Nor has a peer more than a quarter of the
//! places for connections taken by requests that are still being read, however little they send.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::Platform;

/// The largest body that counts as small.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// How many large bodies there may be at once; half as many for one platform, a quarter as many for one peer.
pub const LARGE_BODIES_MAX: usize = 64;

/// How many bytes of bodies may be held at once, and by whom.
#[derive(Debug, Clone)]
pub struct Budget {
    all: Limit,
    platform: Limit,
    peer: Limit,
    books: Arc<Mutex<Books>>,
}

/// What one scope may hold.
#[derive(Debug, Clone, Copy)]
struct Limit {
    bytes: usize,
    large_bytes: usize,
    large_bodies: usize,
    reading: usize,
}

impl Limit {
    /// A part of the budget: three quarters of it for large bodies, but always room for one of the greatest length.
    fn part(bytes: usize, body_max: usize, large_bodies: usize) -> Self {
        let bytes = bytes.max(body_max);
        Self {
            bytes,
            large_bytes: (bytes - bytes / 4).max(body_max),
            large_bodies,
            reading: usize::MAX,
        }
    }

    fn allows(&self, held: Held) -> bool {
        held.bytes <= self.bytes
            && held.large_bytes <= self.large_bytes
            && held.large_bodies <= self.large_bodies
            && held.reading <= self.reading
    }
}

/// What one scope, or one request, holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    bytes: usize,
    large_bytes: usize,
    large_bodies: usize,
    /// Requests whose bodies have not come yet.
    reading: usize,
}

impl Held {
    fn of_request(bytes: usize, large: bool) -> Self {
        Self {
            bytes,
            large_bytes: if large { bytes } else { 0 },
            large_bodies: usize::from(large),
            reading: 1,
        }
    }

    /// With `new` instead of `old`, which is part of it; `None` beyond all numbers.
    fn instead(self, old: Self, new: Self) -> Option<Self> {
        Some(Self {
            bytes: (self.bytes - old.bytes).checked_add(new.bytes)?,
            large_bytes: (self.large_bytes - old.large_bytes).checked_add(new.large_bytes)?,
            large_bodies: self.large_bodies - old.large_bodies + new.large_bodies,
            reading: self.reading - old.reading + new.reading,
        })
    }
}

/// What is held, by scope. Scopes that hold nothing are not in it.
#[derive(Debug, Default)]
struct Books {
    all: Held,
    platforms: BTreeMap<Platform, Held>,
    peers: BTreeMap<IpAddr, Held>,
}

/// What one request holds of the budget. Dropping it gives everything back.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    platform: Platform,
    peer: Option<IpAddr>,
    held: Held,
}

impl Budget {
    /// A budget of so many bytes, for bodies of at most `body_max`. It should be four times that, so that the part of
    /// one peer still takes a body of the greatest length. `places` is how many connections there may be.
    pub fn new(bytes: usize, body_max: usize, places: usize) -> Self {
        Self {
            all: Limit::part(bytes, body_max, LARGE_BODIES_MAX),
            platform: Limit::part(bytes / 2, body_max, LARGE_BODIES_MAX / 2),
            peer: Limit {
                reading: (places / 4).max(1),
                ..Limit::part(bytes / 4, body_max, LARGE_BODIES_MAX / 4)
            },
            books: Arc::default(),
        }
    }

    /// A share with nothing in it. Without a peer nothing bounds one sender among those of its platform.
    pub fn share(&self, platform: Platform, peer: Option<IpAddr>) -> Share {
        Share {
            budget: self.clone(),
            platform,
            peer: peer.map(network),
            held: Held::default(),
        }
    }

    /// How many bytes are held now.
    pub fn held(&self) -> usize {
        self.books().all.bytes
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing that holds the lock can fail half-way: the figures are right even after a panic elsewhere.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Says how long the body will be, before its first byte: the request takes a place among those that are being read,
    /// and a large one among the large ones. `false` if there is none left.
    #[must_use]
    pub fn announce(&mut self, length: u64) -> bool {
        let large = self.held.large_bodies > 0 || length > SMALL_BODY_BYTES_MAX as u64;
        self.become_(Held::of_request(self.held.bytes, large))
    }

    /// The body has come: it holds its room, but is no longer being read.
    pub fn arrived(&mut self) {
        let new = Held {
            reading: 0,
            ..self.held
        };
        // Less is always allowed.
        let _ = self.become_(new);
    }

    /// Takes this many bytes more; `false`, and nothing taken, if there is not that much room left.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        let Some(bytes) = self.held.bytes.checked_add(bytes) else {
            return false;
        };
        let large = self.held.large_bodies > 0 || bytes > SMALL_BODY_BYTES_MAX;
        self.become_(Held::of_request(bytes, large))
    }

    /// Holds `new` from now on, if every scope allows it.
    fn become_(&mut self, new: Held) -> bool {
        let mut books = self.budget.books();
        let platform = books.platforms.get(&self.platform).copied().unwrap_or_default();
        let peer = self
            .peer
            .map(|peer| books.peers.get(&peer).copied().unwrap_or_default());
        let within = |limit: Limit, scope: Held| scope.instead(self.held, new).filter(|held| limit.allows(*held));
        let (Some(all), Some(platform)) = (
            within(self.budget.all, books.all),
            within(self.budget.platform, platform),
        ) else {
            return false;
        };
        let peer = match peer.map(|peer| within(self.budget.peer, peer)) {
            Some(None) => return false,
            Some(Some(peer)) => Some(peer),
            None => None,
        };
        books.all = all;
        keep(&mut books.platforms, &self.platform, platform);
        if let (Some(address), Some(held)) = (self.peer, peer) {
            keep(&mut books.peers, &address, held);
        }
        drop(books);
        self.held = new;
        true
    }
}

/// Puts down what a scope holds; one that holds nothing is forgotten.
fn keep<K: Ord + Clone>(scopes: &mut BTreeMap<K, Held>, scope: &K, held: Held) {
    if held == Held::default() {
        scopes.remove(scope);
    } else {
        scopes.insert(scope.clone(), held);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Less is always allowed.
        let _ = self.become_(Held::default());
    }
}

/// Whoever has one IPv6 address has the 64 bits behind its network as well.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}
