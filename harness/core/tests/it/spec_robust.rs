//! Whatever the text is, reading it ends with an experiment or with mistakes inside the text.

use std::path::Path;

use holdfast_core::plan::plan;
use holdfast_core::spec::{self, SourceFile};
use proptest::prelude::*;

use crate::spec_valid::text;

/// Reads `text`; every mistake must lie within it.
fn check(text: &str) -> Result<(), TestCaseError> {
    let source = SourceFile {
        name: "mutated.yaml",
        text,
        directory: Path::new("."),
    };
    match spec::parse(&source, &[], &|_| true) {
        Ok(experiment) => {
            let plan = plan(&experiment, 1);
            let last = plan.faults.iter().map(|fault| fault.end).max();
            prop_assert!(last.unwrap_or_default() <= plan.load.duration);
        }
        Err(errors) => {
            prop_assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                let place = error.place.as_ref().expect("no command line here");
                prop_assert!(place.bytes.start <= place.bytes.end);
                prop_assert!(text.get(place.bytes.clone()).is_some());
                let line = text.split('\n').nth(place.line - 1);
                let columns = line.map(|line| line.chars().count());
                prop_assert!(columns.is_some_and(|columns| place.column <= columns + 1));
            }
            prop_assert!(!errors.to_string().is_empty());
        }
    }
    Ok(())
}

/// Pieces that mean something to YAML, to parameters or to the format.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\n  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "'",
        "\"",
        "#",
        "&a ",
        "*a",
        "!t ",
        "|",
        "---\n",
        "${",
        "${users}",
        "$${",
        "}",
        ";",
        "\u{378}",
        "\u{378}users;",
        "\t",
        "\u{0}",
        "\u{feff}",
        "ä",
        "🍗",
        "~",
        "null",
        "-1",
        "1e999s",
        "999999999999999999999h",
        "NaN",
        "inf",
        "spec",
        "users",
        "method",
        "0s",
        "0/s",
        "{{",
        "{{id}}",
        "}}",
        "<<",
    ]);
    prop_oneof![known.prop_map(str::to_owned), ".{0,8}"]
}

proptest! {
    #[test]
    fn mutated_experiments_never_panic(
        file in prop::sample::select(vec![
            "faults.yaml",
            "full.yaml",
            "journeys.yaml",
            "minimal.yaml",
            "open.yaml",
            "params.yaml",
            "test-plan.yaml",
        ]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize, piece()), 1..6),
    ) {
        let mut text = text(file);
        for (position, removed, inserted) in edits {
            let start = text.floor_char_boundary(position.index(text.len() + 1));
            let end = text.floor_char_boundary((start + removed).min(text.len()));
            text.replace_range(start..end.max(start), &inserted);
        }
        check(&text)?;
    }

    #[test]
    fn arbitrary_text_never_panics(pieces in prop::collection::vec(piece(), 0..30)) {
        check(&pieces.concat())?;
    }
}

#[test]
fn deep_nesting_is_refused_without_overflowing_the_stack() {
    for open in ["[", "{a: ", "- ", "? "] {
        check(&open.repeat(100_000)).unwrap();
    }
}
