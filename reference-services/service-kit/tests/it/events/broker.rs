//! The embedded broker as a process, with what it has on disk.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

/// A running broker; it ends with this value.
pub(crate) struct Broker {
    program: PathBuf,
    port: u16,
    data: TempDir,
    process: Child,
}

impl Broker {
    /// Starts one where its program has been built, or is to be ([`test_servers::broker_program`]).
    pub(crate) async fn start() -> Option<Self> {
        let program = spawn_blocking(test_servers::broker_program)
            .await
            .unwrap()?;
        let data = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let process = spawn(&program, port, data.path());
        Some(Self {
            program,
            port,
            data,
            process,
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL: nothing is finished.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Empties its disk.
    pub(crate) fn lose_all(&mut self) {
        self.data = tempfile::tempdir().unwrap();
    }

    /// Starts it again where it was, with what is on disk.
    pub(crate) fn revive(&mut self) {
        self.process = spawn(&self.program, self.port, self.data.path());
    }
}

fn spawn(program: &Path, port: u16, data: &Path) -> Child {
    Command::new(program)
        .env_clear()
        .env("BIND_ADDR", "127.0.0.1")
        .env("PORT", port.to_string())
        .env("DATA_DIR", data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
