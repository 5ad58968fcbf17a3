//! Decides from the users' ticks whether a stop condition trips.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_core::event::Tick;
use holdfast_core::experiment::StopCondition;
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::Source;
use holdfast_core::words;

/// A window holds at least so many of the requests that its figure is made of. Of fewer, a single
/// failure is more than a percent, and the 99th percentile is the slowest one.
const MIN_REQUESTS: u64 = 100;

/// A rolling window over the users' ticks for one condition: the shortest stretch of whole seconds up
/// to now that is long enough and holds enough requests.
#[derive(Debug)]
pub(crate) struct Watch {
    bound: Bound,
    /// The least seconds of a window, and how long nobody may be silent.
    over: usize,
    /// The window, in order. Shorter than one must be while the run is young.
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
            | StopCondition::K8sCondition { .. }
            | StopCondition::ClusterHealth { .. } => return None,
        };
        Some(Self {
            bound,
            over: usize::try_from(over.max(1)).unwrap_or(usize::MAX),
            seconds: VecDeque::new(),
        })
    }

    /// Takes one tick in; returns why the condition trips, if it does.
    pub(crate) fn observe(&mut self, tick: &Tick) -> Option<String> {
        if tick.source != Source::Users || tick.draining {
            return None;
        }
        self.add(tick);
        while self.is_window(1) {
            self.seconds.pop_front();
        }
        self.silence().or_else(|| self.out_of_bounds())
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
    }

    /// Whether the seconds without the first `skipped` are a window.
    fn is_window(&self, skipped: usize) -> bool {
        let seconds = self.seconds.iter().skip(skipped);
        let requests: u64 = match self.bound {
            Bound::Availability(_) => seconds.map(|second| second.ended).sum(),
            Bound::P99(_) => seconds.map(|second| second.expected).sum(),
            // Seconds are counted, however many requests each has.
            Bound::AllFailed => MIN_REQUESTS,
        };
        self.seconds.len() >= self.over.saturating_add(skipped) && requests >= MIN_REQUESTS
    }

    /// Nobody answered for so long as the least window is: no data is no safety, whatever the bound is.
    fn silence(&self) -> Option<String> {
        let over = self.over;
        if self.seconds.len() < over {
            return None;
        }
        let last = || self.seconds.iter().rev().take(over);
        if last().all(|second| second.ended == 0) {
            return Some(format!("no request was answered for {over} s"));
        }
        if last().any(|second| second.expected > 0) {
            return None;
        }
        match self.bound {
            Bound::Availability(_) => None,
            Bound::P99(_) => Some(format!(
                "no request was answered as expected for {over} s, so there is no p99"
            )),
            Bound::AllFailed => Some(format!(
                "no request was answered as expected for {over} s in a row"
            )),
        }
    }

    fn out_of_bounds(&self) -> Option<String> {
        if !self.is_window(0) {
            return None;
        }
        let length = self.seconds.len();
        let expected: u64 = self.seconds.iter().map(|second| second.expected).sum();
        match self.bound {
            Bound::Availability(min) => {
                let ended: u64 = self.seconds.iter().map(|second| second.ended).sum();
                let availability = expected as f64 / ended as f64 * 100.0;
                (availability < min).then(|| {
                    format!(
                        "availability {availability:.2} % over the last {length} s (n = {ended}) \
                         is below {min} %"
                    )
                })
            }
            Bound::P99(max) => {
                let mut latency = Histogram::default();
                for second in &self.seconds {
                    latency.merge(&second.latency);
                }
                let p99 = latency.percentile(99.0)?;
                (p99 > max).then(|| {
                    let [p99, max] = [p99, max].map(|time| words::seconds(time.as_secs_f64()));
                    format!("p99 {p99} over the last {length} s (n = {expected}) is above {max}")
                })
            }
            // They are silence.
            Bound::AllFailed => None,
        }
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
        assert_eq!(
            words,
            "availability 40.16 % over the last 3 s (n = 249) is below 50 %"
        );
    }

    #[test]
    fn a_window_reaches_back_until_it_holds_enough_requests() {
        let mut watch = watch();
        for second in 0..16 {
            assert_eq!(watch.observe(&tick(second, 5, 0)), None);
        }
        // The first 20 s hold 100 requests; from then on, each second pushes one out.
        for second in 16..26 {
            assert_eq!(watch.observe(&tick(second, 0, 5)), None);
        }
        assert_eq!(
            watch.observe(&tick(26, 0, 5)).as_deref(),
            Some("availability 45.00 % over the last 20 s (n = 100) is below 50 %")
        );
        // A second that holds enough by itself leaves no more than the least length.
        let words = watch.observe(&tick(27, 40, 60));
        assert_eq!(
            words.as_deref(),
            Some("availability 36.36 % over the last 3 s (n = 110) is below 50 %")
        );
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
            assert_eq!(watch.observe(&tick(second, 0, 33)), None, "99 at most");
        }
        assert_eq!(watch.observe(&tick(3, 0, 0)), None);
        assert_eq!(watch.observe(&tick(4, 0, 0)), None);
        assert_eq!(
            watch.observe(&tick(5, 0, 0)).as_deref(),
            Some("no request was answered for 3 s")
        );
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
        assert_eq!(watch.observe(&slow(0, 100, 5_000)), None, "too short yet");
        let words = watch.observe(&slow(1, 100, 10)).expect("half are slow");
        assert_eq!(
            words,
            "p99 5.00 s over the last 2 s (n = 200) is above 1.00 s"
        );
        assert_eq!(watch.observe(&slow(2, 100, 10)), None, "the slow ones left");
        assert_eq!(
            watch.observe(&slow(3, 1, 5_000)),
            None,
            "1 of 101 is not 1 %"
        );
        let words = watch.observe(&slow(4, 5, 5_000));
        let words = words.expect("6 of 106: 100 answers reach back to second 2");
        assert!(words.contains("over the last 3 s (n = 106)"), "{words}");
    }

    #[test]
    fn only_expected_answers_make_a_percentile_and_none_at_all_trip() {
        let mut watch = watch_for(&StopCondition::P99 {
            over: Duration::from_secs(2),
            max: Duration::from_secs(1),
        });
        let mut mixed = slow(0, 99, 5_000);
        mixed.unexpected.insert(Reason::Status5xx, 100);
        assert_eq!(watch.observe(&mixed), None);
        assert_eq!(watch.observe(&tick(1, 0, 9)), None, "99 say nothing");
        let words = watch.observe(&tick(2, 0, 9)).expect("no data is no safety");
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
