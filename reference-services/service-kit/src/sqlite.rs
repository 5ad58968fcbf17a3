//! An SQLite database behind a bounded number of connections.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, pool::PoolConnection};
use tempfile::TempDir;

use crate::env::Env;
use crate::gate::{Gate, Handoff, Slot};

/// Where the database is and how its connections are shared.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub location: Location,
    /// How many connections there are.
    pub connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    pub handoff: Handoff,
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A URL such as `sqlite:///var/lib/app.db`.
    Url(String),
    /// A file that outlives the process.
    File(PathBuf),
    /// A file of this process alone, in a new folder that begins with `prefix` and is removed at the
    /// end: like a container's own file system, it does not outlive a restart, and two replicas do
    /// not share it.
    Temporary { prefix: String },
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot make a temporary folder for the database")]
    Folder(#[source] std::io::Error),
    #[error("cannot open the database {location:?}")]
    Open {
        location: Location,
        source: sqlx::Error,
    },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection became free in time")]
    Exhausted,
    #[error(transparent)]
    Broken(#[from] sqlx::Error),
}

impl DatabaseConfig {
    /// Reads `DATABASE_URL`, else `DATA_DIR` (the file is `<name>.db` in it), else uses a temporary
    /// file; `DB_POOL` (default 10), `DB_ACQUIRE_TIMEOUT` (default 30 s), `DB_POOL_HANDOFF` (`fair` or
    /// `barging`) and `DB_POOL_HANDOFF_DELAY` (for `barging`, default 200 µs).
    pub fn from_env(env: &mut Env, name: &str) -> Self {
        let location = match (env.text("DATABASE_URL"), env.text("DATA_DIR")) {
            (Some(url), _) => Location::Url(url),
            (None, Some(folder)) => {
                Location::File(PathBuf::from(folder).join(format!("{name}.db")))
            }
            (None, None) => Location::Temporary {
                prefix: format!("{name}-"),
            },
        };
        let connections = env.parse("DB_POOL", 10);
        if connections == 0 {
            env.complain("DB_POOL=\"0\": must be at least 1".to_owned());
        }
        let barging = Handoff::Barging {
            delay: env.duration("DB_POOL_HANDOFF_DELAY", Duration::from_micros(200)),
        };
        Self {
            location,
            connections,
            acquire_timeout: env.duration("DB_ACQUIRE_TIMEOUT", Duration::from_secs(30)),
            handoff: env.choice(
                "DB_POOL_HANDOFF",
                Handoff::Fair,
                &[("fair", Handoff::Fair), ("barging", barging)],
            ),
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    pool: SqlitePool,
    gate: Gate,
    acquire_timeout: Duration,
    /// Removed with everything in it when the database is dropped.
    _folder: Option<TempDir>,
}

impl Database {
    /// Opens the database, makes its tables if it has none, and opens all connections.
    pub async fn open(config: &DatabaseConfig, schema: &'static str) -> Result<Self, OpenError> {
        let open_failed = |source| OpenError::Open {
            location: config.location.clone(),
            source,
        };
        let mut folder = None;
        let options = match &config.location {
            Location::Url(url) => SqliteConnectOptions::from_str(url).map_err(open_failed)?,
            Location::File(path) => SqliteConnectOptions::new().filename(path),
            Location::Temporary { prefix } => {
                let made = tempfile::Builder::new().prefix(prefix).tempdir();
                let made = folder.insert(made.map_err(OpenError::Folder)?);
                SqliteConnectOptions::new().filename(made.path().join("service.db"))
            }
        };
        let pool = open_pool(options, config, schema)
            .await
            .map_err(open_failed)?;
        Ok(Self {
            pool,
            gate: Gate::new(config.connections as usize, config.handoff),
            acquire_timeout: config.acquire_timeout,
            _folder: folder,
        })
    }

    /// Waits for a free connection.
    pub async fn connect(&self) -> Result<Lease, ConnectError> {
        let slot = tokio::time::timeout(self.acquire_timeout, self.gate.enter())
            .await
            .map_err(|_elapsed| ConnectError::Exhausted)?;
        Ok(Lease {
            connection: self.pool.acquire().await?,
            _slot: slot,
        })
    }
}

/// A connection, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    // Dropped in this order: the next holder of the slot must find the connection given back.
    connection: PoolConnection<Sqlite>,
    _slot: Slot,
}

impl Lease {
    /// The connection itself, to run statements on.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

async fn open_pool(
    options: SqliteConnectOptions,
    config: &DatabaseConfig,
    schema: &'static str,
) -> Result<SqlitePool, sqlx::Error> {
    // WAL lets readers go on while one connection writes. With it, `Normal` loses nothing when the
    // process is killed, only (and at most the last transactions) when the machine is.
    let options = options
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(10));
    // SQLite does not wait for other connections when it changes the journal mode (`SQLITE_BUSY`
    // in spite of the timeout), and the file keeps the mode: one connection changes it, alone.
    let mut first = options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await?;
    sqlx::raw_sql(schema).execute(&mut first).await?;
    first.close().await?;
    // Waiting for a connection is the gate's business: whoever holds a slot finds one here.
    SqlitePoolOptions::new()
        .min_connections(config.connections)
        .max_connections(config.connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}
