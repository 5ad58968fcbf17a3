//! Processes of a test's own: this test binary once more, running one of its tests.

use std::process::Stdio;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Set in such a process.
const CHILD: &str = "HOLDFAST_LOAD_TEST_CHILD";

/// Whether this is one; then it ends with its parent.
pub(crate) fn is_child() -> bool {
    let child = std::env::var_os(CHILD).is_some();
    if child {
        set_pdeathsig(Signal::SIGKILL).unwrap();
    }
    child
}

/// Starts one that runs the test of this name, with its module.
pub(crate) fn start_child(test: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, said)
}

/// Says something to the parent, on a line of its own.
pub(crate) fn say(what: &str) {
    println!("\n@{what}");
}

/// The next thing that a child says.
pub(crate) async fn hear_any(said: &mut Lines<BufReader<ChildStdout>>) -> String {
    loop {
        let line = said.next_line().await.unwrap();
        let line = line.expect("the child speaks before it ends");
        if let Some(what) = line.strip_prefix('@') {
            return what.to_owned();
        }
    }
}
