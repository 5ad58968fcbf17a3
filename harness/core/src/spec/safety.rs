//! `spec.safety`: the limits on the damage.

use std::time::Duration;

use super::problems::{Fields, Problems};
use super::tree::Node;
use super::{Placed, address};
use crate::condition::{ObjectKind, RequiredCondition, Status};
use crate::experiment::{ClusterLock, Safety, SafetyNet, StopCondition};
use crate::promql;

/// More seconds in a row than this are longer than any run.
const MOST_SECONDS: u32 = 24 * 60 * 60;

/// The limits, with the places of the stop conditions that ask a service. `pause` is the longest
/// that the load makes between requests; `None` when it could not be read.
pub(super) fn limits(
    node: Option<&Node>,
    pause: Option<Duration>,
    problems: &mut Problems,
) -> Option<(Safety, Vec<Placed<StopCondition>>)> {
    let Some(node) = node else {
        return Some(Default::default());
    };
    let known = ["cluster", "stopConditions", "allow"];
    let fields = problems.fields(node, "safety", &known, &[])?;
    let cluster = fields.get("cluster").map(|node| cluster(node, problems));
    let stop_conditions = match fields.get("stopConditions") {
        Some(node) => stop_conditions(node, pause.unwrap_or_default(), problems),
        None => Some(Vec::new()),
    };
    let allow = match fields.get("allow") {
        Some(node) => safety_nets(node, problems),
        None => Some(Vec::new()),
    };
    let stop_conditions = stop_conditions?;
    let safety = Safety {
        cluster: super::transpose(cluster)?,
        stop_conditions: stop_conditions.iter().map(|it| it.value.clone()).collect(),
        allow: allow?,
    };
    Some((safety, stop_conditions))
}

fn cluster(node: &Node, problems: &mut Problems) -> Option<ClusterLock> {
    let known = ["uid", "context"];
    let fields = problems.fields(node, "cluster", &known, &[])?;
    match fields.exactly_one(&known, problems)? {
        ("context", node) => problems.text(node, "context").map(ClusterLock::Context),
        (_, node) => {
            let uid = problems.text(node, "uid")?;
            if is_uid(&uid) {
                return Some(ClusterLock::Uid(uid));
            }
            problems.report(
                &node.at,
                format!("`uid` is not the UID of a namespace: `{uid}`"),
                "allowed: what `kubectl get namespace kube-system -o jsonpath={.metadata.uid}` prints",
            );
            None
        }
    }
}

/// 8-4-4-4-12 hexadecimal digits, as Kubernetes writes them.
fn is_uid(text: &str) -> bool {
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.split('-').all(|part| part.chars().all(hexadecimal))
}

