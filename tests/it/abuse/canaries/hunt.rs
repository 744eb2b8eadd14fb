//! The searching: what must not be found, and in which forms.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// What is looked for: names for people, and the text.
pub struct Hunt {
    prey: Vec<(String, String)>,
}

impl Hunt {
    /// Looks for these secrets: each as it is, a line at a time, percent-encoded, in base64 and as hexadecimal digits.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut prey = Vec::new();
        for (name, secret) in secrets {
            let lines = secret
                .lines()
                .filter(|line| line.len() >= 8 && !line.starts_with("-----"));
            for line in lines {
                let mut add = |form: &str, text: String| prey.push((format!("{name} {form}"), text));
                add("as it is", line.to_owned());
                add("in base64", STANDARD.encode(line).trim_end_matches('=').to_owned());
                add("in base64 for addresses", URL_SAFE_NO_PAD.encode(line));
                add("in hexadecimal digits", hex::encode(line));
                let encoded: String = form_urlencoded::byte_serialize(line.as_bytes()).collect();
                add("percent-encoded", encoded);
            }
        }
        prey.sort();
        prey.dedup_by(|a, b| a.1 == b.1);
        Self { prey }
    }

    /// Nothing of it may be in there.
    pub fn search(&self, place: &str, bytes: &[u8]) {
        // What is looked for is all ASCII, and stays what it is.
        let text = String::from_utf8_lossy(bytes);
        for (name, needle) in &self.prey {
            if let Some(at) = text.find(needle) {
                let from = text.floor_char_boundary(at.saturating_sub(200));
                let to = text.ceil_char_boundary(at + needle.len() + 60);
                panic!("{place} holds {name}: …{}…", &text[from..to]);
            }
        }
    }
}

#[test]
#[should_panic(expected = "the page holds token in base64: …a c2VjcmV0LXRva2Vu b…")]
fn the_hunt_finds_what_it_looks_for() {
    Hunt::new([("token", "secret-token")]).search("the page", b"a c2VjcmV0LXRva2Vu b");
}

#[test]
fn and_nothing_else() {
    Hunt::new([("token", "secret-token")]).search("the page", b"a secret token, or secret-toke");
}
