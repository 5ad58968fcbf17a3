//! The program of the embedded broker, which is no member of the workspace.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The broker's program where it has been built. With `HOLDFAST_REQUIRE_TOOLS=1` it is built, which
/// takes minutes the first time; without it, a word on standard error says what is left out.
///
/// # Panics
/// When it was to be built and cannot be.
pub fn broker_program() -> Option<PathBuf> {
    static BUILT: OnceLock<()> = OnceLock::new();
    let folder = build_folder();
    let program = folder.join("release/broker");
    if std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|it| it == "1") {
        BUILT.get_or_init(|| build(&folder));
    } else if !program.is_file() {
        say_left_out(&program);
        return None;
    }
    Some(program)
}

/// In the user's cache and not in the checkout: hundreds of crates are not compiled for every clone.
fn build_folder() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let home = || PathBuf::from(set("HOME").expect("HOME is set")).join(".cache");
    let cache = set("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("holdfast/broker-target")
}

fn build(folder: &Path) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../broker/Cargo.toml");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--ignore-rust-version"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the broker cannot be built"
    );
}

#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests is to know what they leave out"
)]
fn say_left_out(program: &Path) {
    eprintln!(
        "SKIPPED: {} has not been built; HOLDFAST_REQUIRE_TOOLS=1 builds it",
        program.display()
    );
}
