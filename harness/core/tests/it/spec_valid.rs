//! Texts that are valid, and what becomes of them.

use std::path::{Path, PathBuf};

use holdfast_core::experiment::{Body, Experiment, Model};
use holdfast_core::spec::{self, SourceFile};
use holdfast_core::template::Template;

use crate::experiments::yaml_files;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid")
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

pub(crate) fn read(name: &str, overrides: &[(&str, &str)]) -> Experiment {
    let overrides: Vec<(String, String)> = overrides
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let text = text(name);
    let source = SourceFile {
        name,
        text: &text,
        directory: Path::new("experiments"),
    };
    spec::parse(&source, &overrides, &|_| true).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_valid_file_is_read() {
    for path in yaml_files(&folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        insta::assert_debug_snapshot!(name.trim_end_matches(".yaml"), read(name, &[]));
    }
}

#[test]
fn an_override_replaces_a_parameter_everywhere() {
    let experiment = read("params.yaml", &[("users", "7"), ("item", "a: b # c")]);
    let Model::Users(stages) = &experiment.load.model else {
        panic!("{:?}", experiment.load.model);
    };
    assert_eq!((stages[0].users, stages[1].users), (7, 7));
    assert_eq!(
        experiment.load.journeys[0].requests[0].body,
        Some(Body::Json(Template::fixed(r#"{"item":"a: b # c"}"#)))
    );
    assert_eq!(experiment.params["users"], "7");
}
