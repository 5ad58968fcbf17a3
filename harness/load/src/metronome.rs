//! Keeps a timetable to the tenth of a millisecond: the runtime's own timers are ten times
//! coarser, the system's are not.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::Duration;

use holdfast_core::outcome::Source;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;

/// What became of a due beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Yes,
    /// Everything that could take it was busy.
    NoRoom,
}

/// Calls `begin` at each of `times` (since the start of the load, in order) with the moment it was
/// due. Returns when all have come, or when the load ceases. What found no room, or was due and not
/// begun when the load ceased, is counted as given up.
pub(crate) async fn keep(
    times: impl Iterator<Item = Duration>,
    source: Source,
    recorder: &Recorder,
    cease: &CancellationToken,
    mut begin: impl FnMut(Instant) -> Begun,
) -> io::Result<()> {
    let timer = Timer::new()?;
    let mut times = times.map(|time| recorder.start + time);
    while let Some(due) = times.next() {
        let Some(rung) = cease.run_until_cancelled(timer.wait_until(due)).await else {
            let ceased = Instant::now();
            let rest = std::iter::once(due).chain(times);
            rest.take_while(|due| *due < ceased)
                .for_each(|_| recorder.give_up(source));
            return Ok(());
        };
        rung?;
        if begin(due) == Begun::NoRoom {
            recorder.give_up(source);
        }
    }
    Ok(())
}

/// A timer of the system that the runtime waits for as for a socket.
#[derive(Debug)]
struct Timer(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Descriptor(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for the sake of types that do not own one descriptor \
                      for all their life; this one does"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Waits until `then`; never less.
    async fn wait_until(&self, then: Instant) -> io::Result<()> {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            let Descriptor(timer) = self.0.get_ref();
            timer.set(once, TimerSetTimeFlags::empty())?;
            // An expiry need not be read: setting the timer again takes it back.
            self.0.readable().await?.clear_ready();
        }
    }
}
