//! The use cases of customer: hear what happens to orders, and show it.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::{Happened, Order, OrderId};
use crate::ports::{Notification, Recorded, StorageError, Views};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
    outcome: &'static str,
}

/// Records and shows what happens to orders.
#[derive(Clone)]
pub struct CustomerService {
    views: Arc<dyn Views>,
    events: Family<EventLabels, Counter>,
}

impl std::fmt::Debug for CustomerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomerService").finish_non_exhaustive()
    }
}

impl CustomerService {
    pub fn new(views: Arc<dyn Views>, registry: &mut Registry) -> Self {
        let events = Family::default();
        registry.register(
            "customer_events",
            "Events about orders: new ones, each of which makes one notification, and repeated ones",
            events.clone(),
        );
        Self { views, events }
    }

    /// Adds `event` to the view of its order, once however often it comes.
    pub async fn record(&self, event: Happened) -> Result<(), StorageError> {
        let name = event.what.name();
        let order = event.order_id.clone();
        let recorded = self.views.record(event).await?;
        let outcome = match recorded {
            Recorded::New => "new",
            Recorded::Repeated => "repeated",
        };
        let labels = EventLabels {
            event: name,
            outcome,
        };
        self.events.get_or_create(&labels).inc();
        tracing::debug!(%order, "{name} is {outcome}");
        Ok(())
    }

    /// A page of orders, as [`Views::page`] tells.
    pub async fn page(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Option<Vec<Order>>, StorageError> {
        self.views.page(before, limit).await
    }

    /// An order of which at least its payment is known.
    pub async fn find(&self, order_id: OrderId) -> Result<Option<Order>, StorageError> {
        self.views.find(order_id).await
    }

    /// A page of notifications, as [`Views::notifications`] tells.
    pub async fn notifications(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Notification>, StorageError> {
        self.views.notifications(before, limit).await
    }
}
