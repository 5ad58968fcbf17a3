//! From image names to local programs: reads `images.yaml` and has built what cargo builds.
//!
//! ```yaml
//! images:
//!   holdfast/app:dev:    {cargo: app}            # built when a manifest needs it
//!   holdfast/broker:dev: {crate: ../broker}      # the same, of a folder with a lock file of its own
//!   example/tool:1:      {command: [/usr/bin/tool, -v]}
//!   mariadb:10.11:       {installed: {program: mariadbd, package: mariadb-server, start: mariadb.sh}}
//! ```

mod build;
mod installed;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use holdfast_cluster::{ImageMap, Program};
use serde::Deserialize;

use crate::failure::Failure;
use crate::{cluster, manifests};
use installed::Installed;

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
    /// The folder, from that of the file, of a crate that is no member of the workspace: what it
    /// needs is compiled for nobody else. So it is built only if a manifest names it.
    Crate(PathBuf),
    /// A program and its leading arguments.
    Command(Vec<String>),
    /// A program of the machine, which must be there only if a manifest names the image.
    Installed(Installed),
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

    fn includes(&self, image: &str, source: &Source, needed: &BTreeSet<String>) -> bool {
        match (self, source) {
            (Self::Needed, _) | (_, Source::Crate(_) | Source::Installed(_)) => {
                needed.contains(image)
            }
            (Self::Everything(_), Source::Cargo(_) | Source::Command(_)) => true,
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
    images.insert(cluster::AGENT_IMAGE, cluster::agent()?);
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
        if !choice.includes(image, source, wanted) {
            continue;
        }
        match source {
            Source::Cargo(package) => {
                packages.insert(image, package);
            }
            Source::Crate(folder) => {
                images.insert(image, Program::new(build::own_crate(&path, folder).await?));
            }
            Source::Installed(installed) => {
                images.insert(image, installed.program(image, &path)?);
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
    let programs = build::packages(&path, &names).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_installed_is_refused_with_what_to_do_where_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let source = |program| {
            format!("{{installed: {{program: {program}, package: db-server, start: db.sh}}}}")
        };
        let text = format!(
            "images:\n  \"a:1\": {{command: [/bin/true]}}\n  \"db:1\": {}\n  \"sh:1\": {}\n",
            source("no-such-server"),
            source("sh")
        );
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        std::fs::write(folder.path().join("db.sh"), "").unwrap();
        let folders = [folder.path().join("services")];
        let of = |image: &str| [image.to_owned()].into();
        for choice in [Choice::Needed, Choice::Everything(None)] {
            let (needed, missing) = (of("sh:1"), of("db:1"));
            let images = resolve(&needed, &folders, &choice).await.unwrap();
            let started = &images.get("sh:1").unwrap().arguments[0];
            assert!(Path::new(started).ends_with("db.sh"), "{started:?}");
            let refused = resolve(&missing, &folders, &choice).await.unwrap_err();
            assert_eq!(refused.code, 2);
            assert_eq!(
                refused.to_string(),
                "error: image db:1 needs no-such-server, which is not installed\n \
                 hint: Debian: apt-get install db-server"
            );
        }
    }

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
            ["a:1", cluster::AGENT_IMAGE, cluster::VICTIM_IMAGE]
        );
        assert_eq!(images.get("a:1").unwrap().arguments, ["-x"]);

        let everything = Choice::Everything(Some(folder.path().join(FILE_NAME)));
        let images = resolve(&BTreeSet::new(), &[], &everything).await.unwrap();
        assert_eq!(
            images.names().collect::<Vec<_>>(),
            ["a:1", "b:1", cluster::AGENT_IMAGE, cluster::VICTIM_IMAGE]
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
