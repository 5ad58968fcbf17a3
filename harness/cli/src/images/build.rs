//! Has cargo build programs, and does not let it outlive this process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use holdfast_cluster::pod_shim;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::{cluster, terminal};

/// A cargo that does not outlive this process, nor the wait for it: it runs below the pod shim,
/// which kills it and its compilers when the lifeline is closed.
struct Cargo {
    shim: Child,
    lifeline: Option<UnixStream>,
}

/// Killing a process group takes milliseconds; longer than this means that something is stuck.
const KILL_WITHIN: Duration = Duration::from_secs(2);

impl Cargo {
    fn start(folder: &Path, arguments: &[OsString]) -> Result<Self, Failure> {
        let cannot = |error| Failure::carrying_out(format!("cannot start cargo: {error}"));
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let line = pod_shim::guarded(&cluster::pod_shim()?, &program);
        let (lifeline, far_end) = UnixStream::pair().map_err(cannot)?;
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .arg("build")
            .arg("--message-format=json-render-diagnostics")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::from(OwnedFd::from(far_end)))
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal goes to every process of its group: the shim must outlive it
            // until it has killed the compilers.
            .process_group(0);
        let shim = command.spawn().map_err(cannot)?;
        let lifeline = Some(lifeline);
        Ok(Self { shim, lifeline })
    }

    /// What the shim says about a program it could not start.
    fn words(&mut self) -> String {
        let mut text = String::new();
        if let Some(lifeline) = &mut self.lifeline {
            // The shim has ended: what it said is all there, or nothing is.
            drop(lifeline.read_to_string(&mut text));
        }
        let failed = text.lines().find_map(|line| line.strip_prefix("failed "));
        failed.unwrap_or_default().to_owned()
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        self.lifeline = None;
        let deadline = Instant::now() + KILL_WITHIN;
        while matches!(self.shim.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Builds packages of the workspace around the file and returns the binaries by package name.
pub(super) async fn packages(
    images_file: &Path,
    packages: &BTreeSet<&str>,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    // The whole workspace chooses the features, as it did for the tool itself: what they share is
    // not compiled twice.
    let mut arguments: Vec<OsString> = vec!["--workspace".into()];
    // The services are built like the tool: a debug tool is a developer's, in a hurry.
    if !cfg!(debug_assertions) {
        arguments.push("--release".into());
    }
    for package in packages {
        arguments.extend(["--bin".into(), package.into()]);
    }
    let list = packages.iter().copied().collect::<Vec<_>>().join(", ");
    terminal::say(&format!("building {list}"));
    build(images_file, folder_of(images_file), &arguments, &list).await
}

/// Builds the crate in `folder`, which is relative to the file's, and returns its binary. Compiled
/// once: the user's cache keeps it for every checkout and both kinds of build of the tool.
pub(super) async fn own_crate(images_file: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let folder = folder_of(images_file).join(folder);
    if !folder.is_dir() {
        let place = images_file.display();
        return Err(Failure::input(format!("there is no {}", folder.display()))
            .hint(format!("{place} names it as the folder of a crate")));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let kept = cache()?.join(format!("holdfast/{name}-target"));
    let mut arguments: Vec<OsString> = Vec::new();
    arguments.extend(["--release".into(), "--target-dir".into(), (&kept).into()]);
    // Its lock file names versions that were tried, whatever Rust they say they need.
    arguments.extend(["--locked".into(), "--ignore-rust-version".into()]);
    terminal::say(&format!(
        "building {name}: the first time takes minutes, then {} has it",
        kept.display()
    ));
    let programs = build(images_file, &folder, &arguments, &name).await?;
    programs.into_values().next().ok_or_else(|| {
        Failure::input(format!("the crate in {} has no binary", folder.display())).hint(format!(
            "name a crate with a binary in {}",
            images_file.display()
        ))
    })
}

/// The parent of a bare file name is empty, which is no folder to change to.
fn folder_of(images_file: &Path) -> &Path {
    let folder = images_file.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn cache() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let own = set("XDG_CACHE_HOME").map(PathBuf::from);
    own.or_else(|| Some(Path::new(&set("HOME")?).join(".cache")))
        .ok_or_else(|| {
            Failure::input("there is no place to keep what is built")
                .hint("set HOME or XDG_CACHE_HOME")
        })
}

/// Runs cargo, whose own progress goes to standard error, and returns the binaries by target name.
async fn build(
    images_file: &Path,
    folder: &Path,
    arguments: &[OsString],
    list: &str,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut cargo = Cargo::start(folder, arguments)?;
    let output = cargo.shim.stdout.take().expect("standard output is piped");
    let mut programs = BTreeMap::new();
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        programs.extend(executable(&line));
    }
    let status = cargo.shim.wait().await;
    if status.is_ok_and(|status| status.success()) {
        return Ok(programs);
    }
    let words = cargo.words();
    if words.is_empty() {
        Err(Failure::input(format!(
            "cargo could not build {list}, which images in {} name",
            images_file.display()
        ))
        .hint("cargo's own words are above"))
    } else {
        Err(Failure::input(format!("cannot start cargo: {words}"))
            .hint("images that are cargo packages need the Rust toolchain in PATH"))
    }
}

/// The target name and binary of one of cargo's JSON messages, if it announces one.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}
