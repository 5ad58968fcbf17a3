//! An SQL database behind a bounded number of connections: SQLite, PostgreSQL, MySQL or MariaDB,
//! whichever the URL names. Knows no table but those it is told to make.
//!
//! A service starts and becomes ready although the server of its database is away: the tables are
//! made when it is first reached, and requests are refused until then. Taking every replica out of
//! service, or restarting them all, would not bring the server back. The same goes for a server that
//! is busy, as with another replica that makes the tables. But a server that answers and refuses (a
//! wrong password, an unknown database) ends the process at its start, so that a rollout with wrong
//! settings stops before it has replaced what works.
//!
//! A connection is asked whether it still lives before it is handed out, unless it is SQLite's: so a
//! server that was killed and came back costs the requests that were in hand, and no other. One that
//! hangs costs a statement its limit and a second more.

mod checkpoint;
mod config;
mod connection;
mod dialect;
mod exclusive;
mod measurements;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor as _};
use tokio::sync::{Notify, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use self::config::Place;
pub use self::config::{DatabaseConfig, Location};
pub use self::connection::Connection;
use self::connection::{Held, Patience, Work};
use self::dialect::ended_by_limit;
pub use self::dialect::{Dialect, Schema, query};
pub use self::exclusive::Exclusive;
use self::exclusive::lock_file;
use self::measurements::{Measurements, OfPurpose};
use crate::gate::{Gate, Handoff, Slot};
use crate::metrics::Counted;

/// How many connections there are for work that no request waits for: it goes on while requests hold
/// all of theirs.
const BACKGROUND_CONNECTIONS: u32 = 2;

/// How many connections may be on their way out of the pool, to become an [`Exclusive`].
const EXCLUSIVE_CONNECTIONS: u32 = 1;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database {location} is none of sqlite:, postgres:, mysql:, mariadb:")]
    UnknownKind { location: Location },
    #[error("the database {location} would be another one for each connection")]
    InMemory { location: Location },
    #[error("cannot make a folder for the database")]
    Folder(#[source] std::io::Error),
    #[error("cannot open the database {location}")]
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
    #[error("the database cannot be reached")]
    Unreachable(#[source] sqlx::Error),
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    // Closed before the place can go away.
    pool: AnyPool,
    _checkpoints: Option<AbortOnDropHandle<()>>,
    place: Place,
    schemas: Vec<Schema>,
    schemas_made: OnceCell<()>,
    requests: Share,
    background: Share,
    acquire_timeout: Duration,
    patience: Patience,
    measurements: Measurements,
    outbox_filled: Arc<Notify>,
}

/// The connections that there are for one purpose.
#[derive(Debug)]
struct Share {
    gate: Gate,
    measurements: OfPurpose,
}

impl Database {
    /// Opens the database and makes the tables that are missing. A server that is away is no error.
    pub async fn open(config: &DatabaseConfig, schemas: &[Schema]) -> Result<Self, OpenError> {
        let open_failed = |source| OpenError::Open {
            location: config.location.clone(),
            source,
        };
        sqlx::any::install_default_drivers();
        let place = config.location.resolve()?;
        let measurements = Measurements::new();
        let share = |purpose, connections: u32, handoff| Share {
            gate: Gate::new(connections as usize, handoff),
            measurements: measurements.of(purpose, connections),
        };
        let patience = match place.dialect {
            // A file does not keep anybody waiting but for its lock, which has a limit of its own.
            Dialect::Sqlite => Patience(None),
            Dialect::Postgres | Dialect::MySql => Patience(Some(config.statement_timeout)),
        };
        let checkpoints = match &place.file {
            None => None,
            Some(file) => {
                let options = place.url.parse().map_err(open_failed)?;
                let keeping = checkpoint::keep_short(file.clone(), options);
                Some(AbortOnDropHandle::new(tokio::spawn(keeping)))
            }
        };
        let database = Self {
            pool: pool(config, &place).map_err(open_failed)?,
            _checkpoints: checkpoints,
            place,
            schemas: schemas.to_vec(),
            schemas_made: OnceCell::new(),
            requests: share("requests", config.connections, config.handoff),
            background: share("background", BACKGROUND_CONNECTIONS, Handoff::Fair),
            acquire_timeout: config.acquire_timeout,
            patience,
            measurements,
            outbox_filled: Arc::new(Notify::new()),
        };
        match database.warm_up(config.connections).await {
            Ok(()) => {}
            Err(error) if database.place.file.is_none() && is_absence(&error) => {
                tracing::warn!(%error, database = %config.location,
                    "the database cannot be used yet; requests are refused until it can");
            }
            Err(error) => return Err(open_failed(error)),
        }
        Ok(database)
    }

    /// Waits for a free connection to serve a request with.
    pub async fn connect(&self) -> Result<Lease, ConnectError> {
        self.lease(&self.requests).await
    }

    /// Waits for a free connection for work that no request waits for.
    pub async fn connect_in_background(&self) -> Result<Lease, ConnectError> {
        self.lease(&self.background).await
    }

    async fn lease(&self, share: &Share) -> Result<Lease, ConnectError> {
        let begun = Instant::now();
        let waiting = share.measurements.is_waiting();
        let slot = tokio::time::timeout(self.acquire_timeout, share.gate.enter())
            .await
            .map_err(|_elapsed| {
                share.measurements.gave_up();
                ConnectError::Exhausted
            })?;
        self.make_tables()
            .await
            .map_err(ConnectError::Unreachable)?;
        let connection = self.pool.acquire().await;
        let connection = connection.map_err(ConnectError::Unreachable)?;
        drop(waiting);
        share.measurements.waited(begun.elapsed());
        Ok(Lease {
            held: Held::new(connection, self.patience),
            dialect: self.place.dialect,
            outbox_filled: Arc::clone(&self.outbox_filled),
            _used: share.measurements.is_using(),
            _slot: slot,
        })
    }

    /// Completes after a commit that put events into the outbox.
    pub(crate) async fn outbox_filled(&self) {
        self.outbox_filled.notified().await;
    }

    /// Makes the tables and opens all connections, which the first requests then need not pay for.
    async fn warm_up(&self, connections: u32) -> Result<(), sqlx::Error> {
        self.make_tables().await?;
        let mut opened = Vec::new();
        for _ in 0..connections {
            opened.push(Held::new(self.pool.acquire().await?, self.patience));
        }
        Ok(())
    }

    async fn make_tables(&self) -> Result<(), sqlx::Error> {
        let dialect = self.place.dialect;
        let make = || async {
            // SQLite refuses at once what another process does to the journal mode at that moment.
            let _alone = match &self.place.file {
                None => None,
                Some(path) => Some(lock_file(&path.with_extension("schema-lock")).await?),
            };
            let mut held = Held::new(self.pool.acquire().await?, self.patience);
            if let Some(statement) = dialect.first_of_all() {
                held.connection().execute(sqlx::raw_sql(statement)).await?;
            }
            let mut work = Work::begin(held.connection(), dialect).await?;
            let mut connection = work.connection();
            if let Some(statement) = dialect.before_schema() {
                connection.execute(sqlx::raw_sql(statement)).await?;
            }
            for schema in &self.schemas {
                let statements = schema.of(dialect);
                connection.execute(sqlx::raw_sql(statements)).await?;
            }
            work.commit().await
        };
        self.schemas_made.get_or_try_init(make).await.copied()
    }
}

/// A connection, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    // Dropped in this order: the next holder of the slot must find the connection given back.
    held: Held,
    dialect: Dialect,
    outbox_filled: Arc<Notify>,
    _used: Counted,
    _slot: Slot,
}

impl Lease {
    /// The connection itself, to run single statements on.
    pub fn connection(&mut self) -> Connection<'_> {
        self.held.connection()
    }

    /// Begins a transaction that writes.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        Ok(Transaction {
            work: Work::begin(self.held.connection(), self.dialect).await?,
            outbox_filled: &self.outbox_filled,
            fills_outbox: false,
        })
    }
}

