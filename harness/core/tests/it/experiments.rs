//! Every file in `/experiments` is read and planned.

use std::path::{Path, PathBuf};

use holdfast_core::experiment::Experiment;
use holdfast_core::plan::plan;
use holdfast_core::spec::{self, SourceFile, SpecErrors};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

/// The YAML files of a folder by name.
pub(crate) fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files.sort();
    files
}

fn read(path: &Path, overrides: &[(String, String)]) -> Result<Experiment, SpecErrors> {
    let source = SourceFile {
        name: path.file_name().unwrap().to_str().unwrap(),
        text: &std::fs::read_to_string(path).unwrap(),
        directory: Path::new("experiments"),
    };
    // Plans name files: on every machine the same ones.
    let root = folder().join("..");
    spec::parse(&source, overrides, &|path| root.join(path).exists())
}

#[test]
fn every_experiment_is_valid_and_its_plan_is_known() {
    for path in yaml_files(&folder()) {
        let experiment = read(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(experiment.name, name, "file and experiment differ in name");
        insta::assert_json_snapshot!(format!("plan-{name}"), plan(&experiment, 1));
    }
}

#[test]
fn the_timeout_of_the_circuit_breaker_experiment_reaches_the_app() {
    let overrides = [("timeout".to_owned(), "700ms".to_owned())];
    let experiment = read(&folder().join("circuit-breaker.yaml"), &overrides).unwrap();
    let system = experiment.system.unwrap();
    let app = system.patches.iter().find(|p| p.name == "app").unwrap();
    let env = &app.patch["spec"]["template"]["spec"]["containers"][0]["env"];
    let timeout = env
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "PAY_TIMEOUT");
    assert_eq!(timeout.unwrap()["value"], "700ms");
    assert_eq!(experiment.params["timeout"], "700ms");
}

#[test]
fn environment_values_are_strings_as_kubernetes_demands() {
    for path in yaml_files(&folder()) {
        for patch in read(&path, &[])
            .unwrap()
            .system
            .into_iter()
            .flat_map(|s| s.patches)
        {
            let containers = patch.patch.pointer("/spec/template/spec/containers");
            for container in containers.and_then(|c| c.as_array()).into_iter().flatten() {
                for variable in container["env"].as_array().into_iter().flatten() {
                    assert!(
                        variable["value"].is_string(),
                        "{}: {variable}",
                        path.display()
                    );
                }
            }
        }
    }
}
