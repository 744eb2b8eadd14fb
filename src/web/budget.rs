//! The budget of body bytes in flight: however many requests come at once, what they hold in memory has an end.
//!
//! Bytes are counted as they arrive and given back when the delivery is stored or the request ends, whichever way it
//! ends. Nobody waits for room: who finds none is told to come back, and holds nothing meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes of bodies may be held at once, over all requests.
#[derive(Debug, Clone)]
pub struct Budget {
    max: usize,
    held: Arc<AtomicUsize>,
}

/// What one request holds of it. Dropping it gives everything back.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: usize,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            held: Arc::default(),
        }
    }

    /// A share with nothing in it.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: 0,
        }
    }

    /// How many bytes are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes this many bytes more; `false`, and nothing taken, if the budget has not that much left.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.budget.max);
        let taken = self
            .budget
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if taken {
            self.held += bytes;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}
