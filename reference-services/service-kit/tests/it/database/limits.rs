//! How long a request can be kept waiting.

use std::time::Duration;

use super::line::Line;
use super::*;

async fn change(lease: &mut Lease) -> Result<(), sqlx::Error> {
    let connection = &mut lease.connection();
    let changed = query(connection, "UPDATE notes SET text = 'b' WHERE id = 1");
    changed.execute(connection).await.map(drop)
}

#[tokio::test]
async fn the_server_ends_a_statement_that_takes_too_long() {
    for server in SERVERS.into_iter().filter_map(Server::shared) {
        let place = Place::on(server);
        let database = open(&place.config([("DB_STATEMENT_TIMEOUT", "200ms")])).await;
        let [mut holder, mut waiter] = [
            database.connect().await.unwrap(),
            database.connect().await.unwrap(),
        ];
        write(&mut holder, 1, Some("a")).await;
        let mut transaction = holder.begin().await.unwrap();
        let connection = &mut transaction.connection();
        query(connection, "UPDATE notes SET text = 'c' WHERE id = 1")
            .execute(connection)
            .await
            .unwrap();
        let ended = change(&mut waiter).await.unwrap_err();
        assert!(matches!(ended, sqlx::Error::Database(_)), "{ended:?}");
        transaction.commit().await.unwrap();
        change(&mut waiter).await.unwrap();
        assert_eq!(read(&mut waiter).await, [(1, Some("b".to_owned()))]);
    }
}

#[tokio::test]
async fn a_service_starts_while_another_takes_long_to_make_the_tables() {
    let Some(server) = Server::shared(Kind::Postgres) else {
        return;
    };
    let place = Place::on(server);
    let first = place.open().await;
    let mut lease = first.connect().await.unwrap();
    let mut making = lease.begin().await.unwrap();
    let connection = &mut making.connection();
    query(
        connection,
        "SELECT pg_advisory_xact_lock(hashtext('schema'))",
    )
    .execute(connection)
    .await
    .unwrap();

    let second = open(&place.config([("DB_STATEMENT_TIMEOUT", "100ms")])).await;
    let refused = second.connect().await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused}");
    making.commit().await.unwrap();
    write(&mut second.connect().await.unwrap(), 1, None).await;
}

#[tokio::test]
async fn a_silent_server_keeps_no_connection_from_the_pool() {
    for server in SERVERS.into_iter().filter_map(Server::shared) {
        let line = Line::to(&server.new_database());
        let place = Place::at(line.url());
        let settings = [
            ("DB_POOL", "3"),
            ("DB_STATEMENT_TIMEOUT", "100ms"),
            // Longer than what connections without an answer take to come back.
            ("DB_CONNECT_TIMEOUT", "5s"),
        ];
        let database = open(&place.config(settings)).await;
        // As often as uses all connections of the pool up, those in the background too.
        for _ in 0..3 {
            let mut leases = Vec::new();
            for _ in 0..3 {
                leases.push(database.connect().await.unwrap());
            }
            line.go_dead();
            // The first has nothing under way when it comes back.
            for lease in &mut leases[1..] {
                let given_up = tokio::time::timeout(Duration::from_millis(20), change(lease));
                given_up.await.expect_err("the line is dead");
            }
            drop(leases);
            line.come_back();
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_the_limit_and_is_used_again_when_it_is_back() {
    for server in SERVERS.into_iter().filter_map(Server::shared) {
        let line = Line::to(&server.new_database());
        let place = Place::at(line.url());
        let settings = [
            ("DB_STATEMENT_TIMEOUT", "100ms"),
            ("DB_CONNECT_TIMEOUT", "2s"),
        ];
        let database = open(&place.config(settings)).await;
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.push(database.connect().await.unwrap());
        }
        line.go_dead();
        let [reader, writer, committer] = &mut leases[..] else {
            unreachable!("there are three");
        };
        let (read, begun, written) =
            tokio::join!(change(reader), committer.begin(), change(writer));
        for silence in [read.unwrap_err(), begun.unwrap_err(), written.unwrap_err()] {
            assert!(matches!(silence, sqlx::Error::Io(_)), "{silence:?}");
        }
        drop(leases);
        let refused = database.connect().await.unwrap_err();
        assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused}");

        line.come_back();
        let mut leases = Vec::new();
        for id in 0..3 {
            let mut lease = database.connect().await.unwrap();
            write(&mut lease, id, None).await;
            leases.push(lease);
        }
    }
}
