//! Runs store.

fn main() {}
