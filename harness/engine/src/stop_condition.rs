//! Decides from the users' ticks whether a stop condition trips.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_core::event::Tick;
use holdfast_core::experiment::StopCondition;
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::Source;
use holdfast_core::words;

/// Fewer requests than this in the window say nothing, except none at all.
const MIN_REQUESTS: u64 = 20;

/// A rolling window over the users' ticks for one condition.
#[derive(Debug)]
pub(crate) struct Watch {
    bound: Bound,
    /// The length of the window.
    over: usize,
    /// The last seconds, in order.
    seconds: VecDeque<Second>,
}

/// What must not happen in the window.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// Availability below this percentage.
    Availability(f64),
    /// A 99th percentile above it.
    P99(Duration),
    /// Nothing but seconds without an expected answer.
    AllFailed,
}

/// What ended in a second.
#[derive(Debug)]
struct Second {
    number: u32,
    expected: u64,
    ended: u64,
    latency: Histogram,
}

impl Watch {
    /// `None` for a condition that the load does not tell.
    pub(crate) fn new(condition: &StopCondition) -> Option<Self> {
        let (bound, over) = match condition {
            StopCondition::Availability { over, min } => {
                (Bound::Availability(*min), over.as_secs())
            }
            StopCondition::P99 { over, max } => (Bound::P99(*max), over.as_secs()),
            StopCondition::FailedSeconds { consecutive } => {
                (Bound::AllFailed, u64::from(*consecutive))
            }
            StopCondition::Http { .. }
            | StopCondition::Promql { .. }
            | StopCondition::K8sCondition { .. } => return None,
        };
        Some(Self {
            bound,
            over: usize::try_from(over.max(1)).unwrap_or(usize::MAX),
            seconds: VecDeque::new(),
        })
    }

    /// Takes one tick in; returns why the condition trips, if it does. A full window without a
    /// single answer trips: no data is no safety.
    pub(crate) fn observe(&mut self, tick: &Tick) -> Option<String> {
        if tick.source != Source::Users || tick.draining {
            return None;
        }
        self.add(tick);
        if self.seconds.len() < self.over {
            return None;
        }
        let expected: u64 = self.seconds.iter().map(|second| second.expected).sum();
        let ended: u64 = self.seconds.iter().map(|second| second.ended).sum();
        let over = self.over;
        if ended == 0 {
            return Some(format!("no request was answered for {over} s"));
        }
        match self.bound {
            Bound::Availability(min) => {
                let availability = expected as f64 / ended as f64 * 100.0;
                (ended >= MIN_REQUESTS && availability < min).then(|| {
                    format!(
                        "availability {availability:.2} % over the last {over} s is below {min} %"
                    )
                })
            }
            Bound::P99(max) => self.p99_above(max, expected),
            Bound::AllFailed => (expected == 0)
                .then(|| format!("no request was answered as expected for {over} s in a row")),
        }
    }

    fn add(&mut self, tick: &Tick) {
        let ended = tick.expected + tick.unexpected_total();
        let mut known = self.seconds.iter_mut();
        if let Some(known) = known.find(|known| known.number == tick.second) {
            known.expected += tick.expected;
            known.ended += ended;
            known.latency.merge(&tick.latency_expected);
        } else if self
            .seconds
            .back()
            .is_none_or(|last| last.number < tick.second)
        {
            self.seconds.push_back(Second {
                number: tick.second,
                expected: tick.expected,
                ended,
                latency: tick.latency_expected.clone(),
            });
        }
        if self.seconds.len() > self.over {
            self.seconds.pop_front();
        }
    }

