//! The catalogue of faults: its manual, its form in records, and its words.

use std::collections::BTreeSet;
use std::path::Path;

use holdfast_core::experiment::Experiment;
use holdfast_core::fault::Fault;
use holdfast_core::spec::{self, SourceFile};

use crate::spec_valid::read;

/// The YAML examples in the manual texts, by fault.
fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fault");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let manual = text.lines().map_while(|line| line.strip_prefix("//!"));
        let manual: Vec<&str> = manual.collect();
        let blocks = manual.split(|line| line.trim().starts_with("```"));
        // Every second part is between fences.
        for block in blocks.skip(1).step_by(2) {
            found.push((name.clone(), block.join("\n")));
        }
    }
    found.sort();
    found
}

/// An experiment with the one step that `fault` (its lines, from `fault:` on) is.
fn experiment(fault: &str) -> Experiment {
    let fault = fault.replace('\n', "\n     ");
    let text = format!(
        "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {{name: example}}
spec:
  system: {{namespace: shop, manifests: [k8s]}}
  load:
    target: {{service: app}}
    stages: [{{users: 1, duration: 60s}}]
    requests: [{{get: /}}]
  method:
    - name: step
      at: 0s
      duration: 10s
     {fault}
"
    );
    let source = SourceFile {
        name: "example.yaml",
        text: &text,
        directory: Path::new("."),
    };
    spec::parse(&source, &[], &|_| true).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What stands behind `fault:`, as any reader of YAML sees it.
fn written(example: &str) -> serde_json::Value {
    let value: serde_json::Value = serde_saphyr::from_str(example).unwrap();
    value["fault"].clone()
}

/// The same with every number as a fraction: YAML does not tell 20 from 20.0.
fn fractions(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().unwrap().into(),
        Value::Array(items) => items.into_iter().map(fractions).collect(),
        Value::Object(entries) => {
            let entries = entries.into_iter();
            Value::Object(
                entries
                    .map(|(key, value)| (key, fractions(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

#[test]
fn every_example_of_the_manual_is_read_and_has_the_same_form_in_a_record() {
    let mut documented = BTreeSet::new();
    for (name, example) in examples() {
        let fault = experiment(&example).method.remove(0).fault;
        let json = serde_json::to_value(&fault).unwrap();
        assert_eq!(
            fractions(json.clone()),
            fractions(written(&example)),
            "{name}"
        );
        assert_eq!(
            serde_json::from_value::<Fault>(json.clone()).unwrap(),
            fault
        );
        documented.extend(json.as_object().unwrap().keys().cloned());
    }
    let schema = schemars::schema_for!(Fault);
    let kinds = schema.get("oneOf").unwrap().as_array().unwrap();
    let kinds = kinds
        .iter()
        .map(|kind| kind["required"][0].as_str().unwrap());
    assert_eq!(documented, kinds.map(str::to_owned).collect());
}

#[test]
fn a_record_with_an_unknown_parameter_is_refused() {
    let unknown = r#"{"podKill": {"deployment": "app", "count": 1, "selector": "all"}}"#;
    let error = serde_json::from_str::<Fault>(unknown).unwrap_err();
    assert!(error.to_string().contains("selector"), "{error}");
}

#[test]
fn every_fault_says_what_it_does_and_what_it_holds() {
    let lines = read("faults.yaml", &[]).method.into_iter().map(|step| {
        let holds: Vec<String> = step.fault.holds().iter().map(ToString::to_string).collect();
        assert!(!holds.is_empty());
        format!(
            "{}: {} | {}",
            step.name,
            step.fault.describe(),
            holds.join(", ")
        )
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}
