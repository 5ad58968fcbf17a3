//! Images that are crates with a lock file of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holdfast::holdfast;

const FILES: [(&str, &str); 5] = [
    ("images.yaml", "images:\n  \"own:1\": {crate: program}\n"),
    (
        "program/Cargo.toml",
        "[package]\nname = \"own\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[workspace]\n",
    ),
    (
        "program/Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n",
    ),
    (
        "program/src/main.rs",
        "fn main() {\n    loop {\n        std::thread::park();\n    }\n}\n",
    ),
    (
        "services/own.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: own}\nspec:\n  \
         selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    \
         spec: {containers: [{name: own, image: \"own:1\"}]}\n",
    ),
];

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
        .env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

#[test]
fn a_crate_of_its_own_is_built_into_the_users_cache_once_a_manifest_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, text) in FILES {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let images = folder.join("images.yaml");
    let kept = folder.join("cache/holdfast/program-target");

    up_and_down(cluster_up(folder).arg("--images").arg(images));
    assert!(!kept.exists(), "built for nobody");

    up_and_down(cluster_up(folder).arg(folder.join("services")));
    assert!(kept.join("release/own").is_file());
    assert!(!folder.join("program/target").exists());
}
