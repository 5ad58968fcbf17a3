//! The gateway as its clients, its operators and the services behind it see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod entry;
mod forwarding;
mod grants;
mod limits;
mod monitoring;
mod pacts;
mod process;
mod resilience;
mod scripted_upstream;
mod tokens;
