//! What every mode shares: the moment at which it ends, and what it tells of itself.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::arguments::Common;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::status::{self, Evidence, Report};

/// How soon the log tells of the first change, and how seldom of many.
const SOON: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(5);

/// The environment variable with the address to listen on.
const BIND_ADDRESS: &str = "BIND_ADDR";

/// One run of the agent.
#[derive(Debug)]
pub(crate) struct Session {
    /// Cancelled when the harm is over: at its deadline, or by SIGTERM or SIGINT.
    pub(crate) over: CancellationToken,
    /// Cancelled when somebody wants the process to end.
    pub(crate) asked_to_end: CancellationToken,
    report: Report,
}

impl Session {
    /// Listens for signals and for the deadline from now on, and serves what `evidence` says.
    pub(crate) async fn begin(
        mode: &'static str,
        common: Common,
        evidence: Evidence,
    ) -> Result<Self, Error> {
        let deadline = Deadline::new(common.until)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        let over = CancellationToken::new();
        let asked_to_end = CancellationToken::new();
        if deadline.has_passed() {
            over.cancel();
        }
        let (now_over, asked) = (over.clone(), asked_to_end.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = deadline.reached() => now_over.cancel(),
                _ = terminate.recv() => asked.cancel(),
                _ = interrupt.recv() => asked.cancel(),
            }
            if !asked.is_cancelled() {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            now_over.cancel();
            asked.cancel();
        });
        let report = Report {
            mode,
            until: deadline.unix_seconds(),
            has_begun: Arc::default(),
            over: over.clone(),
            evidence,
        };
        let listener = listen(common.status_port).await?;
        if let Ok(address) = listener.local_addr() {
            say("status", &json!({"address": address}));
        }
        tokio::spawn(status::serve(listener, report.clone()));
        Ok(Self {
            over,
            asked_to_end,
            report,
        })
    }

    /// Says that the harm is done, and what is known of it; from now on `/healthz` does so, too.
    pub(crate) fn began(&self) {
        // From before it is said: what changes from then on is told.
        let told = (self.report.evidence)();
        // First the log: whoever sees the pod ready finds it there.
        say("began", &self.report.as_json());
        self.report.has_begun.store(true, Ordering::Relaxed);
        tokio::spawn(keep_telling(self.report.clone(), told));
    }

    /// Says that the harm is undone, and what is known of it.
    pub(crate) fn ended(&self) {
        say("ended", &self.report.as_json());
    }
}

/// Says again what is known whenever that has changed: whoever may read the log need not be able to
/// reach the agent.
async fn keep_telling(report: Report, mut told: Value) {
    let mut pause = SOON;
    loop {
        tokio::select! {
            biased;
            () = report.over.cancelled() => return,
            () = sleep(pause) => {}
        }
        let known = (report.evidence)();
        if known != told {
            say("counted", &report.as_json());
            told = known;
            pause = (pause * 2).min(SELDOM);
        }
    }
}

/// Listens at `port` of the address in `$BIND_ADDR`, by default all of them.
pub(crate) async fn listen(port: u16) -> Result<TcpListener, Error> {
    let address = std::env::var(BIND_ADDRESS).ok();
    let address = match address {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(text) => text.parse().map_err(|_| {
            Error::Arguments(format!("{BIND_ADDRESS}={text} is no address to listen on"))
        })?,
    };
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            address: address.to_string(),
            source,
        })
}

/// One line of the log: an event and what there is to say about it, as JSON.
pub(crate) fn say(event: &str, about: &Value) {
    let line = format!("{}\n", json!({"event": event, "about": about}));
    // Nobody may be reading any longer.
    drop(std::io::stdout().write_all(line.as_bytes()));
}
