//! Auditor from outside.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod http;
mod pacts;
mod process;
