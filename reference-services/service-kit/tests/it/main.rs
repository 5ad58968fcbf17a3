//! service-kit against what it talks to.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod database;
mod databases;
mod events;
mod inbox;
mod oracle;
mod outbox;
mod presets;
mod telemetry;
