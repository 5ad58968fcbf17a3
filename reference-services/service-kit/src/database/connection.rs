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

/// A connection, to run statements on. A server that is silent for too long makes a statement fail.
/// After that, and after a statement that nobody waits for any more, the connection is used by nobody:
/// what it will say next is an old answer.
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
    /// The outcome of `work`, which asks a server. The connection is lost unless that answers in time.
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
            // Until the answer is here: where nobody waits for it any more, it is still to come.
            *is_lost = true;
            if let Ok(outcome) = tokio::time::timeout(limit, work).await {
                *is_lost = false;
                return Ok(outcome);
            }
        }
        let words = format!("the database has been silent for {limit:?}");
        Err(Error::Io(io::Error::new(io::ErrorKind::TimedOut, words)))
    }

    /// That a connection which nobody has used for a while still leads to its server.
    pub(super) async fn find_alive(self, connection: &mut AnyConnection) -> Result<bool, Error> {
        if self.0.is_some() {
            // A pong takes no time: what is waited for is the grace.
            let patience = Self(Some(Duration::ZERO));
            patience.wait(&mut false, connection.ping()).await??;
        }
        Ok(true)
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
    /// The pool asks a connection that comes back whether it lives, which also ends a transaction
    /// without a commit. It would wait for the answer for ever, and for that of a lost one in vain.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        match self.patience.0 {
            _ if self.is_lost => drop(connection.detach()),
            None => drop(connection),
            Some(limit) => {
                let returned = connection.return_to_pool();
                tokio::spawn(async move {
                    if tokio::time::timeout(limit + GRACE, returned).await.is_err() {
                        tracing::debug!("a connection that fell silent is closed");
                    }
                });
            }
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
