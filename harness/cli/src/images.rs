//! From image names to local programs: reads `images.yaml` and builds what is a package of a
//! cargo workspace.
//!
//! ```yaml
//! images:
//!   holdfast/app:dev: {cargo: app}                  # built when a manifest needs it
//!   example/tool:1:   {command: [/usr/bin/tool, -v]}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use holdfast_cluster::{ImageMap, Program};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::terminal;

/// The file's name, next to a manifest folder or in it.
const FILE_NAME: &str = "images.yaml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagesFile {
    images: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Source {
    /// A binary package of the cargo workspace that contains the file.
    Cargo(String),
    /// A program and its leading arguments.
    Command(Vec<String>),
}

/// Finds a program for each of `wanted`, building where necessary. Images without an entry are
/// left out: the cluster reports them as it reports any image that cannot be pulled.
pub(crate) async fn resolve(
    wanted: &BTreeSet<String>,
    manifests: &[PathBuf],
) -> Result<ImageMap, Failure> {
    let mut images = ImageMap::default();
    let Some(path) = find(manifests) else {
        return Ok(images);
    };
    let file = read(&path)?;
    let mut packages: BTreeMap<&str, &str> = BTreeMap::new();
    for (image, source) in &file.images {
        if !wanted.contains(image) {
            continue;
        }
        match source {
            Source::Cargo(package) => {
                packages.insert(image, package);
            }
            Source::Command(words) => {
                let (program, arguments) = words.split_first().ok_or_else(|| {
                    Failure::input(format!(
                        "{}: image {image}: the command is empty",
                        path.display()
                    ))
                })?;
                let arguments = arguments.iter().map(OsString::from).collect();
                images.insert(
                    image,
                    Program {
                        path: program.into(),
                        arguments,
                    },
                );
            }
        }
    }
    if packages.is_empty() {
        return Ok(images);
    }
    let names: BTreeSet<&str> = packages.values().copied().collect();
    let programs = build(&path, &names).await?;
    for (image, package) in packages {
        let program = programs.get(package).ok_or_else(|| {
            Failure::input(format!(
                "image {image}: package {package} has no binary of its own name"
            ))
            .hint(format!(
                "name a package with a binary in {}",
                path.display()
            ))
        })?;
        images.insert(image, Program::new(program));
    }
    Ok(images)
}

/// `images.yaml` in a manifest folder, or in the folder above it.
fn find(manifests: &[PathBuf]) -> Option<PathBuf> {
    manifests
        .iter()
        .flat_map(|path| path.ancestors().take(3))
        .map(|folder| folder.join(FILE_NAME))
        .find(|candidate| candidate.is_file())
}

fn read(path: &Path) -> Result<ImagesFile, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::input(format!("cannot read {}: {error}", path.display())))?;
    serde_saphyr::from_str(&text)
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

/// A cargo process group that does not outlive the wait for it.
struct CargoGroup(Child);

impl Drop for CargoGroup {
    fn drop(&mut self) {
        // `id` is none once the process has been waited for.
        if let Some(pid) = self.0.id().and_then(|id| i32::try_from(id).ok())
            && let Err(error) = killpg(Pid::from_raw(pid), Signal::SIGTERM)
        {
            terminal::say(&format!("cargo ({pid}) could not be ended: {error}"));
        }
    }
}

/// Builds the packages with cargo, whose own progress goes to standard error, and returns the
/// binaries by package name.
async fn build(
    images_file: &Path,
    packages: &BTreeSet<&str>,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let folder = images_file.parent().unwrap_or(Path::new("."));
    let list = packages.iter().copied().collect::<Vec<_>>().join(", ");
    terminal::say(&format!("building {list}"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command
        .arg("build")
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    // The services are built like the tool: a debug tool is a developer's, in a hurry.
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    let mut cargo = CargoGroup(command.spawn().map_err(|error| {
        Failure::input(format!("cannot start {}: {error}", cargo.display()))
            .hint("images that are cargo packages need the Rust toolchain in PATH")
    })?);
    let output = cargo.0.stdout.take().expect("standard output is piped");
    let mut programs = BTreeMap::new();
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        programs.extend(executable(&line));
    }
    let status = cargo.0.wait().await;
    match status {
        Ok(status) if status.success() => Ok(programs),
        Ok(_) | Err(_) => Err(Failure::input(format!(
            "cargo could not build {list}, which images in {} name",
            images_file.display()
        ))
        .hint("cargo's own words are above")),
    }
}

/// The target name and binary of one of cargo's JSON messages, if it announces one.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_are_taken_as_they_are_and_unknown_images_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("services");
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(
            folder.path().join(FILE_NAME),
            "images:\n  \"a:1\": {command: [/bin/true, -x]}\n  \"b:1\": {command: [/bin/b]}\n",
        )
        .unwrap();
        let wanted = ["a:1".to_owned(), "c:1".to_owned()].into();
        let images = resolve(&wanted, &[manifests]).await.unwrap();
        assert_eq!(images.names().collect::<Vec<_>>(), ["a:1"]);
        assert_eq!(images.get("a:1").unwrap().arguments, ["-x"]);
    }

    #[tokio::test]
    async fn a_mistake_in_the_file_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join(FILE_NAME),
            "images:\n  a: {cargoo: app}\n",
        )
        .unwrap();
        let error = resolve(&BTreeSet::new(), &[folder.path().to_owned()])
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(FILE_NAME) && error.contains("cargoo"),
            "{error}"
        );
    }
}
