//! What the local cluster costs: starting, pods, the reference system, objects, watchers, proxied
//! connections.
//!
//! `cargo bench -p holdfast-cluster --bench cluster -- [start|pods|reference|objects|watchers|proxy
//! …]`; without a name all of them run, each in a process of its own, so that none finds what another
//! has left. Each prints a Markdown table. Load goes to loopback only and is bounded.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at what it cannot do")]
#![expect(clippy::print_stdout, reason = "the tables are the product")]

mod measure;
mod objects;
mod pods;
mod proxy;
mod reference;
mod site;
mod start;
mod watchers;

use std::env;
use std::process::Command;

const SECTIONS: [&str; 6] = ["start", "pods", "reference", "objects", "watchers", "proxy"];

#[tokio::main]
async fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [role, address] = words.as_slice()
        && role == proxy::SERVER
    {
        return proxy::serve(address.parse().unwrap()).await;
    }
    // Cargo itself passes options such as `--bench`.
    let named: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    match named.as_slice() {
        [] => SECTIONS.iter().for_each(|name| run_apart(name)),
        [name] => run(name).await,
        names => names.iter().for_each(|name| run_apart(name)),
    }
}

/// Runs a section in a process of its own.
fn run_apart(name: &str) {
    let own = env::current_exe().unwrap();
    let status = Command::new(own).arg(name).status().unwrap();
    assert!(status.success(), "{name} failed");
}

async fn run(name: &str) {
    match name {
        "start" => start::run().await,
        "pods" => pods::run().await,
        "reference" => reference::run().await,
        "objects" => objects::run().await,
        "watchers" => watchers::run().await,
        "proxy" => proxy::run().await,
        unknown => println!("no benchmark {unknown}; there are {}", SECTIONS.join(", ")),
    }
}
