//! The seven-field status of a long process.
