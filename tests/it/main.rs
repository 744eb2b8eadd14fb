//! One test binary: stories over real HTTP, the pure core by tables and properties, and the shape of the house.
mod adapters_backends;
mod adapters_discord;
mod adapters_github;
mod adapters_jira;
mod catalog;
mod cli;
mod decide;
mod doors;
mod edits;
mod grammar;
mod policy;
mod sandbox_github;
mod sandbox_law;
mod store_law;
mod stories;
mod tidy;
mod world;
