//! store as its clients, its operators and the event bus see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod doubles;
mod events;
mod http;
mod service;