fn stop_conditions(
    node: &Node,
    pause: Duration,
    problems: &mut Problems,
) -> Option<Vec<Placed<StopCondition>>> {
    let items = problems.list(node, "stopConditions")?;
    let read = items.iter().map(|item| {
        Some(Placed {
            at: item.at.clone(),
            value: stop_condition(item, pause, problems)?,
        })
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

#[derive(Clone, Copy)]
enum Metric {
    Availability,
    P99,
    FailedSeconds,
}

fn stop_condition(node: &Node, pause: Duration, problems: &mut Problems) -> Option<StopCondition> {
    let known = [
        "metric",
        "http",
        "promql",
        "k8sCondition",
        "clusterHealth",
        "url",
        "over",
        "min",
        "max",
        "consecutive",
        "every",
    ];
    let fields = problems.fields(node, "stop condition", &known, &[])?;
    let kinds = ["metric", "http", "promql", "k8sCondition", "clusterHealth"];
    match fields.exactly_one(&kinds, problems)? {
        ("http", get) => http(get, &fields, problems),
        ("promql", query) => promql(query, &fields, problems),
        ("k8sCondition", node) => k8s_condition(node, &fields, problems),
        ("clusterHealth", node) => cluster_health(node, &fields, problems),
        (_, metric) => of_the_load(metric, &fields, pause, problems),
    }
}

fn http(get: &Node, fields: &Fields<'_>, problems: &mut Problems) -> Option<StopCondition> {
    fields.without_others("http", &["http", "every"], problems)?;
    let get = address::read(get, "http", problems);
    let every = every(fields, problems);
    Some(StopCondition::Http {
        get: get?,
        every: every?,
    })
}

fn promql(query: &Node, fields: &Fields<'_>, problems: &mut Problems) -> Option<StopCondition> {
    let own = ["promql", "url", "min", "max", "every"];
    fields.without_others("promql", &own, problems)?;
    let query_text = problems.text(query, "promql");
    let url = fields
        .required("url", problems)
        .and_then(|node| address::base(node, problems));
    let mut bound = |field: &str| match fields.get(field) {
        Some(node) => problems.number(node, field, f64::MIN..=f64::MAX).map(Some),
        None => Some(None),
    };
    let (min, max) = (bound("min"), bound("max"));
    let every = every(fields, problems);
    let (query_text, url, min, max, every) = (query_text?, url?, min?, max?, every?);
    let mistake = match (min, max) {
        (None, None) => Some(("`promql` has no bound", "allowed: `min`, `max` or both")),
        (Some(min), Some(max)) if min > max => Some((
            "`min` is above `max`: every number would trip",
            "allowed: `min` up to `max`",
        )),
        _ => None,
    };
    if let Some((message, allowed)) = mistake {
        problems.report(&query.at, message, allowed);
        return None;
    }
    Some(StopCondition::Promql {
        get: promql::address(&url, &query_text),
        query: query_text,
        min,
        max,
        every,
    })
}

fn k8s_condition(
    node: &Node,
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<StopCondition> {
    fields.without_others("k8sCondition", &["k8sCondition", "every"], problems)?;
    let required = required_condition(node, problems);
    let every = every(fields, problems);
    Some(StopCondition::K8sCondition {
        required: required?,
        every: every?,
    })
}

fn cluster_health(
    node: &Node,
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<StopCondition> {
    fields.without_others("clusterHealth", &["clusterHealth"], problems)?;
    let fields = problems.fields(node, "clusterHealth", &["every"], &[])?;
    let every = every(&fields, problems)?;
    Some(StopCondition::ClusterHealth { every })
}

fn required_condition(node: &Node, problems: &mut Problems) -> Option<RequiredCondition> {
    let known = ["kind", "name", "type", "status"];
    let fields = problems.fields(node, "k8sCondition", &known, &[])?;
    let kinds = ObjectKind::ALL.map(|kind| (kind.name(), kind));
    let kind = fields
        .required("kind", problems)
        .and_then(|node| problems.one_of(node, "kind of an object with conditions", &kinds, &[]));
    let name = fields
        .required("name", problems)
        .and_then(|node| problems.object_name(node, "name"));
    let type_ = fields
        .required("type", problems)
        .and_then(|node| problems.text(node, "type"));
    let statuses = Status::ALL.map(|status| (status.name(), status));
    let status = match fields.get("status") {
        Some(node) => problems.one_of(node, "status of a condition", &statuses, &[]),
        None => Some(Status::True),
    };
    Some(RequiredCondition {
        kind: kind?,
        name: name?,
        type_: type_?,
        status: status?,
    })
}

fn of_the_load(
    metric: &Node,
    fields: &Fields<'_>,
    pause: Duration,
    problems: &mut Problems,
) -> Option<StopCondition> {
    let words = [
        ("availability", Metric::Availability),
        ("p99", Metric::P99),
        ("failedSeconds", Metric::FailedSeconds),
    ];
    match problems.one_of(metric, "metric of a stop condition", &words, &[])? {
        Metric::Availability => {
            fields.without_others("availability", &["metric", "over", "min"], problems)?;
            let over = over(fields, pause, problems);
            let min = fields
                .required("min", problems)
                .and_then(|node| problems.percent(node, "min"));
            Some(StopCondition::Availability {
                over: over?,
                min: min?,
            })
        }
        Metric::P99 => {
            fields.without_others("p99", &["metric", "over", "max"], problems)?;
            let over = over(fields, pause, problems);
            let max = fields
                .required("max", problems)
                .and_then(|node| problems.positive_duration(node, "max"));
            Some(StopCondition::P99 {
                over: over?,
                max: max?,
            })
        }
        Metric::FailedSeconds => {
            fields.without_others("failedSeconds", &["metric", "consecutive"], problems)?;
            let node = fields.required("consecutive", problems)?;
            let consecutive = problems.whole(node, "consecutive", 1..=MOST_SECONDS)?;
            let length = Duration::from_secs(u64::from(consecutive));
            longer_than_pause(node, "consecutive", length, pause, problems)?;
            Some(StopCondition::FailedSeconds { consecutive })
        }
    }
}

fn every(fields: &Fields<'_>, problems: &mut Problems) -> Option<Duration> {
    let node = fields.required("every", problems)?;
    whole_seconds(node, "every", problems)
}

fn over(fields: &Fields<'_>, pause: Duration, problems: &mut Problems) -> Option<Duration> {
    let node = fields.required("over", problems)?;
    let over = whole_seconds(node, "over", problems)?;
    longer_than_pause(node, "over", over, pause, problems)?;
    Some(over)
}

/// Load is counted by the second.
fn whole_seconds(node: &Node, what: &str, problems: &mut Problems) -> Option<Duration> {
    let value = problems.positive_duration(node, what)?;
    if value.subsec_nanos() == 0 {
        return Some(value);
    }
    problems.report(
        &node.at,
        format!("`{what}` is not a number of whole seconds: {value:?}"),
        "allowed: whole seconds from 1s on",
    );
    None
}

/// A stretch without any request trips: the load itself must not make one.
fn longer_than_pause(
    node: &Node,
    what: &str,
    length: Duration,
    pause: Duration,
    problems: &mut Problems,
) -> Option<()> {
    if length > pause {
        return Some(());
    }
    problems.report(
        &node.at,
        format!("`{what}` is not longer than the load's own pauses: {length:?}"),
        format!("allowed: whole seconds above {pause:?}; a window without requests trips"),
    );
    None
}

fn safety_nets(node: &Node, problems: &mut Problems) -> Option<Vec<SafetyNet>> {
    let words = SafetyNet::ALL.map(|net| (net.name(), net));
    let items = problems.list(node, "allow")?;
    let read = items
        .iter()
        .map(|item| problems.one_of(item, "safety net", &words, &[]));
    read.collect::<Vec<_>>().into_iter().collect()
}
