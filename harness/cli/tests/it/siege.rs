//! Debian's siege beside our report.

use std::process::{Command, Stdio};

/// The seed's own command, shortened to three seconds, against `holdfast up`.
pub(crate) fn the_seeds_command() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("siege")
        .args(["-c5", "-t3S", "-r10", "--content-type", "application/json"])
        .arg("http://localhost:8081/orders POST {\"item\": \"chicken\"}")
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let figure = |label: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(label));
        let line = line.unwrap_or_else(|| panic!("no {label} in:\n{text}"));
        line[label.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(figure("Transactions:") > 5.0, "{text}");
    assert!((figure("Availability:") - 100.0).abs() < 1e-9, "{text}");
}
