//! Who moves SQLite's write-ahead log.

use std::sync::Arc;
use std::time::Duration;

use service_kit::database::{Database, Location, query};
use sqlx::Row as _;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::write;
use crate::databases::{Place, open};

/// As long as SQLite lets its log become by itself: a thousand pages.
const LONG: u64 = 1000 * 4096;

/// From here on writers wait.
const FAR_TOO_LONG: u64 = 16 * LONG;

/// An SQLite database in a folder of its own, and the length of its log.
async fn database() -> (TempDir, Arc<Database>, impl Fn() -> u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.db");
    let mut config = Place::at("sqlite:unused".to_owned()).config([]);
    config.location = Location::File(file.clone());
    let database = open(&config).await;
    let log = move || file.with_extension("db-wal").metadata().unwrap().len();
    (folder, database, log)
}

fn long() -> String {
    "x".repeat(usize::try_from(LONG).unwrap())
}

#[tokio::test]
async fn a_long_log_is_moved_and_no_statement_waits_for_that() {
    let (_folder, database, log) = database().await;
    let mut lease = database.connect().await.unwrap();
    let connection = &mut lease.connection();
    let by_itself = query(connection, "PRAGMA wal_autocheckpoint");
    let by_itself = by_itself.fetch_one(connection).await.unwrap();
    assert_eq!(by_itself.get::<i64, _>(0), 0, "pages");

    write(&mut lease, 0, Some(&long())).await;
    assert!(log() > LONG);
    // A log that was moved begins anew with the next write; nobody tells when it was.
    let moved = async {
        for id in 1.. {
            write(&mut lease, id, None).await;
            if log() < LONG {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), moved).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_written_without_a_pause_does_not_grow_for_ever() {
    let (_folder, database, log) = database().await;
    let mut lease = database.connect().await.unwrap();
    let long = long();
    let mut ids = 0..;
    while log() < FAR_TOO_LONG {
        write(&mut lease, ids.next().unwrap(), Some(&long)).await;
    }
    let begun_anew = async {
        while log() >= FAR_TOO_LONG {
            write(&mut lease, ids.next().unwrap(), None).await;
        }
    };
    timeout(Duration::from_secs(30), begun_anew).await.unwrap();
}
