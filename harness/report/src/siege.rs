//! siege's own output, byte for byte, from figures computed by siege's rules.
//!
//! The format strings and what each figure means are in `harness/docs/siege-figures.md`.

use std::fmt::Write as _;

use holdfast_core::siege::Figures;

/// Which siege's text block to reproduce. Its JSON is the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiegeFormat {
    /// siege 4.0.4 to 4.1.5: times in seconds.
    #[default]
    V4_0,
    /// siege 4.1.7 and later: times of requests in milliseconds.
    V4_1_7,
}

/// The summary block that siege prints on stderr, from `Transactions:` to the closing line with
/// one space. (siege puts an empty line before it, which belongs to its progress output.)
#[must_use]
pub fn text(figures: &Figures, format: SiegeFormat) -> String {
    let mut out = String::new();
    write_text(&mut out, figures, format).expect("writing to a String cannot fail");
    out
}

fn write_text(out: &mut String, figures: &Figures, format: SiegeFormat) -> std::fmt::Result {
    let count = |count: u64| match format {
        SiegeFormat::V4_0 => format!("{count:>12}"),
        SiegeFormat::V4_1_7 => format!("{count:>9}"),
    };
    let (hits, response_time, time, unit) = match format {
        SiegeFormat::V4_0 => (" hits", " secs", 1.0, ""),
        SiegeFormat::V4_1_7 => ("    hits", " ms", 1000.0, " ms"),
    };
    let f = figures;
    writeln!(out, "Transactions:\t\t{}{hits}", count(f.transactions))?;
    writeln!(out, "Availability:\t\t{:12.2} %", f.availability)?;
    writeln!(out, "Elapsed time:\t\t{:12.2} secs", f.elapsed)?;
    writeln!(out, "Data transferred:\t{:12.2} MB", f.data_transferred)?;
    let mean = f.response_time * time;
    writeln!(out, "Response time:\t\t{mean:12.2}{response_time}")?;
    writeln!(
        out,
        "Transaction rate:\t{:12.2} trans/sec",
        f.transaction_rate
    )?;
    writeln!(out, "Throughput:\t\t{:12.2} MB/sec", f.throughput)?;
    writeln!(out, "Concurrency:\t\t{:12.2}", f.concurrency)?;
    writeln!(out, "Successful transactions:{}", count(f.successful))?;
    writeln!(out, "Failed transactions:\t{}", count(f.failed))?;
    writeln!(out, "Longest transaction:\t{:12.2}{unit}", f.longest * time)?;
    writeln!(
        out,
        "Shortest transaction:\t{:12.2}{unit}",
        f.shortest * time
    )?;
    writeln!(out, " ")
}

/// What `siege --json-output` prints on stdout since 4.0.9. Times are in seconds, whatever the
/// text block of the same version uses.
#[must_use]
pub fn json(figures: &Figures) -> String {
    let f = figures;
    let float = |value: f64| format!("{value:12.2}");
    let count = |value: u64| format!("{value:>12}");
    let lines = [
        ("transactions\":\t\t\t", count(f.transactions)),
        ("availability\":\t\t\t", float(f.availability)),
        ("elapsed_time\":\t\t\t", float(f.elapsed)),
        ("data_transferred\":\t\t", float(f.data_transferred)),
        ("response_time\":\t\t", float(f.response_time)),
        ("transaction_rate\":\t\t", float(f.transaction_rate)),
        ("throughput\":\t\t\t", float(f.throughput)),
        ("concurrency\":\t\t\t", float(f.concurrency)),
        ("successful_transactions\":\t", count(f.successful)),
        ("failed_transactions\":\t\t", count(f.failed)),
        ("longest_transaction\":\t\t", float(f.longest)),
        ("shortest_transaction\":\t\t", float(f.shortest)),
    ];
    let body: Vec<String> = lines
        .iter()
        .map(|(key, value)| format!("\t\"{key}{value}"))
        .collect();
    format!("{{\n{}\n}}\n", body.join(",\n"))
}

/// One line for one answer, as `siege --verbose` prints it, without a line feed.
#[must_use]
pub fn request_line(status: u16, seconds: f64, bytes: u64, method: &str, url: &str) -> String {
    format!("HTTP/1.1 {status}    {seconds:5.2} secs: {bytes:7} bytes ==> {method:<4} {url}")
}

/// The first line of siege's log, with its line feed.
pub const LOG_HEADER: &str = "      Date & Time,  Trans,  Elap Time,  Data Trans,  Resp Time,  \
                              Trans Rate,  Throughput,  Concurrent,    OKAY,   Failed\n";

/// The row that a run adds to siege's log, with its line feed. `date_time` is
/// `2026-11-22 20:00:00` in local time. Data and throughput are of whole mebibytes, as in siege,
/// whose log therefore has 0 for less than one.
#[must_use]
pub fn log_row(figures: &Figures, date_time: &str) -> String {
    let f = figures;
    let mebibytes = f.data_transferred.trunc();
    let throughput = if f.elapsed > 0.0 {
        mebibytes / f.elapsed
    } else {
        0.0
    };
    format!(
        "{date_time},{:7},{:11.2},{mebibytes:12},{:11.2},{:12.2},{throughput:12.2},{:12.2},{:8},{:8}\n",
        f.transactions,
        f.elapsed,
        f.response_time,
        f.transaction_rate,
        f.concurrency,
        f.successful,
        f.failed,
    )
}

/// A line of siege's log that is not about a run, with its line feed.
#[must_use]
pub fn log_mark(text: &str) -> String {
    format!("**** {text} ****\n")
}
