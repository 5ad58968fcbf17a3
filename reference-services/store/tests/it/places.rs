//! Deliveries in memory, and in an empty database of each kind whose programs are on this machine.

use std::sync::Arc;

use service_kit::database::query;
use service_kit::env::Env;
use sqlx::Row as _;
use store::adapters::sql::SqlDeliveries;
use store::config::Config;
use store::ports::Deliveries;
use tempfile::TempDir;
use test_servers::{Kind, Server};

use crate::doubles::InMemoryDeliveries;

/// Somewhere that deliveries are kept.
pub(crate) enum Place {
    Memory(Arc<InMemoryDeliveries>),
    Database(Database),
}

/// A database that replicas can share: who opens it twice is two of them.
pub(crate) struct Database {
    variable: &'static str,
    value: String,
    _folder: Option<TempDir>,
}

/// An event that waits to be published: its topic, key, kind and id, and the id of its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) cause: String,
}

pub(crate) fn places() -> Vec<Place> {
    let memory = Place::Memory(Arc::default());
    let databases = databases().into_iter().map(Place::Database);
    std::iter::once(memory).chain(databases).collect()
}

pub(crate) fn databases() -> Vec<Database> {
    let servers = [Kind::MariaDb, Kind::Postgres].into_iter();
    let servers = servers.filter_map(Server::shared).map(Database::on);
    std::iter::once(Database::in_a_folder())
        .chain(servers)
        .collect()
}

impl Place {
    pub(crate) async fn open(&self) -> Arc<dyn Deliveries> {
        match self {
            Self::Memory(deliveries) => Arc::clone(deliveries) as Arc<dyn Deliveries>,
            Self::Database(database) => Arc::new(database.open().await),
        }
    }

    pub(crate) async fn told(&self) -> Vec<Told> {
        match self {
            Self::Memory(deliveries) => {
                let told = deliveries.told().into_iter();
                told.map(|it| Told {
                    topic: it.topic,
                    key: it.event.key,
                    kind: it.event.kind,
                    id: it.event.id.to_string(),
                    cause: it.event.causation_id,
                })
                .collect()
            }
            Self::Database(database) => database.told().await,
        }
    }
}

impl Database {
    pub(crate) fn in_a_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            variable: "DATA_DIR",
            value: folder.path().to_str().unwrap().to_owned(),
            _folder: Some(folder),
        }
    }

    /// A new one on `server`.
    pub(crate) fn on(server: &Server) -> Self {
        Self {
            variable: "DATABASE_URL",
            value: server.new_database(),
            _folder: None,
        }
    }

    /// The settings of a process that uses this database.
    pub(crate) fn settings(&self) -> [(&str, &str); 1] {
        [(self.variable, &self.value)]
    }

    pub(crate) fn config<'a>(
        &'a self,
        more: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Config {
        let settings = self.settings().into_iter().chain(more);
        Config::from_env(Env::of_pairs(settings)).unwrap()
    }

    pub(crate) async fn open(&self) -> SqlDeliveries {
        let config = self.config([("DB_POOL", "3")]);
        SqlDeliveries::open(&config.database).await.unwrap()
    }

    /// What waits in the outbox, in the order in which it will be published.
    pub(crate) async fn told(&self) -> Vec<Told> {
        let deliveries = self.open().await;
        let mut lease = deliveries.database().connect().await.unwrap();
        let connection = &mut lease.connection();
        let rows = query(connection, "SELECT * FROM outbox ORDER BY sequence")
            .fetch_all(connection)
            .await
            .unwrap();
        let text = |row: &sqlx::any::AnyRow, column| row.try_get::<String, _>(column).unwrap();
        rows.iter()
            .map(|row| Told {
                topic: text(row, "topic"),
                key: text(row, "event_key"),
                kind: text(row, "kind"),
                id: text(row, "event_id"),
                cause: text(row, "causation_id"),
            })
            .collect()
    }
}
