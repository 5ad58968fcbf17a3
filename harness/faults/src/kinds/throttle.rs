//! `throttle`: a proxy between a Service and its pods makes them slow, narrow or unreliable.
//!
//! The pods stay behind a Service of their own, so that new ones are followed; the Service itself
//! selects the proxy. With `from` the proxy has a Service of its own in place of that, and the caller
//! is told to go there.

use holdfast_core::fault::{Caller, Throttle};
use serde_json::{Value, json};

use super::agent::Agent;
use super::caller;
use super::service::Found;
use super::workload::Workload;
use crate::action::{Action, Condition, Create, Set, Wait};
use crate::blueprint::{Blueprint, Context, Target};
use crate::error::FaultError;
use crate::field::Path;
use crate::object::Resource;

/// The label by which a Service finds the proxy.
const PROXY_LABEL: &str = "holdfast.dev/proxy";

/// The proxy's first port; a Service's others follow.
const FIRST_PORT: u16 = 18_000;

pub(super) async fn blueprint(
    throttle: &Throttle,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let service = Found::service(context.cluster, &throttle.service).await?;
    let spec = &service.found.data["spec"];
    is_one_address(&throttle.service, spec)?;
    let ports = ports(&throttle.service, spec)?;
    let Some(caller) = &throttle.from else {
        return for_everybody(throttle, &service, &ports, context);
    };
    let deployment = Workload::deployment(context.cluster, &caller.deployment).await?;
    for_one(caller, &deployment, throttle, &service, &ports, context)
}

/// The Service leads to the proxy, and the pods are behind another one.
fn for_everybody(
    throttle: &Throttle,
    service: &Found,
    ports: &[Port],
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let spec = &service.found.data["spec"];
    let behind = format!("holdfast-{}-pods", context.short_name());
    let upstream = service_of(&behind, &spec["selector"], &spec["ports"]);
    let redirect = Set::plan(
        service.object.clone(),
        &service.found,
        [
            (Path::keys(["spec", "selector"]), Some(to_proxy(context))),
            (Path::keys(["spec", "ports"]), Some(redirected(ports))),
        ],
    )?;
    let name = throttle.service.clone();
    let mut actions = vec![
        Action::Create(upstream),
        Action::Wait(Wait::for_evidence(Condition::Endpoint(behind.clone()))),
    ];
    actions.extend(proxy(throttle, &behind, ports, context).actions(context));
    // Undone before the proxy is deleted: the pods are behind the Service again by then.
    actions.push(Action::Wait(Wait::before_the_end(Condition::Endpoint(
        name.clone(),
    ))));
    actions.push(Action::Set(redirect));
    actions.push(Action::Wait(Wait::for_evidence(Condition::Endpoint(name))));
    Ok(Blueprint {
        actions,
        targets: vec![reached(throttle, service)],
    })
}

/// The proxy has a Service, and the caller is told to go there.
fn for_one(
    caller: &Caller,
    deployment: &Workload,
    throttle: &Throttle,
    service: &Found,
    ports: &[Port],
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let front = format!("holdfast-{}-proxy", context.short_name());
    let values = caller::point_at(&front, service, caller, deployment)?;
    let redirect = Set::plan(deployment.object.clone(), &deployment.found, values)?;
    let rolled_out = Condition::RolledOut(caller.deployment.clone());

    let before = service_of(&front, &to_proxy(context), &redirected(ports));
    let mut actions = vec![Action::Create(before)];
    actions.extend(proxy(throttle, &throttle.service, ports, context).actions(context));
    actions.extend([
        Action::Wait(Wait::for_evidence(Condition::Endpoint(front))),
        // Undone before the proxy is deleted: no pod that was told of it serves anybody by then.
        Action::Wait(Wait::before_the_end(Condition::NoneLeaving(
            deployment.selector.clone(),
        ))),
        Action::Wait(Wait::before_the_end(rolled_out.clone())),
        Action::Set(redirect),
        Action::Wait(Wait::for_evidence(rolled_out)),
    ]);
    let mut called = reached(throttle, service);
    called.impact.what = format!("{} for {}", service.object, deployment.object);
    Ok(Blueprint {
        actions,
        targets: vec![called, deployment.rolled_out()?],
    })
}

/// Who answers through the proxy: all of them, slower or less reliable, or nobody at all.
fn reached(throttle: &Throttle, service: &Found) -> Target {
    let failing = throttle.errors.unwrap_or(0.0) + throttle.abort.unwrap_or(0.0);
    if throttle.blackhole || failing >= 100.0 {
        service.none()
    } else {
        service.whole()
    }
}

