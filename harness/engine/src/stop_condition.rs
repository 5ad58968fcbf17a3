//! Decides from the users' ticks whether a stop condition trips.

use std::collections::VecDeque;

use holdfast_core::event::Tick;
use holdfast_core::experiment::StopCondition;
use holdfast_core::outcome::Source;

/// Fewer requests than this in the window say nothing, except none at all.
const MIN_REQUESTS: u64 = 20;

/// A rolling window over the users' ticks for one condition.
#[derive(Debug)]
pub(crate) struct Watch {
    condition: StopCondition,
    /// The last seconds, in order.
    seconds: VecDeque<Second>,
}

/// What ended in a second.
#[derive(Debug)]
struct Second {
    number: u32,
    expected: u64,
    ended: u64,
}

impl Watch {
    pub(crate) fn new(condition: StopCondition) -> Self {
        Self {
            condition,
            seconds: VecDeque::new(),
        }
    }

    /// Takes one tick in; returns why the condition trips, if it does. A full window without a
    /// single answer trips: no data is no safety.
    pub(crate) fn observe(&mut self, tick: &Tick) -> Option<String> {
        if tick.source != Source::Users || tick.draining {
            return None;
        }
        let length = usize::try_from(self.condition.over.as_secs().max(1)).unwrap_or(usize::MAX);
        let second = Second {
            number: tick.second,
            expected: tick.expected,
            ended: tick.expected + tick.unexpected_total(),
        };
        let mut known = self.seconds.iter_mut();
        if let Some(known) = known.find(|known| known.number == second.number) {
            known.expected += second.expected;
            known.ended += second.ended;
        } else if self
            .seconds
            .back()
            .is_none_or(|last| last.number < second.number)
        {
            self.seconds.push_back(second);
        }
        if self.seconds.len() > length {
            self.seconds.pop_front();
        }
        if self.seconds.len() < length {
            return None;
        }
        let expected: u64 = self.seconds.iter().map(|second| second.expected).sum();
        let ended: u64 = self.seconds.iter().map(|second| second.ended).sum();
        let over = self.condition.over.as_secs();
        if ended == 0 {
            return Some(format!("no request was answered for {over} s"));
        }
        let availability = expected as f64 / ended as f64 * 100.0;
        (ended >= MIN_REQUESTS && availability < self.condition.min_availability).then(|| {
            format!(
                "availability {availability:.2} % over the last {over} s is below {} %",
                self.condition.min_availability
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::outcome::Reason;
    use std::time::Duration;

    fn tick(second: u32, expected: u64, unexpected: u64) -> Tick {
        let mut tick = Tick::new(Source::Users, second, false);
        tick.expected = expected;
        tick.unexpected.insert(Reason::Status5xx, unexpected);
        tick
    }

    fn watch() -> Watch {
        Watch::new(StopCondition {
            over: Duration::from_secs(3),
            min_availability: 50.0,
        })
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
}
