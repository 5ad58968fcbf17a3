//! The inbox: which events a service has handled before. A bus gives an event at least once; an entry
//! made in the same transaction as what the event causes makes that happen once.

use std::time::Duration;

use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::database::{Database, Schema, Transaction, query};
use crate::env::Env;
use crate::events::EventId;

/// The table of the inbox.
pub const SCHEMA: Schema = Schema {
    sqlite: include_str!("inbox/sqlite.sql"),
    postgres: include_str!("inbox/postgres.sql"),
    mysql: include_str!("inbox/mysql.sql"),
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many entries one statement removes, and those of the same millisecond. It must not take as long
/// as a statement may, nor keep SQLite's only writer from others.
const PORTION: i64 = 1000;

/// How often entries that are too old are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60 * 60);

/// How long entries are kept.
#[derive(Clone, Copy, Debug)]
pub struct InboxConfig {
    /// Must be longer than the bus may take to give an event again: an event that was forgotten is
    /// handled as if it were new.
    pub keep: Duration,
}

impl InboxConfig {
    /// Reads `INBOX_KEEP` (default: a week).
    pub fn from_env(env: &mut Env) -> Self {
        Self {
            keep: env.duration("INBOX_KEEP", 7 * DAY),
        }
    }
}

/// Whether the event has not been handled before. Then it counts as handled from the commit of
/// `transaction` on. When two consumers of the same event are under way at once, only one
/// transaction succeeds; the other fails and is to be tried again, and finds the entry then.
pub async fn first_time(
    transaction: &mut Transaction<'_>,
    event: EventId,
) -> Result<bool, sqlx::Error> {
    let connection = &mut transaction.connection();
    // Refusing the insert, instead of letting it fail, keeps PostgreSQL's transaction alive.
    let entered = query(
        connection,
        "INSERT INTO inbox (event_id, handled_at_ms) SELECT ?, ? FROM (SELECT 1 AS one) AS once \
         WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE event_id = ?)",
    )
    .bind(event.to_string())
    .bind(now_ms())
    .bind(event.to_string())
    .execute(connection)
    .await?;
    Ok(entered.rows_affected() == 1)
}

/// Removes entries older than `keep`, now and every hour, until `stop`.
pub async fn expire_regularly(database: &Database, config: InboxConfig, stop: &CancellationToken) {
    let regularly = async {
        loop {
            if let Err(error) = expire(database, config.keep).await {
                tracing::warn!(%error, "old entries stay in the inbox until the next time");
            }
            tokio::time::sleep(EXPIRY_PERIOD).await;
        }
    };
    stop.run_until_cancelled(regularly).await;
}

/// Removes entries older than `keep`, in portions. What was removed before an error stays so.
pub async fn expire(database: &Database, keep: Duration) -> Result<(), ExpireError> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let end_ms = now_ms().saturating_sub(keep_ms);
    while !expire_portion(database, end_ms).await? {}
    Ok(())
}

/// Removes the oldest entries of those from before `end_ms`. True when there are no more of them.
async fn expire_portion(database: &Database, end_ms: i64) -> Result<bool, ExpireError> {
    let mut lease = database.connect_in_background().await?;
    let connection = &mut lease.connection();
    let last = query(
        connection,
        "SELECT handled_at_ms FROM inbox WHERE handled_at_ms < ? \
         ORDER BY handled_at_ms LIMIT 1 OFFSET ?",
    )
    .bind(end_ms)
    .bind(PORTION - 1)
    .fetch_optional(connection)
    .await?;
    let last_ms: Option<i64> = last.map(|row| row.try_get(0)).transpose()?;
    let connection = &mut lease.connection();
    query(connection, "DELETE FROM inbox WHERE handled_at_ms < ?")
        .bind(last_ms.map_or(end_ms, |last_ms| last_ms + 1))
        .execute(connection)
        .await?;
    Ok(last_ms.is_none())
}

/// Why old entries were not removed.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    #[error(transparent)]
    Connect(#[from] crate::database::ConnectError),
    #[error(transparent)]
    Statement(#[from] sqlx::Error),
}
