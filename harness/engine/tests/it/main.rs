//! The loop with scripted drivers and paused time.

#![expect(
    clippy::unwrap_used,
    reason = "a broken invariant in a test is a failed test"
)]

mod asking;
mod gate;
mod recovery;
mod script;
mod timeline;
