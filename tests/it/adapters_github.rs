//! The GitHub adapter: what it believes, what it reads, what it writes and what it makes of GitHub's answers.

mod calls;
mod catchup;
mod door;
mod forge;
mod markdown;
mod own;
mod read;
mod scene;
mod talk;
mod tokens;
mod withdrawn;
