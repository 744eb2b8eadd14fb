//! The GitHub adapter: what it believes, what it reads, what it writes and what it makes of GitHub's answers.

mod again;
mod calls;
mod catchup;
mod door;
mod forge;
mod markdown;
mod own;
mod read;
mod scene;
mod stands;
mod talk;
mod tokens;
mod withdrawn;
