//! The stepherd program.
fn main() {}
