//! One load sent by several processes: a coordinator shares it out, lets all workers begin at one
//! instant, and adds up what they tell, so that what comes out is what one process would have told.
//!
//! ```text
//!                coordinator                              worker
//!                     │ ←──────── Hello {version, token, index} │
//!                     │ Assign {plan, base URL, share} ───────→ │  prepares, launches its users
//!                     │ ←────────────────── Prepared | Failed   │
//!   measures offsets  │ Ping … ──────────────────────────────→  │
//!                     │ ←───────────────────────────── Pong …   │
//!                     │ Start {at, by the worker's clock} ────→ │  begins then
//!                     │ Routes (whenever they change) ───────→  │  dials endpoints, if at all
//!   Merger ←──────────│ ←── Event: Tick, RequestFailed, LoadStopped, LoadFinished
//!                     │ Stop (at any time), Bye ──────────────→ │  ends
//! ```
//!
//! A worker lives no longer than its connection; a coordinator goes on without a worker that is
//! lost, and says so in the account.

mod clock;
mod coordinator;
mod launcher;
mod machine;
mod merger;
mod muster;
mod protocol;
mod routes;
mod worker;

pub use clock::Clock;
pub use coordinator::Crew;
pub use launcher::{Launcher, Post, Process, Processes};
pub use muster::{MusterError, MusterOptions, muster};
pub use protocol::{TOKEN_VARIABLE, Token};
pub use routes::Routes;
pub use worker::{WorkerError, WorkerOptions, work};
