//! THE MEMORY: deliveries, runs, history, locks, effects and sent messages, behind a few verbs.
//!
//! The store decides nothing and calls nothing. Whatever belongs together is one transaction. Time comes in as an
//! argument. SQLite (embedded) is the first engine; the verbs are shaped so that PostgreSQL can be the second.

pub mod types;

pub use types::*;
