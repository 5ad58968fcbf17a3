//! What the generator can say against itself, second by second: how late it woke, how long it
//! waited for a processor, how long its quota stopped it. A second is saturated when, by any of
//! the bounds below and in [`punctuality`], its figures may be the generator's own.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use holdfast_core::event::Used;
use holdfast_core::histogram::Histogram;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

mod heartbeat;
mod processor;
mod punctuality;
mod quota;
mod supplies;

use heartbeat::{BEAT, Lag};
use processor::Usage;
pub(crate) use processor::allowed;
pub(crate) use punctuality::Punctuality;
use quota::Quota;
pub(crate) use supplies::open_descriptors;

/// A second is saturated in which the sending thread was ready to run and had no processor for
/// more than this share of it …
const STARVED_SHARE: f64 = 0.5;
/// … or for more than this share …
const STARVED_SHARE_OF_A_BUSY_THREAD: f64 = 0.2;
/// … while it wanted one for more than this. A thread that mostly sleeps waits a little at each
/// wake wherever processors are shared; the heartbeat and the sends tell how much that matters.
const WANTED_SHARE: f64 = 0.8;
/// A second is saturated in which the control group's quota stopped the process for more than this
/// share of it, on average over the processors.
const THROTTLED_SHARE: f64 = 0.2;
/// What is shorter than this says little by its shares, in seconds.
const SHORTEST: f64 = 0.5;

/// Watches the thread it runs on.
#[derive(Debug)]
pub(crate) struct Watch {
    start: Instant,
    quota: Quota,
    /// Processors this process may use, the quota aside.
    allowed: f64,
    lag: Lag,
    first: Usage,
    last: Usage,
    last_at: Duration,
    saturated: BTreeSet<u32>,
    descriptors: Option<Used>,
    ports: Option<Used>,
}

/// What a watch saw.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) lag: Histogram,
    pub(crate) saturated: BTreeSet<u32>,
    /// Processors that this process may use.
    pub(crate) processors: f64,
    /// Processor time of the process.
    pub(crate) process: Duration,
    /// Processor time of the thread that was watched.
    pub(crate) thread: Duration,
    /// How long that thread was ready to run and had no processor, where the system says so.
    pub(crate) starved: Option<Duration>,
    /// How long the quota stopped the process, all processors together.
    pub(crate) throttled: Duration,
    /// File descriptors of the process.
    pub(crate) descriptors: Option<Used>,
    /// TCP sockets of the machine against the local ports for one destination.
    pub(crate) ports: Option<Used>,
}

impl Watch {
    /// Begins to watch the calling thread; seconds count from `start`.
    pub(crate) fn begin(start: Instant) -> io::Result<Self> {
        let quota = Quota::find();
        let first = Usage::now(&quota)?;
        Ok(Self {
            start,
            quota,
            allowed: allowed().len().max(1) as f64,
            lag: Lag::default(),
            first,
            last: first,
            last_at: Duration::ZERO,
            saturated: BTreeSet::new(),
            descriptors: None,
            ports: None,
        })
    }

    /// Watches until `stop` is cancelled, on the thread on which it began.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> io::Result<Account> {
        let mut next = BEAT;
        loop {
            let beat = stop.run_until_cancelled(sleep_until(self.start + next));
            if beat.await.is_none() {
                self.sample(self.start.elapsed())?;
                return Ok(self.account());
            }
            let now = self.start.elapsed();
            next = self.lag.catch_up(next, now);
            if now.as_secs() > self.last_at.as_secs() {
                self.sample(now)?;
            }
        }
    }

    /// Judges the time since the last sample.
    fn sample(&mut self, now: Duration) -> io::Result<()> {
        let usage = Usage::now(&self.quota)?;
        let seconds = (now - self.last_at).as_secs_f64();
        let since = usage.since(&self.last);
        let throttled = since.throttled.as_secs_f64() / self.allowed;
        let saturated = is_robbed(&since, seconds) || throttled > THROTTLED_SHARE * seconds;
        if seconds >= SHORTEST && saturated {
            // The last of them has only just begun.
            let seconds = self.last_at.as_secs()..now.as_secs().max(self.last_at.as_secs() + 1);
            let seconds = seconds.filter_map(|second| u32::try_from(second).ok());
            self.saturated.extend(seconds);
        }
        self.descriptors = Used::fuller(self.descriptors, supplies::descriptors());
        self.ports = Used::fuller(self.ports, supplies::ports());
        (self.last, self.last_at) = (usage, now);
        Ok(())
    }

    fn account(mut self) -> Account {
        self.saturated.extend(self.lag.saturated_seconds());
        let whole = self.last.since(&self.first);
        Account {
            lag: self.lag.histogram,
            saturated: self.saturated,
            processors: self
                .quota
                .processors
                .unwrap_or(f64::INFINITY)
                .min(self.allowed),
            process: whole.process,
            thread: whole.thread,
            starved: whole.starved,
            throttled: whole.throttled,
            descriptors: self.descriptors,
            ports: self.ports,
        }
    }
}

/// Whether others had the processor that the thread needed.
fn is_robbed(usage: &Usage, seconds: f64) -> bool {
    let starved = usage.starved.unwrap_or_default().as_secs_f64() / seconds;
    let wanted = starved + usage.thread.as_secs_f64() / seconds;
    let is_busy = wanted > WANTED_SHARE;
    starved > STARVED_SHARE || (is_busy && starved > STARVED_SHARE_OF_A_BUSY_THREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_processor_is_robbed_when_it_waits_long_or_needs_it_all() {
        let robbed = |ran: u64, waited: u64| {
            let usage = Usage {
                process: Duration::from_millis(ran),
                thread: Duration::from_millis(ran),
                starved: Some(Duration::from_millis(waited)),
                throttled: Duration::ZERO,
            };
            is_robbed(&usage, 1.0)
        };
        assert!(robbed(100, 510));
        assert!(robbed(610, 210));
        // It sleeps at other times, and waits a little at each wake.
        assert!(!robbed(300, 400));
        assert!(!robbed(900, 90));
    }

    #[tokio::test]
    async fn the_watch_tells_what_the_thread_used() {
        let start = Instant::now();
        let stop = CancellationToken::new();
        let watching = tokio::spawn(Watch::begin(start).unwrap().run(stop.clone()));
        // Works, and lets nothing else run meanwhile.
        let mut sum = 0_u64;
        while processor::thread_time().unwrap() < Duration::from_millis(300) {
            sum = std::hint::black_box(sum + 1);
        }
        stop.cancel();
        let account = watching.await.unwrap().unwrap();
        assert!(account.thread >= Duration::from_millis(200), "{account:?}");
        assert!(account.process >= account.thread);
        assert!(account.processors > 0.0);
        assert!(account.descriptors.is_some_and(|used| used.most > 0));
    }
}
