//! app as its customers, its operators and the pay service see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod contract;
mod doubles;
mod events;
mod http;
mod outage;
mod pacts;
mod process;
mod resilience;
mod rig;
mod scripted_pay;
mod service;
