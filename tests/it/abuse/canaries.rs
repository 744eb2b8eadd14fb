//! Canaries: placeholder, written next.
