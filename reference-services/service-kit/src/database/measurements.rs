//! What a database lets the outside see: who has its connections, who waits for one, and how long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Database;
use crate::metrics::{Counted, duration_histogram, observe};

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Purpose {
    pub(super) purpose: &'static str,
}

/// The metrics of all purposes.
#[derive(Clone, Debug)]
pub(super) struct Measurements {
    used: Family<Purpose, Gauge>,
    most: Family<Purpose, Gauge>,
    pending: Family<Purpose, Gauge>,
    timeouts: Family<Purpose, Counter>,
    waits: Family<Purpose, Histogram, fn() -> Histogram>,
}

impl Measurements {
    pub(super) fn new() -> Self {
        Self {
            used: Family::default(),
            most: Family::default(),
            pending: Family::default(),
            timeouts: Family::default(),
            waits: Family::new_with_constructor(duration_histogram),
        }
    }

    pub(super) fn of(&self, purpose: &'static str, connections: u32) -> OfPurpose {
        let purpose = Purpose { purpose };
        self.most.get_or_create(&purpose).set(connections.into());
        OfPurpose {
            used: self.used.get_or_create(&purpose).clone(),
            pending: self.pending.get_or_create(&purpose).clone(),
            timeouts: self.timeouts.get_or_create(&purpose).clone(),
            waits: self.waits.get_or_create(&purpose).clone(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "db_client_connections_used",
            "Connections in use",
            self.used.clone(),
        );
        registry.register(
            "db_client_connections_max",
            "Connections that may be in use at once",
            self.most.clone(),
        );
        registry.register(
            "db_client_connections_pending_requests",
            "How many wait for a connection",
            self.pending.clone(),
        );
        registry.register(
            "db_client_connections_timeouts",
            "How many have waited for a connection in vain",
            self.timeouts.clone(),
        );
        registry.register(
            "db_client_connections_wait_time_seconds",
            "How long it took to be given a connection",
            self.waits.clone(),
        );
    }
}

/// The metrics of one purpose.
#[derive(Debug)]
pub(super) struct OfPurpose {
    used: Gauge,
    pending: Gauge,
    timeouts: Counter,
    waits: Histogram,
}

impl OfPurpose {
    pub(super) fn is_waiting(&self) -> Counted {
        Counted::by(&self.pending)
    }

    pub(super) fn is_using(&self) -> Counted {
        Counted::by(&self.used)
    }

    pub(super) fn waited(&self, duration: Duration) {
        observe(&self.waits, duration);
    }

    pub(super) fn gave_up(&self) {
        self.timeouts.inc();
    }
}

impl Database {
    /// Has `registry` tell of the connections.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        self.measurements.register(registry);
        registry.register_collector(Box::new(Pool(Arc::downgrade(self))));
    }
}

/// The pool, asked when somebody wants to know.
#[derive(Debug)]
struct Pool(Weak<Database>);

impl Collector for Pool {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(database) = self.0.upgrade() else {
            return Ok(());
        };
        for (name, help, count) in [
            (
                "db_client_connections_open",
                "Connections to the database, in use or not",
                i64::from(database.pool.size()),
            ),
            (
                "db_client_connections_idle",
                "Connections to the database that are not in use",
                i64::try_from(database.pool.num_idle()).unwrap_or(i64::MAX),
            ),
        ] {
            let gauge = ConstGauge::new(count);
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}
