//! Tales that a user would recognise, over real HTTP, from the first webhook to the last word in the thread.

mod changes;
mod commands;
mod crash;
pub mod dcr;
mod discord;
mod faults;
mod jira;
mod locks;
mod looked;
mod loops;
mod outage;
mod places;
mod provision;
mod questions;
mod repair;
mod restore;
mod retention;
mod retries;
mod scene;
mod sets;
mod stops;
mod vendors;
