//! `k8s/monitoring` watches what the services really export.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

/// What Prometheus itself knows of a service.
const OF_PROMETHEUS: &str = "up";

/// Words of PromQL that stand where a metric could.
const KEYWORDS: [&str; 8] = ["and", "bool", "count", "max", "min", "or", "sum", "unless"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn monitoring(file: &str) -> PathBuf {
    workspace().join("k8s/monitoring").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(monitoring(file)).unwrap()
}

/// Every text of a field called `name`, at any depth.
fn fields<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(name).and_then(Value::as_str));
            object.values().for_each(|value| fields(value, name, found));
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names of metrics in a PromQL expression: the words that are no label, function or keyword.
fn metrics(expression: &str) -> BTreeSet<String> {
    let labels =
        r"\{[^}]*\}|\[[^\]]*\]|\b(by|without|on|ignoring|group_left|group_right)\b\s*(\([^)]*\))?";
    let expression = Regex::new(labels).unwrap().replace_all(expression, " ");
    Regex::new(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(?)")
        .unwrap()
        .captures_iter(&expression)
        .map(|word| word.extract::<2>().1)
        .filter(|[word, call]| call.is_empty() && !KEYWORDS.contains(word))
        .map(|[word, _]| word.to_owned())
        .collect()
}

#[test]
fn metrics_are_told_from_labels_functions_and_keywords() {
    let found = |expression| metrics(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("sum by (job, le) (rate(a_total{b=~\"c|d\"}[5m])) / on (e) group_left job:f:g > 0.5"),
        ["a_total", "job:f:g"]
    );
    assert_eq!(
        found("max by (job) (h{i=\"j\"} + 0.5 * ignoring (i) k) unless l"),
        ["h", "k", "l"]
    );
}

/// What somebody who looks for the reason of a failure must find on the dashboard.
const SHOWN: [&str; 14] = [
    "bulkhead_permits_in_use",
    "circuit_breaker_calls_total",
    "circuit_breaker_state",
    "circuit_breaker_transitions_total",
    "consumer_lag",
    "db_client_connections_max",
    "db_client_connections_pending_requests",
    "db_client_connections_used",
    "event_handler_panics_total",
    "events_dead_lettered_total",
    "gateway_refusals_total",
    "http_requests_total",
    "outbox_dead_letters",
    "outbox_oldest_age_seconds",
];

/// The names of all metrics that the services' sources register.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![workspace().join("reference-services")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for call in text.split(".register(").skip(1) {
                    if let Some(name) = call.trim_start().strip_prefix('"') {
                        names.insert(name.split('"').next().unwrap().to_owned());
                    }
                }
            }
        }
    }
    names
}

/// The rules and the dashboard.
fn watching() -> [Value; 2] {
    [
        serde_saphyr::from_str(&read("rules.yaml")).unwrap(),
        serde_json::from_str(&read("dashboard.json")).unwrap(),
    ]
}

#[test]
fn what_tells_the_reason_of_a_failure_is_on_the_dashboard() {
    let [_, dashboard] = watching();
    let mut expressions = Vec::new();
    fields(&dashboard, "expr", &mut expressions);
    let shown: BTreeSet<String> = expressions.into_iter().flat_map(metrics).collect();
    for name in SHOWN {
        assert!(shown.contains(name), "no panel shows {name}");
    }
}

#[test]
fn every_metric_that_is_watched_is_exported_by_a_service() {
    let [rules, dashboard] = watching();
    let (mut expressions, mut recorded) = (Vec::new(), Vec::new());
    fields(&rules, "expr", &mut expressions);
    fields(&rules, "record", &mut recorded);
    let of_rules = expressions.len();
    fields(&dashboard, "expr", &mut expressions);
    assert!(of_rules > 0 && expressions.len() > of_rules);

    let registered = registered();
    assert!(registered.contains("http_requests"), "{registered:?}");
    let is_known = |name: &str| {
        let suffixes = ["_total", "_bucket", "_count", "_sum", ""];
        let mut bases = suffixes.iter().filter_map(|it| name.strip_suffix(it));
        name == OF_PROMETHEUS
            || recorded.contains(&name)
            || bases.any(|base| registered.contains(base))
    };
    for expression in expressions {
        let names = metrics(expression);
        assert!(!names.is_empty(), "nothing is watched by {expression}");
        for name in names {
            assert!(is_known(&name), "no service exports {name} of {expression}");
        }
    }
}

/// Whether a tool is there; where all tools are required, it must be.
fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    let required = std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(
        found || !required,
        "{tool} is not installed, and HOLDFAST_REQUIRE_TOOLS=1"
    );
    found
}

#[test]
fn the_rules_are_well_formed_and_raise_the_alarms_they_should() {
    if !is_installed("promtool") {
        eprintln!("SKIPPED: promtool is not installed");
        return;
    }
    for arguments in [
        ["check", "config", "prometheus.yaml"],
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "rules.test.yaml"],
    ] {
        let mut promtool = Command::new("promtool");
        let output = promtool
            .args(arguments)
            .current_dir(monitoring(""))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "promtool {arguments:?}: {output:?}"
        );
    }
}
