//! Compiles the C sources that the package `rdkafka-sys` carries, in place of that package's own
//! build script, which `.cargo/config.toml` keeps from running.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What belongs to features that `config.h` leaves out.
const LEFT_OUT: &[&str] = &[
    "rddl",
    "rdgz",
    "rdhttp",
    "rdkafka_plugin",
    "rdkafka_sasl_cyrus",
    "rdkafka_sasl_oauthbearer",
    "rdkafka_sasl_oauthbearer_oidc",
    "rdkafka_sasl_scram",
    "rdkafka_sasl_win32",
    "rdkafka_ssl",
    "rdkafka_zstd",
    "regexp",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=config.h");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    println!("cargo::rerun-if-env-changed=DEP_RDKAFKA_COMPILED_BY");
    // Cargo says so where `.cargo/config.toml` is in force; elsewhere the library is there already.
    if env::var_os("DEP_RDKAFKA_COMPILED_BY").is_none() {
        return;
    }
    let sources = rdkafka_sys().join("librdkafka/src");
    cc::Build::new()
        .files(c_files(&sources))
        .files(c_files(&sources.join("nanopb")))
        .files(c_files(&sources.join("opentelemetry")))
        .include(&sources)
        // `config.h` is `../config.h` from here.
        .include(variable("CARGO_MANIFEST_DIR").join("src"))
        .warnings(false)
        // The crate that calls the library may come later for the linker than the library, and some
        // linkers do not look back.
        .link_lib_modifier("+whole-archive")
        .compile("rdkafka");
}

/// The folder of the package `rdkafka-sys`, wherever cargo keeps it: in the user's registry, or
/// vendored.
///
/// Cargo is asked about a package that needs nothing else, at the versions of our lock file. Asked
/// about the workspace, it would want what only tests need, too, which may not have been downloaded.
fn rdkafka_sys() -> PathBuf {
    let asking = variable("OUT_DIR").join("asking");
    let manifest = asking.join("Cargo.toml");
    let lock = variable("CARGO_MANIFEST_DIR").join("../../Cargo.lock");
    fs::create_dir_all(asking.join("src")).expect("OUT_DIR can be written");
    fs::write(asking.join("src/lib.rs"), "").expect("OUT_DIR can be written");
    fs::write(&manifest, ASKING).expect("OUT_DIR can be written");
    fs::copy(lock, asking.join("Cargo.lock")).expect("the workspace has a lock file");
    let output = Command::new(variable("CARGO"))
        .args(["metadata", "--format-version=1", "--offline"])
        .arg("--filter-platform")
        .arg(variable("TARGET"))
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .expect("cargo, which started this program, can be started");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {words}");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata answers in JSON");
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "rdkafka-sys")
        .find_map(|package| package["manifest_path"].as_str())
        .expect("the package asked about needs rdkafka-sys");
    Path::new(manifest).with_file_name("")
}

const ASKING: &str = r#"
[package]
name = "asking"
edition = "2024"

[workspace]

[dependencies]
rdkafka-sys = { version = "*", default-features = false }
"#;

fn c_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let files = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut files: Vec<PathBuf> = files.filter(|file| is_wanted(file)).collect();
    files.sort();
    files
}

fn is_wanted(file: &Path) -> bool {
    let name = file.file_stem().and_then(|name| name.to_str());
    file.extension().is_some_and(|extension| extension == "c")
        && name.is_some_and(|name| !LEFT_OUT.contains(&name))
}

fn variable(name: &str) -> PathBuf {
    let value = env::var_os(name);
    value
        .unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
        .into()
}
