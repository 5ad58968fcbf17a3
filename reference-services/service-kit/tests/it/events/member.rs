//! Members of groups, as the tests want them.

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::events::{BusError, Event, EventBus, HandleError, Handler, Subscription};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use super::rig::Rig;

/// What a handler is to say about an event.
pub(super) type Verdict = dyn Fn(&Event) -> Result<(), HandleError> + Send + Sync;

/// Tells of each event that it is given, and then does with it as its verdict says.
struct Told {
    tell: mpsc::UnboundedSender<Event>,
    verdict: Box<Verdict>,
}

#[async_trait]
impl Handler for Told {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        self.tell.send(event.clone()).unwrap();
        (self.verdict)(event)
    }
}

pub(super) fn always_well() -> Box<Verdict> {
    Box::new(|_| Ok(()))
}

/// A member of a group, on a task of its own, and what it was given.
pub(super) struct Member {
    stop: CancellationToken,
    task: JoinHandle<Result<(), BusError>>,
    told: mpsc::UnboundedReceiver<Event>,
}

impl Member {
    pub(super) fn start(rig: &Rig, subscription: &Subscription, verdict: Box<Verdict>) -> Self {
        Self::start_on(rig.client(), subscription, verdict)
    }

    pub(super) fn start_on(
        bus: Arc<dyn EventBus>,
        subscription: &Subscription,
        verdict: Box<Verdict>,
    ) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let subscription = subscription.clone();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let handler = Told { tell, verdict };
            bus.consume(&subscription, &handler, &token).await
        });
        Self { stop, task, told }
    }

    pub(super) async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        next.expect("no event came in time")
            .expect("the member has ended")
    }

    pub(super) async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next().await);
        }
        events
    }

    /// Stops it, and returns what it was given since it was last asked.
    pub(super) async fn stop(mut self) -> Vec<Event> {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the member did not stop").unwrap().unwrap();
        let mut rest = Vec::new();
        while let Ok(event) = self.told.try_recv() {
            rest.push(event);
        }
        rest
    }
}
