//! Where commands may come from.
//!
//! A platform's places lie within one another, from the widest to the narrowest: an owner and a repository; a project;
//! a server, a channel and a thread in it. Configuration names places by their paths, and whatever lies within one of
//! them belongs to it.

use super::ids::Platform;

/// Where a thread lies, from the widest to the narrowest, in the platform's own ids. Empty where that is not known, or
/// where it lies within nothing, like a private conversation: no command may come from there.
pub type Within = Vec<String>;

/// A place that a command may be given in about all of its runs, and start new ones from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControlPlace {
    /// The platform.
    pub platform: Platform,
    /// The path, not empty: `acme`, `deployment`.
    pub path: Vec<String>,
}

impl ControlPlace {
    /// Whether what lies there belongs to this place. Platforms do not tell names apart by case.
    pub fn holds(&self, platform: &Platform, within: &[String]) -> bool {
        *platform == self.platform
            && !self.path.is_empty()
            && self.path.len() <= within.len()
            && self
                .path
                .iter()
                .zip(within)
                .all(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs))
    }
}

/// Whether any of the places holds what lies there.
pub fn any_holds(places: &[ControlPlace], platform: &Platform, within: &[String]) -> bool {
    places.iter().any(|place| place.holds(platform, within))
}
