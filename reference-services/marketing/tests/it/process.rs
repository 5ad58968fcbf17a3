//! marketing as a process: how it starts and ends, and what remains when it is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use marketing::adapters::files::FileLedger;
use marketing::ports::Ledger;
use serde_json::Value;
use service_kit::folder::FolderConfig;
use test_servers::Service;

use crate::doubles::{delivered, rewarded};

const PROGRAM: &str = env!("CARGO_BIN_EXE_marketing");

async fn json_of(url: &str) -> Value {
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let wrong = [("COUPON_PERCENT", "101"), ("COUPON_INTERVAL", "soon")];
    let ended = Service::start(PROGRAM, wrong).ended();
    assert_eq!(ended.status.code(), Some(1));
    for (name, _) in wrong {
        assert!(ended.last_words.contains(name), "{}", ended.last_words);
    }
    assert_eq!(ended.last_words.lines().count(), 1);
}

#[tokio::test]
async fn it_serves_without_a_bus_and_leaves_nothing_when_it_is_told_to_end() {
    let mut service = Service::start(PROGRAM, []);
    let url = service.url();
    for path in ["livez", "readyz", "metrics"] {
        let response = reqwest::get(format!("{url}/{path}")).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    assert_eq!(
        json_of(&format!("{url}/coupons")).await,
        Value::Array(Vec::new())
    );
    service.signal("TERM");
    let ended = service.ended();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.left_behind, 0);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("DATA_DIR", folder.path().to_str().unwrap())];
    let mut first = Service::start(PROGRAM, settings);
    first.url();
    let second = Service::start(PROGRAM, settings).ended();
    assert_eq!(second.status.code(), Some(1));
    let expected = format!(
        "error: another process uses the folder {}\n",
        folder.path().display()
    );
    assert_eq!(second.last_words, expected);
}

/// Killed at any moment of its start and its work, again and again.
#[tokio::test]
async fn each_order_gets_one_coupon_however_often_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let config = FolderConfig::At(folder.path().to_owned());
    let settings = [
        ("DATA_DIR", folder.path().to_str().unwrap()),
        ("COUPON_INTERVAL", "1ms"),
    ];
    let mut orders = BTreeSet::new();
    for round in 0..30_u64 {
        let ledger = FileLedger::open(&config).unwrap();
        for number in 0..20 {
            let order_id = format!("order-{round}-{number}");
            ledger.hear(delivered(&order_id)).await.unwrap();
            orders.insert(order_id);
        }
        drop(ledger);
        let service = Service::start(PROGRAM, settings);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..60))).await;
        service.kill();
    }
    let mut service = Service::start(PROGRAM, settings);
    let coupons = format!("{}/coupons", service.url());
    while json_of(&coupons).await.as_array().unwrap().len() < orders.len() {
        tokio::task::yield_now().await;
    }
    service.kill();
    let ledger = FileLedger::open(&config).unwrap();
    let rewarded: BTreeSet<_> = rewarded(&ledger).await.into_iter().collect();
    assert_eq!(rewarded, orders);
}
