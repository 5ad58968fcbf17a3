//! A journey written as a Goose scenario: customers who order and read their order back, against a
//! small server in this process. Prints siege's summary block.
//!
//! ```console
//! $ cargo run -p holdfast-load --example goose_scenario
//! ```

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use goose::goose::{GooseUser, Scenario, Transaction, TransactionResult};
use goose::{scenario, transaction};
use holdfast_core::event::Event;
use holdfast_core::outcome::Source;
use holdfast_core::plan::{LoadPlan, plan};
use holdfast_core::siege::Tally;
use holdfast_core::spec::{self, SourceFile};
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::scenario::session;
use holdfast_load::{Options, claim_process, driver};
use holdfast_report::{SiegeFormat, siege};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

/// How many customers there are, and when; `requests` are the prober's.
const EXPERIMENT: &str = "
apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {name: goose-scenario}
spec:
  load:
    target: {url: 'http://127.0.0.1'}
    stages: [{users: 20, ramp: 1s, duration: 5s}]
    connections: keepAlive
    prober: {rate: 10/s}
    requests: [{get: /menu}]
";

/// Orders something and reads the order back.
async fn order(_user: &mut GooseUser) -> TransactionResult {
    let session = session();
    let order = json!({"item": "chicken", "customer": session.user()});
    let placed = session.post("/orders").json(&order).expect(201).send();
    let placed = placed.await?;
    let Some(place) = placed.header("location") else {
        return Err("an order without a place".into());
    };
    let customer = session.user();
    let read = session.get(place).named("GET /orders/{id}").check(
        // What is wrong in words fails the request.
        move |answer| match answer.json::<Value>() {
            Ok(order) if order["customer"] == customer => Ok(()),
            Ok(order) => Err(format!("somebody else's order: {order}")),
            Err(error) => Err(error.to_string()),
        },
    );
    read.send().await?;
    Ok(())
}

/// Reads the menu, which is all that some customers do.
async fn browse(_user: &mut GooseUser) -> TransactionResult {
    session().get("/menu").send().await?;
    Ok(())
}

fn customers() -> Result<Vec<Scenario>, Box<dyn Error>> {
    let (least, most) = (Duration::from_millis(50), Duration::from_millis(150));
    let customers = scenario!("customers")
        .register_transaction(transaction!(order).set_name("order").set_weight(3)?)
        .register_transaction(transaction!(browse).set_name("browse"))
        .set_wait_time(least, most)?;
    Ok(vec![customers])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    claim_process()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(serve(listener));

    let load = driver(&url, Options::default())?.with_scenarios(customers()?);
    let (sender, mut told) = unbounded_channel();
    let never = CancellationToken::new();
    load.run(&load_plan()?, Events::new(sender), never).await?;

    let mut tally = Tally::default();
    let mut journeys = BTreeMap::<String, u64>::new();
    while let Some(event) = told.recv().await {
        match event {
            // siege does not count what was on its way when it stopped.
            Event::Tick(tick) if tick.source == Source::Users && !tick.draining => {
                tally.merge(&tick.siege);
                for (name, count) in tick.journeys {
                    *journeys.entry(name).or_default() += count.completed;
                }
            }
            Event::RequestFailed(failed) => println!("{}: {}", failed.request, failed.detail),
            Event::LoadFinished(finished) => {
                let figures = tally.figures(finished.elapsed);
                println!("{}", siege::text(&figures, SiegeFormat::default()));
            }
            _ => {}
        }
    }
    println!("journeys completed: {journeys:?}");
    server.abort();
    Ok(())
}

fn load_plan() -> Result<LoadPlan, Box<dyn Error>> {
    let source = SourceFile {
        name: "goose-scenario.yaml",
        text: EXPERIMENT,
        directory: Path::new("."),
    };
    let experiment = spec::parse(&source, &[], &Path::exists)?;
    Ok(plan(&experiment, 1).load)
}

/// Keeps orders for as long as their connection is open.
async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { serve_one(stream).await.ok() });
    }
}

async fn serve_one(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut orders: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let body = read_rest(&mut stream).await?;
        let mut words = line.split(' ');
        let answer = match (words.next(), words.next()) {
            (Some("POST"), Some("/orders")) => {
                orders.push(body);
                let place = format!("location: /orders/{}\r\n", orders.len() - 1);
                answer("201 Created", &place, "")
            }
            (_, Some("/menu")) => answer("200 OK", "", "[\"chicken\"]"),
            (_, Some(path)) => {
                let number = path.strip_prefix("/orders/").map(str::parse::<usize>);
                let order = number.and_then(|number| orders.get(number.ok()?));
                order.map_or_else(
                    || answer("404 Not Found", "", ""),
                    |order| answer("200 OK", "", order),
                )
            }
            _ => answer("400 Bad Request", "", ""),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Reads the headers and the body, and returns the body.
async fn read_rest(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn answer(status: &str, header: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{header}content-length: {length}\r\n\r\n{body}")
}
