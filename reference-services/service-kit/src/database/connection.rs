//! A connection whose server has to answer in time.

use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Connection as _, Either, Error, Execute, Executor, SqlStr};

use super::Dialect;

/// A server says by itself that a statement took too long, and ends it; only one that says nothing at
/// all is left to its silence, this much later.
const GRACE: Duration = Duration::from_secs(1);

/// A connection, to run statements on. A server that is silent for too long makes a statement fail,
/// and the connection is used by nobody after that: what it will say next is an old answer.
#[derive(Debug)]
pub struct Connection<'a> {
    pub(super) inner: &'a mut AnyConnection,
    pub(super) patience: Patience,
    pub(super) is_lost: &'a mut bool,
}

/// How long a server may be silent; `None` is for a database that is no server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(pub(super) Option<Duration>);

impl Patience {
    /// The outcome of `work`, which asks a server. Marks the connection as lost when it is silent.
    pub(super) async fn wait<T>(
        self,
        is_lost: &mut bool,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let Some(limit) = self.0 else {
            return Ok(work.await);
        };
        let limit = limit + GRACE;
        if !*is_lost {
            match tokio::time::timeout(limit, work).await {
                Ok(outcome) => return Ok(outcome),
                Err(_elapsed) => *is_lost = true,
            }
        }
        let words = format!("the database has been silent for {limit:?}");
        Err(Error::Io(io::Error::new(io::ErrorKind::TimedOut, words)))
    }
}

/// A connection of the pool, which goes back to it unless it was lost.
#[derive(Debug)]
pub(super) struct Held {
    connection: Option<PoolConnection<Any>>,
    patience: Patience,
    is_lost: bool,
}

impl Held {
    pub(super) fn new(connection: PoolConnection<Any>, patience: Patience) -> Self {
        Self {
            connection: Some(connection),
            patience,
            is_lost: false,
        }
    }

    pub(super) fn connection(&mut self) -> Connection<'_> {
        let connection = self.connection.as_mut();
        Connection {
            inner: connection.expect("the connection is there until the drop"),
            patience: self.patience,
            is_lost: &mut self.is_lost,
        }
    }
}

impl Drop for Held {
    /// The pool asks a connection that comes back whether it lives. That also ends what its holder has
    /// left under way: a statement that nobody waits for any more, a transaction without a commit. It
    /// would wait for the answer for ever, and the connection be missing all the while; one whose
    /// answer takes long is closed instead.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.is_lost {
            drop(connection.detach());
        } else if self.patience.0.is_some() {
            let returned = connection.return_to_pool();
            tokio::spawn(async {
                if tokio::time::timeout(GRACE, returned).await.is_err() {
                    tracing::debug!("a connection that fell silent is closed");
                }
            });
        }
    }
}

/// A transaction that writes.
#[derive(Debug)]
pub struct Work<'a> {
    transaction: sqlx::Transaction<'a, Any>,
    patience: Patience,
    is_lost: &'a mut bool,
}

impl<'a> Work<'a> {
    pub(super) async fn begin(connection: Connection<'a>, dialect: Dialect) -> Result<Self, Error> {
        let Connection {
            inner,
            patience,
            is_lost,
        } = connection;
        let begun = inner.begin_with(dialect.begin());
        Ok(Self {
            transaction: patience.wait(is_lost, begun).await??,
            patience,
            is_lost,
        })
    }

    /// The connection, to run statements of this transaction on.
    pub fn connection(&mut self) -> Connection<'_> {
        Connection {
            inner: &mut self.transaction,
            patience: self.patience,
            is_lost: self.is_lost,
        }
    }

    /// Makes everything durable and visible. After an error it may be so all the same.
    pub async fn commit(self) -> Result<(), Error> {
        let committed = self.transaction.commit();
        self.patience.wait(self.is_lost, committed).await?
    }
}

impl<'c> Executor<'c> for &'c mut Connection<'_> {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let patience = self.patience;
        let rows = self.inner.fetch_many(query);
        let state = Some((rows, &mut *self.is_lost));
        stream::unfold(state, move |state| async move {
            let (mut rows, is_lost) = state?;
            match patience.wait(is_lost, rows.next()).await {
                Ok(row) => Some((row?, Some((rows, is_lost)))),
                Err(silence) => Some((Err(silence), None)),
            }
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let found = self.inner.fetch_optional(query);
        Box::pin(async { self.patience.wait(self.is_lost, found).await? })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        let prepared = self.inner.prepare_with(sql, parameters);
        Box::pin(async { self.patience.wait(self.is_lost, prepared).await? })
    }
}
