//! THE BRAIN: what stepherd is about, as pure types and functions.
//!
//! Nothing in here does input or output, waits, reads a clock or draws chance, and nothing in here knows a vendor.
//! The shell gathers facts as data, calls in, and carries out what comes back. That is what lets every rule be
//! tested by a table and every story be replayed.

pub mod branch;
pub mod card;
pub mod command;
pub mod course;
pub mod decide;
pub mod doc;
pub mod edit;
pub mod effect;
pub mod grammar;
pub mod ids;
pub mod nearest;
pub mod observation;
pub mod pipeline;
pub mod places;
pub mod policy;
pub mod process;
pub mod question;
pub mod run;
pub mod signal;
pub mod standing;
pub mod start;
pub mod template;
pub mod values;
