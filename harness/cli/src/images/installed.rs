//! Images that are programs of the machine, such as a database server, started by a script.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use holdfast_cluster::Program;
use serde::Deserialize;

use crate::failure::Failure;

/// Where servers are that a user's path may lack.
const BESIDE_THE_PATH: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A program of the machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Installed {
    /// What has to be there.
    program: String,
    /// The package that has it, in Debian.
    package: String,
    /// The shell script that starts it, from the folder of the images' file.
    start: PathBuf,
}

impl Installed {
    /// What starts it, if it is there.
    pub(super) fn program(&self, image: &str, file: &Path) -> Result<Program, Failure> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders =
            std::env::split_paths(&path).chain(BESIDE_THE_PATH.into_iter().map(PathBuf::from));
        if !folders.any(|folder| folder.join(&self.program).is_file()) {
            let (program, package) = (&self.program, &self.package);
            return Err(Failure::input(format!(
                "image {image} needs {program}, which is not installed"
            ))
            .hint(format!("Debian: apt-get install {package}")));
        }
        let script = file.with_file_name(&self.start);
        let script = std::fs::canonicalize(&script).map_err(|error| {
            Failure::input(format!(
                "{}: image {image}: {}: {error}",
                file.display(),
                script.display()
            ))
        })?;
        Ok(Program {
            path: OsString::from("/bin/sh"),
            arguments: vec![script.into()],
        })
    }
}
