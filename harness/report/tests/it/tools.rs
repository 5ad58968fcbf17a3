//! Formats against the tools that write and read them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use holdfast_report::{Format, SiegeFormat, siege};

use crate::scenarios;

/// Whether a tool can be used; without it the test says so and passes, unless
/// `HOLDFAST_REQUIRE_TOOLS=1` makes it fail.
pub(crate) fn available(tool: &str) -> bool {
    let found = Path::new(tool).exists();
    let required = std::env::var("HOLDFAST_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
    assert!(found || !required, "{tool} is missing and required");
    if !found {
        println!("skipped: {tool} is missing");
    }
    found
}

/// Answers every request on an address of its own until the process ends.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(&stream.unwrap()));
        }
    });
    format!("http://{address}/")
}

fn answer(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let mut stream = stream;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        .unwrap();
}

/// What siege writes to stdout and stderr.
fn run_siege(json: bool) -> (String, String) {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join("siegerc");
    std::fs::write(
        &settings,
        format!("json_output = {json}\nlogging = false\nverbose = false\n"),
    )
    .unwrap();
    let output = Command::new("/usr/bin/siege")
        .env("HOME", home.path())
        .arg("--rc")
        .arg(&settings)
        .args(["--concurrent=2", "--reps=3", &serve()])
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// The layout of a line: every character but the digits of its number, which is as wide as the
/// column whatever its value.
fn layout(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| {
            let is_number = |c: char| c == ' ' || c == '.' || c.is_ascii_digit();
            let Some(end) = line.rfind(|c: char| c.is_ascii_digit()) else {
                return line.to_owned();
            };
            let start = line[..end].rfind(|c| !is_number(c)).map_or(0, |at| at + 1);
            let decimals = line[start..=end]
                .split_once('.')
                .map(|(_, digits)| digits.len());
            let width = end + 1 - start;
            format!(
                "{}<{width}:{decimals:?}>{}",
                &line[..start],
                &line[end + 1..]
            )
        })
        .collect()
}

#[test]
fn the_text_is_laid_out_as_siege_lays_it_out() {
    if !available("/usr/bin/siege") {
        return;
    }
    let (_, printed) = run_siege(false);
    let from = printed
        .find("Transactions:")
        .expect("siege prints its block");
    let ours = siege::text(&scenarios::failed().summary.siege, SiegeFormat::V4_0);
    assert_eq!(layout(&ours), layout(&printed[from..]));
    assert_eq!(ours.lines().count(), printed[from..].lines().count());
}

#[test]
fn the_json_is_laid_out_as_siege_lays_it_out() {
    if !available("/usr/bin/siege") {
        return;
    }
    let (printed, _) = run_siege(true);
    let from = printed.find("{").expect("siege prints its object");
    // Before 4.0.9 there was no line feed after the brace.
    let printed = printed[from..].replacen("{\t", "{\n\t", 1);
    let ours = siege::json(&scenarios::failed().summary.siege);
    assert_eq!(layout(&ours), layout(&printed));
    assert!(ours.ends_with("}\n") && printed.ends_with("}\n"));
    let read: serde_json::Value = serde_json::from_str(&ours).unwrap();
    assert_eq!(read["failed_transactions"], 351);
}

#[test]
fn the_latency_log_is_read_back_by_the_library() {
    let run = scenarios::failed();
    let log = Format::LatencyLog
        .render(&run.report(), SiegeFormat::V4_0)
        .unwrap();
    let mut seconds = Vec::new();
    let mut tags = std::collections::BTreeSet::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        match entry.expect("every line can be read") {
            LogEntry::Interval(interval) => {
                seconds.push(interval.start_timestamp().as_secs());
                tags.insert(interval.tag().unwrap().as_str().to_owned());
            }
            LogEntry::StartTime(start) | LogEntry::BaseTime(start) => {
                // 2025-03-01T12:00:00Z and the two seconds before the load began.
                assert_eq!(start.as_secs(), 1_740_830_402);
            }
        }
    }
    assert!(seconds.is_sorted());
    assert_eq!(seconds.last(), Some(&61));
    let expected = [
        "prober-expected",
        "prober-unexpected",
        "users-expected",
        "users-unexpected",
    ];
    assert!(tags.iter().eq(expected.iter()), "{tags:?}");
}
