//! What a closed load leaves out: while a user hangs in an answer it sends nothing, and so an
//! outage is measured by few requests.

use std::time::Duration;

use super::CoordinatedOmission;
use crate::event::Tick;
use crate::experiment::Model;
use crate::histogram::Histogram;
use crate::outcome::Source;
use crate::record::Record;

/// Told where the correction multiplies the mean or the 99th percentile at least by this. Users
/// whose times merely vary stay below it: exponentially distributed ones have the same mean before
/// and after.
const TOLD_FROM: f64 = 2.0;

/// A longest time of more cycles than this is corrected at a coarser pace, to bound the work.
const MOST_CYCLES: u32 = 10_000;

/// What the users' requests would have measured at the users' usual pace; `None` in an open model
/// and where it makes no difference.
pub(super) fn coordinated_omission(record: &Record) -> Option<CoordinatedOmission> {
    match record.run.plan.load.model {
        Model::Users(_) => {}
        Model::Arrivals(_) => return None,
    }
    let mut times = Histogram::default();
    let users = |tick: &&Tick| tick.source == Source::Users;
    for tick in record.ticks.iter().filter(users) {
        times.merge(&tick.latency_expected);
        times.merge(&tick.latency_unexpected);
    }
    let pauses = Duration::from_secs_f64(record.load.as_ref()?.pause_seconds);
    let (median, longest) = (times.percentile(50.0)?, times.max()?);
    let pause = pauses.div_f64(times.count() as f64);
    let interval = (median + pause).max(longest / MOST_CYCLES);
    let corrected = times.corrected(interval);
    let figure = |histogram: &Histogram| {
        let (mean, p99) = (histogram.mean()?, histogram.percentile(99.0)?);
        Some((mean.as_secs_f64(), p99.as_secs_f64()))
    };
    let (mean, p99) = figure(&times)?;
    let (corrected_mean, corrected_p99) = figure(&corrected)?;
    let told = corrected_mean >= TOLD_FROM * mean || corrected_p99 >= TOLD_FROM * p99;
    told.then(|| CoordinatedOmission {
        interval: interval.as_secs_f64(),
        missing: corrected.count() - times.count(),
        mean,
        corrected_mean,
        p99,
        corrected_p99,
    })
}
