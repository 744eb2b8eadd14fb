//! Names and identifiers. Each is a newtype that is valid by construction, so no other room checks again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name. The message says what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected}, got `{got}`")]
pub struct InvalidName {
    /// Which kind of name.
    pub what: &'static str,
    /// What it may look like.
    pub expected: &'static str,
    /// What was found, cut to 60 characters.
    pub got: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { what: $what, expected: $expected, got: text.chars().take(60).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn word(text: &str, max: usize, first: fn(char) -> bool, rest: fn(char) -> bool) -> bool {
    let mut chars = text.chars();
    text.len() <= max && chars.next().is_some_and(first) && chars.all(rest)
}

fn lower_word(text: &str) -> bool {
    word(
        text,
        32,
        |c| c.is_ascii_lowercase(),
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'),
    )
}

name!(
    /// A run's id: eight characters of base 32 (`URMO7YZ2`), short enough to type, never reused.
    RunId, "a run id", "eight characters A-Z, 2-7",
    |t| t.len() == 8 && t.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
);
name!(
    /// A question's id within its run: six characters of base 32 (`K7QM2X`), random, never reused.
    QuestionId, "a question id", "six characters A-Z, 2-7",
    |t| t.len() == 6 && t.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
);
name!(
    /// A step's name, as it stands in branch names: `HistoryUpdate`.
    StepName, "a step name", "letters and digits, starting with a letter, at most 40",
    |t| word(t, 40, |c| c.is_ascii_alphabetic(), |c| c.is_ascii_alphanumeric())
);
name!(
    /// A ticket's key in an issue tracker: `SREPROV-3072`.
    TicketKey, "a ticket key", "like SREPROV-3072",
    |t| t.len() <= 64 && t.split_once('-').is_some_and(|(project, number)| {
        word(project, 32, |c| c.is_ascii_uppercase(), |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            && !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
    })
);
name!(
    /// A full commit SHA in lower case: 40 hexadecimal digits (SHA-1) or 64 (SHA-256).
    Sha, "a commit SHA", "40 or 64 lower-case hexadecimal digits",
    |t| matches!(t.len(), 40 | 64) && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
name!(
    /// A platform that deliveries come from and threads live on (`github`). Open: the world owns the list.
    Platform, "a platform", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A chat command's name without its slash: `dcr`.
    CommandName, "a command name", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A verb of a chat command: `retry`.
    VerbName, "a verb", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A parameter of a pipeline or an argument of a verb: `tenant`.
    ParamName, "a parameter name", "lower-case letters, digits and `_`, at most 32",
    |t| lower_word(t) && !t.contains('-')
);
name!(
    /// A pipeline's name: `dcr`.
    PipelineName, "a pipeline name", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A back-end that `Work` runs on: `argocd`. Open: configuration owns the list.
    BackendName, "a back-end name", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A role that verbs ask for: `operator`.
    RoleName, "a role name", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A person known to `config/people.toml`.
    PersonName, "a person's name", "lower-case letters, digits, `-` and `_`, at most 32", lower_word
);
name!(
    /// A lock that runs queue for: `dcr/comcast`.
    LockName, "a lock name", "letters, digits, `-`, `_`, `.`, `/`, at most 120",
    |t| word(t, 120, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
);

impl RunId {
    /// The id that 40 random bits spell. Bits past the fortieth are ignored.
    pub fn from_bits(bits: u64) -> Self {
        Self(base32(bits, 8))
    }
}

impl QuestionId {
    /// The id that 30 random bits spell. Bits past the thirtieth are ignored.
    pub fn from_bits(bits: u64) -> Self {
        Self(base32(bits, 6))
    }

    /// The id of a question that was stored before questions had ids; a run has at most one of those open.
    pub fn of_old() -> Self {
        Self::from_bits(0)
    }
}

/// So many characters of base 32, five bits each, the lowest first.
fn base32(bits: u64, chars: u32) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    (0..chars)
        .map(|i| char::from(ALPHABET[(bits >> (5 * i) & 31) as usize]))
        .collect()
}

impl Sha {
    /// The first seven digits, as people write commits.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// A repository on the configured forge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repo {
    owner: String,
    name: String,
}

impl Repo {
    /// The user or organisation that owns it.
    pub fn owner(&self) -> &str {
        &self.owner
    }
    /// Its name without the owner.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TicketKey {
    /// The key of its project.
    pub fn project(&self) -> &str {
        self.as_str().rsplit_once('-').map_or("", |(project, _)| project)
    }
}

impl FromStr for Repo {
    type Err = InvalidName;
    /// Reads `owner/name`, `git@host:owner/name.git` and `https://host/owner/name(.git)`. The host is dropped:
    /// which forge to talk to comes from configuration only, never from a payload. Forges take names in any case
    /// and tell them in their own, so they are kept in lower case: the same repository is always equal to itself.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let path = match (text.strip_prefix("https://"), text.strip_prefix("git@")) {
            (Some(rest), _) => rest.split_once('/').map_or("", |(_, path)| path),
            (_, Some(rest)) => rest.split_once(':').map_or("", |(_, path)| path),
            _ => text,
        };
        let path = path.strip_suffix(".git").unwrap_or(path);
        let part = |t: &str| {
            !t.starts_with(['.', '-'])
                && word(
                    t,
                    100,
                    |c| c.is_ascii_alphanumeric() || c == '_',
                    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
                )
        };
        match path.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => Ok(Self {
                owner: owner.to_ascii_lowercase(),
                name: name.to_ascii_lowercase(),
            }),
            _ => Err(InvalidName {
                what: "a repository",
                expected: "owner/name, git@host:owner/name.git or https://host/owner/name",
                got: text.chars().take(60).collect(),
            }),
        }
    }
}

impl TryFrom<String> for Repo {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Repo> for String {
    fn from(repo: Repo) -> String {
        repo.to_string()
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrRef {
    /// The repository it would change.
    pub repo: Repo,
    /// Its number there.
    pub number: u64,
}

impl fmt::Display for PrRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repo, self.number)
    }
}

/// A place where people talk and where reports go. What `place` looks like belongs to the platform's adapter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ThreadRef {
    /// Whose thread it is.
    pub platform: Platform,
    /// Where on that platform: a pull request, a ticket key, a channel id.
    pub place: String,
}

