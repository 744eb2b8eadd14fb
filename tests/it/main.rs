//! One test binary: stories over real HTTP, the pure core by tables and properties, and the shape of the house.
#![expect(clippy::too_many_lines, reason = "a tale or a table is read in one piece")]
#![expect(
    unreachable_pub,
    reason = "helpers of the one test binary are as public as their modules need"
)]

mod abuse;
mod adapters_backends;
mod adapters_discord;
mod adapters_github;
mod adapters_jira;
mod bench;
mod catalog;
mod cli;
mod decide;
mod demo;
mod doors;
mod edits;
mod fuzz;
mod grammar;
mod policy;
mod postgres;
mod sandbox_github;
mod sandbox_law;
mod simulation;
mod store_law;
mod stored;
mod stories;
mod tidy;
mod torture;
mod world;
