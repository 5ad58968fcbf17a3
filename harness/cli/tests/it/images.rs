//! Images that cargo builds: packages of the workspace around, and crates with a lock file of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holdfast::holdfast;

const PROGRAM: &str = "fn main() {
    loop {
        std::thread::park();
    }
}
";

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: own}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: own, image: \"own:1\"}]}
";

const PACKAGE: &str = "[package]
name = \"own\"
version = \"1.0.0\"
edition = \"2024\"
";

const LOCK: &str = "version = 4

[[package]]
name = \"own\"
version = \"1.0.0\"
";

/// A folder with a program, a Deployment of it, and these files besides.
fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let always = [
        ("program/src/main.rs", PROGRAM),
        ("services/own.yaml", DEPLOYMENT),
    ];
    for (name, text) in always.iter().chain(files) {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

/// Waits until the command has brought everything up, and ends it.
fn up_and_down(command: &mut Command) {
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<String> = said
        .map_while(Result::ok)
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .collect();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said:#?}");
}

fn cluster_up(folder: &Path) -> Command {
    let mut command = holdfast("own-crate");
    command
        .args(["cluster", "up"])
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env_remove("CARGO_TARGET_DIR");
    command
}

#[test]
fn a_crate_of_its_own_is_built_into_the_users_cache_once_a_manifest_names_it() {
    let folder = folder_with(&[
        ("images.yaml", "images:\n  \"own:1\": {crate: program}\n"),
        ("program/Cargo.toml", &format!("{PACKAGE}\n[workspace]\n")),
        ("program/Cargo.lock", LOCK),
    ]);
    let folder = folder.path();
    let images = folder.join("images.yaml");
    let kept = folder.join("cache/holdfast/program-target");

    up_and_down(cluster_up(folder).arg("--images").arg(images));
    assert!(!kept.exists(), "built for nobody");

    up_and_down(cluster_up(folder).arg(folder.join("services")));
    assert!(kept.join("release/own").is_file());
    assert!(!folder.join("program/target").exists());
}

#[test]
fn a_package_of_the_workspace_is_built_there_once_a_manifest_names_it() {
    let folder = folder_with(&[
        ("images.yaml", "images:\n  \"own:1\": {cargo: own}\n"),
        ("Cargo.toml", "[workspace]\nmembers = [\"program\"]\n"),
        ("program/Cargo.toml", PACKAGE),
    ]);
    let folder = folder.path();
    up_and_down(cluster_up(folder).arg(folder.join("services")));
    let built = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    assert!(folder.join("target").join(built).join("own").is_file());
}
