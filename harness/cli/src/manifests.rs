//! Kubernetes manifests from files: read, patched, placed into a namespace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use holdfast_core::experiment::Patch;
use serde_json::Value;

use crate::failure::Failure;

/// Reads all objects of the given files and folders (`*.yaml`, `*.yml`, by name), patches them,
/// and places them into `namespace`.
pub(crate) fn read(
    paths: &[PathBuf],
    patches: &[Patch],
    namespace: &str,
) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for path in paths {
        for file in files(path)? {
            objects.extend(read_file(&file)?);
        }
    }
    if objects.is_empty() {
        let list: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(Failure::input(format!(
            "no Kubernetes object in {}",
            list.join(", ")
        )));
    }
    for patch in patches {
        apply_patch(&mut objects, patch)?;
    }
    for object in &mut objects {
        object["metadata"]["namespace"] = namespace.into();
    }
    Ok(objects)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error| Failure::input(format!("cannot read {}: {error}", path.display()));
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(cannot)?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(cannot)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if file.is_file() && matches!(extension, Some("yaml" | "yml")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(file: &Path) -> Result<Vec<Value>, Failure> {
    let place = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("cannot read {place}: {error}")))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| Failure::input(format!("{place}: {error}")))?;
    let objects: Vec<Value> = documents
        .into_iter()
        .filter(|value| !value.is_null())
        .collect();
    for object in &objects {
        for field in ["apiVersion", "kind"] {
            if object[field].as_str().is_none() {
                return Err(Failure::input(format!("{place}: an object has no {field}")));
            }
        }
        if object["metadata"]["name"].as_str().is_none() {
            return Err(Failure::input(format!(
                "{place}: an object has no metadata.name"
            )));
        }
    }
    Ok(objects)
}

fn apply_patch(objects: &mut [Value], patch: &Patch) -> Result<(), Failure> {
    let known: Vec<String> = objects.iter().map(describe).collect();
    let target = objects.iter_mut().find(|object| {
        object["kind"] == patch.kind.as_str() && object["metadata"]["name"] == patch.name.as_str()
    });
    let Some(target) = target else {
        return Err(Failure::input(format!(
            "system.patches: the manifests have no {} {}",
            patch.kind, patch.name
        ))
        .hint(format!("they have {}", known.join(", "))));
    };
    holdfast_cluster::strategic_merge(target, &patch.patch);
    Ok(())
}

/// `Kind name` of an object.
pub(crate) fn describe(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}",
        word(&object["kind"]),
        word(&object["metadata"]["name"])
    )
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Every image the objects' containers name.
pub(crate) fn images(objects: &[Value]) -> BTreeSet<String> {
    let mut images = BTreeSet::new();
    for object in objects {
        let spec = if object["kind"] == "Pod" {
            &object["spec"]
        } else {
            &object["spec"]["template"]["spec"]
        };
        for list in ["initContainers", "containers"] {
            let containers = spec[list].as_array().into_iter().flatten();
            images.extend(containers.filter_map(|one| one["image"].as_str().map(str::to_owned)));
        }
    }
    images
}

/// `file:line:column` of the first mention of an image in the manifests' text; none when it comes
/// from a patch.
pub(crate) fn place_of_image(paths: &[PathBuf], image: &str) -> Option<String> {
    let files = paths.iter().filter_map(|path| files(path).ok()).flatten();
    files.into_iter().find_map(|file| {
        let text = std::fs::read_to_string(&file).ok()?;
        let mut lines = text.lines().enumerate();
        lines.find_map(|(index, line)| {
            let column = line.contains("image:").then(|| line.find(image))??;
            let column = line[..column].chars().count() + 1;
            Some(format!("{}:{}:{column}", file.display(), index + 1))
        })
    })
}

/// The names of all objects of a kind.
pub(crate) fn names(objects: &[Value], kind: &str) -> Vec<String> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TWO: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  template:
    spec:
      containers:
        - {name: app, image: \"app:1\", env: [{name: A, value: \"1\"}, {name: B, value: \"2\"}]}
---
apiVersion: v1
kind: Service
metadata: {name: app}
";

    fn patch(name: &str, patch: Value) -> Patch {
        Patch {
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
            patch,
        }
    }

    #[test]
    fn a_patch_merges_containers_and_variables_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.yaml"), TWO).unwrap();
        let change = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "app", "env": [{"name": "B", "value": "3"}]}
        ]}}}});
        let paths = [folder.path().to_owned()];
        let objects = read(&paths, &[patch("app", change)], "shop").unwrap();
        let container = &objects[0]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "app:1");
        let mut variables = container["env"].as_array().unwrap().clone();
        variables.sort_by_key(|variable| variable["name"].to_string());
        assert_eq!(
            json!(variables),
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}])
        );
        assert_eq!(objects[1]["metadata"]["namespace"], "shop");
        assert_eq!(images(&objects), ["app:1".to_owned()].into());
        assert_eq!(names(&objects, "Service"), ["app"]);
        let place = place_of_image(&paths, "app:1").unwrap();
        assert!(place.ends_with("app.yaml:8:31"), "{place}");
        assert_eq!(place_of_image(&paths, "pay:1"), None);
    }

    #[test]
    fn a_patch_without_a_target_says_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        std::fs::write(&file, TWO).unwrap();
        let error = read(&[file], &[patch("ap", json!({}))], "shop")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no Deployment ap"), "{error}");
        assert!(error.contains("Deployment app, Service app"), "{error}");
    }

    #[test]
    fn what_is_no_object_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        std::fs::write(&file, "kind: Service\nmetadata: {name: a}\n").unwrap();
        let error = read(&[file], &[], "shop").unwrap_err().to_string();
        assert!(
            error.contains("app.yaml: an object has no apiVersion"),
            "{error}"
        );
    }
}
