//! The built program, run as people run it: arguments in, words and an exit code out.

mod answers;
mod backup;
mod check;
pub mod kit;
mod night;
mod serve;
mod stored;
