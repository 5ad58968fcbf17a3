//! customer as a process: how it starts and ends.

use serde_json::Value;
use test_servers::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_customer");

#[test]
fn wrong_settings_are_told_all_at_once() {
    let wrong = [("PORT", "http"), ("KAFKA_PARTITIONS", "none")];
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
    for path in ["my-page", "notifications"] {
        let response = reqwest::get(format!("{url}/{path}")).await.unwrap();
        let listed: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(listed, Value::Array(Vec::new()));
    }
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
    first.kill();
    Service::start(PROGRAM, settings).url();
}
