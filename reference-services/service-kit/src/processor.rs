//! Using a processor for a given time, as work would.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Uses so much processor time, however long that takes on a busy machine. It is used by a thread of
/// tokio's blocking pool: other requests go on meanwhile.
pub async fn spend(work: Duration) {
    if work.is_zero() {
        return;
    }
    tokio::task::spawn_blocking(move || {
        let until = used_by_this_thread() + work;
        // Asking is work enough.
        while used_by_this_thread() < until {}
    })
    .await
    .expect("looking at a clock does not panic");
}

fn used_by_this_thread() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).expect("processor time is not negative")
}

#[cfg(test)]
mod tests {
    use rustix::time::Timespec;

    use super::*;

    fn used_by_this_process() -> Duration {
        let used: Timespec = clock_gettime(ClockId::ProcessCPUTime);
        used.try_into().unwrap()
    }

    #[tokio::test]
    async fn no_less_than_asked_for_is_spent() {
        for work in [
            Duration::ZERO,
            Duration::from_millis(5),
            Duration::from_millis(20),
        ] {
            let before = used_by_this_process();
            spend(work).await;
            assert!(used_by_this_process() - before >= work, "{work:?}");
        }
    }
}
