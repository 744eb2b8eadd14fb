//! Jira Cloud (REST v3, Atlassian Document Format) and Jira Data Center (REST v2, wiki text).
//!
//! The door proves and reads webhooks of four kinds; the tracker moves tickets; the threads are comments on tickets.
//! A thread's `place` is the ticket's key. Nothing here decides what a signal means, and no address ever comes from a
//! payload: calls go to the configured site only.

pub mod adf;
mod catchup;
mod client;
mod door;
mod edits;
mod history;
mod jwt;
mod lines;
mod payload;
mod plain;
mod proof;
mod read;
mod threads;
mod tracker;
pub mod wiki;

use secrecy::SecretString;

pub use catchup::JiraCatchup;
pub use client::Jira;
pub use door::JiraDoor;
pub use jwt::query_string_hash;
pub use proof::JiraProofs;

use crate::domain::ids::{Platform, ThreadRef, TicketKey};

/// The name of the platform in threads and accounts.
pub const PLATFORM: &str = "jira";

/// The account of a ticket moved by an Automation rule that does not say who moved it. A rule's right to start
/// anything is granted to this account by name in the configured people and roles; nobody has it by default.
pub const AUTOMATION_ACCOUNT: &str = "automation";

/// The account of a change that Jira itself attributes to nobody. Nobody has granted it anything.
pub const ANONYMOUS_ACCOUNT: &str = "anonymous";

/// Which Jira it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Atlassian's cloud: REST v3, documents as ADF, accounts by `accountId`.
    Cloud,
    /// Self-hosted: REST v2, documents as wiki text, accounts by user key.
    DataCenter,
}

/// How to reach a Jira site.
#[derive(Debug, Clone)]
pub struct JiraConfig {
    /// The site: `https://example.atlassian.net`, `https://jira.example.com/jira`.
    pub base_url: String,
    /// Which Jira it is.
    pub flavor: Flavor,
    /// The address (Cloud) or user name (Data Center) that the token belongs to: sent as Basic. Without it the token
    /// is sent as Bearer, as personal access tokens and OAuth tokens are.
    pub email: Option<String>,
    /// API token, personal access token or OAuth token.
    pub token: SecretString,
    /// stepherd's own `accountId` (Cloud) or user key (Data Center). Without it Jira is asked when it is needed.
    pub own_account_id: Option<String>,
}

/// The platform's name as a type.
pub(crate) fn platform() -> Platform {
    #[expect(clippy::expect_used, reason = "the constant is a valid name; a test reads it")]
    PLATFORM.parse().expect("a valid platform name")
}

/// A ticket's thread.
pub(crate) fn thread_of(ticket: &TicketKey) -> ThreadRef {
    ThreadRef {
        platform: platform(),
        place: ticket.as_str().to_owned(),
    }
}
