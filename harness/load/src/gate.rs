//! Where a load that is ready to send waits until it is told when to begin.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Holds a load back between its last preparation and its first request.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    reached: watch::Sender<bool>,
    begin: watch::Receiver<Option<Instant>>,
}

/// Opens a gate.
#[derive(Debug)]
pub(crate) struct Keeper {
    reached: watch::Receiver<bool>,
    begin: watch::Sender<Option<Instant>>,
}

/// A closed gate and who can open it.
pub(crate) fn gate() -> (Gate, Keeper) {
    let (reached, reaching) = watch::channel(false);
    let (begin, beginning) = watch::channel(None);
    let gate = Gate {
        reached,
        begin: beginning,
    };
    let keeper = Keeper {
        reached: reaching,
        begin,
    };
    (gate, keeper)
}

impl Gate {
    /// Waits at the gate until the load begins, and returns when that was meant to be. `None`:
    /// nobody is there any more to open it.
    pub(crate) async fn pass(mut self) -> Option<Instant> {
        self.reached.send_replace(true);
        let told = self.begin.wait_for(Option::is_some).await.ok();
        let begin = told.and_then(|begin| *begin)?;
        sleep_until(begin).await;
        Some(begin)
    }
}

impl Keeper {
    /// Resolves when the load stands at the gate; never when it ends before.
    pub(crate) async fn reached(&self) {
        let mut reached = self.reached.clone();
        if reached.wait_for(|reached| *reached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets the load begin at `begin`; a time in the past is at once, and its seconds count from
    /// there all the same.
    pub(crate) fn open(&self, begin: Instant) {
        self.begin.send_replace(Some(begin));
    }
}
