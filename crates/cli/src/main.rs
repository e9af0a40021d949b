//! The `armory` command.

fn main() {}
