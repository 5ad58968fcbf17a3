//! The load driver: carries out a load plan over HTTP/1.1 or HTTP/2 and reports it as events.
//!
//! Goose schedules the users; everything a figure is made of is ours: the connection, the request,
//! the clock, the classification and the histograms. Users of a closed model send one request
//! after another; in an open model a metronome hands arrivals to users that are free. Beside
//! them an open-model prober sends at a fixed rate. All of it runs on one thread that does nothing
//! else.
//!
//! ```text
//! Goose ─runs→ users ←arrivals─┐                  ┌→ LoadStarted, Tick …, RequestFailed …
//!                │         metronome → recorder ──┤
//!             journey          └→ prober          └→ LoadStopped, drain's Ticks, LoadFinished
//! ```

mod alarm;
mod arrivals;
mod calibration;
mod client;
mod cookies;
mod decoder;
mod dialer;
mod driver;
mod failure;
mod gate;
mod generator;
mod http1;
mod http2;
mod journey;
mod link;
mod listener;
mod message;
mod metronome;
mod null_server;
mod prober;
mod process;
mod progress;
mod recorder;
mod redirect;
mod run;
pub mod scenario;
mod schedule;
mod share;
mod stream;
mod target;
mod thread;
mod timetable;
mod tls;
mod users;
pub mod workers;

pub use calibration::{Calibration, calibrate};
pub use driver::{DriverError, HttpLoad, Options, driver};
pub use journey::{DataError, ExpressionError, JourneyError};
pub use listener::{Ended, Listener};
pub use message::RequestError;
pub use process::{ProcessError, claim_process};
pub use share::Share;
pub use target::{Connector, Endpoint, TargetError};
pub use tls::TlsError;
