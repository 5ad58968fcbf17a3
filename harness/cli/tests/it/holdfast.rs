//! Running the binary: small experiments, deadlines, and the processes of one run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by each test whose figures or deadlines need all of a small machine.
pub(crate) fn the_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by each other test that runs a cluster under load: these leave each other enough.
pub(crate) fn a_share_of_the_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// A command for the binary, in the workspace's folder. `marker` goes into the environment, which
/// is how [`processes_of`] finds what the run started.
pub(crate) fn holdfast(marker: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .current_dir(workspace())
        .env("NO_COLOR", "1")
        .env("HOLDFAST_TEST_MARKER", marker)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The exit code is `expected`, unless the machine was so busy that the run voids itself.
pub(crate) fn ended_with(finished: &Finished, expected: i32) {
    let code = finished.status.code();
    let says_so = [&finished.out, &finished.err].map(|text| text.contains("invalid: "));
    let is_void = code == Some(3) && says_so.contains(&true);
    assert!(code == Some(expected) || is_void, "{finished:?}");
}

/// Runs a command to its end; one that takes longer than two minutes is killed and fails the test.
pub(crate) fn finish(command: &mut Command) -> Finished {
    wait(command.spawn().unwrap())
}

pub(crate) fn wait(mut child: Child) -> Finished {
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("holdfast did not end: {}", err.join().unwrap().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Finished {
        status,
        out: out.join().unwrap().unwrap(),
        err: err.join().unwrap().unwrap(),
    }
}

/// Waits until `found` is true; fails the test with `what` after 60 s.
pub(crate) fn eventually(what: &str, mut found: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes below the folder or with the marker of one run: `pid command`.
pub(crate) fn processes_of(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let (environment, command) = (read("environ"), read("cmdline"));
        let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(marker);
        if has(&environment) || has(&command) {
            found.push(format!(
                "{pid} {}",
                String::from_utf8_lossy(&command).replace('\0', " ")
            ));
        }
    }
    found
}

/// Skips a test whose tool is missing, loudly; fails it where all tools are required.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(
            !required,
            "{name} is not installed, and HOLDFAST_REQUIRE_TOOLS=1"
        );
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}