/// A Service that is made for the fault.
fn service_of(name: &str, selector: &Value, ports: &Value) -> Create {
    let mut ports = ports.clone();
    for port in ports.as_array_mut().into_iter().flatten() {
        // The port of every node is the other Service's.
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    Create {
        resource: Resource::Service,
        name: name.to_owned(),
        manifest: json!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": {"selector": selector, "ports": ports},
        }),
    }
}

/// The selector of a Service that leads to the proxy.
fn to_proxy(context: Context<'_>) -> Value {
    json!({PROXY_LABEL: context.short_name()})
}

/// The ports of a Service that leads to the proxy.
fn redirected(ports: &[Port]) -> Value {
    let redirected = ports.iter().map(|port| {
        let mut entry = port.entry.clone();
        entry["targetPort"] = json!(port.listen);
        entry
    });
    Value::Array(redirected.collect())
}

/// The proxy in front of the Service `upstream`.
fn proxy(throttle: &Throttle, upstream: &str, ports: &[Port], context: Context<'_>) -> Agent {
    Agent {
        suffix: "-proxy".to_owned(),
        arguments: words(throttle, upstream, ports),
        ports: ports
            .iter()
            .map(|port| (port.listen_name(), port.listen))
            .collect(),
        labels: vec![(PROXY_LABEL.to_owned(), context.short_name().to_owned())],
        ..Agent::default()
    }
}

/// Refuses a Service whose clients do not all come by one address that a single proxy can serve.
fn is_one_address(service: &str, spec: &Value) -> Result<(), FaultError> {
    let why = if spec["clusterIP"] == "None" {
        "it is headless, so its clients go to its pods"
    } else if [
        &spec["internalTrafficPolicy"],
        &spec["externalTrafficPolicy"],
    ]
    .iter()
    .any(|policy| **policy == "Local")
    {
        "its nodes send nothing to one another (traffic policy Local), and the proxy is on one of them"
    } else {
        return Ok(());
    };
    let what = format!("throttling service {service}, for {why}");
    Err(FaultError::Impossible(what))
}

/// A port of the Service, and the proxy's port for it.
struct Port {
    entry: Value,
    number: u64,
    listen: u16,
}

impl Port {
    fn listen_name(&self) -> String {
        format!("p{}", self.listen)
    }
}

fn ports(service: &str, spec: &Value) -> Result<Vec<Port>, FaultError> {
    let entries = spec["ports"].as_array();
    let entries = entries.into_iter().flatten().zip(FIRST_PORT..);
    entries
        .map(
            |(entry, listen)| match (entry["protocol"].as_str(), entry["port"].as_u64()) {
                (None | Some("TCP"), Some(number)) => Ok(Port {
                    entry: entry.clone(),
                    number,
                    listen,
                }),
                (protocol, _) => Err(FaultError::Impossible(format!(
                    "service {service} has a port that is not TCP ({}); the proxy knows TCP only",
                    protocol.unwrap_or("without a number")
                ))),
            },
        )
        .collect()
}

/// The proxy's words. Kubernetes puts the address of the Service behind it into them.
fn words(throttle: &Throttle, upstream: &str, ports: &[Port]) -> Vec<String> {
    let host = caller::address(upstream);
    let mut words = vec!["proxy".to_owned()];
    let mut word = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    for port in ports {
        word("listen", port.listen.to_string());
        word("upstream", format!("{host}:{}", port.number));
    }
    let needs_http = throttle.errors.is_some();
    word(
        "protocol",
        if needs_http { "http" } else { "tcp" }.to_owned(),
    );
    if let Some(delay) = throttle.delay {
        word("delay", format!("{}ms", delay.as_millis()));
    }
    if let Some(jitter) = throttle.jitter {
        word("jitter", format!("{}ms", jitter.as_millis()));
    }
    if let Some(bandwidth) = throttle.bandwidth {
        word("bandwidth", bandwidth.0.0.to_string());
    }
    if let Some(errors) = throttle.errors {
        word("errors", format!("{errors}%"));
        word("status", throttle.error_status().to_string());
    }
    if let Some(abort) = throttle.abort {
        word("abort", format!("{abort}%"));
    }
    if throttle.blackhole {
        words.push("--blackhole".to_owned());
    }
    words
}
