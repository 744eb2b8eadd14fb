//! Jira: what gets in, what it means, and what stepherd writes.
mod catchup;
mod door;
mod markup;
mod moved;
mod peer;
mod reading;
mod real;
mod site;
mod threads;
mod tracker;
