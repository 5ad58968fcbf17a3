//! How many requests a client may make in a stretch of time.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use lru::LruCache;

/// How many requests are let through.
#[derive(Clone, Copy, Debug)]
pub struct RateSettings {
    pub per_second: NonZeroU32,
    /// How many at once after a rest.
    pub burst: NonZeroU32,
    /// How many clients are remembered. Of more, the one not seen for the longest is forgotten, and
    /// starts anew.
    pub clients: NonZeroUsize,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The owner of a valid token.
    Client(String),
    /// Everybody else at one address.
    Address(IpAddr),
}

impl Subject {
    /// The subject for `address`. A host usually has a whole /64 of IPv6 addresses to itself, and
    /// would otherwise be as many clients.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        })
    }
}

/// The subject has used its requests up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests")]
pub struct TooMany {
    pub retry_after: Duration,
}

/// Counts the requests of each subject.
#[derive(Debug)]
pub struct Limiter<C: Clock = DefaultClock> {
    rates: RateLimiter<Subject, BoundedStates, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl Limiter {
    pub fn new(settings: RateSettings) -> Self {
        Self::with_clock(settings, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(settings: RateSettings, clock: C) -> Self {
        let quota = Quota::per_second(settings.per_second).allow_burst(settings.burst);
        let states = BoundedStates(Mutex::new(LruCache::new(settings.clients)));
        Self {
            rates: RateLimiter::new(quota, states, clock.clone()),
            clock,
        }
    }

    /// Counts a request of `subject`, unless it has had too many.
    pub fn check(&self, subject: &Subject) -> Result<(), TooMany> {
        self.rates.check_key(subject).map_err(|refused| TooMany {
            retry_after: refused.wait_time_from(self.clock.now()),
        })
    }
}

/// The states of so many subjects and no more.
#[derive(Debug)]
struct BoundedStates(Mutex<LruCache<Subject, InMemoryState>>);

impl StateStore for BoundedStates {
    type Key = Subject;

    fn measure_and_replace<T, F, E>(&self, subject: &Subject, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut states = self.0.lock().expect("no decision panics");
        states
            .get_or_insert_ref(subject, InMemoryState::default)
            .measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(clients: usize) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let settings = RateSettings {
            per_second: NonZeroU32::new(10).unwrap(),
            burst: NonZeroU32::new(3).unwrap(),
            clients: NonZeroUsize::new(clients).unwrap(),
        };
        (Limiter::with_clock(settings, clock.clone()), clock)
    }

    fn client(name: &str) -> Subject {
        Subject::Client(name.to_owned())
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_at_a_time() {
        let (limiter, clock) = limiter(10);
        for _ in 0..3 {
            assert_eq!(limiter.check(&client("a")), Ok(()));
        }
        let refused = limiter.check(&client("a")).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert_eq!(limiter.check(&client("b")), Ok(()));
        clock.advance(refused.retry_after);
        assert_eq!(limiter.check(&client("a")), Ok(()));
        assert!(limiter.check(&client("a")).is_err());
    }

    #[test]
    fn many_clients_do_not_fill_the_memory() {
        let (limiter, _clock) = limiter(2);
        for _ in 0..3 {
            assert_eq!(limiter.check(&client("kept")), Ok(()));
        }
        for stranger in 0..1000 {
            assert_eq!(limiter.check(&client(&stranger.to_string())), Ok(()));
            assert!(limiter.check(&client("kept")).is_err());
        }
    }

    #[test]
    fn neighbours_in_ipv6_are_one_subject_and_in_ipv4_are_not() {
        let at = |text: &str| Subject::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    }
}
