//! What the prober beside a load costs: one idle user with it and without it, by turns.

use crate::ours::{self, figure};
use crate::process::{GENERATOR, median, pinned, run as run_to_end};
use crate::server::Server;

const ROUNDS: usize = 5;
const SECONDS: u32 = 10;

pub(crate) fn run() {
    println!(
        "\n## Prober ({ROUNDS} rounds by turns of {SECONDS} s, medians; beside one user who rests)\n"
    );
    let Some(server) = Server::start() else {
        return;
    };
    let mut with = Vec::new();
    let mut without = Vec::new();
    for _ in 0..ROUNDS {
        with.push(once(&server, "25"));
        without.push(once(&server, "0"));
    }
    let (with, without) = (median(with), median(without));
    let percent = |seconds: f64| seconds / f64::from(SECONDS) * 100.0;
    println!("| prober | CPU, % of a core |\n|---|---|");
    println!("| none | {:.2} |", percent(without));
    println!("| 25/s | {:.2} |", percent(with));
    println!("| of it the prober | {:.2} |", percent(with - without));
}

fn once(server: &Server, rate: &str) -> f64 {
    let own = std::env::current_exe().unwrap();
    let mut command = pinned(GENERATOR, own.to_str().unwrap());
    let (address, seconds) = (server.address.to_string(), SECONDS.to_string());
    command.args([
        ours::ROLE,
        &address,
        "1",
        &seconds,
        "60000",
        rate,
        "perRequest",
    ]);
    figure(&run_to_end(command).output, ours::CPU_SECONDS)
}
