//! The run second by second, as the plots and the table beside them show it. Long runs are
//! grouped into columns of several seconds by adding counts and merging histograms.

use std::collections::BTreeMap;

use holdfast_core::event::Tick;
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::record::Record;

use crate::content::faults::since_load_start;

/// Lengths of a column, in seconds.
const COLUMN_SECONDS: [u32; 10] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

/// The run as columns of equal length.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Length of a column in seconds.
    pub(crate) column_seconds: u32,
    /// From the start of the load, without gaps.
    pub(crate) columns: Vec<Column>,
    /// The end of the last column, in seconds since the start of the load; at least 1.
    pub(crate) end: f64,
    /// When the load stopped, in seconds since its start.
    pub(crate) load_stopped: Option<f64>,
}

/// What ended in a stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// Start in seconds since the start of the load.
    pub(crate) start: u32,
    /// The load's requests.
    pub(crate) users: Counts,
    /// The prober's.
    pub(crate) prober: Counts,
    /// Service times of the load's expected answers.
    pub(crate) latency: Histogram,
}

/// Ended requests by outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// As expected.
    pub(crate) expected: u64,
    /// Otherwise, by reason.
    pub(crate) unexpected: BTreeMap<Reason, u64>,
}

impl Counts {
    fn add(&mut self, tick: &Tick) {
        self.expected += tick.expected;
        for (reason, count) in &tick.unexpected {
            *self.unexpected.entry(*reason).or_default() += count;
        }
    }

    /// All requests that ended.
    pub(crate) fn total(&self) -> u64 {
        self.expected + self.unexpected.values().sum::<u64>()
    }

    /// The part that ended as expected, in percent, the generator's own failures left out.
    pub(crate) fn availability(&self) -> Option<f64> {
        let unexpected = self.unexpected.iter();
        let services = unexpected.filter(|(reason, _)| !reason.is_client_side());
        let total = self.expected + services.map(|(_, count)| count).sum::<u64>();
        (total > 0).then(|| self.expected as f64 / total as f64 * 100.0)
    }
}

impl Timeline {
    /// The record's ticks in at most `most_columns` columns (more only where columns of the
    /// greatest length do not suffice).
    pub(crate) fn new(record: &Record, most_columns: u32) -> Self {
        let ticks = record.ticks.iter();
        let last = ticks.map(|tick| tick.second + 1).max().unwrap_or(0);
        let load_stopped = record.load_stopped.map(|at| since_load_start(record, at));
        let length = last.max(load_stopped.unwrap_or(0.0).ceil() as u32).max(1);
        let column_seconds = COLUMN_SECONDS
            .into_iter()
            .find(|seconds| length.div_ceil(*seconds) <= most_columns)
            .unwrap_or(COLUMN_SECONDS[COLUMN_SECONDS.len() - 1]);
        let count = length.div_ceil(column_seconds);
        let mut columns: Vec<Column> = (0..count)
            .map(|index| Column {
                start: index * column_seconds,
                ..Column::default()
            })
            .collect();
        for tick in &record.ticks {
            let column = &mut columns[(tick.second / column_seconds) as usize];
            match tick.source {
                Source::Users => {
                    column.users.add(tick);
                    column.latency.merge(&tick.latency_expected);
                }
                Source::Prober => column.prober.add(tick),
            }
        }
        Self {
            column_seconds,
            columns,
            end: f64::from(count * column_seconds),
            load_stopped,
        }
    }

    /// Whether a prober ran.
    pub(crate) fn has_prober(&self) -> bool {
        self.columns.iter().any(|column| column.prober.total() > 0)
    }
}
