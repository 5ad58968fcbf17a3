//! What the local cluster costs: starting, pods, objects, watchers, proxied connections.
//!
//! `cargo bench -p holdfast-cluster -- [start|pods|objects|watchers|proxy …]`; without a name all
//! of them run. Each prints a Markdown table. Load goes to loopback only and is bounded.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at what it cannot do")]
#![expect(clippy::print_stdout, reason = "the tables are the product")]

mod measure;
mod objects;
mod pods;
mod proxy;
mod site;
mod start;
mod watchers;

use std::env;

#[tokio::main]
async fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [role, address] = words.as_slice()
        && role == proxy::SERVER
    {
        return proxy::serve(address.parse().unwrap()).await;
    }
    let all = ["start", "pods", "objects", "watchers", "proxy"];
    // Cargo itself passes options such as `--bench`.
    let named: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    for name in if named.is_empty() {
        &all
    } else {
        named.as_slice()
    } {
        match *name {
            "start" => start::run().await,
            "pods" => pods::run().await,
            "objects" => objects::run().await,
            "watchers" => watchers::run().await,
            "proxy" => proxy::run().await,
            unknown => println!("no benchmark {unknown}; there are {}", all.join(", ")),
        }
    }
}
