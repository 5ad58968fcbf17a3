//! Which local program stands for which image name.

use std::collections::BTreeMap;
use std::ffi::OsString;

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
