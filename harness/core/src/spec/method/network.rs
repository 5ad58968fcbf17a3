//! Faults between services: `serviceDown`, `throttle`.

use super::super::problems::{Fields, Problems};
use super::super::tree::Node;
use super::fault::{name, optional};
use super::workloads::{VARIABLE_FORM, is_variable};
use crate::fault::{Bandwidth, Caller, ServiceDown, Throttle};

pub(super) fn service_down(node: &Node, problems: &mut Problems) -> Option<ServiceDown> {
    let fields = problems.fields(node, "serviceDown", &["service"], &[])?;
    let service = name(&fields, "service", problems)?;
    Some(ServiceDown { service })
}

const HARMS: [&str; 5] = ["delay", "bandwidth", "errors", "abort", "blackhole"];

pub(super) fn throttle(node: &Node, problems: &mut Problems) -> Option<Throttle> {
    let known = [
        "service",
        "from",
        "delay",
        "jitter",
        "bandwidth",
        "errors",
        "status",
        "abort",
        "blackhole",
    ];
    let fields = problems.fields(node, "throttle", &known, &[])?;
    let service = name(&fields, "service", problems);
    let from = optional(&fields, "from", |node| caller(node, problems));
    let delay = optional(&fields, "delay", |node| {
        problems.positive_duration(node, "delay")
    });
    let jitter = optional(&fields, "jitter", |node| {
        problems.positive_duration(node, "jitter")
    });
    let bandwidth = optional(&fields, "bandwidth", |node| bandwidth(node, problems));
    let errors = optional(&fields, "errors", |node| share(node, "errors", problems));
    let status = optional(&fields, "status", |node| {
        problems.whole(node, "status", 400..=599)
    });
    let abort = optional(&fields, "abort", |node| share(node, "abort", problems));
    let blackhole = optional(&fields, "blackhole", |node| {
        problems.switched_on(node, "blackhole")
    });
    let sensible = go_together(&fields, problems);
    let throttle = Throttle {
        service: service?,
        from: from?,
        delay: delay?,
        jitter: jitter?,
        bandwidth: bandwidth?,
        errors: errors?,
        status: status?,
        abort: abort?,
        blackhole: blackhole?.is_some(),
    };
    sensible?;
    add_up(&throttle, &fields, problems)?;
    Some(throttle)
}

/// Which harms there are: at least one, `blackhole` alone, and nothing that describes a harm that
/// is not there.
fn go_together(throttle: &Fields<'_>, problems: &mut Problems) -> Option<()> {
    let given = |field: &str| throttle.get(field).is_some();
    let harms = HARMS.iter().filter(|harm| given(harm)).count();
    let lost = [("jitter", "delay"), ("status", "errors")]
        .into_iter()
        .find(|(detail, harm)| given(detail) && !given(harm));
    let (message, allowed) = if harms == 0 {
        (
            "the throttle does no harm".to_owned(),
            "allowed: at least one of `delay`, `bandwidth`, `errors`, `abort`, `blackhole`"
                .to_owned(),
        )
    } else if given("blackhole") && harms > 1 {
        (
            "a black hole answers nothing: no other harm can be seen beside it".to_owned(),
            "allowed: `blackhole` alone, or the other harms without it".to_owned(),
        )
    } else if let Some((detail, harm)) = lost {
        (
            format!("`{detail}` is about `{harm}`, and there is no `{harm}`"),
            format!("allowed: `{detail}` together with `{harm}`"),
        )
    } else {
        return Some(());
    };
    problems.report(throttle.at(), message, allowed);
    None
}

fn add_up(throttle: &Throttle, fields: &Fields<'_>, problems: &mut Problems) -> Option<()> {
    if throttle.jitter > throttle.delay {
        problems.report(
            fields.at(),
            "`jitter` is above `delay`: an answer cannot come before its request",
            "allowed: `jitter` up to `delay`",
        );
        return None;
    }
    if throttle.errors.unwrap_or(0.0) + throttle.abort.unwrap_or(0.0) > 100.0 {
        problems.report(
            fields.at(),
            "`errors` and `abort` are more than all requests together",
            "allowed: up to 100 percent in all",
        );
        return None;
    }
    Some(())
}

fn caller(node: &Node, problems: &mut Problems) -> Option<Caller> {
    let fields = problems.fields(node, "from", &["deployment", "env"], &[])?;
    let deployment = name(&fields, "deployment", problems);
    let env = fields.required("env", problems).and_then(|node| {
        let env = problems.text(node, "env")?;
        if is_variable(&env) {
            return Some(env);
        }
        let message = format!("`env` is no variable: `{env}`");
        problems.report(&node.at, message, format!("allowed: {VARIABLE_FORM}"));
        None
    });
    Some(Caller {
        deployment: deployment?,
        env: env?,
    })
}

/// A share of the requests that is not nothing.
fn share(node: &Node, what: &str, problems: &mut Problems) -> Option<f64> {
    let share = problems.percent(node, what)?;
    if share > 0.0 {
        return Some(share);
    }
    problems.report(
        &node.at,
        format!("`{what}` of no request is no harm"),
        format!("allowed: a percentage above 0, up to 100, or no `{what}`"),
    );
    None
}

fn bandwidth(node: &Node, problems: &mut Problems) -> Option<Bandwidth> {
    let text = problems.text(node, "bandwidth")?;
    let read = Bandwidth::parse(&text).filter(|bandwidth| bandwidth.0.0 > 0);
    if read.is_none() {
        problems.report(
            &node.at,
            format!("`bandwidth` is not a number of bytes per second: `{text}`"),
            "allowed: above zero, such as 1MiB/s, 64KiB/s or 65536",
        );
    }
    read
}
