//! marketing as its clients, its operators and the event bus see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod campaign;
mod contract;
mod doubles;
mod flow;
mod http;
mod pacts;
mod process;
