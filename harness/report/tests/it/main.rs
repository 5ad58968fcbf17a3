//! Every format of fixed runs, and the formats against the tools that read them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

mod browser;
mod runs;
mod scenarios;
mod snapshots;
mod tools;