    fn p99_above(&self, max: Duration, expected: u64) -> Option<String> {
        let over = self.over;
        if expected == 0 {
            return Some(format!(
                "no request was answered as expected for {over} s, so there is no p99"
            ));
        }
        if expected < MIN_REQUESTS {
            return None;
        }
        let mut latency = Histogram::default();
        for second in &self.seconds {
            latency.merge(&second.latency);
        }
        let p99 = latency.percentile(99.0)?;
        (p99 > max).then(|| {
            let [p99, max] = [p99, max].map(|time| words::seconds(time.as_secs_f64()));
            format!("p99 {p99} over the last {over} s is above {max}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::outcome::Reason;

    fn tick(second: u32, expected: u64, unexpected: u64) -> Tick {
        let mut tick = Tick::new(Source::Users, second, false);
        tick.expected = expected;
        tick.unexpected.insert(Reason::Status5xx, unexpected);
        tick
    }

    fn slow(second: u32, count: u64, millis: u64) -> Tick {
        let mut tick = tick(second, count, 0);
        for _ in 0..count {
            tick.latency_expected.record(Duration::from_millis(millis));
        }
        tick
    }

    fn watch() -> Watch {
        watch_for(&StopCondition::Availability {
            over: Duration::from_secs(3),
            min: 50.0,
        })
    }

    fn watch_for(condition: &StopCondition) -> Watch {
        Watch::new(condition).expect("the load tells it")
    }

    #[test]
    fn trips_only_on_a_full_window_below_the_bound() {
        let mut watch = watch();
        assert_eq!(watch.observe(&tick(0, 0, 50)), None);
        assert_eq!(watch.observe(&tick(1, 100, 0)), None);
        assert_eq!(watch.observe(&tick(2, 0, 49)), None, "100 of 199 is above");
        let words = watch
            .observe(&tick(3, 0, 100))
            .expect("100 of 249 is below");
        assert!(words.contains("40.16 %"), "{words}");
    }

    #[test]
    fn what_is_told_late_counts_in_its_second() {
        let mut watch = watch();
        assert_eq!(watch.observe(&tick(0, 50, 0)), None);
        assert_eq!(watch.observe(&tick(1, 0, 50)), None);
        assert_eq!(watch.observe(&tick(0, 0, 50)), None, "not a third second");
        let words = watch.observe(&tick(2, 10, 0));
        let words = words.expect("60 of 160 is below");
        assert!(words.contains("37.50 %"), "{words}");
    }

    #[test]
    fn silence_trips_and_few_requests_do_not() {
        let mut watch = watch();
        for second in 0..3 {
            assert_eq!(watch.observe(&tick(second, 0, 1)), None);
        }
        assert_eq!(watch.observe(&tick(3, 0, 0)), None);
        assert_eq!(watch.observe(&tick(4, 0, 0)), None);
        assert!(watch.observe(&tick(5, 0, 0)).is_some());
    }

    #[test]
    fn prober_and_drain_are_left_out() {
        let mut watch = watch();
        for second in 0..10 {
            let mut prober = tick(second, 0, 100);
            prober.source = Source::Prober;
            assert_eq!(watch.observe(&prober), None);
            let mut drained = tick(second, 0, 100);
            drained.draining = true;
            assert_eq!(watch.observe(&drained), None);
        }
    }

    #[test]
    fn a_percentile_trips_above_its_bound_over_the_whole_window() {
        let mut watch = watch_for(&StopCondition::P99 {
            over: Duration::from_secs(2),
            max: Duration::from_secs(1),
        });
        assert_eq!(watch.observe(&slow(0, 100, 5_000)), None, "not full yet");
        let words = watch.observe(&slow(1, 100, 10)).expect("half are slow");
        assert!(words.contains("is above 1.00 s"), "{words}");
        assert_eq!(watch.observe(&slow(2, 100, 10)), None, "the slow ones left");
        assert_eq!(
            watch.observe(&slow(3, 1, 5_000)),
            None,
            "1 of 101 is not 1 %"
        );
        assert_eq!(watch.observe(&slow(4, 5, 5_000)), None, "6 say nothing");
        assert_eq!(watch.observe(&tick(5, 0, 9)), None, "5 say nothing");
        let words = watch.observe(&tick(6, 0, 9)).expect("no data is no safety");
        assert!(words.contains("no p99"), "{words}");
    }

    #[test]
    fn failed_seconds_trip_only_in_a_row() {
        let mut watch = watch_for(&StopCondition::FailedSeconds { consecutive: 3 });
        for second in [0, 1, 3, 4] {
            assert_eq!(watch.observe(&tick(second, 0, 9)), None);
            if second == 1 {
                assert_eq!(watch.observe(&tick(2, 1, 9)), None);
            }
        }
        let words = watch.observe(&tick(5, 0, 9)).expect("the third in a row");
        assert!(words.contains("3 s in a row"), "{words}");
        let mut watch = watch_for(&StopCondition::FailedSeconds { consecutive: 2 });
        assert_eq!(watch.observe(&tick(0, 0, 0)), None);
        assert!(
            watch.observe(&tick(1, 0, 0)).is_some(),
            "silence is failure"
        );
    }

    #[test]
    fn what_the_load_does_not_tell_is_not_watched_here() {
        let condition = StopCondition::Http {
            get: holdfast_core::experiment::Address::Url("http://monitor".to_owned()),
            every: Duration::from_secs(1),
        };
        assert!(Watch::new(&condition).is_none());
    }
}
