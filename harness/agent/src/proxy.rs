//! A proxy in the way to a Service: what passes is delayed, slowed down, failed, reset or swallowed.
//!
//! ```text
//! client ──▶ listener ─▶ [hold] ─▶ connect upstream ─▶ relay (tcp) or serve (http)
//! ```
//!
//! Each client's connection gets one of its own to the upstream, and both end together, so that the
//! Service behind goes on choosing pods as it would without the proxy. When the harm is over, what is
//! open goes on without faults, and new connections are passed through as they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arguments::Common;
use crate::error::Error;
use crate::quantity::{Share, bytes, duration, percent};
use crate::session::{Session, listen, say};
use crate::status::AFTER_FAILED_ACCEPT;

mod counts;
mod faults;
mod hold;
mod http;
mod relay;
mod stream;

use counts::{Counts, increment};
use faults::{Fate, Faults};
use stream::{Reset, Stream};

/// Stands in the way to a Service.
///
/// Several pairs of --listen and --upstream stand for a Service with several ports.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// A port to listen on, at the address in $BIND_ADDR
    #[arg(long, value_name = "PORT", required = true)]
    listen: Vec<u16>,
    /// Where its connections go; looked up for each of them
    #[arg(long, value_name = "HOST:PORT", required = true)]
    upstream: Vec<String>,
    /// What the faults are about: connections (tcp), or requests (http: HTTP/1 and h2c)
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
    /// Added to each request before it is passed on (http), or to all that the upstream sends (tcp)
    #[arg(long, value_parser = duration, default_value = "0ms")]
    delay: Duration,
    /// Each delay is chosen evenly from --delay ± this, and is never below zero
    #[arg(long, value_parser = duration, default_value = "0ms")]
    jitter: Duration,
    /// Bytes a second of each connection, in each direction
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    bandwidth: Option<u64>,
    /// The share of requests that are answered with --status instead of by the upstream (http only)
    #[arg(long, value_parser = percent, value_name = "PERCENT", default_value = "0%")]
    errors: Share,
    /// The status of these answers
    #[arg(long, value_name = "CODE", default_value_t = 503)]
    status: u16,
    /// The share of connections (tcp) or requests (http) that end with a reset of the connection
    #[arg(long, value_parser = percent, value_name = "PERCENT", default_value = "0%")]
    abort: Share,
    /// Accept connections, and neither read nor answer
    #[arg(long)]
    blackhole: bool,
    /// Which requests (or connections) fail: the same number, the same ones, in order of arrival
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// How long a proxy that was asked to end takes new connections: others hear of it later
    #[arg(long, value_parser = duration, value_name = "DURATION", default_value = "2s")]
    drain: Duration,
}

/// What a proxy understands of what it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    Tcp,
    Http,
}

/// What all connections of a proxy share.
#[derive(Debug)]
struct Shared {
    faults: Faults,
    counts: Arc<Counts>,
    protocol: Protocol,
    bandwidth: Option<u64>,
    blackhole: bool,
    /// Cancelled when open connections are to end as soon as nothing is going on in them.
    closing: CancellationToken,
    connections: TaskTracker,
}

pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let status = options.check()?;
    let mut pairs = Vec::new();
    for (port, upstream) in options.listen.iter().zip(&options.upstream) {
        pairs.push((listen(*port).await?, upstream.clone()));
    }
    let counts = Arc::new(Counts::default());
    let told = Arc::clone(&counts);
    let session = Session::begin("proxy", options.common, Arc::new(move || told.as_json())).await?;
    let shared = Arc::new(Shared {
        faults: Faults {
            delay: options.delay,
            jitter: options.jitter,
            errors: options.errors,
            status,
            aborts: options.abort,
            seed: options.seed,
            over: session.over.clone(),
        },
        counts,
        protocol: options.protocol,
        bandwidth: options.bandwidth,
        blackhole: options.blackhole,
        closing: CancellationToken::new(),
        connections: TaskTracker::new(),
    });
    let accepting: Vec<_> = pairs
        .into_iter()
        .map(|(listener, upstream)| {
            if let Ok(address) = listener.local_addr() {
                let about = serde_json::json!({"address": address, "upstream": upstream});
                say("listening", &about);
            }
            tokio::spawn(accept(listener, upstream.into(), Arc::clone(&shared)))
        })
        .collect();
    session.began();
    session.over.cancelled().await;
    session.ended();
    session.asked_to_end.cancelled().await;
    sleep(options.drain).await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    shared.closing.cancel();
    shared.connections.close();
    shared.connections.wait().await;
    Ok(())
}

impl Options {
    /// The status of injected answers, if the options make sense together.
    fn check(&self) -> Result<::http::StatusCode, Error> {
        let mistake = |text: &str| Err(Error::Arguments(text.to_owned()));
        if self.listen.len() != self.upstream.len() {
            return mistake("each --listen needs its --upstream, in the same order");
        }
        for upstream in &self.upstream {
            let port = upstream.rsplit_once(':').map(|(_, port)| port);
            if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
                return Err(Error::Arguments(format!(
                    "--upstream {upstream}: expected HOST:PORT"
                )));
            }
        }
        if self.protocol == Protocol::Tcp && self.errors > Share::NONE {
            return mistake("--errors answers requests: it needs --protocol http");
        }
        if self.errors.0 + self.abort.0 > 1.0 {
            return mistake("--errors and --abort together are more than 100 %");
        }
        if self.bandwidth == Some(0) {
            return mistake("--bandwidth 0 lets nothing pass: --blackhole does");
        }
        let status = ::http::StatusCode::from_u16(self.status);
        match status {
            Ok(status) if status.as_u16() >= 200 && status.as_u16() < 600 => Ok(status),
            _ => mistake("--status is the status of an answer: 200 to 599"),
        }
    }
}

async fn accept(listener: TcpListener, upstream: Arc<str>, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let connection = pass(client, Arc::clone(&upstream), Arc::clone(&shared));
                shared.connections.spawn(connection);
            }
            Err(_) => sleep(AFTER_FAILED_ACCEPT).await,
        }
    }
}

/// One client's connection, to its end.
async fn pass(mut client: TcpStream, upstream: Arc<str>, shared: Arc<Shared>) {
    let counts = &shared.counts;
    let number = increment(&counts.connections);
    let reset = Reset::default();
    let faults = &shared.faults;
    if shared.blackhole && !faults.are_over() {
        increment(&counts.held);
        match hold::hold(client, &faults.over).await {
            Some(held) => client = held,
            None => return,
        }
    }
    let bandwidth = shared.bandwidth.filter(|_| !faults.are_over());
    let client = Stream::slowed(client, reset.clone(), bandwidth, faults.over.clone());
    let http = shared.protocol == Protocol::Http && !faults.are_over();
    if !http && matches!(faults.fate(number), Fate::Abort) {
        increment(&counts.aborts);
        reset.request();
        return;
    }
    let upstream = match TcpStream::connect(&*upstream).await {
        Ok(stream) => Stream::new(stream, reset.clone()),
        // Without the proxy nobody would have accepted: the next best is a reset.
        Err(_) => {
            increment(&counts.unreachable);
            reset.request();
            return;
        }
    };
    if http {
        http::serve(client, upstream, reset, Arc::clone(&shared)).await;
    } else {
        relay::relay(client, upstream, &reset, &shared).await;
    }
}
