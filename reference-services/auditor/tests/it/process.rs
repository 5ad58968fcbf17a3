//! auditor as a process: what it says when it starts.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// What it says before it listens.
async fn said<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_auditor"))
        .env_clear()
        .env("BIND_ADDR", "127.0.0.1")
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
        .envs(env)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    loop {
        let line = log.next_line().await.unwrap().expect("it never listened");
        let line: Value = serde_json::from_str(&line).unwrap();
        let message = line["fields"]["message"].as_str().unwrap();
        if message == "listening" {
            return said;
        }
        said.push(message.to_owned());
    }
}

#[tokio::test]
async fn it_says_which_books_it_does_not_ask_for() {
    let store = [
        ("STORE_SERVICE_HOST", "127.0.0.1"),
        ("STORE_SERVICE_PORT", "8083"),
    ];
    let customer = ("CUSTOMER_URL", "http://localhost:8084");
    let marketing = ("MARKETING_URL", "http://localhost:8085");
    let all = store.into_iter().chain([customer, marketing]);
    assert_eq!(said(all).await, Vec::<String>::new());
    assert_eq!(
        said([customer]).await,
        [
            "STORE_URL is not set, nor STORE_SERVICE_HOST and _PORT: \
             the deliveries of store are not asked for",
            "MARKETING_URL is not set, nor MARKETING_SERVICE_HOST and _PORT: \
             the coupons of marketing are not asked for",
        ]
    );
}
