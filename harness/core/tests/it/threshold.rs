//! Thresholds of the command line: the same objectives as an experiment file's, in one line.

use holdfast_core::experiment::{Metric, Objective, Phase};
use holdfast_core::spec::threshold::{ask, parse};

use crate::spec_valid::read;

fn objective(metric: Metric, min: Option<f64>, max: Option<f64>) -> Objective {
    Objective {
        metric,
        during: Vec::new(),
        min,
        max,
        min_requests: 1,
    }
}

#[test]
fn a_metric_an_operator_and_a_value() {
    let least = |metric, bound| objective(metric, Some(bound), None);
    let most = |metric, bound| objective(metric, None, Some(bound));
    for (text, expected) in [
        ("availability>=99.9", least(Metric::Availability, 99.9)),
        (
            " availability >= 99.9 % ",
            least(Metric::Availability, 99.9),
        ),
        (
            "siegeAvailability>=100%",
            least(Metric::SiegeAvailability, 100.0),
        ),
        ("p95<=500ms", most(Metric::P95, 0.5)),
        ("recoveryTime <= 2m", most(Metric::RecoveryTime, 120.0)),
        ("goodput>=200/s", least(Metric::Goodput, 200.0)),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn windows_are_selected_by_phase() {
    let fault = parse("p99{phase:fault}<=2s").unwrap();
    assert_eq!(fault.during, [Phase::Fault]);
    let both = parse("availability { phase : fault, recovery } >= 50").unwrap();
    assert_eq!(both.during, [Phase::Fault, Phase::Recovery]);
}

#[test]
fn a_mistake_is_named_with_what_is_allowed() {
    let mistakes = [
        "",
        "availability",
        "availability 99.9",
        "avaliability>=99.9",
        "p(95)<500",
        "p95<500ms",
        "p95==500ms",
        "p95<=500",
        "p95<=fast",
        "availability>=101",
        "availability>=inf",
        "availability>=",
        "goodput>=200",
        "goodput>=1e9/s",
        "p99{fault}<=2s",
        "p99{phase:fault<=2s",
        "p99{phase:faults}<=2s",
        "p99{phase:}<=2s",
    ];
    let told = mistakes.map(|text| format!("{text}\n    {}\n", parse(text).unwrap_err()));
    insta::assert_snapshot!(told.concat());
}

#[test]
fn a_threshold_asks_about_what_the_experiment_measures() {
    let mut plain = read("minimal.yaml", &[]);
    let before = plain.objectives.len();
    ask(&mut plain, parse("p99<=2s").unwrap()).unwrap();
    assert_eq!(plain.objectives.len(), before + 1);
    assert_eq!(plain.objectives[before].metric, Metric::P99);
    plain.load.prober = None;

    let refused = ["p99{phase:fault}<=2s", "proberAvailability>=99"];
    let told = refused.map(|text| {
        ask(&mut plain, parse(text).unwrap())
            .unwrap_err()
            .to_string()
    });
    insta::assert_snapshot!(told.join("\n"), @r"
    the objective asks about a fault, but there is none; allowed: the metric without `{phase:…}`, or a run with a fault
    the objective asks about the prober, which is switched off; allowed: another metric, or a run with a prober
    ");
}
