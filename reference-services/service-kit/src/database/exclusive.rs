//! What only one of several replicas may do at a time.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, Patience, Work};
use super::dialect::SQLITE_PATIENCE;
use super::{Database, Dialect, query};

/// How often somebody who waits for a lock on a file tries to have it.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// The only one of its name in a database. Ends when dropped, when the process ends, and when the
/// database loses the connection.
#[derive(Debug)]
pub struct Exclusive {
    connection: AnyConnection,
    patience: Patience,
    dialect: Dialect,
    is_lost: bool,
    _file: Option<File>,
}

impl Database {
    /// Becomes the only one called `name`, unless somebody is already. It has a connection of its own,
    /// beside those that requests wait for.
    ///
    /// A server keeps the lock as long as the connection lives. SQLite knows no such lock, but whoever
    /// uses the same file is on the same machine: a lock on a file beside it does.
    pub async fn try_exclusive(&self, name: &str) -> Result<Option<Exclusive>, sqlx::Error> {
        let file = match &self.place.file {
            None => None,
            Some(path) => match try_lock_file(&path.with_extension(format!("{name}-lock")))? {
                Some(file) => Some(file),
                None => return Ok(None),
            },
        };
        self.make_tables().await?;
        let dialect = self.place.dialect;
        let mut exclusive = Exclusive {
            // Out of the pool for good, so that its end is the end of the lock.
            connection: self.pool.acquire().await?.detach(),
            patience: self.patience,
            dialect,
            is_lost: false,
            _file: file,
        };
        if let Some(statement) = dialect.try_lock() {
            let connection = &mut exclusive.connection();
            let row = query(connection, statement)
                .bind(name)
                .fetch_one(connection)
                .await?;
            if row.try_get::<Option<i64>, _>(0)? != Some(1) {
                exclusive.connection.close().await?;
                return Ok(None);
            }
        }
        Ok(Some(exclusive))
    }
}

impl Exclusive {
    /// The connection that the lock lasts as long as.
    pub fn connection(&mut self) -> Connection<'_> {
        Connection {
            inner: &mut self.connection,
            patience: self.patience,
            is_lost: &mut self.is_lost,
        }
    }

    /// Begins a transaction that writes.
    pub async fn begin(&mut self) -> Result<Work<'_>, sqlx::Error> {
        let dialect = self.dialect;
        Work::begin(self.connection(), dialect).await
    }
}

/// Waits to be the only one with a lock on that file, which is made where it is missing; no longer than
/// SQLite waits for its own locks.
pub(super) async fn lock_file(path: &Path) -> io::Result<File> {
    let locked = async {
        loop {
            if let Some(file) = try_lock_file(path)? {
                return Ok(file);
            }
            // A lock on a file tells nobody when it is free.
            sleep(LOCK_POLL).await;
        }
    };
    timeout(SQLITE_PATIENCE, locked).await.unwrap_or_else(|_| {
        let words = format!("{} is locked by another process", path.display());
        Err(io::Error::new(io::ErrorKind::TimedOut, words))
    })
}

fn try_lock_file(path: &Path) -> io::Result<Option<File>> {
    let file = File::create(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
