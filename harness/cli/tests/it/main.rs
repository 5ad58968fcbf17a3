//! The product as people use it: the binary, its exit codes, files and processes.

#![expect(
    clippy::unwrap_used,
    reason = "a broken invariant in a test is a failed test"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod agent;
mod bad_input;
mod conformance;
mod controller;
mod edges;
mod experiments;
mod golden;
mod holdfast;
mod images;
mod kubectl;
mod no_residue;
mod nothing_left;
mod other_cluster;
mod permissions;
mod relay;
mod scenario;
mod siege;
mod siege_command;
mod standing;
mod system;
mod throttle;
mod web;
mod workers;
