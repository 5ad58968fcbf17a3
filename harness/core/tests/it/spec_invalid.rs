//! One mistake per file in `tests/invalid`, and the diagnostic it gets.

use std::path::{Path, PathBuf};

use holdfast_core::spec::{self, SourceFile, SpecErrors};

use crate::experiments::yaml_files;
use crate::spec_valid::text;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid")
}

fn diagnose(name: &str, text: &str, overrides: &[(String, String)]) -> SpecErrors {
    let source = SourceFile {
        name,
        text,
        directory: Path::new("experiments"),
    };
    let there = ["../k8s/services", "items.csv"].map(|name| Path::new("experiments").join(name));
    let exists = |path: &Path| there.iter().any(|known| known == path);
    match spec::parse(&source, overrides, &exists) {
        Err(errors) => errors,
        Ok(experiment) => panic!("{name} was taken for valid: {experiment:#?}"),
    }
}

#[test]
fn every_mistake_is_explained() {
    for path in yaml_files(&folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let errors = diagnose(name, &std::fs::read_to_string(&path).unwrap(), &[]);
        if name != "many-mistakes.yaml" {
            assert_eq!(errors.errors.len(), 1, "{errors}");
        }
        for error in &errors.errors {
            assert!(error.place.is_some(), "no place: {error}");
            let help = &error.allowed;
            assert!(help.contains("allowed: "), "nothing allowed: {help}");
        }
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), errors);
    }
}

#[test]
fn an_override_of_no_parameter_is_refused_with_the_nearest_one() {
    let text = text("params.yaml");
    let overrides = [("user".to_owned(), "5".to_owned())];
    insta::assert_snapshot!(diagnose("params.yaml", &text, &overrides), @r#"
    x --set user=5: there is no parameter `user`
    help: did you mean `users`? allowed: `item`, `outage`, `users`
    "#);
}

#[test]
fn a_wrong_override_is_explained_where_it_is_put_in() {
    let text = text("params.yaml");
    let overrides = [("users".to_owned(), "5, duration: 1s".to_owned())];
    insta::assert_snapshot!(diagnose("params.yaml", &text, &overrides), @r#"
     x `metadata.name` is not a DNS label: `orders-5, duration: 1s`
      ,-[params.yaml:3:18]
    2 | kind: Experiment
    3 | metadata: {name: "orders-${users}"}
      :                  ^^^^^^^^^^^^^^^^^
    4 | spec:
      `----
     help: allowed: 1 to 63 of a-z, 0-9 and `-`, not at either end

     x `users` cannot be 5, duration: 1s
       ,-[params.yaml:16:22]
    15 |     target: {service: app}
    16 |     stages: [{users: ${users}, duration: 60s}, {users: "${users}", duration: 60s}]
       :                      ^^^^^^^^
    17 |     requests:
       `----
     help: allowed: a whole number, 0 to 100000

     x `users` cannot be 5, duration: 1s
       ,-[params.yaml:16:56]
    15 |     target: {service: app}
    16 |     stages: [{users: ${users}, duration: 60s}, {users: "${users}", duration: 60s}]
       :                                                        ^^^^^^^^^^
    17 |     requests:
       `----
     help: allowed: a whole number, 0 to 100000

     x not a path: `/orders?by=5, duration: 1s`
       ,-[params.yaml:18:16]
    17 |     requests:
    18 |       - {post: "/orders?by=${users}", json: {item: "${item}"}}
       :                ^^^^^^^^^^^^^^^^^^^^^
    19 |   method:
       `----
     help: allowed: an absolute path with query, percent-encoded, such as /orders?page=2
    "#);
}
