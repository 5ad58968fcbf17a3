//! SQLite's write-ahead log is moved into the database by a connection that nobody waits for.
//!
//! By itself SQLite does that in whichever commit makes the log long: that one statement then waits for
//! the disk, twice, which takes seconds where other programs write a lot, and a request's limit is over
//! by then although everything else goes on.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Executor as _};
use tokio::time::{MissedTickBehavior, interval};

/// A longer log is moved: the length at which SQLite would do so, a thousand pages.
const LONG: u64 = 1000 * 4096;

/// It begins anew only when all of it has been moved, which never is while somebody writes without a
/// pause. From this length on writers wait for what little is left.
const FAR_TOO_LONG: u64 = 16 * LONG;

/// How often its length is looked at. Nobody tells of it.
const LOOK: Duration = Duration::from_secs(1);

/// What each connection of an SQLite database is told, so that none of them moves the log. Its file is
/// cut when it begins anew, and so is as long as what waits in it.
pub(super) const SETTINGS: &str = "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 0";

/// Keeps the log of the database in `file` short, for ever.
pub(super) async fn keep_short(file: PathBuf, options: AnyConnectOptions) {
    let log = log_of(&file);
    // How long it takes is nobody's business.
    let options = options.disable_statement_logging();
    let mut connection = None;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Err(error) = move_if_long(&log, &options, &mut connection).await {
            tracing::warn!(%error, log = %log.display(), "the write-ahead log is not moved: it grows");
            connection = None;
        }
    }
}

async fn move_if_long(
    log: &Path,
    options: &AnyConnectOptions,
    connection: &mut Option<AnyConnection>,
) -> Result<(), sqlx::Error> {
    let length = match tokio::fs::metadata(log).await {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    if length < LONG {
        return Ok(());
    }
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(AnyConnection::connect_with(options).await?),
    };
    // It makes nobody wait. What somebody still reads is left to the next time.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
    if length >= FAR_TOO_LONG {
        connection.execute("PRAGMA wal_checkpoint(RESTART)").await?;
    }
    Ok(())
}

/// Where SQLite keeps the log of a database.
fn log_of(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push("-wal");
    path.into()
}
