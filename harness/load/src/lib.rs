//! The load driver: carries out a load plan over HTTP/1.1 and reports it as events.
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

mod exchange;
mod failure;
mod lag;
mod prober;
mod process;
mod recorder;
mod requests;
mod run;
mod schedule;
mod target;
mod users;

pub use process::{ProcessError, claim_process};
pub use run::{DriverError, HttpLoad, Options, driver};
pub use target::{Connector, TargetError};

/// Whether a closed-loop user keeps its connection between requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// A new connection for each request, announced with `connection: close`. What siege does
    /// unless configured otherwise, and so the default: figures stay comparable, and a request
    /// always goes where new connections go at that moment.
    #[default]
    PerRequest,
    /// One connection per user, used until either side ends it. A request that was never written
    /// because the server had closed the idle connection goes out on a new one.
    KeepAlive,
}
