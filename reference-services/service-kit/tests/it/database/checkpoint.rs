//! Who moves SQLite's write-ahead log.

use std::time::Duration;

use service_kit::database::{Location, query};
use sqlx::Row as _;
use tokio::time::timeout;

use super::write;
use crate::databases::{Place, open};

/// As long as SQLite lets its log become by itself: a thousand pages.
const LONG: u64 = 1000 * 4096;

#[tokio::test]
async fn a_long_log_is_moved_and_no_statement_waits_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.db");
    let mut config = Place::at("sqlite:unused".to_owned()).config([]);
    config.location = Location::File(file.clone());
    let database = open(&config).await;
    let log = || file.with_extension("db-wal").metadata().unwrap().len();

    let mut lease = database.connect().await.unwrap();
    let connection = &mut lease.connection();
    let by_itself = query(connection, "PRAGMA wal_autocheckpoint");
    let by_itself = by_itself.fetch_one(connection).await.unwrap();
    assert_eq!(by_itself.get::<i64, _>(0), 0, "pages");

    let long = "x".repeat(usize::try_from(LONG).unwrap());
    write(&mut lease, 0, Some(&long)).await;
    assert!(log() > LONG);
    // A log that was moved begins anew with the next write.
    let moved = async {
        let mut ids = 1..;
        while log() > LONG {
            write(&mut lease, ids.next().unwrap(), None).await;
        }
    };
    timeout(Duration::from_secs(30), moved).await.unwrap();
}
