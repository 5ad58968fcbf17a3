//! What a service may rely on, whichever the kind of its database.

mod checkpoint;
mod limits;
mod line;
mod metrics;

use std::sync::Arc;

use service_kit::database::{
    ConnectError, Database, DatabaseConfig, Lease, Location, OpenError, query,
};
use service_kit::env::Env;
use sqlx::Row as _;
use test_servers::{Kind, Server};

use crate::databases::{Place, SERVERS, open, places};

async fn write(lease: &mut Lease, id: i64, text: Option<&str>) {
    let connection = &mut lease.connection();
    query(connection, "INSERT INTO notes (id, text) VALUES (?, ?)")
        .bind(id)
        .bind(text.map(str::to_owned))
        .execute(connection)
        .await
        .unwrap();
}

async fn read(lease: &mut Lease) -> Vec<(i64, Option<String>)> {
    let connection = &mut lease.connection();
    query(connection, "SELECT id, text FROM notes ORDER BY id")
        .try_map(|row| Ok((row.try_get("id")?, row.try_get("text")?)))
        .fetch_all(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    for place in places() {
        let database = place.open().await;
        let mut lease = database.connect().await.unwrap();
        let texts = [
            None,
            Some(""),
            Some("주문 'x' ? \"y\" $1"),
            Some("A"),
            Some("a"),
        ];
        for (id, text) in (0..).zip(texts) {
            write(&mut lease, id, text).await;
        }
        write(&mut lease, i64::MAX, None).await;
        let found = read(&mut lease).await;
        assert_eq!(found.len(), texts.len() + 1);
        for (id, text) in (0..).zip(texts) {
            assert_eq!(
                found[usize::try_from(id).unwrap()],
                (id, text.map(str::to_owned))
            );
        }
        assert_eq!(found.last(), Some(&(i64::MAX, None)));
        let connection = &mut lease.connection();
        let same_case = query(connection, "SELECT id FROM notes WHERE text = ?")
            .bind("a")
            .fetch_all(connection)
            .await
            .unwrap();
        assert_eq!(same_case.len(), 1);
    }
}

#[tokio::test]
async fn a_transaction_takes_effect_at_its_commit_or_not_at_all() {
    for place in places() {
        let database = place.open().await;
        let mut lease = database.connect().await.unwrap();
        for (id, commit) in [(1, false), (2, true)] {
            let mut transaction = lease.begin().await.unwrap();
            let connection = &mut transaction.connection();
            query(connection, "INSERT INTO notes (id) VALUES (?)")
                .bind(id)
                .execute(connection)
                .await
                .unwrap();
            let mut other = database.connect().await.unwrap();
            assert_eq!(read(&mut other).await, []);
            if commit {
                transaction.commit().await.unwrap();
            }
        }
        assert_eq!(read(&mut lease).await, [(2, None)]);
    }
}

#[tokio::test]
async fn replicas_that_start_at_the_same_moment_share_the_tables() {
    for place in places() {
        let config = place.config([("DB_POOL", "1")]);
        let replicas: Vec<_> = (0..8)
            .map(|_| {
                let config = config.clone();
                tokio::spawn(async move { open(&config).await })
            })
            .collect();
        for (id, replica) in (0..).zip(replicas) {
            let database = replica.await.unwrap();
            write(&mut database.connect().await.unwrap(), id, None).await;
        }
        let database = place.open().await;
        assert_eq!(read(&mut database.connect().await.unwrap()).await.len(), 8);
    }
}

#[tokio::test]
async fn work_in_the_background_does_not_wait_for_requests() {
    for place in places() {
        let database =
            open(&place.config([("DB_POOL", "1"), ("DB_ACQUIRE_TIMEOUT", "20ms")])).await;
        let held = database.connect().await.unwrap();
        let refused = database.connect().await.unwrap_err();
        assert!(matches!(refused, ConnectError::Exhausted));
        let mut background = database.connect_in_background().await.unwrap();
        assert_eq!(read(&mut background).await, []);
        let exclusive = database.try_exclusive("test").await.unwrap();
        assert!(exclusive.is_some());
        drop(held);
        database.connect().await.unwrap();
    }
}

#[tokio::test]
async fn of_several_replicas_one_is_exclusive_until_it_goes_away() {
    for place in places() {
        let (first, second) = (place.open().await, place.open().await);
        let mut exclusive = first.try_exclusive("a").await.unwrap().unwrap();
        assert!(first.try_exclusive("a").await.unwrap().is_none());
        assert!(second.try_exclusive("a").await.unwrap().is_none());
        assert!(second.try_exclusive("b").await.unwrap().is_some());
        let connection = &mut exclusive.connection();
        query(connection, "SELECT 1")
            .execute(connection)
            .await
            .unwrap();
        drop(exclusive);
        // A server notices by itself that a connection has ended, a moment later.
        while second.try_exclusive("a").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_server_that_was_killed_costs_what_was_in_hand_and_no_more() {
    for kind in SERVERS {
        let Some(mut server) = Server::start(kind) else {
            continue;
        };
        let place = Place::on(&server);
        let database = place.open().await;
        let mut in_hand = database.connect().await.unwrap();
        write(&mut in_hand, 0, None).await;
        server.kill();
        let connection = &mut in_hand.connection();
        let failed = query(connection, "SELECT 1").execute(connection).await;
        assert!(failed.is_err());
        drop(in_hand);

        server.start_again();
        for id in 1..10 {
            let leases = [
                database.connect().await.unwrap(),
                database.connect().await.unwrap(),
                database.connect().await.unwrap(),
            ];
            for (of_lease, mut lease) in (0..).zip(leases) {
                write(&mut lease, id * 10 + of_lease, None).await;
            }
        }
        assert_eq!(read(&mut database.connect().await.unwrap()).await.len(), 28);
    }
}

#[tokio::test]
async fn a_service_starts_without_its_server_and_uses_it_once_it_is_there() {
    for kind in SERVERS {
        let Some(mut server) = Server::start(kind) else {
            continue;
        };
        let place = Place::on(&server);
        server.kill();
        let database = open(&place.config([("DB_CONNECT_TIMEOUT", "100ms")])).await;
        let refused = database.connect().await.unwrap_err();
        assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused}");
        assert!(database.try_exclusive("a").await.is_err());
        server.start_again();
        write(&mut database.connect().await.unwrap(), 1, None).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_ends_the_start() {
    for place in places().into_iter().skip(1) {
        let mut config = place.config([]);
        let Location::Url(url) = &mut config.location else {
            unreachable!("a server has a URL");
        };
        *url = url.replace("test_", "another_");
        let refused = Database::open(&config, &[]).await.unwrap_err();
        assert!(matches!(refused, OpenError::Open { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_temporary_database_goes_with_its_service() {
    let mut env = Env::of_pairs([]);
    let config = DatabaseConfig::from_env(&mut env, "gone-with-its-service");
    let database = open(&config).await;
    write(&mut database.connect().await.unwrap(), 1, None).await;
    let other = open(&config).await;
    assert_eq!(read(&mut other.connect().await.unwrap()).await, []);
    let ours = || {
        let entries = std::env::temp_dir().read_dir().unwrap();
        entries
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("gone-with-its-service")
            })
            .count()
    };
    assert_eq!(ours(), 2);
    assert_eq!(Arc::strong_count(&database), 1);
    drop((database, other));
    assert_eq!(ours(), 0);
}
