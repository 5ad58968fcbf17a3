//! Experiment text in, values and diagnostics out; events in, figures and verdicts out.

#![expect(
    clippy::unwrap_used,
    reason = "what a test's helper cannot do fails the test"
)]

mod catalogue;
mod experiments;
mod histogram;
mod record;
mod run;
mod siege;
mod spec_invalid;
mod spec_robust;
mod spec_valid;
mod summary;
mod threshold;
mod verdict;
