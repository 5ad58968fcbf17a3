//! Which objects a controller has still to look at, and when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Key;

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// Each object is in it at most once, however often it is added.
#[derive(Default, Debug)]
pub(super) struct Queue {
    ready: VecDeque<Key>,
    waiting: BTreeSet<Key>,
    /// When to look again without being asked.
    due: BTreeMap<Key, Instant>,
    /// The same, the earliest first.
    agenda: BTreeSet<(Instant, Key)>,
    /// How often in a row an object could not be dealt with.
    failures: BTreeMap<Key, u32>,
}

impl Queue {
    pub(super) fn add(&mut self, key: Key) {
        if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// The next object to look at. A look that was due later is due no more.
    pub(super) fn next(&mut self, now: Instant) -> Option<Key> {
        while let Some((at, key)) = self.agenda.first().cloned()
            && at <= now
        {
            self.unschedule(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.unschedule(&key);
        Some(key)
    }

    /// When to call `next` again although nothing was added.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// The object has been dealt with; it is due again at a time, or never.
    pub(super) fn done(&mut self, key: Key, again: Option<Instant>) {
        self.failures.remove(&key);
        if let Some(at) = again {
            self.schedule(key, at);
        }
    }

    /// The object could not be dealt with: later, and each time later.
    pub(super) fn failed(&mut self, key: Key, now: Instant) {
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(*failures));
        *failures += 1;
        self.schedule(key, now + delay.min(LAST_RETRY));
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        self.unschedule(&key);
        self.due.insert(key.clone(), at);
        self.agenda.insert((at, key));
    }

    fn unschedule(&mut self, key: &Key) {
        if let Some(at) = self.due.remove(key) {
            self.agenda.remove(&(at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Resource;

    fn key(name: &str) -> Key {
        Key::new(Resource::Pods, "default", name)
    }

    #[test]
    fn an_object_waits_once_and_in_turn() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for name in ["a", "b", "a"] {
            queue.add(key(name));
        }
        assert_eq!(queue.next(now), Some(key("a")));
        queue.add(key("a"));
        let rest: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
        assert_eq!(rest, [key("b"), key("a")]);
    }

    #[test]
    fn an_object_is_looked_at_again_when_it_is_due() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut queue = Queue::default();
        queue.done(key("a"), Some(later));
        assert_eq!(queue.next(now), None);
        assert_eq!(queue.next_due(), Some(later));
        assert_eq!(queue.next(later), Some(key("a")));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_look_in_between_takes_the_place_of_the_one_that_was_due() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.done(key("a"), Some(now + Duration::from_secs(5)));
        queue.add(key("a"));
        assert_eq!(queue.next(now), Some(key("a")));
        queue.done(key("a"), None);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn failures_are_repeated_ever_more_slowly_until_a_success() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let mut delay = || {
            queue.failed(key("a"), now);
            queue.next_due().map(|at| at - now)
        };
        assert_eq!(delay(), Some(FIRST_RETRY));
        assert_eq!(delay(), Some(FIRST_RETRY * 2));
        assert_eq!(delay(), Some(FIRST_RETRY * 4));
        assert_eq!((0..40).map(|_| delay()).last(), Some(Some(LAST_RETRY)));
        queue.done(key("a"), None);
        queue.failed(key("a"), now);
        assert_eq!(queue.next_due(), Some(now + FIRST_RETRY));
    }
}
