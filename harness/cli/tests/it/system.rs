//! The repository's experiments and manifests for the tests. Images are the programs that the tests were
//! built with: were `holdfast` to have them built, cargo would compile all that is below them once more,
//! without what only tests need of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::holdfast::workspace;

const SERVICES: [&str; 7] = [
    "app",
    "pay",
    "store",
    "customer",
    "marketing",
    "gateway",
    "auditor",
];

/// A copy of the folders `experiments` and `k8s`, gone with the value.
pub(crate) struct System(tempfile::TempDir);

impl System {
    pub(crate) fn new() -> Self {
        static BUILT: OnceLock<()> = OnceLock::new();
        BUILT.get_or_init(build);
        let system = Self(tempfile::tempdir().unwrap());
        for folder in ["experiments", "k8s"] {
            copy(&workspace().join(folder), &system.path().join(folder));
        }
        let images = system.path().join("k8s/images.yaml");
        fs::write(&images, built(&fs::read_to_string(&images).unwrap())).unwrap();
        system
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The manifests of app and pay.
    pub(crate) fn services(&self) -> PathBuf {
        self.path().join("k8s/services")
    }
}

/// Whoever tests all of the workspace has them; whoever tests this crate alone may not, or of old.
fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(["build", "--workspace"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for service in SERVICES {
        command.args(["--bin", service]);
    }
    // An example is built with what tests need, and so is everything beside it.
    let built = command.args(["--example", "soak"]).status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the services can be built"
    );
}

/// The images, with programs in place of packages.
fn built(images: &str) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let mut images = images.to_owned();
    for service in SERVICES {
        let package = format!("{{cargo: {service}}}");
        assert!(images.contains(&package), "no {package} in {images}");
        let program = programs.join(service);
        let command = format!("{{command: [\"{}\"]}}", program.display());
        images = images.replace(&package, &command);
    }
    let broker = workspace().join("reference-services/broker");
    images.replace(
        "../reference-services/broker",
        &broker.display().to_string(),
    )
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
