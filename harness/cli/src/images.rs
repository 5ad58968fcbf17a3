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
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use holdfast_cluster::{ImageMap, Program, pod_shim};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::{cluster, manifests, terminal};

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

/// Which images a cluster is to have.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// Those that the manifests name, from the file beside them.
    Needed,
    /// Everything in this file, or in the one beside the manifests: pods may be made later, too.
    Everything(Option<PathBuf>),
}

impl Choice {
    fn file(&self, manifests: &[PathBuf]) -> Option<PathBuf> {
        match self {
            Self::Everything(Some(file)) => Some(file.clone()),
            Self::Needed | Self::Everything(None) => find(manifests),
        }
    }

    fn includes(&self, image: &str, needed: &BTreeSet<String>) -> bool {
        match self {
            Self::Needed => needed.contains(image),
            Self::Everything(_) => true,
        }
    }
}

/// Finds a program for each image of the choice, building where necessary. An image that the
/// manifests need and that has none is refused: no pod of it could ever start.
pub(crate) async fn resolve(
    wanted: &BTreeSet<String>,
    folders: &[PathBuf],
    choice: &Choice,
) -> Result<ImageMap, Failure> {
    let mut images = ImageMap::default();
    images.insert(cluster::VICTIM_IMAGE, cluster::victim()?);
    let path = choice.file(folders);
    let file = path.as_deref().map(read).transpose()?;
    let known = file.as_ref().map(|file| &file.images);
    if let Some(image) = wanted
        .iter()
        .filter(|image| images.get(image).is_none())
        .find(|image| !known.is_some_and(|known| known.contains_key(*image)))
    {
        let place = manifests::place_of_image(folders, image);
        let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
        return Err(unknown_image(&place, image, path.as_deref(), known));
    }
    let (Some(path), Some(file)) = (path, file) else {
        return Ok(images);
    };
    let mut packages: BTreeMap<&str, &str> = BTreeMap::new();
    for (image, source) in &file.images {
        if !choice.includes(image, wanted) {
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
                let program = Program {
                    path: program.into(),
                    arguments: arguments.iter().map(OsString::from).collect(),
                };
                program.check().map_err(|error| {
                    Failure::input(format!("{}: image {image}: {error}", path.display()))
                })?;
                images.insert(image, program);
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

/// The first `images.yaml` beside the manifests or in one of the two folders above.
fn find(manifests: &[PathBuf]) -> Option<PathBuf> {
    manifests
        .iter()
        .flat_map(|path| path.ancestors().take(3))
        .map(|folder| folder.join(FILE_NAME))
        .find(|candidate| candidate.is_file())
}

fn unknown_image(
    place: &str,
    image: &str,
    path: Option<&Path>,
    known: Option<&BTreeMap<String, Source>>,
) -> Failure {
    let failure = Failure::input(format!(
        "{place}no local program is known for image {image}"
    ));
    match path {
        None => failure.hint(format!(
            "write {FILE_NAME} beside the manifests: images: {{\"{image}\": {{command: [/path/to/program]}}}}"
        )),
        Some(path) => {
            let known: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            failure.hint(format!(
                "add it to {}, which knows {}",
                path.display(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ))
        }
    }
}

fn read(path: &Path) -> Result<ImagesFile, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::input(format!("cannot read {}: {error}", path.display())))?;
    serde_saphyr::from_str(&text)
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

/// A cargo that does not outlive this process, nor the wait for it: it runs below the pod shim,
/// which kills it and its compilers when the lifeline is closed.
struct Cargo {
    shim: Child,
    lifeline: Option<UnixStream>,
}

/// Killing a process group takes milliseconds; longer than this means that something is stuck.
const KILL_WITHIN: Duration = Duration::from_secs(2);

impl Cargo {
    fn start(folder: &Path, packages: &BTreeSet<&str>) -> Result<Self, Failure> {
        let cannot = |error| Failure::carrying_out(format!("cannot start cargo: {error}"));
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let line = pod_shim::guarded(&cluster::pod_shim()?, &program);
        let (lifeline, far_end) = UnixStream::pair().map_err(cannot)?;
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .arg("build")
            .arg("--message-format=json-render-diagnostics")
            .current_dir(folder)
            .stdin(Stdio::from(OwnedFd::from(far_end)))
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal goes to every process of its group: the shim must outlive it
            // until it has killed the compilers.
            .process_group(0);
        // The services are built like the tool: a debug tool is a developer's, in a hurry.
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        // The whole workspace chooses the features, as it did for the tool itself: what they share
        // is not compiled twice.
        command.arg("--workspace");
        for package in packages {
            command.args(["--bin", package]);
        }
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

/// Builds the packages with cargo, whose own progress goes to standard error, and returns the
/// binaries by package name.
async fn build(
    images_file: &Path,
    packages: &BTreeSet<&str>,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    // The parent of a bare file name is empty, which is no folder to change to.
    let folder = images_file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let list = packages.iter().copied().collect::<Vec<_>>().join(", ");
    terminal::say(&format!("building {list}"));
    let mut cargo = Cargo::start(folder.unwrap_or(Path::new(".")), packages)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("services");
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(
            folder.path().join(FILE_NAME),
            "images:\n  \"a:1\": {command: [/bin/true, -x]}\n  \"b:1\": {command: [/bin/sh]}\n",
        )
        .unwrap();
        let folders = [manifests];
        let needed = ["a:1".to_owned()].into();
        let images = resolve(&needed, &folders, &Choice::Needed).await.unwrap();
        assert_eq!(
            images.names().collect::<Vec<_>>(),
            ["a:1", cluster::VICTIM_IMAGE]
        );
        assert_eq!(images.get("a:1").unwrap().arguments, ["-x"]);

        let everything = Choice::Everything(Some(folder.path().join(FILE_NAME)));
        let images = resolve(&BTreeSet::new(), &[], &everything).await.unwrap();
        assert_eq!(
            images.names().collect::<Vec<_>>(),
            ["a:1", "b:1", cluster::VICTIM_IMAGE]
        );

        let unknown = ["c:1".to_owned()].into();
        let error = resolve(&unknown, &folders, &Choice::Needed)
            .await
            .unwrap_err();
        assert_eq!(error.code, 2);
        let text = error.to_string();
        assert!(
            text.contains("c:1") && text.contains("knows a:1, b:1"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_mistake_in_the_file_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join(FILE_NAME),
            "images:\n  a: {cargoo: app}\n",
        )
        .unwrap();
        let folders = [folder.path().to_owned()];
        let error = resolve(&BTreeSet::new(), &folders, &Choice::Needed)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(FILE_NAME) && error.contains("cargoo"),
            "{error}"
        );
    }
}
