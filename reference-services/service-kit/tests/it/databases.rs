//! An empty database of each kind whose programs are on this machine.

use std::sync::Arc;

use service_kit::database::{Database, DatabaseConfig, Schema};
use service_kit::env::Env;
use service_kit::{inbox, outbox};
use tempfile::TempDir;
use test_servers::{Kind, Server};

pub(crate) const SERVERS: [Kind; 2] = [Kind::Postgres, Kind::MariaDb];

/// A table of a service, beside the kit's own.
const NOTES: Schema = Schema {
    sqlite: "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT)",
    postgres: "CREATE TABLE IF NOT EXISTS notes (id BIGINT PRIMARY KEY, text TEXT)",
    mysql: "CREATE TABLE IF NOT EXISTS notes (id BIGINT PRIMARY KEY, text TEXT) \
            ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
};

/// A database that replicas can share: who opens it twice is two of them.
pub(crate) struct Place {
    variable: &'static str,
    value: String,
    _folder: Option<TempDir>,
}

pub(crate) fn places() -> Vec<Place> {
    let folder = tempfile::tempdir().unwrap();
    let mut places = vec![Place {
        variable: "DATA_DIR",
        value: folder.path().to_str().unwrap().to_owned(),
        _folder: Some(folder),
    }];
    for kind in SERVERS {
        places.extend(Server::shared(kind).map(Place::on));
    }
    places
}

impl Place {
    /// A new database on `server`.
    pub(crate) fn on(server: &Server) -> Self {
        Self::at(server.new_database())
    }

    /// The database that `url` names.
    pub(crate) fn at(url: String) -> Self {
        Self {
            variable: "DATABASE_URL",
            value: url,
            _folder: None,
        }
    }

    pub(crate) fn config<'a>(
        &'a self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> DatabaseConfig {
        let here = [(self.variable, self.value.as_str()), ("DB_POOL", "3")];
        let mut env = Env::of_pairs(here.into_iter().chain(settings));
        let config = DatabaseConfig::from_env(&mut env, "test");
        env.finish().unwrap();
        config
    }

    pub(crate) async fn open(&self) -> Arc<Database> {
        open(&self.config([])).await
    }
}

pub(crate) async fn open(config: &DatabaseConfig) -> Arc<Database> {
    let schemas = [NOTES, outbox::SCHEMA, inbox::SCHEMA];
    Arc::new(Database::open(config, &schemas).await.unwrap())
}
