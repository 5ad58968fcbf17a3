//! The records of one partition that have arrived and not been handled. A group's member has one
//! lane for each partition of its share, and works on all of them at once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::events::wire::Record;

/// No more of a partition are fetched while so many of its records wait …
const MANY: usize = 500;
/// … until so few are left.
const FEW: usize = 100;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) number: i32,
}

/// A record and its place in the partition.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) offset: i64,
    pub(super) record: Record,
}

/// What waits in one partition, oldest first.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) partition: Partition,
    /// Another member has the partition from now on.
    pub(super) taken_away: CancellationToken,
    waiting: Mutex<VecDeque<Parcel>>,
    arrived: Notify,
    is_held_up: AtomicBool,
}

impl Lane {
    fn new(partition: Partition) -> Self {
        Self {
            partition,
            taken_away: CancellationToken::new(),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            is_held_up: AtomicBool::new(false),
        }
    }

    /// Waits for the next record.
    pub(super) async fn next(&self) -> Parcel {
        loop {
            let parcel = self.waiting().pop_front();
            match parcel {
                Some(parcel) => return parcel,
                None => self.arrived.notified().await,
            }
        }
    }

    fn add(&self, parcel: Parcel) {
        self.waiting().push_back(parcel);
        self.arrived.notify_one();
    }

    /// True once each time that many wait.
    pub(super) fn is_to_be_held_up(&self) -> bool {
        self.waiting().len() >= MANY && !self.is_held_up.swap(true, Ordering::Relaxed)
    }

    /// True once after that, when few are left.
    pub(super) fn is_to_go_on(&self) -> bool {
        self.waiting().len() <= FEW && self.is_held_up.swap(false, Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.waiting
            .lock()
            .expect("no holder of this lock can panic")
    }
}

/// The lanes of a member's share.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<Partition, Arc<Lane>>>);

/// Where a record was put.
#[derive(Debug)]
pub(super) enum Put {
    /// Into a lane that somebody works on.
    Added(Arc<Lane>),
    /// Into a new one.
    Opened(Arc<Lane>),
}

impl Lanes {
    pub(super) fn put(&self, partition: Partition, parcel: Parcel) -> Put {
        let mut lanes = self.lanes();
        if let Some(lane) = lanes.get(&partition) {
            lane.add(parcel);
            return Put::Added(Arc::clone(lane));
        }
        let lane = Arc::new(Lane::new(partition.clone()));
        lane.add(parcel);
        lanes.insert(partition, Arc::clone(&lane));
        Put::Opened(lane)
    }

    /// Ends the lane of a partition that is not this member's any more.
    pub(super) fn close(&self, partition: &Partition) {
        if let Some(lane) = self.lanes().remove(partition) {
            lane.taken_away.cancel();
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Partition, Arc<Lane>>> {
        self.0.lock().expect("no holder of this lock can panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        Partition {
            topic: "orders".to_owned(),
            number: 0,
        }
    }

    fn put(lanes: &Lanes, offset: i64) -> Put {
        let record = Record::default();
        lanes.put(partition(), Parcel { offset, record })
    }

    #[tokio::test]
    async fn records_leave_a_lane_as_they_came() {
        let lanes = Lanes::default();
        let Put::Opened(lane) = put(&lanes, 0) else {
            panic!("the lane was there before");
        };
        assert!(matches!(put(&lanes, 1), Put::Added(_)));
        assert_eq!(lane.next().await.offset, 0);
        assert_eq!(lane.next().await.offset, 1);
    }

    #[tokio::test]
    async fn a_partition_that_comes_back_gets_a_new_lane() {
        let lanes = Lanes::default();
        let Put::Opened(lane) = put(&lanes, 0) else {
            panic!("the lane was there before");
        };
        lanes.close(&partition());
        assert!(lane.taken_away.is_cancelled());
        assert!(matches!(put(&lanes, 0), Put::Opened(_)));
    }

    #[tokio::test]
    async fn a_lane_is_held_up_when_many_wait_and_goes_on_when_few_are_left() {
        let lanes = Lanes::default();
        let mut holds = Vec::new();
        for offset in 0..2 * MANY as i64 {
            let (Put::Opened(lane) | Put::Added(lane)) = put(&lanes, offset);
            holds.extend(lane.is_to_be_held_up().then_some(offset));
        }
        assert_eq!(holds, [MANY as i64 - 1]);

        let (Put::Opened(lane) | Put::Added(lane)) = put(&lanes, 0);
        let mut left = Vec::new();
        for _ in 0..=2 * MANY {
            lane.next().await;
            left.extend(lane.is_to_go_on().then(|| lane.waiting().len()));
        }
        assert_eq!(left, [FEW]);
    }
}
