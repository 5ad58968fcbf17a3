//! The pure heart of Holdfast: values and functions, no clock, no network, no files, no async.
//!
//! ```text
//! text ─spec→ Experiment ─plan→ Plan ─(engine)→ Events ─fold→ Record ─summarize→ Summary ─judge→ Verdict
//! ```
//!
//! Everything a run can say is an [`event::Event`]; everything a report can say is a function of
//! a [`record::Record`].

pub mod bytes;
pub mod condition;
pub mod duration;
pub mod event;
pub mod evidence;
pub mod experiment;
pub mod fault;
pub mod histogram;
pub mod invariant;
pub mod outcome;
pub mod plan;
pub mod promql;
pub mod record;
pub mod siege;
pub mod spec;
pub mod summary;
pub mod template;
pub mod verdict;
pub mod words;
