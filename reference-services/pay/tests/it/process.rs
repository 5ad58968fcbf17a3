//! pay as a process.

use std::net::TcpListener;
use std::process::Command;

fn pay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pay"));
    command.env_clear().env("BIND_ADDR", "127.0.0.1");
    command
}

#[test]
fn a_port_in_use_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = pay().env("PORT", &port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message,
        format!("error: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98)\n")
    );
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let output = pay()
        .env("PAY_LATENCY_BASE", "fast")
        .env("DB_POOL", "none")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    for name in ["PAY_LATENCY_BASE", "DB_POOL"] {
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(message.lines().count(), 1);
}
