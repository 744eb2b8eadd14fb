//! Discord: signed interactions come in over HTTP, cards and answers go out over its REST API.
//!
//! There is no gateway connection: slash commands and buttons reach us as webhooks, and everything that outlives an
//! interaction's token is posted with the bot's own token. Nothing is decided here, and nothing that people wrote is
//! passed on unescaped.

mod client;
mod custom_id;
mod door;
pub mod markdown;
mod read;
mod register;

pub use client::{Discord, DiscordConfig};
pub use custom_id::{Spoken, decode as decode_custom_id, encode as encode_custom_id};
pub use door::DiscordDoor;
pub use register::registration;

use crate::domain::ids::{Platform, ThreadRef};

/// The name that threads and accounts of this platform carry.
fn platform() -> Platform {
    "discord".parse().expect("the platform's name is a valid name")
}

fn thread(channel: &str) -> ThreadRef {
    ThreadRef {
        platform: platform(),
        place: channel.to_owned(),
    }
}

/// Whether the text is a Discord id: decimal digits, and thereby safe in a path.
fn is_snowflake(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}
