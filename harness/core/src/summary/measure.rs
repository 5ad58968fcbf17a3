//! What one source measured over some windows: counts, availability, rates, percentiles.

use std::time::Duration;

use super::windows::Cuts;
use super::{Measured, Percentiles, cut_off};
use crate::experiment::Phase;
use crate::histogram::Histogram;
use crate::outcome::Source;
use crate::record::Record;

/// The normal distribution's quantile for 95 % on both sides.
const Z_95: f64 = 1.959_963_984_540_054;

/// Sums `source` over all seconds of `phases`. Histograms are merged before any percentile is
/// taken: percentiles do not add up.
pub(crate) fn measure(record: &Record, cuts: &Cuts, phases: &[Phase], source: Source) -> Measured {
    let mut measured = Measured::default();
    let mut latency_expected = Histogram::default();
    let mut latency_unexpected = Histogram::default();
    let mut response = Histogram::default();
    let mut expected_while_sending = 0;
    let ticks = record.ticks.iter();
    for tick in
        ticks.filter(|tick| tick.source == source && phases.contains(&cuts.phase(tick.second)))
    {
        measured.requests += tick.expected + tick.unexpected_total() - tick.client_side_total();
        measured.expected += tick.expected;
        for (reason, count) in &tick.unexpected {
            *measured.unexpected.entry(*reason).or_default() += count;
        }
        if !tick.draining {
            expected_while_sending += tick.expected;
        }
        latency_expected.merge(&tick.latency_expected);
        latency_unexpected.merge(&tick.latency_unexpected);
        response.merge(&tick.response);
    }
    if phases.contains(&cuts.last_phase()) {
        measured.cut_off = cut_off(record, source);
        measured.requests += measured.cut_off;
    }
    let spans = phases.iter().filter_map(|phase| cuts.span(*phase));
    // Not `sum`: that of nothing is minus zero.
    measured.seconds = spans
        .map(|(start, end)| end - start)
        .fold(0.0, |sum, span| sum + span);
    measured.availability = percentage(measured.expected, measured.requests);
    measured.availability_interval = wilson(measured.expected, measured.requests);
    measured.goodput =
        (measured.seconds > 0.0).then(|| expected_while_sending as f64 / measured.seconds);
    measured.latency_expected = percentiles(&latency_expected);
    measured.latency_unexpected = percentiles(&latency_unexpected);
    measured.response = percentiles(&response);
    measured
}

fn percentage(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

/// Wilson's score interval of a proportion, in percent.
fn wilson(part: u64, whole: u64) -> Option<(f64, f64)> {
    if whole == 0 {
        return None;
    }
    let n = whole as f64;
    let p = part as f64 / n;
    let z2 = Z_95 * Z_95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // Rounding alone would let the interval miss its own point at 0 and 100 %.
    let low = if part == 0 { 0.0 } else { centre - half };
    let high = if part == whole { 1.0 } else { centre + half };
    Some((low * 100.0, high * 100.0))
}

fn percentiles(histogram: &Histogram) -> Percentiles {
    let seconds = |duration: Option<Duration>| duration.map(|value| value.as_secs_f64());
    Percentiles {
        p50: seconds(histogram.percentile(50.0)),
        p95: seconds(histogram.percentile(95.0)),
        p99: seconds(histogram.percentile(99.0)),
        max: seconds(histogram.max()),
        mean: seconds(histogram.mean()),
    }
}
