//! The open model: journeys begin when they are due, whatever became of those before.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_core::outcome::Source;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metronome::{self, Begun};
use crate::recorder::Recorder;
use crate::timetable::Timetable;
use crate::users::{self, Battery};

/// The places in which journeys are made, one at a time each. An arrival takes the one that became
/// free last: a load that needs few places uses few connections.
#[derive(Debug, Default)]
pub(crate) struct Places {
    state: Mutex<State>,
    /// Cancelled: no arrival comes any more.
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<mpsc::Sender<Instant>>,
    /// Places there are.
    opened: u32,
    /// Arrivals that were handed to a place which has not begun them yet.
    handed: usize,
}

impl Places {
    /// A new place, free at once.
    pub(crate) fn open(self: &Arc<Self>) -> Place {
        let (caller, calls) = mpsc::channel(1);
        self.state().opened += 1;
        let place = Place {
            places: Arc::clone(self),
            caller,
            calls,
        };
        place.vacate();
        place
    }

    /// How many there are.
    pub(crate) fn opened(&self) -> u32 {
        self.state().opened
    }

    fn hand(&self, intended: Instant) -> Begun {
        let mut state = self.state();
        while let Some(place) = state.free.pop() {
            // Refused only by a place whose user is gone.
            if place.try_send(intended).is_ok() {
                state.handed += 1;
                return Begun::Yes;
            }
        }
        Begun::NoRoom
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one journey at a time.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    caller: mpsc::Sender<Instant>,
    calls: mpsc::Receiver<Instant>,
}

impl Place {
    /// Waits for an arrival; returns when it was due, or `None` when none comes any more.
    pub(crate) async fn arrival(&mut self) -> Option<Instant> {
        let closed = self.places.closed.clone();
        let intended = closed.run_until_cancelled(self.calls.recv()).await??;
        self.places.state().handed -= 1;
        Some(intended)
    }

    /// Takes the next arrival from now on.
    pub(crate) fn vacate(&self) {
        self.places.state().free.push(self.caller.clone());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Cut off between its call and its beginning: nobody shall wait for it.
        if self.calls.try_recv().is_ok() {
            self.places.state().handed -= 1;
        }
    }
}

/// Hands this process's share of the arrivals to the battery's places until the load ends or
/// ceases. Afterwards each is either sent or given up.
pub(crate) async fn run(
    battery: Arc<Battery>,
    recorder: Arc<Recorder>,
    times: Timetable,
) -> io::Result<()> {
    let places = &battery.places;
    let times = battery.share.among(times);
    let most = users::most(&battery.model, battery.share);
    let hand = |intended| match places.hand(intended) {
        Begun::NoRoom if places.opened() < most => {
            users::add(&battery);
            places.hand(intended)
        }
        begun => begun,
    };
    let kept = metronome::keep(times, Source::Users, &recorder, &battery.cease, hand).await;
    while places.state().handed > 0 {
        tokio::task::yield_now().await;
    }
    places.closed.cancel();
    kept
}
