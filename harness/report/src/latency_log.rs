//! Latencies second by second as an HdrHistogram V2 interval log, which the HdrHistogram tools of
//! any language read. Values are microseconds; the tags say whose requests and how they ended.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::Source;
use holdfast_core::record::Record;

use crate::Cause;

/// The largest value of an interval is printed in milliseconds, as the tools expect.
const MICROSECONDS_PER_MILLISECOND: f64 = 1000.0;

pub(crate) fn render(record: &Record) -> Result<String, Cause> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = load_start(record)?;
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Values in microseconds; Interval_Max in milliseconds]")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(MICROSECONDS_PER_MILLISECOND)
        .begin_log_with(&mut log, &mut serializer)
        .map_err(|error| Cause::Histogram(Box::new(error)))?;
    for ((second, tag), parts) in intervals(record) {
        let mut histogram = Histogram::default();
        for part in parts {
            histogram.merge(part);
        }
        writer
            .write_histogram(
                &histogram.as_hdr(),
                Duration::from_secs(u64::from(second)),
                Duration::from_secs(1),
                Tag::new(tag),
            )
            .map_err(|error| Cause::Histogram(Box::new(error)))?;
    }
    String::from_utf8(log).map_err(|error| Cause::Histogram(Box::new(error)))
}

/// When the load began, by the calendar.
fn load_start(record: &Record) -> Result<SystemTime, Cause> {
    let text = &record.run.started_at;
    let started: jiff::Timestamp = text.parse().map_err(|source| Cause::StartTime {
        text: text.clone(),
        source,
    })?;
    Ok(SystemTime::from(started) + record.load_started.unwrap_or_default())
}

/// Every second's histograms by tag, in order of time; empty ones are left out. A second that the
/// end of the load cuts in two is one interval of two parts, merged only when it is written: all
/// merged histograms of a long run together would not fit into memory.
fn intervals(record: &Record) -> BTreeMap<(u32, &'static str), Vec<&Histogram>> {
    let mut intervals: BTreeMap<(u32, &'static str), Vec<&Histogram>> = BTreeMap::new();
    for tick in &record.ticks {
        let (expected, unexpected) = match tick.source {
            Source::Users => ("users-expected", "users-unexpected"),
            Source::Prober => ("prober-expected", "prober-unexpected"),
        };
        for (tag, histogram) in [
            (expected, &tick.latency_expected),
            (unexpected, &tick.latency_unexpected),
        ] {
            if histogram.count() > 0 {
                intervals
                    .entry((tick.second, tag))
                    .or_default()
                    .push(histogram);
            }
        }
    }
    intervals
}
