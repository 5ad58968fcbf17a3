//! The loop with scripted drivers and paused time.

mod recovery;
mod script;
mod timeline;
