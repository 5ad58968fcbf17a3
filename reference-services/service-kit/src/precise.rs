//! Waiting with sub-millisecond accuracy. tokio's timers tick in milliseconds and round up; where a
//! wait of a few milliseconds is the thing being modelled, that rounding is an error of many percent.

use std::time::{Duration, Instant};

/// How long before the deadline the last stretch begins: tokio's tick, its rounding and a busy
/// scheduler fit into it.
const LAST_STRETCH: Duration = Duration::from_millis(3);

/// Completes at `deadline`, late by the operating system's timer slack (about 0.1 ms) instead of by
/// tokio's tick. The last stretch is slept in the kernel on a blocking thread, so no CPU is spent;
/// it costs one thread of tokio's blocking pool for at most that stretch.
pub async fn sleep_until(deadline: Instant) {
    let now = Instant::now();
    if deadline <= now {
        return;
    }
    if deadline - now > LAST_STRETCH {
        tokio::time::sleep_until((deadline - LAST_STRETCH).into()).await;
    }
    tokio::task::spawn_blocking(move || {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    })
    .await
    .expect("sleeping does not panic");
}

/// Completes after `duration`, with the accuracy of [`sleep_until`].
pub async fn sleep(duration: Duration) {
    sleep_until(Instant::now() + duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_early() {
        for micros in [0, 50, 900, 2_500, 4_800, 12_345] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            sleep_until(deadline).await;
            assert!(Instant::now() >= deadline, "{micros} µs ended early");
        }
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_is_over() {
        sleep_until(Instant::now() - Duration::from_secs(1)).await;
    }
}
