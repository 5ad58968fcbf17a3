//! Runs marketing.

fn main() {}
