//! Random draws from one seedable source, so that a run can be repeated.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A source of random draws, shared by everything in a service.
#[derive(Debug)]
pub struct Chance(Mutex<StdRng>);

impl Chance {
    /// The series that `seed` stands for, or one that nobody can foretell.
    pub fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(match seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        }))
    }

    /// Uniform between zero and `width`.
    pub fn uniform(&self, width: Duration) -> Duration {
        width.mul_f64(self.fraction())
    }

    /// Gamma distributed with the given mean and a whole-numbered shape (an Erlang distribution: the
    /// sum of `shape` exponential draws). The higher the shape, the closer to the mean.
    pub fn gamma(&self, mean: Duration, shape: u32) -> Duration {
        let exponentials: f64 = (0..shape).map(|_| -(1.0 - self.fraction()).ln()).sum();
        mean.mul_f64(exponentials / f64::from(shape))
    }

    /// 128 random bits, for names that must not collide.
    pub fn identifier(&self) -> u128 {
        self.source().random()
    }

    fn fraction(&self) -> f64 {
        self.source().random()
    }

    fn source(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.0.lock().expect("drawing a number does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: Duration = Duration::from_millis(10);

    fn draws(shape: u32) -> Vec<f64> {
        let chance = Chance::new(Some(7));
        (0..20_000)
            .map(|_| chance.gamma(MEAN, shape).as_secs_f64())
            .collect()
    }

    #[test]
    fn gamma_has_the_mean_and_spread_of_its_shape() {
        for shape in [1, 2, 4] {
            let draws = draws(shape);
            let count = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / count;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / count;
            let expected_variance = MEAN.as_secs_f64().powi(2) / f64::from(shape);
            assert!((mean / MEAN.as_secs_f64() - 1.0).abs() < 0.03);
            assert!((variance / expected_variance - 1.0).abs() < 0.1);
        }
    }

    #[test]
    fn a_mean_of_zero_draws_zero() {
        assert_eq!(Chance::new(None).gamma(Duration::ZERO, 4), Duration::ZERO);
    }

    #[test]
    fn the_same_seed_gives_the_same_series() {
        assert_eq!(draws(4), draws(4));
    }
}
