//! This generator, as a process of its own: closed-loop users, one line of figures.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holdfast_core::event::Event;
use holdfast_core::experiment::{
    Body, Connections, Journey, Model, Pauses, Request, Stage, Target, Transport,
};
use holdfast_core::plan::LoadPlan;
use holdfast_core::template::Template;
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::{Options, driver};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use crate::process::own_processor_time;

pub(crate) const ROLE: &str = "ours";

/// What the process tells: as `name value` lines.
pub(crate) const READY_MS: &str = "ready_ms";
pub(crate) const BYTES_PER_USER: &str = "bytes_per_user";
pub(crate) const RATE: &str = "rate";
pub(crate) const CPU_SECONDS: &str = "cpu_seconds";

/// `address users seconds think_ms prober_rate keepAlive|perRequest`
pub(crate) fn main(arguments: &[&str]) {
    let [address, users, seconds, think, prober, connections] = arguments else {
        panic!("{arguments:?}");
    };
    let address: SocketAddr = address.parse().unwrap();
    let plan = plan(
        users.parse().unwrap(),
        Duration::from_secs(seconds.parse().unwrap()),
        Duration::from_millis(think.parse().unwrap()),
        prober.parse().unwrap(),
        match *connections {
            "keepAlive" => Connections::KeepAlive,
            _ => Connections::PerRequest,
        },
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(tell(address, &plan));
}

async fn tell(address: SocketAddr, plan: &LoadPlan) {
    let users = f64::from(plan.model.most_in_flight());
    let load = driver(&format!("http://{address}"), Options::default()).unwrap();
    let (sender, mut events) = unbounded_channel();
    let (begun, before) = (Instant::now(), resident_bytes());
    let watching = tokio::spawn(async move {
        let (mut ready, mut ended, mut held) = (Duration::ZERO, 0, before);
        while let Some(event) = events.recv().await {
            match event {
                Event::LoadStarted => ready = begun.elapsed(),
                Event::Tick(tick) => {
                    ended += tick.expected + tick.unexpected_total();
                    held = held.max(resident_bytes());
                }
                Event::LoadFinished(load) => {
                    println!("{READY_MS} {}", ready.as_secs_f64() * 1000.0);
                    println!("{BYTES_PER_USER} {}", (held - before) / users);
                    println!(
                        "{RATE} {}",
                        f64::from(ended as u32) / load.elapsed.as_secs_f64()
                    );
                    println!("{CPU_SECONDS} {}", own_processor_time().as_secs_f64());
                }
                _ => {}
            }
        }
    });
    let run = load.run(plan, Events::new(sender), CancellationToken::new());
    run.await.unwrap();
    watching.await.unwrap();
}

fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().next().unwrap();
    kilobytes.parse::<f64>().unwrap() * 1024.0
}

fn plan(
    users: u32,
    duration: Duration,
    think_time: Duration,
    prober: f64,
    connections: Connections,
) -> LoadPlan {
    LoadPlan {
        target: Target::Url(String::new()),
        model: Model::Users(vec![Stage {
            users,
            ramp: Duration::ZERO,
            duration,
        }]),
        duration,
        journeys: vec![Journey {
            name: "orders".to_owned(),
            weight: 1,
            think_time,
            pauses: Pauses::default(),
            data: None,
            requests: vec![order()],
        }],
        timeout: Duration::from_secs(30),
        drain_limit: Duration::from_secs(5),
        prober: (prober > 0.0).then_some(prober),
        transport: Transport {
            connections,
            ..Transport::default()
        },
        requests_per_user: None,
        workers: 1,
        seed: 1,
    }
}

fn order() -> Request {
    Request {
        method: "POST".to_owned(),
        path: Template::fixed("/orders"),
        headers: BTreeMap::from([(
            "content-type".to_owned(),
            Template::fixed("application/json"),
        )]),
        body: Some(Body::Json(Template::fixed(crate::generators::BODY))),
        expect: vec![200],
        checks: Vec::new(),
        save: BTreeMap::new(),
        timeout: None,
        think_time: None,
    }
}

/// The value under `name` in what the process told.
pub(crate) fn figure(output: &str, name: &str) -> f64 {
    let lines = output.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    values
        .next()
        .unwrap_or_else(|| panic!("{name} in {output:?}"))
}
