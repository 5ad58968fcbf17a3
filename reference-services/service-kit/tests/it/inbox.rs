//! Each event has its effect once.

use std::sync::Arc;
use std::time::Duration;

use service_kit::database::{Database, query};
use service_kit::events::EventId;
use service_kit::inbox::{expire, first_time};
use sqlx::Row as _;

use crate::databases::places;

/// Handles an event whose effect is a note; whether it had an effect.
async fn handle(database: &Database, event: EventId, note: i64) -> Result<bool, sqlx::Error> {
    let mut lease = database.connect().await.unwrap();
    let mut transaction = lease.begin().await?;
    let first = first_time(&mut transaction, event).await?;
    if first {
        let connection = &mut transaction.connection();
        query(connection, "INSERT INTO notes (id) VALUES (?)")
            .bind(note)
            .execute(connection)
            .await?;
    }
    transaction.commit().await?;
    Ok(first)
}

async fn notes(database: &Database) -> i64 {
    let mut lease = database.connect().await.unwrap();
    let connection = &mut lease.connection();
    let row = query(connection, "SELECT COUNT(*) FROM notes").fetch_one(connection);
    row.await.unwrap().get(0)
}

#[tokio::test]
async fn an_event_given_again_is_known() {
    for place in places() {
        let database = place.open().await;
        for id in 0..3 {
            let event = EventId::new(id);
            assert!(
                handle(&database, event, i64::try_from(id).unwrap())
                    .await
                    .unwrap()
            );
            for _ in 0..2 {
                assert!(!handle(&database, event, 9).await.unwrap());
            }
        }
        assert_eq!(notes(&database).await, 3);
    }
}

#[tokio::test]
async fn an_event_whose_transaction_was_given_up_is_not_known() {
    for place in places() {
        let database = place.open().await;
        let mut lease = database.connect().await.unwrap();
        let mut transaction = lease.begin().await.unwrap();
        let event = EventId::random();
        assert!(first_time(&mut transaction, event).await.unwrap());
        assert!(!first_time(&mut transaction, event).await.unwrap());
        drop(transaction);
        drop(lease);
        assert!(handle(&database, event, 1).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_race_for_an_event_have_one_effect_together() {
    for place in places() {
        let replicas = [place.open().await, place.open().await];
        for round in 0..10 {
            let event = EventId::random();
            let racers: Vec<_> = (0..6)
                .map(|racer| {
                    let database = Arc::clone(&replicas[racer % 2]);
                    let note = round * 10 + i64::try_from(racer).unwrap();
                    tokio::spawn(async move {
                        loop {
                            // Whoever loses the race may fail, and is given the event again.
                            if let Ok(first) = handle(&database, event, note).await {
                                return first;
                            }
                        }
                    })
                })
                .collect();
            let mut effects = 0;
            for racer in racers {
                effects += usize::from(racer.await.unwrap());
            }
            assert_eq!(effects, 1);
            assert_eq!(notes(&replicas[0]).await, round + 1);
        }
    }
}

#[tokio::test]
async fn entries_expire() {
    for place in places() {
        let database = place.open().await;
        let event = EventId::random();
        assert!(handle(&database, event, 1).await.unwrap());
        expire(&database, Duration::from_secs(60)).await.unwrap();
        assert!(!handle(&database, event, 2).await.unwrap());
        // The clock that entries are dated by has to go on by a millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
        expire(&database, Duration::ZERO).await.unwrap();
        assert!(handle(&database, event, 2).await.unwrap());
    }
}

#[tokio::test]
async fn however_many_entries_are_old_all_expire_and_no_other() {
    for place in places() {
        let database = place.open().await;
        let mut lease = database.connect().await.unwrap();
        let mut transaction = lease.begin().await.unwrap();
        for id in 0..2_500 {
            let handled_at_ms = if id < 2_400 { id / 2 } else { i64::MAX };
            let connection = &mut transaction.connection();
            query(
                connection,
                "INSERT INTO inbox (event_id, handled_at_ms) VALUES (?, ?)",
            )
            .bind(EventId::random().to_string())
            .bind(handled_at_ms)
            .execute(connection)
            .await
            .unwrap();
        }
        transaction.commit().await.unwrap();
        expire(&database, Duration::from_secs(60)).await.unwrap();
        let connection = &mut lease.connection();
        let left = query(connection, "SELECT COUNT(*) FROM inbox").fetch_one(connection);
        assert_eq!(left.await.unwrap().get::<i64, _>(0), 100);
    }
}
