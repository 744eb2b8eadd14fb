//! THE STAGE: stand-ins for GitHub, Jira, Discord, Argo CD and the cache-rebuild service, on loopback.
//!
//! They speak the vendors' wire formats, keep state, and are as strict as the vendors. They know nothing of
//! stepherd: no type of the domain is used here, so a mistake shared by both sides cannot hide.

pub mod argocd;
pub mod dcr;
pub mod discord;
pub mod github;
pub mod jira;
pub mod keys;
pub mod stage;
pub mod town;
mod wire;

use std::sync::Arc;

/// Where a stand-in takes the time from, so that its caller can turn it.
pub type Now = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// A message as people see it on a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxMessage {
    /// Who wrote it.
    pub author: String,
    /// What it says, as text.
    pub body: String,
    /// How often it was edited.
    pub edits: u32,
    /// The reactions on it.
    pub reactions: Vec<String>,
}

/// Why a person could not do that: the vendor's own page would not let them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPossible(pub String);
