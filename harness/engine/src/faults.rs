//! Carries out single fault actions: undo first, then the deed, and recovery until it succeeds or
//! its retries are used up. A driver that panics or hangs is an error like any other.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::{Event, FaultAction};
use holdfast_core::plan::PlannedFault;

use crate::drivers::{Events, FaultDriver, FaultDriverError};
use crate::guard::guarded;

/// A single driver call takes no longer than this …
const ACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// … unless it undoes something: then it may wait for pods that start anew, one after the other.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// Who acts, for errors.
const DRIVER: &str = "fault driver";
/// Attempts to undo one fault, and the pauses between them: doubled each time up to the longest, a
/// minute in all, which an API server may take to come back.
const RECOVER_ATTEMPTS: u32 = 11;
const RECOVER_PAUSE: Duration = Duration::from_millis(500);
const RECOVER_LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Stores the undo, then injects. Sends the events of both. `Err` carries the driver's words.
pub(crate) async fn inject(
    driver: Arc<dyn FaultDriver>,
    fault: PlannedFault,
    events: Events,
) -> Result<(), String> {
    let result = async {
        let (prepare, planned) = (Arc::clone(&driver), fault.clone());
        let undo = guarded(DRIVER, ACTION_TIMEOUT, async move {
            prepare.prepare(&planned).await
        })
        .await?;
        events.send(Event::UndoRecorded {
            fault: fault.name.clone(),
            undo,
        });
        let planned = fault.clone();
        guarded(DRIVER, ACTION_TIMEOUT, async move {
            driver.inject(&planned).await
        })
        .await
    }
    .await;
    match result {
        Ok(evidence) => {
            events.send(Event::FaultInjected {
                fault: fault.name,
                evidence,
            });
            Ok(())
        }
        Err(error) => {
            events.send(Event::FaultFailed {
                fault: fault.name.clone(),
                action: FaultAction::Inject,
                error: error.clone(),
            });
            Err(format!("{}: {error}", fault.name))
        }
    }
}

/// Undoes a fault, with retries. Sends `FaultRecovered`, or `FaultFailed` for each failed attempt.
/// Returns whether it is undone.
pub(crate) async fn recover(
    driver: Arc<dyn FaultDriver>,
    fault: PlannedFault,
    events: Events,
) -> bool {
    let mut pause = RECOVER_PAUSE;
    for attempt in 1..=RECOVER_ATTEMPTS {
        let (driver, planned) = (Arc::clone(&driver), fault.clone());
        let call = async move { driver.recover(&planned).await };
        match guarded(DRIVER, RECOVER_TIMEOUT, call).await {
            Ok(evidence) => {
                events.send(Event::FaultRecovered {
                    fault: fault.name,
                    evidence,
                });
                return true;
            }
            Err(error) => events.send(Event::FaultFailed {
                fault: fault.name.clone(),
                action: FaultAction::Recover,
                error: format!("attempt {attempt} of {RECOVER_ATTEMPTS}: {error}"),
            }),
        }
        if attempt < RECOVER_ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECOVER_LONGEST_PAUSE);
        }
    }
    false
}

/// What is not as before. A driver that cannot tell leaves that as residue: nobody knows.
pub(crate) async fn residue(driver: Arc<dyn FaultDriver>) -> Vec<String> {
    let check = guarded(DRIVER, ACTION_TIMEOUT, async move {
        Ok::<_, FaultDriverError>(driver.residue().await)
    });
    check.await.unwrap_or_else(|error| {
        vec![format!(
            "whether everything is as before could not be checked: {error}"
        )]
    })
}
