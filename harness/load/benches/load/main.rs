//! What a request costs its generator, beside others on the same machine and in the same run; and
//! what many users cost.
//!
//! `cargo bench --profile peers -p holdfast-load -- [generators|users|prober …]`; without a name
//! all of them run. Each prints a Markdown table. Load goes to loopback only and is bounded.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at what it cannot do")]
#![expect(clippy::print_stdout, reason = "the tables are the product")]

mod generators;
mod goose_as_it_comes;
mod ours;
mod prober;
mod process;
mod server;
mod users;

use std::env;

fn main() {
    let words: Vec<String> = env::args()
        .skip(1)
        // Cargo itself passes options such as `--bench`.
        .filter(|word| !word.starts_with("--"))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [ours::ROLE, arguments @ ..] => ours::main(arguments),
        [goose_as_it_comes::ROLE, arguments @ ..] => goose_as_it_comes::main(arguments),
        [] => ["generators", "users", "prober"].into_iter().for_each(run),
        names => names.iter().copied().for_each(run),
    }
}

fn run(name: &str) {
    match name {
        "generators" => generators::run(),
        "users" => users::run(),
        "prober" => prober::run(),
        unknown => println!("no benchmark {unknown}; there are generators, users, prober"),
    }
}
