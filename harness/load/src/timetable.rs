//! When journeys begin in an open model, as the plan's stages say.

use std::time::Duration;

use holdfast_core::experiment::{Arrivals, RateStage, Spacing};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The intended beginnings, since the start of the load, in order; nothing at or after its end.
///
/// With L(t), the integral of the rate, beginning n (from 0) is at the first moment at which L
/// exceeds n: at equal distances where the rate is constant, and n / rate after its start. For
/// Poisson the whole numbers are replaced by the points of a Poisson process of rate 1, which makes
/// a Poisson process of the asked rate, whatever its course (time change: Cox and Lewis, The
/// Statistical Analysis of Series of Events, 1966).
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    pieces: Vec<Piece>,
    points: Points,
    /// The piece in which the last beginning was.
    at: usize,
}

/// A stretch over which the rate changes linearly, or not at all.
#[derive(Clone, Copy, Debug)]
struct Piece {
    begin: f64,
    seconds: f64,
    rates: (f64, f64),
    /// L at its begin.
    before: f64,
}

/// The values of L at which something begins.
#[derive(Clone, Debug)]
enum Points {
    Whole(u64),
    Poisson { rng: Box<StdRng>, last: f64 },
}

impl Timetable {
    /// The beginnings that `arrivals` asks for, drawn from `seed` where they are left to chance.
    pub(crate) fn new(arrivals: &Arrivals, seed: u64) -> Self {
        Self {
            pieces: pieces(&arrivals.stages),
            points: match arrivals.spacing {
                Spacing::Constant => Points::Whole(0),
                Spacing::Poisson => Points::Poisson {
                    rng: Box::new(StdRng::seed_from_u64(seed)),
                    last: 0.0,
                },
            },
            at: 0,
        }
    }

    /// `rate` beginnings per second at equal distances for some time.
    pub(crate) fn steady(rate: f64, duration: Duration) -> Self {
        let stage = RateStage {
            rate,
            ramp: Duration::ZERO,
            duration,
        };
        Self {
            pieces: pieces(&[stage]),
            points: Points::Whole(0),
            at: 0,
        }
    }
}

impl Iterator for Timetable {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let point = self.points.next();
        while self.pieces.get(self.at)?.after() <= point {
            self.at += 1;
        }
        let piece = self.pieces[self.at];
        let at = piece.begin + piece.time_of(point - piece.before);
        let end = self
            .pieces
            .last()
            .map_or(0.0, |last| last.begin + last.seconds);
        (at < end).then(|| Duration::from_secs_f64(at))
    }
}

impl Piece {
    /// L at its end.
    fn after(&self) -> f64 {
        self.before + (self.rates.0 + self.rates.1) / 2.0 * self.seconds
    }

    /// How long after its begin L has grown by `growth`: the root of
    /// growth = r t + (change of r per second) t² / 2, in the form that loses no digits.
    fn time_of(&self, growth: f64) -> f64 {
        if growth <= 0.0 {
            return 0.0;
        }
        let (first, last) = self.rates;
        let change = (last - first) / self.seconds;
        let at_growth = (first * first + 2.0 * change * growth).max(0.0).sqrt();
        (2.0 * growth / (first + at_growth)).min(self.seconds)
    }
}

impl Points {
    fn next(&mut self) -> f64 {
        match self {
            Self::Whole(next) => {
                *next += 1;
                (*next - 1) as f64
            }
            Self::Poisson { rng, last } => {
                // Of a uniform number in [0, 1): the logarithm is finite.
                *last -= (1.0 - rng.random::<f64>()).ln();
                *last
            }
        }
    }
}