impl fmt::Display for ThreadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.platform, self.place)
    }
}

impl FromStr for ThreadRef {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (platform, place) = text.split_once(':').unwrap_or((text, ""));
        if place.is_empty() || place.len() > 300 || place.chars().any(char::is_control) {
            return Err(InvalidName {
                what: "a thread",
                expected: "platform:place",
                got: text.chars().take(60).collect(),
            });
        }
        Ok(Self {
            platform: platform.parse()?,
            place: place.to_owned(),
        })
    }
}

/// A share of a whole, 0–100 %, kept in hundredths of a percent so that equal readings compare equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Percent(u16);

impl Percent {
    /// Nothing done.
    pub const ZERO: Self = Self(0);
    /// All done.
    pub const FULL: Self = Self(10_000);

    /// The nearest hundredth of a percent; below 0 and not-a-number become 0, above 100 becomes 100.
    pub fn clamped(percent: f64) -> Self {
        if percent.is_nan() {
            return Self::ZERO;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=10000 first"
        )]
        Self((percent.clamp(0.0, 100.0) * 100.0).round() as u16)
    }

    /// `part` of `whole`; a whole of 0 counts as full.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            Self::FULL
        } else {
            Self::clamped(part as f64 * 100.0 / whole as f64)
        }
    }

    /// As a number, 0–100.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Percent {
    /// `42 %`, `42.5 %`: no more digits than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.as_f64())
    }
}
