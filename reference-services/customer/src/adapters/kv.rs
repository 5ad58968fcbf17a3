//! The view in a redb file.
//!
//! An order's events are kept under its id; that is also how an event which comes again is known. A
//! commit waits for the disk, so events that come at the same time share one.

mod stored;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use service_kit::batch::Batches;
use service_kit::detached;
use service_kit::folder::{Folder, FolderConfig, FolderError};

use self::stored::StoredEvent;
use crate::domain::{Happened, Order, OrderId};
use crate::ports::{Notification, Recorded, StorageError, Views};

/// From the id of an order to its events, as JSON.
const EVENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("events");
/// The orders by the time at which they were placed.
const PLACED: TableDefinition<(i64, &str), ()> = TableDefinition::new("placed");
/// From the number of a notification to the event it tells of, as JSON.
const NOTIFICATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("notifications");

/// How many events one commit takes in at most.
const EVENTS_AT_ONCE: usize = 200;

/// Why the view cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot open the view {path}")]
    View { path: PathBuf, source: redb::Error },
}

/// Why a view that is open cannot be read or written.
#[derive(Debug, thiserror::Error)]
enum KvError {
    #[error(transparent)]
    Database(#[from] redb::Error),
    #[error("what is stored cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

/// redb has an error type for each thing that it does, and one that they all turn into.
trait OrKvError<T> {
    fn or_kv(self) -> Result<T, KvError>;
}

impl<T, E: Into<redb::Error>> OrKvError<T> for Result<T, E> {
    fn or_kv(self) -> Result<T, KvError> {
        self.map_err(|error| KvError::Database(error.into()))
    }
}

type Writes = Batches<Happened, Result<Recorded, Arc<KvError>>>;

/// The view in redb.
#[derive(Debug)]
pub struct KvViews {
    database: Arc<Database>,
    writes: Writes,
    folder: Folder,
}

impl KvViews {
    /// Opens the view in a folder, or makes one that has yet to hear of everything.
    pub fn open(config: &FolderConfig) -> Result<Self, OpenError> {
        let folder = Folder::open(config)?;
        let path = folder.path().join("view.redb");
        let failed = |source| OpenError::View {
            path: path.clone(),
            source,
        };
        let database = Database::create(&path).map_err(|error| failed(error.into()))?;
        prepare(&database).map_err(failed)?;
        let database = Arc::new(database);
        let writer = Arc::clone(&database);
        Ok(Self {
            database,
            writes: Batches::start(EVENTS_AT_ONCE, move |events| record_all(&writer, &events)),
            folder,
        })
    }

    /// What this view is called, from its making on; another view is called otherwise.
    pub fn identity(&self) -> &str {
        self.folder.identity()
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, KvError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let database = Arc::clone(&self.database);
        let reading = tokio::task::spawn_blocking(move || query(&database.begin_read().or_kv()?));
        detached::result(reading)
            .await
            .map_err(|error| StorageError(Box::new(error)))
    }
}

#[async_trait]
impl Views for KvViews {
    async fn record(&self, event: Happened) -> Result<Recorded, StorageError> {
        match self.writes.submit(event).await {
            Ok(recorded) => recorded.map_err(|error| StorageError(Box::new(error))),
            Err(broken) => Err(StorageError(Box::new(broken))),
        }
    }

    async fn page(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Option<Vec<Order>>, StorageError> {
        self.read(move |view| page(view, before.as_ref(), limit))
            .await
    }

    async fn find(&self, order_id: OrderId) -> Result<Option<Order>, StorageError> {
        self.read(move |view| order(view, order_id.as_str())).await
    }

    async fn notifications(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Notification>, StorageError> {
        self.read(move |view| notifications(view, before, limit))
            .await
    }
}

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(PLACED)?;
    transaction.open_table(NOTIFICATIONS)?;
    transaction.commit()?;
    Ok(())
}

fn record_all(database: &Database, events: &[Happened]) -> Vec<Result<Recorded, Arc<KvError>>> {
    let commit = || {
        let transaction = database.begin_write().or_kv()?;
        let recorded = events
            .iter()
            .map(|event| record(&transaction, event))
            .collect::<Result<Vec<_>, KvError>>()?;
        transaction.commit().or_kv()?;
        Ok(recorded)
    };
    match commit() {
        Ok(recorded) => recorded.into_iter().map(Ok).collect(),
        Err(error) => {
            let error = Arc::new(error);
            events.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
}

fn record(transaction: &WriteTransaction, event: &Happened) -> Result<Recorded, KvError> {
    let order_id = event.order_id.as_str();
    let stored = StoredEvent::from(event.clone());
    let mut table = transaction.open_table(EVENTS).or_kv()?;
    let mut events: Vec<StoredEvent> = match table.get(order_id).or_kv()? {
        Some(json) => serde_json::from_slice(json.value())?,
        None => Vec::new(),
    };
    if events.iter().any(|known| known.id == stored.id) {
        return Ok(Recorded::Repeated);
    }
    let mut notifications = transaction.open_table(NOTIFICATIONS).or_kv()?;
    let last = notifications.last().or_kv()?.map(|(key, _)| key.value());
    let notification = serde_json::to_vec(&stored)?;
    notifications
        .insert(last.map_or(1, |last| last + 1), notification.as_slice())
        .or_kv()?;

    events.push(stored);
    table
        .insert(order_id, serde_json::to_vec(&events)?.as_slice())
        .or_kv()?;
    let happened: Vec<Happened> = events.into_iter().map(Into::into).collect();
    if let Some(order) = Order::of(&happened) {
        let mut placed = transaction.open_table(PLACED).or_kv()?;
        placed.insert((order.placed_at_ms, order_id), ()).or_kv()?;
    }
    Ok(Recorded::New)
}

fn order(view: &ReadTransaction, order_id: &str) -> Result<Option<Order>, KvError> {
    let table = view.open_table(EVENTS).or_kv()?;
    let Some(json) = table.get(order_id).or_kv()? else {
        return Ok(None);
    };
    let events: Vec<StoredEvent> = serde_json::from_slice(json.value())?;
    let events: Vec<Happened> = events.into_iter().map(Into::into).collect();
    Ok(Order::of(&events))
}

fn page(
    view: &ReadTransaction,
    before: Option<&OrderId>,
    limit: usize,
) -> Result<Option<Vec<Order>>, KvError> {
    let placed = view.open_table(PLACED).or_kv()?;
    let keys = match before {
        None => placed.iter().or_kv()?,
        Some(id) => match order(view, id.as_str())? {
            Some(order) => placed.range(..(order.placed_at_ms, id.as_str())).or_kv()?,
            None => return Ok(None),
        },
    };
    let mut orders = Vec::new();
    for entry in keys.rev().take(limit) {
        let (key, _) = entry.or_kv()?;
        orders.extend(order(view, key.value().1)?);
    }
    Ok(Some(orders))
}

fn notifications(
    view: &ReadTransaction,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Notification>, KvError> {
    let table = view.open_table(NOTIFICATIONS).or_kv()?;
    let entries = table.range(..before.unwrap_or(u64::MAX)).or_kv()?;
    let newest_first = entries.rev().take(limit);
    newest_first
        .map(|entry| {
            let (number, json) = entry.or_kv()?;
            let stored: StoredEvent = serde_json::from_slice(json.value())?;
            Ok(Notification {
                number: number.value(),
                event: stored.into(),
            })
        })
        .collect()
}
