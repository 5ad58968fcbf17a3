//! What many users cost: the time until all stand ready, memory, and whether they send as fast as
//! their pauses say.

use crate::ours::{self, figure};
use crate::process::{GENERATOR, median, pinned, run as run_to_end};
use crate::server::Server;

const ROUNDS: usize = 3;
const SECONDS: &str = "12";
/// Each user sends once in so many milliseconds.
const THINK_MS: u32 = 2000;

pub(crate) fn run() {
    println!(
        "\n## Users ({ROUNDS} rounds, medians; a request every {} s each)\n",
        THINK_MS / 1000
    );
    let Some(server) = Server::start() else {
        return;
    };
    println!(
        "| users | all ready after, ms | memory of each, KB | requests/s | expected/s |\n|---|---|---|---|---|"
    );
    for users in [100, 1000, 10_000] {
        let outputs: Vec<String> = (0..ROUNDS).map(|_| once(&server, users)).collect();
        let middle = |name| median(outputs.iter().map(|output| figure(output, name)).collect());
        println!(
            "| {users} | {:.0} | {:.1} | {:.1} | {:.1} |",
            middle(ours::READY_MS),
            middle(ours::BYTES_PER_USER) / 1024.0,
            middle(ours::RATE),
            f64::from(users) * 1000.0 / f64::from(THINK_MS),
        );
    }
}

fn once(server: &Server, users: u32) -> String {
    let own = std::env::current_exe().unwrap();
    let mut command = pinned(GENERATOR, own.to_str().unwrap());
    let (address, users) = (server.address.to_string(), users.to_string());
    let think = THINK_MS.to_string();
    command.args([
        ours::ROLE,
        &address,
        &users,
        SECONDS,
        &think,
        "0",
        "keepAlive",
    ]);
    run_to_end(command).output
}
