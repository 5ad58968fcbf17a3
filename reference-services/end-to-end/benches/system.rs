//! What the reference system costs and how much it does: `cargo bench -p end-to-end --bench system`.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on may panic"
)]
#![expect(clippy::print_stdout, reason = "the figures")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use end_to_end::customers::Customers;
use end_to_end::system::{Part, System};
use tokio::net::TcpListener;
use tokio::process::Command;

const STARTS: usize = 10;
const ROUNDS: usize = 3;
const SECONDS: u64 = 5;
const SERVICES: [Part; 7] = [
    Part::Gateway,
    Part::App,
    Part::Pay,
    Part::Store,
    Part::Customer,
    Part::Marketing,
    Part::Auditor,
];

#[tokio::main]
async fn main() {
    let Some(mut system) = System::new().await else {
        return;
    };
    // pay stands for no bank, and nobody is turned away.
    for name in ["PAY_LATENCY_BASE", "PAY_LATENCY_JITTER"] {
        system.set(Part::Pay, name, "0");
    }
    for (name, value) in [
        ("PAY_BULKHEAD", "64"),
        ("DB_POOL", "64"),
        ("PAY_TIMEOUT", "5s"),
    ] {
        system.set(Part::App, name, value);
    }
    for part in Part::ALL {
        system.start(part).await;
    }
    starts(&mut system).await;
    orders(&system).await;
    events(&system).await;
    memory(&system);
}

/// From the start of a process to its first 200 at `/readyz`.
async fn starts(system: &mut System) {
    println!(
        "\n## Start ({STARTS} starts, ms)\n\n| service | least | median | most |\n|---|---|---|---|"
    );
    for part in SERVICES {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            system.kill(part).await;
            let begun = Instant::now();
            system.start(part).await;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (least, most) = (times[0], times[STARTS - 1]);
        println!(
            "| {part:?} | {least:.0} | {:.0} | {most:.0} |",
            times[STARTS / 2]
        );
    }
}

/// Orders by `wrk`, one thread, beside a server of the same framework that only answers.
async fn orders(system: &System) {
    println!(
        "\n## Orders ({ROUNDS} rounds by turns of {SECONDS} s, medians; wrk, 16 kept connections)\n"
    );
    let bare = post(|body: String| async move { (StatusCode::CREATED, body) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare_url = format!("http://{}/orders", listener.local_addr().unwrap());
    let router = Router::new().route("/orders", bare);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let ways = [
        ("axum, which only answers", bare_url),
        ("app, pay", system.url(Part::App, "/orders")),
        ("gateway, app, pay", system.url(Part::Gateway, "/orders")),
    ];
    let mut rounds: Vec<Vec<Figures>> = ways.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, url), rounds) in ways.iter().zip(&mut rounds) {
            let Some(figures) = wrk(url).await else {
                println!("wrk is not installed.");
                return;
            };
            rounds.push(figures);
        }
    }
    println!("| way | requests/s | p99, ms | not served |\n|---|---|---|---|");
    for ((way, _), mut rounds) in ways.into_iter().zip(rounds) {
        rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let Figures {
            rate,
            p99,
            not_served,
        } = rounds[ROUNDS / 2];
        println!("| {way} | {rate:.0} | {p99:.1} | {not_served} |");
    }
}

#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p99: f64,
    /// Requests that got no answer, a broken one, one too late or one with an error.
    not_served: u64,
}

async fn wrk(url: &str) -> Option<Figures> {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("order.lua");
    std::fs::write(
        &script,
        "wrk.method = 'POST'\nwrk.body = '{\"item\":\"chicken\"}'\nwrk.headers['content-type'] = 'application/json'\n\
         done = function(s, l) local e = s.errors io.write(('figures %f %f %d\\n'):format(\
         s.requests / s.duration * 1e6, l:percentile(99) / 1e3, \
         e.connect + e.read + e.write + e.timeout + e.status)) end\n",
    )
    .unwrap();
    let output = Command::new("wrk")
        .args(["-t1", "-c16", "--timeout=10s"])
        .args([&format!("-d{SECONDS}"), "-s"])
        .arg(&script)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("figures "))
        .unwrap();
    let numbers: Vec<f64> = line
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    Some(Figures {
        rate: numbers[0],
        p99: numbers[1],
        not_served: numbers[2] as u64,
    })
}

/// Orders for some seconds, and how long it takes until everybody has heard of everything.
async fn events(system: &System) {
    println!("\n## Events ({SECONDS} s of orders by 8 customers, then until all is settled)\n");
    system.until_settled().await;
    let before = system.read(Part::Auditor, "/invariants").await;
    let begun = Instant::now();
    let customers = Customers::start(&system.client, &[system.url(Part::App, "/orders")], 8);
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let story = customers.stop().await;
    let ordered = begun.elapsed().as_secs_f64();
    let after = system.until_settled().await;
    let settled = begun.elapsed().as_secs_f64();
    let of = |report: &serde_json::Value| report["entries"]["notifications"].as_u64().unwrap();
    let notified = of(&after) - of(&before);
    println!(
        "| orders | orders/s | events heard by customer | all settled after, s | events/s until then |\n|---|---|---|---|---|"
    );
    println!(
        "| {} | {:.0} | {notified} | {settled:.1} | {:.0} |",
        story.accepted.len(),
        story.accepted.len() as f64 / ordered,
        notified as f64 / settled,
    );
}

/// Resident memory after all that.
fn memory(system: &System) {
    println!("\n## Memory after that (resident, MB)\n\n| process | MB |\n|---|---|");
    for part in Part::ALL {
        println!(
            "| {part:?} | {:.0} |",
            system.resident_bytes(part) as f64 / 1e6
        );
    }
}
