//! Text to [`crate::experiment::Experiment`]: the only place that knows YAML.
//!
//! ```text
//! text ─mask parameters→ tree with places ─put parameters in→ sections ─check together→ Experiment
//! ```
//!
//! Every mistake is collected and reported at its place in the original text; afterwards only
//! valid values exist. The format itself is described in `harness/docs/experiment.md`.

use std::path::Path;

use crate::experiment::{Experiment, Profile};

mod address;
mod checks;
mod diagnostic;
mod invariants;
mod load;
mod method;
mod objectives;
mod params;
mod problems;
mod reference;
mod safety;
mod system;
pub mod threshold;
mod tree;

pub use diagnostic::{Place, SpecError, SpecErrors};
pub use load::{MOST_IN_FLIGHT, MOST_WORKERS};
pub use problems::{LONGEST, RATES};

use problems::{Fields, Problems};
use tree::{Node, Value};

/// The only version of the format.
pub const API_VERSION: &str = "holdfast.dev/v1alpha1";

/// The text of an experiment and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// The file's name for messages.
    pub name: &'a str,
    /// The whole text.
    pub text: &'a str,
    /// The folder that relative paths in the text start from.
    pub directory: &'a Path,
}

/// Reads an experiment. `overrides` are the `--set name=value` of the command line; `exists` says
/// whether a resolved path that the text names is there.
///
/// # Errors
/// Every mistake of the file, each with its place and what is allowed. Where the text is not
/// YAML at all, that is the only one.
pub fn parse(
    source: &SourceFile<'_>,
    overrides: &[(String, String)],
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Experiment, SpecErrors> {
    parse_as(Profile::Full, source, overrides, exists)
}

/// The same with the parameters' values of a profile.
///
/// # Errors
/// As [`parse`], and where the experiment has no such profile.
pub fn parse_as(
    profile: Profile,
    source: &SourceFile<'_>,
    overrides: &[(String, String)],
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Experiment, SpecErrors> {
    let mut problems = Problems::default();
    let experiment = read(profile, source, overrides, exists, &mut problems);
    match experiment {
        Some(experiment) if problems.is_empty() => Ok(experiment),
        _ => Err(problems.into_errors(source)),
    }
}

fn read(
    profile: Profile,
    source: &SourceFile<'_>,
    overrides: &[(String, String)],
    exists: &dyn Fn(&Path) -> bool,
    problems: &mut Problems,
) -> Option<Experiment> {
    let masked = params::mask(source.text, problems);
    let mut root = tree::read(&masked, problems)?;
    let params = params::read(&root, profile, overrides, problems);
    params::substitute(&mut root, &params, problems);

    let file = problems.fields(
        &root,
        "experiment",
        &["apiVersion", "kind", "metadata", "spec", "status"],
        &[],
    )?;
    constant(&file, "apiVersion", API_VERSION, problems);
    constant(&file, "kind", "Experiment", problems);
    let name = metadata(&file, problems);
    let spec = file.required("spec", problems)?;
    let spec = problems.fields(
        spec,
        "spec",
        &[
            "title",
            "params",
            "quick",
            "system",
            "load",
            "windows",
            "method",
            "steadyState",
            "invariants",
            "safety",
            "reference",
        ],
        &["compare"],
    )?;

    let title = spec.get("title").map(|node| problems.text(node, "title"));
    let system = spec
        .get("system")
        .map(|node| system::read(node, source.directory, exists, problems));
    let load_node = spec.required("load", problems);
    let surroundings = load::Surroundings {
        directory: source.directory,
        exists,
    };
    let load = load_node.and_then(|node| load::read(node, surroundings, problems));
    let windows = method::windows(spec.get("windows"), problems);
    let method = method::steps(spec.get("method"), problems);
    let objectives = objectives::read(spec.get("steadyState"), problems);
    let invariants = invariants::read(spec.get("invariants"), problems);
    let pause = load.as_ref().map(load::longest_pause);
    let safety = safety::limits(spec.get("safety"), pause, problems);
    let reference = spec
        .get("reference")
        .map(|node| reference::read(node, problems));

    checks::fits_in_load(&method, windows.as_ref(), load.as_ref(), problems);
    let limits = safety.as_ref().map(|(limits, _)| limits);
    checks::long_faults_permitted(&method, limits, problems);
    checks::no_overlap(&method, problems);
    checks::unique_names(&method, problems);
    let stop_conditions = safety.iter().flat_map(|(_, conditions)| conditions);
    let read = stop_conditions.clone();
    let read = read.filter_map(|condition| Some((condition.value.reads()?, &condition.at)));
    let asked = invariants.iter().flatten();
    let asked = asked.map(|invariant| (&invariant.value.get, &invariant.at));
    let asked = asked.chain(
        stop_conditions.filter_map(|condition| Some((condition.value.asks()?, &condition.at))),
    );
    checks::namespace_known(&spec, &method, asked, read, problems);
    checks::objectives_have_data(&objectives, &spec, load.as_ref(), problems);

    let name = name?;
    let mut method: Vec<_> = method?.into_iter().map(|step| step.value).collect();
    method.sort_by_key(|step| step.at);
    Some(Experiment {
        title: title.unwrap_or_else(|| Some(name.clone()))?,
        name,
        profile,
        params,
        system: transpose(system)?,
        load: load?,
        windows: windows?,
        method,
        objectives: objectives?.into_iter().map(|placed| placed.value).collect(),
        invariants: invariants?.into_iter().map(|placed| placed.value).collect(),
        safety: safety?.0,
        reference: transpose(reference)?,
    })
}

/// A section that may be left out: absent is fine, present and wrong is not.
fn transpose<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// A value and what to underline when it does not go with the others.
#[derive(Debug)]
struct Placed<T> {
    value: T,
    at: std::ops::Range<usize>,
}

fn constant(file: &Fields<'_>, field: &str, expected: &str, problems: &mut Problems) {
    let Some(node) = file.required(field, problems) else {
        return;
    };
    if let Some(text) = problems.text(node, field)
        && text != expected
    {
        problems.report(
            &node.at,
            format!("`{field}` cannot be `{text}`"),
            format!("allowed: {expected}"),
        );
    }
}

fn metadata(file: &Fields<'_>, problems: &mut Problems) -> Option<String> {
    let node = file.required("metadata", problems)?;
    let known = ["name", "labels", "annotations"];
    let metadata = problems.fields(node, "metadata", &known, &[])?;
    for free in ["labels", "annotations"] {
        if let Some(node) = metadata.get(free) {
            problems.entries(node, free);
        }
    }
    let name = metadata.required("name", problems)?;
    problems.label(name, "metadata.name")
}

/// The node as JSON: quoted scalars are strings, plain ones what YAML 1.2 says they are.
/// `None` where something in it was reported before.
fn to_json(node: &Node) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match &node.value {
        Value::Broken => return None,
        Value::List(items) => Json::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, value)| Some((key.text.clone(), to_json(value)?)))
                .collect::<Option<_>>()?,
        ),
        Value::Scalar(_) if node.is_null() => Json::Null,
        Value::Scalar(scalar) if scalar.plain => plain_to_json(&scalar.text),
        Value::Scalar(scalar) => Json::String(scalar.text.clone()),
    })
}

fn plain_to_json(text: &str) -> serde_json::Value {
    match text {
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    // Only digits make a number: Rust would also read `inf`, `nan` and the like.
    let numeric = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        && text.contains(|c: char| c.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => number.into(),
        _ => text.into(),
    }
}
