//! Loads the API of a local cluster with everything that clients do, should not
//! do and fail to end, at a fixed rate, and says whether the process grows:
//!
//! `cargo run --release -p holdfast-cluster --example soak -- --seconds 600`
//!
//! It prints once a minute what the process and the cluster hold. The clients live
//! in the same process, so that the figures are theirs too. The verdict compares
//! the mean of the last third of the run with that of the middle third: what has
//! become more than 5 % greater has grown. Memory that grows steadily is found if
//! it does so by a sixth over the run. In the first third the histories and the
//! Events fill up to their bounds; a run of less than five minutes is too short
//! for that and proves nothing.
//!
//! Exit codes: 0 flat, 1 not flat, 3 if it could not be judged, as when the machine
//! did not keep up with the rate: what is kept depends on it.

#![expect(clippy::print_stdout, reason = "it is run for what it prints")]

#[path = "soak/clients.rs"]
mod clients;
#[path = "soak/figures.rs"]
mod figures;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_cluster::{LocalCluster, Options};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use peak_alloc::PeakAlloc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use clients::Site;
use figures::{Figures, Verdict};

type Failure = Box<dyn Error + Send + Sync>;

/// Counts what is in use, which the system's figures cannot tell from what the
/// allocator has not given back.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
const PRINT_PERIOD: Duration = Duration::from_secs(60);
const DEFAULT_DURATION: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let duration = duration(std::env::args().skip(1))?;
    let cluster = LocalCluster::start(Options::default()).await?;
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let site = Site {
        base: config.cluster_url.path().trim_end_matches('/').to_owned(),
        client: Client::try_from(config)?,
        address: cluster.api_address(),
        requests: std::sync::Arc::default(),
    };
    let mut clients = clients::start(&site);
    let mut samples = Vec::new();
    let mut ticks = interval(SAMPLE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let start = Instant::now();
    let mut print_at = Duration::ZERO;
    println!("{}", Figures::HEADING);
    while start.elapsed() < duration {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(ended) = clients.join_next() => {
                ended??;
                return Err("a client ended".into());
            }
        }
        let figures = Figures::now(&site, &cluster.holdings())?;
        if start.elapsed() >= print_at {
            println!("{}", figures.line(start.elapsed()));
            print_at += PRINT_PERIOD;
        }
        samples.push(figures);
    }
    if let Some(last) = samples.last() {
        println!("{}", last.line(start.elapsed()));
    }
    clients.shutdown().await;
    cluster.shutdown().await;
    let verdict = Verdict::of(&samples, duration);
    println!("{verdict}");
    Ok(match verdict {
        Verdict::Flat => ExitCode::SUCCESS,
        Verdict::Grown(_) => ExitCode::FAILURE,
        Verdict::TooShort | Verdict::Slower { .. } => ExitCode::from(3),
    })
}

fn duration(mut arguments: impl Iterator<Item = String>) -> Result<Duration, Failure> {
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(DEFAULT_DURATION),
        (Some("--seconds"), Some(seconds)) => Ok(Duration::from_secs(seconds.parse()?)),
        _ => Err("usage: soak [--seconds <number>]".into()),
    }
}
