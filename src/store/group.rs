//! Many wishes, one commit.
//!
//! A commit costs a write to the disk however much is in it. So one task takes all wishes that wait, grants them
//! together, and answers each. It goes on when whoever waits has hung up: what was promised is kept.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// How many may wait. More are turned away at once: they come back, and memory stays bounded.
const WAITING_MAX: usize = 1024;
/// The most in one commit: wishes, and bytes of them.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

struct Waiting<W, A> {
    wish: W,
    bytes: usize,
    answer: oneshot::Sender<Result<A, StoreError>>,
}

/// The way to the task.
pub(super) struct Group<W, A>(mpsc::Sender<Waiting<W, A>>);

impl<W, A> Clone for Group<W, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Send + 'static, A: Send + 'static> Group<W, A> {
    /// Starts the task; it ends with the last handle. `grant` answers all wishes, in their order.
    pub(super) fn start(
        grant: impl Fn(Vec<W>) -> BoxFuture<'static, Result<Vec<A>, StoreError>> + Send + Sync + 'static,
    ) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Waiting<W, A>>(WAITING_MAX);
        tokio::spawn(async move {
            while let Some(first) = receiver.recv().await {
                let mut bytes = first.bytes;
                let (mut wishes, mut answers) = (vec![first.wish], vec![first.answer]);
                while wishes.len() < BATCH && bytes < BATCH_BYTES {
                    let Ok(next) = receiver.try_recv() else { break };
                    bytes += next.bytes;
                    wishes.push(next.wish);
                    answers.push(next.answer);
                }
                // One panic must not be the end of all later wishes.
                let granted = AssertUnwindSafe(grant(wishes)).catch_unwind().await;
                // Whoever no longer waits needs no answer.
                match granted.unwrap_or_else(|_| Err(given_up())) {
                    Ok(granted) => {
                        for (answer, granted) in answers.into_iter().zip(granted) {
                            let _ = answer.send(Ok(granted));
                        }
                    }
                    Err(error) => {
                        for answer in answers {
                            let _ = answer.send(Err(error.clone()));
                        }
                    }
                }
            }
        });
        Self(sender)
    }

    /// Waits until the wish, which is this large, is granted for good.
    ///
    /// # Errors
    /// `Unavailable` at once if too many wait already.
    pub(super) async fn ask_unless_full(&self, wish: W, bytes: usize) -> Result<A, StoreError> {
        let place = self.0.try_reserve();
        let place = place
            .map_err(|_| StoreError::Unavailable(format!("{WAITING_MAX} others wait for the database already")))?;
        let (answer, answered) = oneshot::channel();
        place.send(Waiting { wish, bytes, answer });
        answered.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// Waits for its turn, and then until the wish is granted for good.
    pub(super) async fn ask(&self, wish: W) -> Result<A, StoreError> {
        let (answer, answered) = oneshot::channel();
        let bytes = 0;
        let sent = self.0.send(Waiting { wish, bytes, answer }).await;
        sent.map_err(|_| given_up())?;
        answered.await.unwrap_or_else(|_| Err(given_up()))
    }
}

fn given_up() -> StoreError {
    StoreError::Unavailable("it was given up".to_owned())
}
