//! What a circuit remembers of the results.

use std::collections::VecDeque;
use std::time::Duration;

use super::settings::{Evaluate, Window};

/// How one call ended, as far as the window is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallResult {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// How many results there were, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

impl Counts {
    pub(super) fn add(&mut self, result: CallResult) {
        self.calls += 1;
        self.failures += u64::from(result.failed);
        self.slow += u64::from(result.slow);
    }

    fn remove(&mut self, result: CallResult) {
        self.calls -= 1;
        self.failures -= u64::from(result.failed);
        self.slow -= u64::from(result.slow);
    }
}

/// The results a window looks at.
#[derive(Debug)]
pub(super) enum History {
    Buckets(Buckets),
    Ring(Ring),
    Streak { failures: u64, limit: u64 },
}

impl History {
    pub(super) fn starting_at(now: Duration, window: &Window) -> Self {
        match *window {
            Window::Time {
                length,
                bucket,
                evaluate,
            } => Self::Buckets(Buckets::starting_at(now, length, bucket, evaluate)),
            Window::Count { calls } => Self::Ring(Ring::new(calls)),
            Window::Consecutive { failures: limit } => Self::Streak { failures: 0, limit },
        }
    }

    pub(super) fn note(&mut self, now: Duration, result: CallResult) {
        match self {
            Self::Buckets(buckets) => {
                buckets.advance(now);
                buckets.current.add(result);
            }
            Self::Ring(ring) => ring.push(result),
            Self::Streak { failures, .. } if result.failed => *failures += 1,
            Self::Streak { failures, .. } => *failures = 0,
        }
    }
}

/// The last complete buckets, oldest first, and the one being filled.
#[derive(Debug)]
pub(super) struct Buckets {
    bucket: Duration,
    /// How many complete buckets are kept.
    kept: usize,
    counts_current: bool,
    complete: VecDeque<Counts>,
    current: Counts,
    current_since: Duration,
}

impl Buckets {
    fn starting_at(now: Duration, length: Duration, bucket: Duration, evaluate: Evaluate) -> Self {
        let counts_current = evaluate != Evaluate::Tick;
        let buckets = whole(length, bucket) as usize;
        Self {
            bucket,
            kept: buckets.saturating_sub(usize::from(counts_current)),
            counts_current,
            complete: VecDeque::new(),
            current: Counts::default(),
            current_since: now,
        }
    }

    /// Completes every bucket that has ended by `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        let ended = whole(now.saturating_sub(self.current_since), self.bucket);
        // More empty buckets than fit into the window would only push one another out.
        for _ in 0..(ended as usize).min(self.kept + 1) {
            self.complete.push_back(std::mem::take(&mut self.current));
            if self.complete.len() > self.kept {
                self.complete.pop_front();
            }
        }
        self.current_since += self.bucket * ended;
    }

    pub(super) fn counts(&self) -> Counts {
        let current = self.counts_current.then_some(&self.current);
        self.complete
            .iter()
            .chain(current)
            .fold(Counts::default(), |total, bucket| Counts {
                calls: total.calls + bucket.calls,
                failures: total.failures + bucket.failures,
                slow: total.slow + bucket.slow,
            })
    }

    /// When the current bucket will be complete.
    pub(super) fn current_ends(&self) -> Duration {
        self.current_since + self.bucket
    }
}

/// The last results, oldest first.
#[derive(Debug)]
pub(super) struct Ring {
    length: u64,
    results: VecDeque<CallResult>,
    pub(super) counts: Counts,
}

impl Ring {
    fn new(length: u64) -> Self {
        Self {
            length,
            results: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    fn push(&mut self, result: CallResult) {
        self.results.push_back(result);
        self.counts.add(result);
        if self.counts.calls > self.length {
            let oldest = self.results.pop_front().expect("one was just pushed");
            self.counts.remove(oldest);
        }
    }
}

/// How many times `part` fits into `length`; a part of no length never does.
pub(super) fn whole(length: Duration, part: Duration) -> u32 {
    let times = length.as_nanos().checked_div(part.as_nanos());
    times.map_or(0, |times| u32::try_from(times).unwrap_or(u32::MAX))
}
