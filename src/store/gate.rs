//! What stands at both sides of every commit.
//!
//! In service nothing does. Proofs of the store's promises put something there that kills the process's work between
//! two commits, or reports a commit that went through as one that did not.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;

/// Where a commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Everything is written, nothing is durable.
    BeforeCommit,
    /// It is durable; whoever asked does not know yet.
    AfterCommit,
}

/// Lets commits through. An error before the commit undoes it; one after it hides that it went through.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Called at each point of each writing verb.
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError>;
}

/// The gate in service: always open.
#[derive(Clone, Default)]
pub(super) struct Gates(pub(super) Option<Arc<dyn Gate>>);

impl Gates {
    pub(super) async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        match &self.0 {
            Some(gate) => gate.pass(verb, point).await,
            None => Ok(()),
        }
    }
}
