//! The load driver: carries out a load plan over HTTP/1.1 or HTTP/2 and reports it as events.
//!
//! Goose schedules the closed-loop users; everything a figure is made of is ours: the
//! connection, the request, the clock, the classification and the histograms. Beside the users
//! an open-model prober sends at a fixed rate, whatever the answers.
//!
//! ```text
//! Goose ─runs→ users ─┐                    ┌→ LoadStarted, Tick …, RequestFailed …
//!                     ├─exchange→ recorder ┤
//!            prober ──┘                    └→ LoadStopped, drain's Ticks, LoadFinished
//! ```

mod alarm;
mod client;
mod decoder;
mod dialer;
mod failure;
mod http1;
mod http2;
mod journey;
mod lag;
mod link;
mod message;
mod prober;
mod process;
mod progress;
mod recorder;
mod redirect;
mod run;
mod schedule;
mod stream;
mod target;
mod tls;
mod users;

pub use process::{ProcessError, claim_process};
pub use run::{DriverError, HttpLoad, Options, driver};
pub use target::{Connector, Endpoint, TargetError};
