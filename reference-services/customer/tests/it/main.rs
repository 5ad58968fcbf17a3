//! customer as its clients, its operators and the event bus see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod contract;
mod doubles;
mod events;
mod flow;
mod http;
mod pacts;
mod process;
