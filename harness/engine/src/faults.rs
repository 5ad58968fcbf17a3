//! Carries out single fault actions: undo first, then the deed, and recovery until it succeeds or
//! its retries are used up. A driver that panics or hangs is an error like any other.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::{Event, FaultAction};
use holdfast_core::plan::PlannedFault;

use crate::drivers::{Events, FaultDriver, FaultDriverError};

/// A single driver call takes no longer than this.
const ACTION_TIMEOUT: Duration = Duration::from_secs(180);
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
        let undo = guarded(async move { prepare.prepare(&planned).await }).await?;
        events.send(Event::UndoRecorded {
            fault: fault.name.clone(),
            undo,
        });
        let planned = fault.clone();
        guarded(async move { driver.inject(&planned).await }).await
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
        match guarded(async move { driver.recover(&planned).await }).await {
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
    let check = guarded(async move { Ok(driver.residue().await) });
    check.await.unwrap_or_else(|error| {
        vec![format!(
            "whether everything is as before could not be checked: {error}"
        )]
    })
}

/// Runs a driver call in a task of its own, so that neither a panic nor a hang in it can keep the
/// loop from undoing what was done.
async fn guarded<T: Send + 'static>(
    call: impl Future<Output = Result<T, FaultDriverError>> + Send + 'static,
) -> Result<T, String> {
    let mut task = tokio::spawn(call);
    match tokio::time::timeout(ACTION_TIMEOUT, &mut task).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_panic)) => Err("the fault driver panicked".to_owned()),
        Err(_elapsed) => {
            task.abort();
            // Until it has ended it might still act after its undo.
            drop(task.await);
            Err(format!("no answer within {} s", ACTION_TIMEOUT.as_secs()))
        }
    }
}
