//! The bus of the reference system where there is no Kafka: one small broker that speaks its
//! protocol. Services cannot tell the difference, and a cluster that has Kafka does not need it.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `BIND_ADDR` | address it listens on | `0.0.0.0` |
//! | `PORT` | port it listens on; `0` is a free one | `9092` |
//! | `ADVERTISED_HOST` | where it tells clients to find it | where it listens |
//! | `DATA_DIR` | folder of what is kept, made if need be | nothing outlives the process |
//! | `REBALANCE_DELAY_MS` | how long a new group waits for more members | `100` |
//! | `RUST_LOG` | what is logged | `warn,broker=info` |

use std::env::VarError;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use nisshi_broker::NODE_ID;
use nisshi_broker::broker::Broker;
use nisshi_broker::coordinator::group::administrator::{Controller, GroupCoordinatorConfig};
use nisshi_storage::ArcDynStorage;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;
use url::Url;
use uuid::Uuid;

const CLUSTER: &str = "holdfast";
const DATABASE: &str = "bus.db";

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("warn,broker=info")))
        .with_ansi(io::stdout().is_terminal())
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal says to stop. What was acknowledged is on its way to the disk by then and
/// not in this process, so that nothing needs to be finished.
async fn run() -> Outcome<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let settings = Settings::of_process()?;
    let mut broker = build(&settings).await?;
    tracing::info!(address = %settings.address, advertised = %settings.advertised, "listening");
    tokio::select! {
        served = broker.serve(Instant::now()) => served?,
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopped"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopped"),
    }
    Ok(())
}

async fn build(settings: &Settings) -> Outcome<Broker<Controller<ArcDynStorage>, ArcDynStorage>> {
    let coordinator = GroupCoordinatorConfig {
        initial_rebalance_delay: settings.rebalance_delay,
        ..GroupCoordinatorConfig::default()
    };
    let broker = Broker::<Controller<ArcDynStorage>, ArcDynStorage>::builder()
        .node_id(NODE_ID)
        .cluster_id(CLUSTER)
        .incarnation_id(Uuid::now_v7())
        .listener(Url::parse(&format!("tcp://{}", settings.address))?)
        .advertised_listener(Url::parse(&format!("tcp://{}", settings.advertised))?)
        .storage(storage(settings.data_directory.as_deref())?)
        .group_coordinator(coordinator)
        .silent(true)
        .build()
        .await?;
    Ok(broker)
}

/// SQLite in the folder, or memory.
fn storage(data_directory: Option<&Path>) -> Outcome<Url> {
    let Some(directory) = data_directory else {
        return Ok(Url::parse("memory://bus/")?);
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    // The broker takes the path of its database relative to the working directory, and no other.
    std::env::set_current_dir(directory)
        .map_err(|error| format!("cannot enter {}: {error}", directory.display()))?;
    Ok(Url::parse(&format!("sqlite://{DATABASE}"))?)
}

struct Settings {
    address: SocketAddr,
    advertised: String,
    data_directory: Option<PathBuf>,
    rebalance_delay: Duration,
}

impl Settings {
    fn of_process() -> Outcome<Self> {
        let host = variable("BIND_ADDR")?.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let port = match variable("PORT")?.unwrap_or(9092) {
            0 => free_port(host)?,
            port => port,
        };
        let address = SocketAddr::new(host, port);
        let reachable = match host {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => "127.0.0.1".to_owned(),
            host => host.to_string(),
        };
        let advertised_host = variable("ADVERTISED_HOST")?.unwrap_or(reachable);
        let rebalance_delay = variable("REBALANCE_DELAY_MS")?.unwrap_or(100);
        Ok(Self {
            address,
            advertised: format!("{advertised_host}:{port}"),
            data_directory: variable("DATA_DIR")?,
            rebalance_delay: Duration::from_millis(rebalance_delay),
        })
    }
}

/// The broker must tell its port before it listens, so a free one is found out beforehand.
fn free_port(host: IpAddr) -> io::Result<u16> {
    Ok(TcpListener::bind((host, 0))?.local_addr()?.port())
}

/// The value of a variable; an empty one counts as absent.
fn variable<T>(name: &str) -> Outcome<Option<T>>
where
    T: FromStr,
    T::Err: Display,
{
    let text = match std::env::var(name) {
        Ok(text) if !text.is_empty() => text,
        Ok(_) | Err(VarError::NotPresent) => return Ok(None),
        Err(error) => return Err(format!("{name}: {error}").into()),
    };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(format!("{name}={text:?}: {error}").into()),
    }
}
