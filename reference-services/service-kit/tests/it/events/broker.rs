//! The embedded broker as a process, with what it has on disk.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

/// A running broker; it ends with this value.
pub(crate) struct Broker {
    program: PathBuf,
    port: u16,
    data: TempDir,
    process: Child,
}

impl Broker {
    /// Starts one where its program has been built. With `HOLDFAST_REQUIRE_TOOLS=1` it is built.
    pub(crate) async fn start() -> Option<Self> {
        let program = program().await?;
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

async fn program() -> Option<PathBuf> {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let folder = build_folder();
    let program = folder.join("release/broker");
    if std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|it| it == "1") {
        BUILT.get_or_init(|| build(&folder)).await;
    } else if !program.is_file() {
        eprintln!(
            "SKIPPED: {} has not been built; HOLDFAST_REQUIRE_TOOLS=1 builds it (reference-services/broker)",
            program.display()
        );
        return None;
    }
    Some(program)
}

/// In the user's cache and not in the checkout: hundreds of crates are not compiled for every clone.
fn build_folder() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.unwrap_or_else(|| PathBuf::from(set("HOME").expect("HOME is set")).join(".cache"));
    cache.join("holdfast/broker-target")
}

async fn build(folder: &Path) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../broker/Cargo.toml");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--ignore-rust-version"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder)
        .status()
        .await;
    assert!(status.unwrap().success(), "the broker cannot be built");
}
