//! The agent as a cluster uses it: processes, sockets, signals.

#![expect(
    clippy::unwrap_used,
    reason = "a broken invariant in a test is a failed test"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod agent;
mod arguments;
mod disk;
mod freeze;
mod http;
mod load;
mod pod;
mod tcp;
mod upstream;