fn pieces(stages: &[RateStage]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut begin, mut before, mut rate) = (0.0, 0.0, 0.0);
    for stage in stages {
        let ramp = stage.ramp.as_secs_f64();
        let hold = stage.duration.as_secs_f64() - ramp;
        for (seconds, first) in [(ramp, rate), (hold, stage.rate)] {
            if seconds > 0.0 {
                let piece = Piece {
                    begin,
                    seconds,
                    rates: (first, stage.rate),
                    before,
                };
                begin += seconds;
                before = piece.after();
                pieces.push(piece);
            }
        }
        rate = stage.rate;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stage(rate: f64, ramp: f64, duration: f64) -> RateStage {
        RateStage {
            rate,
            ramp: Duration::from_secs_f64(ramp),
            duration: Duration::from_secs_f64(duration),
        }
    }

    fn timetable(stages: &[RateStage], spacing: Spacing, seed: u64) -> Vec<f64> {
        let arrivals = Arrivals {
            stages: stages.to_vec(),
            spacing,
            max_in_flight: 1,
        };
        let times = Timetable::new(&arrivals, seed);
        times.map(|time| time.as_secs_f64()).collect()
    }

    fn constant(stages: &[RateStage]) -> Vec<f64> {
        timetable(stages, Spacing::Constant, 0)
    }

    fn assert_close(times: &[f64], expected: &[f64]) {
        assert_eq!(times.len(), expected.len(), "{times:?}");
        for (time, expected) in times.iter().zip(expected) {
            assert!((time - expected).abs() < 1e-8, "{times:?}");
        }
    }

    #[test]
    fn a_constant_rate_begins_at_once_and_keeps_its_distance() {
        assert_close(
            &constant(&[stage(4.0, 0.0, 1.5)]),
            &[0.0, 0.25, 0.5, 0.75, 1.0, 1.25],
        );
        // An arrival due exactly at the end is not one of the load.
        assert_eq!(constant(&[stage(0.1, 0.0, 30.0)]).len(), 3);
        let long = Timetable::steady(1000.0, Duration::from_secs(600));
        assert_eq!(long.count(), 600_000);
    }

    #[test]
    fn a_ramp_is_a_linear_change_of_the_rate() {
        // L(t) = t² on the way up: arrivals at the roots; then two a second.
        let expected = [0.0, 1.0, 1.5, 2.0, 2.5];
        assert_close(&constant(&[stage(2.0, 1.0, 3.0)]), &expected);
        let roots: Vec<f64> = (0..100).map(|n| f64::from(n).sqrt()).collect();
        assert_close(&constant(&[stage(20.0, 10.0, 10.0)]), &roots);
        // Down to nothing: L(t) = 20 t - t², three quarters of it in the first half.
        let down = constant(&[stage(20.0, 0.0, 1.0), stage(0.0, 10.0, 10.0)]);
        assert_eq!(down.len(), 20 + 100);
        assert!((down[20 + 75] - 6.0).abs() < 1e-8, "{}", down[20 + 75]);
    }

    #[test]
    fn steps_and_pauses_count_on() {
        let stages = [
            stage(2.0, 0.0, 1.0),
            stage(0.0, 0.0, 5.0),
            stage(4.0, 0.0, 0.5),
        ];
        assert_close(&constant(&stages), &[0.0, 0.5, 6.0, 6.25]);
        assert_close(&constant(&stages[1..]), &[5.0, 5.25]);
        assert!(constant(&[stage(0.0, 0.0, 5.0)]).is_empty());
    }

    #[test]
    fn poisson_has_the_rate_the_spread_and_the_seed_it_was_asked_for() {
        let stages = [stage(100.0, 20.0, 40.0), stage(50.0, 0.0, 40.0)];
        let drawn = |seed| timetable(&stages, Spacing::Poisson, seed);
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let (mut hold, mut ramp, mut squares) = (0.0, 0.0, 0.0);
        let runs = 50;
        for seed in 0..runs {
            let times = drawn(seed);
            let within = |from: f64, to: f64| {
                times
                    .iter()
                    .filter(|time| (from..to).contains(*time))
                    .count() as f64
            };
            hold += within(20.0, 40.0) / 2000.0;
            ramp += within(0.0, 10.0) / 250.0;
            squares += (within(40.0, 80.0) - 2000.0).powi(2) / 2000.0;
        }
        let runs = f64::from(u32::try_from(runs).unwrap());
        // Six standard deviations of each.
        assert!((hold / runs - 1.0).abs() < 6.0 / (2000.0 * runs).sqrt());
        assert!((ramp / runs - 1.0).abs() < 6.0 / (250.0 * runs).sqrt());
        // The variance of a Poisson count is its mean.
        assert!((squares / runs - 1.0).abs() < 6.0 * (2.0 / runs).sqrt());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn beginnings_are_in_order_and_as_many_as_the_rate_asks_for(
            stages in prop::collection::vec((0.0..500.0, 0.0..=1.0, 0.1..20.0), 1..6),
        ) {
            let stages: Vec<RateStage> = stages
                .into_iter()
                .map(|(rate, ramp, duration): (f64, f64, f64)| stage(rate, ramp * duration, duration))
                .collect();
            let times = constant(&stages);
            prop_assert!(times.is_sorted());
            let asked = pieces(&stages).last().unwrap().after();
            prop_assert!((times.len() as f64 - asked).abs() <= 1.0, "{} of {asked}", times.len());
            let end: f64 = stages.iter().map(|stage| stage.duration.as_secs_f64()).sum();
            prop_assert!(times.iter().all(|time| *time < end));
        }
    }
}
