//! The load driver against a server with its own ledger.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(
    clippy::print_stdout,
    reason = "a test's own process speaks to its parent"
)]

mod account;
mod arrivals;
mod calibration;
mod child;
mod interrupts;
mod load;
mod outcomes;
mod server;
mod siege;
mod truth;
