//! What the driver itself costs: users against a server in this process that does nothing.
//!
//! `cargo run --release -p holdfast-load --example null_server -- [users] [seconds] [keep-alive]`
//!
//! The processor time is the driver's and the server's together: an upper bound for the driver.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::event::Event;
use holdfast_core::experiment::{
    Body, Connections, Journey, Model, Pauses, Request, Stage, Target, Transport,
};
use holdfast_core::plan::LoadPlan;
use holdfast_core::template::Template;
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::{Options, driver};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let users = arguments.next().map_or(Ok(100), |users| users.parse())?;
    let seconds = arguments.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let connections = match arguments.next().as_deref() {
        Some("keep-alive") => Connections::KeepAlive,
        _ => Connections::PerRequest,
    };
    let load = driver(&start_server().await?, Options::default())?;
    let (sender, mut events) = unbounded_channel();
    load.run(
        &plan(users, Duration::from_secs(seconds), connections),
        Events::new(sender),
        CancellationToken::new(),
    )
    .await?;
    let mut ended = 0;
    while let Some(event) = events.recv().await {
        match event {
            Event::Tick(tick) => ended += tick.expected + tick.unexpected_total(),
            Event::LoadFinished(load) => {
                let rate = ended as f64 / load.elapsed.as_secs_f64();
                let cost = load.cpu_seconds / ended as f64 * 100_000.0;
                println!("{ended} requests, {rate:.0}/s, {cost:.2} CPU-s per 100,000");
                let (p99, max) = (load.lag.percentile(99.0), load.lag.max());
                println!("lag p99 {p99:?}, max {max:?}; users {:.1}", load.mean_users);
            }
            _ => {}
        }
    }
    Ok(())
}

fn plan(users: u32, duration: Duration, connections: Connections) -> LoadPlan {
    LoadPlan {
        target: Target::Url(String::new()),
        model: Model::Users(vec![Stage {
            users,
            ramp: Duration::ZERO,
            duration,
        }]),
        duration,
        requests_per_user: None,
        journeys: vec![Journey {
            name: "orders".to_owned(),
            weight: 1,
            think_time: Duration::ZERO,
            pauses: Pauses::Exact,
            data: None,
            requests: vec![order()],
        }],
        timeout: Duration::from_secs(10),
        drain_limit: Duration::from_secs(5),
        prober: None,
        transport: Transport {
            connections,
            ..Transport::default()
        },
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
        body: Some(Body::Json(Template::fixed("{\"item\":\"chicken\"}"))),
        expect: vec![201],
        checks: Vec::new(),
        save: BTreeMap::new(),
        timeout: None,
        think_time: None,
    }
}

async fn start_server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(url)
}

/// Answers whatever arrives at once; the driver's requests fit into one segment.
async fn serve(mut stream: TcpStream) {
    let mut request = [0; 1024];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
