//! Which local program stands for which image name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The permissions of which a program has at least one.
const EXECUTABLE: u32 = 0o111;

/// A program and its leading arguments: what an image's entry point is to a container runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program: a path, or a name to be found in `PATH`.
    pub path: OsString,
    /// Arguments that come before those of the container.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// A program without arguments.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
        }
    }

    /// Whether there is such a program to run at this moment. A bare name is looked for only when a
    /// container starts, in the container's `PATH`.
    pub fn check(&self) -> Result<(), ProgramError> {
        if self.path.is_empty() {
            return Err(ProgramError::Empty);
        }
        let path = Path::new(&self.path);
        if path.components().count() == 1 && !path.is_absolute() {
            return Ok(());
        }
        let path = path.to_owned();
        if !path.is_absolute() {
            return Err(ProgramError::Relative { path });
        }
        match fs::metadata(&path) {
            Err(source) => Err(ProgramError::Unreachable { path, source }),
            Ok(metadata) if !metadata.is_file() => Err(ProgramError::NoFile { path }),
            Ok(metadata) if metadata.permissions().mode() & EXECUTABLE == 0 => {
                Err(ProgramError::NotExecutable { path })
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Why an image's program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No program is named.
    #[error("the command is empty")]
    Empty,
    /// It depends on the working directory what this means.
    #[error("{} is a relative path: give an absolute one, or the bare name of a program in PATH", path.display())]
    Relative {
        /// As it was given.
        path: PathBuf,
    },
    /// The file is not there, or may not be looked at.
    #[error("{}: {source}", path.display())]
    Unreachable {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, for example.
    #[error("{} is not a file", path.display())]
    NoFile {
        /// As it was given.
        path: PathBuf,
    },
    /// Nobody may execute the file.
    #[error("{} is not executable", path.display())]
    NotExecutable {
        /// As it was given.
        path: PathBuf,
    },
}

/// The images that the cluster's node "has": everything else cannot be pulled.
#[derive(Clone, Debug, Default)]
pub struct ImageMap(BTreeMap<String, Program>);

impl ImageMap {
    /// Lets `program` run where a container names `image`. The name is compared literally,
    /// tag included: two tags are two programs.
    pub fn insert(&mut self, image: impl Into<String>, program: Program) {
        self.0.insert(image.into(), program);
    }

    /// The program for an image.
    pub fn get(&self, image: &str) -> Option<&Program> {
        self.0.get(image)
    }

    /// The known image names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, Program)> for ImageMap {
    fn from_iter<I: IntoIterator<Item = (String, Program)>>(images: I) -> Self {
        Self(images.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_run_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        fs::write(&file, "").unwrap();
        let check = |path: &Path| Program::new(path).check();
        assert!(matches!(check(Path::new("")), Err(ProgramError::Empty)));
        for relative in ["./program", "bin/program"] {
            let error = check(Path::new(relative));
            assert!(matches!(error, Err(ProgramError::Relative { .. })));
        }
        let missing = check(&folder.path().join("other")).unwrap_err();
        assert!(missing.to_string().contains("No such file"), "{missing}");
        assert!(matches!(
            check(folder.path()),
            Err(ProgramError::NoFile { .. })
        ));
        assert!(matches!(
            check(&file),
            Err(ProgramError::NotExecutable { .. })
        ));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check(&file).is_ok());
        assert!(check(Path::new("sh")).is_ok(), "found later");
    }
}
