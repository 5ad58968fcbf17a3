//! Debian's siege beside our report, against the same service.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::holdfast::{finish, holdfast, tool};
use crate::kubectl::Up;
use crate::system::System;

/// siege with the given options, for some seconds, against `orders`; its whole summary.
///
/// Now and then siege's own threads wait for each other for ever when its time is over (its main
/// thread for one it has cancelled, and that one for a lock): then it is killed and tried again.
fn siege(options: &[&str], orders: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join("siegerc");
    std::fs::write(
        &settings,
        "connection = close\nlogging = false\nfailures = 1000000\n",
    )
    .unwrap();
    for _ in 0..3 {
        let output = Command::new("timeout")
            .args(["--signal=KILL", "60", "siege", "-R"])
            .arg(&settings)
            .args(options)
            .args(["--content-type", "application/json"])
            .arg(format!("{orders} POST {{\"item\": \"chicken\"}}"))
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.signal().is_none() {
            return String::from_utf8_lossy(&output.stderr).into_owned();
        }
    }
    panic!("siege never ended, three times");
}

/// The summary block, from `Transactions:` to the last line.
fn block(text: &str) -> &str {
    let start = text
        .find("Transactions:")
        .unwrap_or_else(|| panic!("no block in:\n{text}"));
    let end = text[start..].find("Shortest transaction:").unwrap() + start;
    &text[start..end + text[end..].find('\n').unwrap() + 1]
}

fn figure(text: &str, label: &str) -> f64 {
    let line = block(text)
        .lines()
        .find(|line| line.starts_with(label))
        .unwrap();
    line[label.len()..]
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// The block with every number, and the blanks that pad it, replaced by its last column: the
/// layout and nothing else.
fn layout(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let (label, rest) = line.split_once(':').unwrap();
        let number_end = rest.rfind(|c: char| c.is_ascii_digit()).unwrap();
        format!("{label}:{number_end}{}", &rest[number_end + 1..])
    };
    block(text).lines().map(line).collect()
}

/// The seed's own command, shortened, against `holdfast up`.
pub(crate) fn the_seeds_command() {
    let text = siege(&["-c5", "-t3S", "-r10"], "http://localhost:8081/orders");
    assert!(figure(&text, "Transactions:") > 5.0, "{text}");
    assert!(
        (figure(&text, "Availability:") - 100.0).abs() < 1e-9,
        "{text}"
    );
}

/// The reference services on other ports, with a payment that is too late for about half of the
/// orders: a coin that pay's own latency tosses, not we.
fn half_too_late(folder: &Path) -> PathBuf {
    let services = folder.join("services");
    std::fs::create_dir(&services).unwrap();
    let system = System::new();
    for name in ["app", "pay"] {
        let file = format!("{name}.yaml");
        let text = std::fs::read_to_string(system.services().join(&file)).unwrap();
        let text = text
            .replace("port: 8081", "port: 18081")
            .replace("port: 8082", "port: 18082")
            .replace("port: 9082", "port: 19082")
            .replace(
                "{name: PAY_TIMEOUT, value: 1s}",
                "{name: PAY_TIMEOUT, value: 150ms}",
            )
            .replace(
                "{name: PAY_BREAKER, value: \"on\"}",
                "{name: PAY_BREAKER, value: \"off\"}\n            - {name: PAY_BULKHEAD, value: \"0\"}",
            )
            .replace(
                "{name: PAY_LATENCY_BASE, value: 400ms}",
                "{name: PAY_LATENCY_BASE, value: 50ms}",
            )
            .replace(
                "{name: PAY_LATENCY_JITTER, value: 220ms}",
                "{name: PAY_LATENCY_JITTER, value: 200ms}",
            );
        std::fs::write(services.join(file), text).unwrap();
    }
    let images = std::fs::read_to_string(system.path().join("k8s/images.yaml")).unwrap();
    std::fs::write(folder.join("images.yaml"), images).unwrap();
    services
}

#[test]
fn siege_and_our_report_agree_about_the_same_service() {
    if tool("siege").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start("siege", &half_too_late(folder.path()));

    let theirs = siege(&["-c8", "-t8S", "-b"], "http://localhost:18081/orders");
    let experiment = folder.path().join("same.yaml");
    let text = "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {name: same}
spec:
  load:
    target: {url: \"http://localhost:18081\"}
    stages: [{users: 8, duration: 8s}]
    prober: {rate: 0/s}
    requests: [{post: /orders, json: {item: chicken}, expect: [201]}]
  steadyState: [{metric: availability, min: 1}]
";
    std::fs::write(&experiment, text).unwrap();
    let run = finish(
        holdfast("siege")
            .arg("run")
            .arg(&experiment)
            .arg("--out")
            .arg(folder.path()),
    );
    up.end();
    let ours = run.err;

    assert_eq!(
        layout(&ours),
        layout(&theirs),
        "ours:\n{ours}\ntheirs:\n{theirs}"
    );
    // About 250 requests each, half of them failing: one standard deviation of the difference is
    // below five points.
    let (our, their) = (
        figure(&ours, "Availability:"),
        figure(&theirs, "Availability:"),
    );
    assert!((20.0..80.0).contains(&their), "{theirs}");
    assert!((our - their).abs() < 20.0, "ours {our}, siege's {their}");
    let (our, their) = (
        figure(&ours, "Concurrency:"),
        figure(&theirs, "Concurrency:"),
    );
    assert!((our - their).abs() < 1.0, "ours {our}, siege's {their}");
}
