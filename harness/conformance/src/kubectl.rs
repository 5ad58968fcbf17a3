//! Runs the real kubectl against the cluster.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::check::{Shortfall, failed};
use crate::context::Context;

/// Longer than any command that a check waits for.
const WITHIN: Duration = Duration::from_secs(120);

/// What a finished kubectl said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

async fn output_of(mut command: Command, input: &str) -> std::io::Result<Output> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    child.wait_with_output().await
}

/// Runs kubectl in the checks' namespace; a check that needs it is skipped where there is none.
pub(crate) async fn run(context: &Context, arguments: &[&str]) -> Result<Ended, Shortfall> {
    run_with(context, arguments, "").await
}

/// The same, with something on standard input.
pub(crate) async fn run_with(
    context: &Context,
    arguments: &[&str],
    input: &str,
) -> Result<Ended, Shortfall> {
    let Some(kubectl) = &context.kubectl else {
        return Err(Shortfall::Skipped("needs kubectl in PATH".to_owned()));
    };
    let mut command = Command::new(&kubectl.program);
    if let Some(file) = &kubectl.kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    if let Some(name) = &kubectl.context {
        command.arg("--context").arg(name);
    }
    command
        .args(["--namespace", &context.namespace])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let line = arguments.join(" ");
    let output = match timeout(WITHIN, output_of(command, input)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(format!("kubectl cannot be run: {error}"))),
        Err(_) => return Err(failed(format!("kubectl {line} did not end"))),
    };
    Ok(Ended {
        // No code: a signal ended it.
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
