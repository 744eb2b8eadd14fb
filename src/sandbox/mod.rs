//! THE STAGE: stand-ins for GitHub, Jira, Discord, Argo CD and the cache-rebuild service, on loopback.
//!
//! They speak the vendors' wire formats, keep state, and are as strict as the vendors. They know nothing of
//! stepherd: no type of the domain is used here, so a mistake shared by both sides cannot hide.

pub mod argocd;
pub mod dcr;
pub mod discord;
pub mod github;
pub mod jira;
pub mod stage;
