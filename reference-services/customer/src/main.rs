//! Runs customer.

fn main() {}
