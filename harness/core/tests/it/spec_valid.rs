//! Texts that are valid, and what becomes of them.

use std::path::{Path, PathBuf};

use holdfast_core::experiment::{Body, Experiment, Model, Profile};
use holdfast_core::spec::{self, SourceFile, SpecErrors};
use holdfast_core::template::Template;

use crate::experiments::yaml_files;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid")
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

pub(crate) fn read(name: &str, overrides: &[(&str, &str)]) -> Experiment {
    read_as(Profile::Full, name, overrides).unwrap_or_else(|errors| panic!("{errors}"))
}

fn read_as(
    profile: Profile,
    name: &str,
    overrides: &[(&str, &str)],
) -> Result<Experiment, SpecErrors> {
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
    spec::parse_as(profile, &source, &overrides, &|_| true)
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

#[test]
fn the_quick_profile_has_its_own_values_and_the_command_line_wins() {
    let params = |profile, overrides: &[(&str, &str)]| {
        let experiment = read_as(profile, "quick.yaml", overrides).unwrap();
        assert_eq!(experiment.profile, profile);
        let shown = experiment.params.iter();
        let shown: Vec<String> = shown
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (shown.join(" "), experiment.method[0].duration.as_secs())
    };
    let full = params(Profile::Full, &[]);
    assert_eq!(full, ("length=3m outage=60s users=100".to_owned(), 60));
    let quick = params(Profile::Quick, &[]);
    assert_eq!(quick, ("length=3m outage=5s users=20".to_owned(), 5));
    let both = params(Profile::Quick, &[("outage", "7s")]);
    assert_eq!(both, ("length=3m outage=7s users=20".to_owned(), 7));
}

#[test]
fn an_experiment_without_a_quick_profile_says_so() {
    let errors = read_as(Profile::Quick, "minimal.yaml", &[]).unwrap_err();
    insta::assert_snapshot!(errors, @r#"
    x --quick: the experiment has no quick profile
    help: allowed: --quick for an experiment with `spec.quick`, values for its parameters; --set for single ones
    "#);
}
