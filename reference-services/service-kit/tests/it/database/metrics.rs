//! What a database says about its connections.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;

fn lines(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn of_requests(name: &str, value: u32) -> String {
    format!("db_client_connections_{name}{{purpose=\"requests\"}} {value}")
}

#[tokio::test]
async fn who_has_a_connection_and_who_waits_for_one_is_told() {
    for place in places() {
        let database = open(&place.config([("DB_POOL", "1")])).await;
        let mut registry = Registry::default();
        database.register(&mut registry);
        let says = |line: &String| lines(&registry).contains(line);
        assert!(says(&of_requests("used", 0)));
        assert!(says(&of_requests("max", 1)));

        let held = database.connect().await.unwrap();
        let waiter = tokio::spawn({
            let database = Arc::clone(&database);
            async move { database.connect().await.map(drop) }
        });
        while !says(&of_requests("pending_requests", 1)) {
            tokio::task::yield_now().await;
        }
        assert!(says(&of_requests("used", 1)));
        assert!(says(&of_requests("wait_time_seconds_count", 1)));
        drop(held);
        waiter.await.unwrap().unwrap();
        for (name, value) in [
            ("used", 0),
            ("pending_requests", 0),
            ("wait_time_seconds_count", 2),
            ("timeouts_total", 0),
        ] {
            assert!(says(&of_requests(name, value)), "{name} is not {value}");
        }
        // Given back a moment after they are dropped.
        let pool = |name: &str| {
            let name = format!("db_client_connections_{name} ");
            let lines = lines(&registry);
            let value = lines.iter().find_map(|line| line.strip_prefix(&name));
            value.unwrap().parse::<u32>().unwrap()
        };
        while pool("idle") < pool("open") {
            tokio::task::yield_now().await;
        }
        assert!(pool("idle") >= 1);
        drop(database);
        assert!(!lines(&registry).iter().any(|line| line.contains("_open")));
    }
}

#[tokio::test]
async fn who_waits_in_vain_is_counted() {
    for place in places() {
        let settings = [("DB_POOL", "1"), ("DB_ACQUIRE_TIMEOUT", "20ms")];
        let database = open(&place.config(settings)).await;
        let mut registry = Registry::default();
        database.register(&mut registry);
        let _held = database.connect().await.unwrap();
        assert!(database.connect().await.is_err());
        assert!(lines(&registry).contains(&of_requests("timeouts_total", 1)));
        assert!(lines(&registry).contains(&of_requests("pending_requests", 0)));
    }
}
