//! Cuts a run into windows at the times that were observed, never at the planned ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Tick;
use crate::experiment::Phase;
use crate::record::Record;

/// So many whole good seconds in a row are steady service.
const STEADY_SECONDS: u32 = 3;

/// Where a run is cut. Times since the start of the load, in seconds.
#[derive(Debug)]
pub(crate) struct Cuts {
    /// Length of the load.
    length: f64,
    /// Number of seconds that began during the load or its drain.
    seconds: u32,
    fault: Option<FaultSpan>,
    /// The second that begins steady service after the last revert.
    steady: Option<u32>,
}

/// From the beginning of the first injection to the last revert. An injection has an effect before
/// it is seen to be complete: those seconds are no baseline.
#[derive(Clone, Copy, Debug)]
struct FaultSpan {
    begun: f64,
    /// `None` while something is not reverted.
    recovered: Option<f64>,
}

impl Cuts {
    pub(crate) fn observe(record: &Record) -> Self {
        let length = load_length(record).as_secs_f64();
        let fault = fault_span(record);
        let recovered = fault.and_then(|fault| fault.recovered);
        let ticked = record.ticks.iter().map(|tick| tick.second + 1).max();
        Self {
            length,
            seconds: ticked.unwrap_or(0).max(length.ceil() as u32),
            fault,
            steady: recovered.and_then(|end| steady_second(record, first_whole_after(end), length)),
        }
    }

    /// The window a second belongs to.
    pub(crate) fn phase(&self, second: u32) -> Phase {
        let Some(fault) = self.fault else {
            return Phase::Baseline;
        };
        if f64::from(second) + 1.0 <= fault.begun {
            return Phase::Baseline;
        }
        match fault.recovered {
            Some(recovered) if second >= first_whole_after(recovered) => match self.steady {
                Some(steady) if second >= steady => Phase::After,
                _ => Phase::Recovery,
            },
            _ => Phase::Fault,
        }
    }

    /// The window in which the drain ended.
    pub(crate) fn last_phase(&self) -> Phase {
        self.phase(self.seconds.saturating_sub(1))
    }

    /// Start and end of a window; `None` when no second belongs to it. A window does not reach
    /// into the drain: one that lies there altogether has no length.
    pub(crate) fn span(&self, phase: Phase) -> Option<(f64, f64)> {
        let mut seconds = (0..self.seconds).filter(|second| self.phase(*second) == phase);
        let first = seconds.next()?;
        let last = seconds.next_back().unwrap_or(first);
        let start = f64::from(first).min(self.length);
        Some((start, (f64::from(last) + 1.0).min(self.length)))
    }

    pub(crate) fn recovery_time(&self) -> Option<f64> {
        let recovered = self.fault?.recovered?;
        let steady = self.steady?;
        // Whole seconds cannot tell how long before its first one service was steady.
        Some(if steady == first_whole_after(recovered) {
            0.0
        } else {
            f64::from(steady) - recovered
        })
    }

    pub(crate) fn recovered(&self) -> Option<bool> {
        self.fault.map(|_| self.steady.is_some())
    }
}

/// From the first request until the load stopped; from the ticks when the load gave no account.
pub(super) fn load_length(record: &Record) -> Duration {
    if let Some(load) = &record.load {
        return load.elapsed;
    }
    let sending = record.ticks.iter().filter(|tick| !tick.draining);
    let seconds = sending.map(|tick| tick.second + 1).max().unwrap_or(0);
    Duration::from_secs(u64::from(seconds))
}

fn fault_span(record: &Record) -> Option<FaultSpan> {
    let load_started = record.load_started?.as_secs_f64();
    let since_load = |at: Duration| at.as_secs_f64() - load_started;
    let in_effect: Vec<_> = record
        .faults
        .iter()
        .filter_map(|fault| {
            let injected = fault.injected?;
            Some((fault.begun.unwrap_or(injected), fault.recovered))
        })
        .collect();
    let begun = in_effect.iter().map(|(begun, _)| *begun).min()?;
    let recovered: Option<Vec<Duration>> = in_effect.iter().map(|(_, end)| *end).collect();
    Some(FaultSpan {
        begun: since_load(begun),
        recovered: recovered
            .and_then(|ends| ends.into_iter().max())
            .map(since_load),
    })
}

/// The first whole second that does not touch `time`.
fn first_whole_after(time: f64) -> u32 {
    (time.floor() + 1.0).max(0.0) as u32
}

fn steady_second(record: &Record, from: u32, length: f64) -> Option<u32> {
    let mut good: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let whole = |tick: &&Tick| !tick.draining && f64::from(tick.second) + 1.0 <= length;
    for tick in record.ticks.iter().filter(whole) {
        let (expected, unexpected) = good.entry(tick.second).or_default();
        *expected += tick.expected;
        *unexpected += tick.unexpected_total();
    }
    let is_good = |second: &u32| {
        let counts = good.get(second);
        counts.is_some_and(|(expected, unexpected)| *expected > 0 && *unexpected == 0)
    };
    let last = *good.keys().next_back()?;
    (from..=last).find(|start| (*start..start + STEADY_SECONDS).all(|second| is_good(&second)))
}
