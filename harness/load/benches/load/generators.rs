//! The cost of a request: this generator and others by turns, one processor each, against the
//! same server on the other processor. What was sent is what the server counted.

use std::process::Command;
use std::time::Instant;

use crate::process::{GENERATOR, Took, is_there, median, pinned, run as run_to_end};
use crate::server::Server;
use crate::{goose_as_it_comes, ours};

pub(crate) const BODY: &str = "{\"item\":\"chicken\"}";

const USERS: &str = "100";
const SECONDS: &str = "5";
const ROUNDS: usize = 5;

/// One way to send.
struct Generator {
    name: &'static str,
    program: Option<&'static str>,
    command: fn(&str, &std::path::Path) -> Command,
}

const GENERATORS: [Generator; 7] = [
    Generator {
        name: "wrk",
        program: Some("wrk"),
        command: |url, folder| {
            let script = folder.join("post.lua");
            let text = format!(
                "wrk.method = 'POST'\nwrk.body = '{BODY}'\nwrk.headers['content-type'] = 'application/json'\n"
            );
            std::fs::write(&script, text).unwrap();
            let mut command = pinned(GENERATOR, "wrk");
            command.args(["-t1", "-c", USERS, "-d", SECONDS, "-s"]);
            command.arg(script).arg(url);
            command
        },
    },
    Generator {
        name: "Holdfast",
        program: None,
        command: |url, _| {
            let mut command = this_program();
            let address = url
                .trim_start_matches("http://")
                .trim_end_matches("/orders");
            command.args([ours::ROLE, address, USERS, SECONDS, "0", "0", "keepAlive"]);
            command
        },
    },
    Generator {
        name: "oha",
        program: Some("oha"),
        command: |url, _| {
            let mut command = pinned(GENERATOR, "oha");
            command.env("TOKIO_WORKER_THREADS", "1");
            command.args(["--no-tui", "-c", USERS, "-z", &format!("{SECONDS}s")]);
            command.args(["-m", "POST", "-T", "application/json", "-d", BODY, url]);
            command
        },
    },
    Generator {
        name: "ab",
        program: Some("ab"),
        command: |url, folder| {
            let body = folder.join("body.json");
            std::fs::write(&body, BODY).unwrap();
            let mut command = pinned(GENERATOR, "ab");
            command.args(["-q", "-k", "-c", USERS, "-t", SECONDS, "-n", "10000000"]);
            command
                .args(["-T", "application/json", "-p"])
                .arg(body)
                .arg(url);
            command
        },
    },
    Generator {
        name: "hey",
        program: Some("hey"),
        command: |url, _| {
            let mut command = pinned(GENERATOR, "hey");
            command.args(["-cpus", "1", "-c", USERS, "-z", &format!("{SECONDS}s")]);
            command.args(["-m", "POST", "-T", "application/json", "-d", BODY, url]);
            command
        },
    },
    Generator {
        name: "siege",
        program: Some("siege"),
        command: |url, folder| {
            let settings = folder.join("siegerc");
            let text = "connection = keep-alive\nlogging = false\nparser = false\nlimit = 1000\n";
            std::fs::write(&settings, text).unwrap();
            let mut command = pinned(GENERATOR, "siege");
            command.env("HOME", folder);
            command
                .arg("-R")
                .arg(settings)
                .args(["-q", "-b", "-c", USERS]);
            command.args(["-t", &format!("{SECONDS}S"), "-T", "application/json"]);
            command.arg(format!("{url} POST {BODY}"));
            command
        },
    },
    Generator {
        name: "Goose as it comes",
        program: None,
        command: |url, _| {
            let mut command = this_program();
            let address = url
                .trim_start_matches("http://")
                .trim_end_matches("/orders");
            command.args([goose_as_it_comes::ROLE, address, USERS, SECONDS]);
            command
        },
    },
];

fn this_program() -> Command {
    let own = std::env::current_exe().unwrap();
    pinned(GENERATOR, own.to_str().unwrap())
}

/// What one generator did in one round.
struct Round {
    requests_per_second: f64,
    cpu_per_100k: f64,
    peak_memory_mb: f64,
}

pub(crate) fn run() {
    println!(
        "\n## Generators ({ROUNDS} rounds by turns of {SECONDS} s, medians; POST JSON, {USERS} kept connections, one processor)\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start() else {
        return;
    };
    let url = format!("http://{}/orders", server.address);
    let there = |generator: &&Generator| generator.program.is_none_or(is_there);
    let generators: Vec<&Generator> = GENERATORS.iter().filter(there).collect();
    let mut rounds: Vec<Vec<Round>> = generators.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (generator, rounds) in generators.iter().zip(&mut rounds) {
            let (before, begun) = (server.requests(), Instant::now());
            let took = run_to_end((generator.command)(&url, folder.path()));
            let seconds = begun.elapsed().as_secs_f64();
            let requests = (server.requests() - before - 1) as f64;
            rounds.push(round(&took, requests, seconds));
        }
    }
    println!(
        "| generator | requests/s | CPU-s per 100,000 | ÷ wrk | peak memory, MB |\n|---|---|---|---|---|"
    );
    let figure =
        |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let wrk = generators
        .iter()
        .position(|generator| generator.name == "wrk")
        .map(|index| figure(&rounds[index], |round| round.cpu_per_100k));
    for (generator, rounds) in generators.iter().zip(&rounds) {
        let cpu = figure(rounds, |round| round.cpu_per_100k);
        let ratio = wrk.map_or_else(|| "–".to_owned(), |wrk| format!("{:.2}", cpu / wrk));
        println!(
            "| {} | {:.0} | {cpu:.3} | {ratio} | {:.0} |",
            generator.name,
            figure(rounds, |round| round.requests_per_second),
            figure(rounds, |round| round.peak_memory_mb),
        );
    }
    for missing in GENERATORS.iter().filter(|generator| !there(generator)) {
        println!(
            "\n{} is not installed, so it is missing here.",
            missing.name
        );
    }
}

fn round(took: &Took, requests: f64, seconds: f64) -> Round {
    Round {
        requests_per_second: requests / seconds,
        cpu_per_100k: took.processor.as_secs_f64() / requests * 100_000.0,
        peak_memory_mb: took.peak_memory_mb,
    }
}
