//! pay as its clients and its operators see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod contract;
mod grpc;
mod http;
mod outage;
mod pacts;
mod process;
mod proto;
