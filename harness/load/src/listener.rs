//! Whoever wants to hear of each request as it ends, e.g. to print a line for it. No figure is made
//! of what it hears: events tell those.

use std::fmt;
use std::sync::Arc;

use holdfast_core::outcome::Sample;

/// A request of the load that ended before the load stopped.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Method and path as the plan has them.
    pub request: &'a str,
    /// How it ended.
    pub sample: &'a Sample,
}

/// Hears of every request of the load, but of none of the prober. Called by the thread that sends,
/// so it must not block.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&Ended<'_>) + Send + Sync>);

impl Listener {
    /// A listener that calls `hear`.
    #[must_use]
    pub fn new(hear: impl Fn(&Ended<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(crate) fn hear(&self, ended: &Ended<'_>) {
        (self.0)(ended);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Listener").finish_non_exhaustive()
    }
}