/// Statements that take effect together, at `commit`, or not at all, and what they put into the outbox.
#[derive(Debug)]
pub struct Transaction<'a> {
    work: Work<'a>,
    outbox_filled: &'a Notify,
    fills_outbox: bool,
}

impl Transaction<'_> {
    /// The connection, to run statements of this transaction on.
    pub fn connection(&mut self) -> Connection<'_> {
        self.work.connection()
    }

    /// Remembers that there will be events to publish after the commit.
    pub(crate) fn fills_outbox(&mut self) {
        self.fills_outbox = true;
    }

    /// Makes everything durable and visible. After an error it may be so all the same.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.work.commit().await?;
        if self.fills_outbox {
            self.outbox_filled.notify_one();
        }
        Ok(())
    }
}

fn pool(config: &DatabaseConfig, place: &Place) -> Result<AnyPool, sqlx::Error> {
    let dialect = place.dialect;
    let limit = config.statement_timeout;
    // A file is always there.
    let ping_limit = (dialect != Dialect::Sqlite).then_some(config.connect_timeout / 2);
    let options: AnyConnectOptions = place.url.parse()?;
    // Waiting for a connection is the gate's business: whoever holds a slot finds one here, and this
    // timeout is for making one.
    Ok(AnyPoolOptions::new()
        .max_connections(config.connections + BACKGROUND_CONNECTIONS + EXCLUSIVE_CONNECTIONS)
        .acquire_timeout(config.connect_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        // As the pool does by itself, but that would leave no time to make another one.
        .test_before_acquire(false)
        .before_acquire(move |connection, _| Box::pin(is_alive(connection, ping_limit)))
        .after_connect(move |connection, _| {
            let settings = dialect.connection_settings(limit);
            Box::pin(async move {
                let settings = sqlx::AssertSqlSafe(settings);
                connection.execute(sqlx::raw_sql(settings)).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options))
}

/// Whether a connection that was idle still leads to a server that answers.
async fn is_alive(
    connection: &mut AnyConnection,
    limit: Option<Duration>,
) -> Result<bool, sqlx::Error> {
    let Some(limit) = limit else {
        return Ok(true);
    };
    let pong = tokio::time::timeout(limit, connection.ping()).await;
    Ok(matches!(pong, Ok(Ok(()))))
}

/// Whether a server that could not be used may be usable later, without anybody changing a setting.
fn is_absence(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => {
            error.is_transient_in_connect_phase() || ended_by_limit(&**error)
        }
        _ => false,
    }
}
