//! The load driver against a server with its own ledger.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(
    clippy::print_stdout,
    reason = "a test's own process speaks to its parent"
)]

mod account;
mod arrivals;
mod calibration;
mod certificate;
mod child;
mod http2;
mod http2_server;
mod interrupts;
mod journey;
mod ledgers;
mod load;
mod outcomes;
mod redirects;
mod repetitions;
mod scenario;
mod secure;
mod server;
mod siege;
mod truth;
mod workers;
