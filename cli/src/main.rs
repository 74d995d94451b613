//! The command line of semid.
fn main() {}
