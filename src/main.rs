//! conntracker.
fn main() {}
