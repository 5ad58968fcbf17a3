//! What only one of several replicas may do at a time.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use sqlx::{Any, AnyConnection};
use sqlx::{Connection as _, Row as _};

use super::{Database, Dialect, query};

/// The only one of its name in a database. Ends when dropped, when the process ends, and when the
/// database loses the connection.
#[derive(Debug)]
pub struct Exclusive {
    connection: AnyConnection,
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
        // Out of the pool for good, so that its end is the end of the lock.
        let mut connection = self.pool.acquire().await?.detach();
        if let Some(statement) = self.place.dialect.try_lock() {
            let row = query(&connection, statement)
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
            if row.try_get::<Option<i64>, _>(0)? != Some(1) {
                connection.close().await?;
                return Ok(None);
            }
        }
        Ok(Some(Exclusive {
            connection,
            _file: file,
        }))
    }
}

impl Exclusive {
    /// The connection that the lock lasts as long as.
    pub fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Begins a transaction that writes.
    pub async fn begin(&mut self) -> Result<sqlx::Transaction<'_, Any>, sqlx::Error> {
        let begin = Dialect::of(&self.connection).begin();
        self.connection.begin_with(begin).await
    }
}

fn try_lock_file(path: &Path) -> io::Result<Option<File>> {
    let file = File::create(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
