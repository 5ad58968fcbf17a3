//! Compiles the C sources that the package `rdkafka-sys` carries, in place of that package's own
//! build script, which `.cargo/config.toml` keeps from running.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

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
    if let Err(error) = build() {
        println!("cargo::error=cannot compile librdkafka");
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=config.h");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    println!("cargo::rerun-if-env-changed=DEP_RDKAFKA_COMPILED_BY");
    // Cargo says so where `.cargo/config.toml` is in force; elsewhere the library is there already.
    if env::var_os("DEP_RDKAFKA_COMPILED_BY").is_none() {
        return Ok(());
    }
    let sources = rdkafka_sys()?.join("librdkafka/src");
    cc::Build::new()
        .files(c_files(&sources)?)
        .files(c_files(&sources.join("nanopb"))?)
        .files(c_files(&sources.join("opentelemetry"))?)
        .include(&sources)
        // `config.h` is `../config.h` from here.
        .include(variable("CARGO_MANIFEST_DIR")?.join("src"))
        .warnings(false)
        // The crate that calls the library may come later for the linker than the library, and some
        // linkers do not look back.
        .link_lib_modifier("+whole-archive")
        .try_compile("rdkafka")?;
    Ok(())
}

/// The folder of the package `rdkafka-sys`, wherever cargo keeps it: in the user's registry, or
/// vendored.
///
/// Cargo is asked about a package that needs nothing else, at the versions of our lock file. Asked
/// about the workspace, it would want what only tests need, too, which may not have been downloaded.
fn rdkafka_sys() -> Result<PathBuf, Box<dyn Error>> {
    let asking = variable("OUT_DIR")?.join("asking");
    let lock = variable("CARGO_MANIFEST_DIR")?.join("../../Cargo.lock");
    write_package(&asking, &lock)
        .map_err(|error| format!("cannot write the package {}: {error}", asking.display()))?;
    let cargo = variable("CARGO")?;
    let output = Command::new(&cargo)
        .args(["metadata", "--format-version=1", "--offline"])
        .arg("--filter-platform")
        .arg(variable("TARGET")?)
        .arg("--manifest-path")
        .arg(asking.join("Cargo.toml"))
        .output()
        .map_err(|error| format!("cannot start {}: {error}", cargo.display()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo does not say where rdkafka-sys is: {words}").into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "rdkafka-sys")
        .find_map(|package| package["manifest_path"].as_str())
        .ok_or("the workspace's Cargo.lock has no rdkafka-sys")?;
    Ok(Path::new(manifest).with_file_name(""))
}

/// A package that needs rdkafka-sys and nothing else, at the versions of a lock file.
fn write_package(folder: &Path, lock: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    fs::write(folder.join("Cargo.toml"), ASKING)?;
    fs::copy(lock, folder.join("Cargo.lock"))?;
    Ok(())
}

const ASKING: &str = r#"
[package]
name = "asking"
edition = "2024"

[workspace]

[dependencies]
rdkafka-sys = { version = "*", default-features = false }
"#;

fn c_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let files = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|file| is_wanted(file)).collect();
    files.sort();
    Ok(files)
}

fn is_wanted(file: &Path) -> bool {
    let name = file.file_stem().and_then(|name| name.to_str());
    file.extension().is_some_and(|extension| extension == "c")
        && name.is_some_and(|name| !LEFT_OUT.contains(&name))
}

fn variable(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let value = env::var_os(name);
    let value = value.ok_or_else(|| format!("{name} is not set: this is for cargo to start"))?;
    Ok(value.into())
}
