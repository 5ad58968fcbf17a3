//! `throttle`: a proxy between a Service and its pods makes them slow, narrow or unreliable.
//!
//! The pods stay behind a Service of their own, so that new ones are followed; the Service itself
//! selects the proxy. With `from` the proxy has a Service of its own in place of that, and the caller
//! is told to go there.

use holdfast_core::fault::{Caller, Throttle};
use serde_json::{Value, json};

use super::agent::Agent;
use super::service::Found;
use crate::action::{Action, Condition, Create, Set, Wait};
use crate::blueprint::{Blueprint, Context};
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
    if let Some(Caller { deployment, .. }) = &throttle.from {
        // The caller would have to be started anew with another address, which is an outage itself.
        return Err(FaultError::Impossible(format!(
            "throttling deployment {deployment} alone is not offered yet; leave out `from` to throttle every caller"
        )));
    }
    let service = Found::service(context.cluster, &throttle.service).await?;
    let spec = &service.found.data["spec"];
    let ports = ports(&throttle.service, spec)?;
    let behind = format!("holdfast-{}-pods", context.short_name());

    let upstream = Create {
        resource: Resource::Service,
        name: behind.clone(),
        manifest: json!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": {"selector": spec["selector"], "ports": spec["ports"]},
        }),
    };
    let proxy = Agent {
        suffix: "-proxy".to_owned(),
        arguments: words(throttle, &behind, &ports),
        ports: ports
            .iter()
            .map(|port| (port.listen_name(), port.listen))
            .collect(),
        labels: vec![(PROXY_LABEL.to_owned(), context.short_name().to_owned())],
        node: None,
    };
    let redirected: Vec<Value> = ports
        .iter()
        .map(|port| {
            let mut entry = port.entry.clone();
            entry["targetPort"] = json!(port.listen);
            entry
        })
        .collect();
    let redirect = Set::plan(
        service.object.clone(),
        &service.found,
        [
            (
                Path::keys(["spec", "selector"]),
                Some(json!({PROXY_LABEL: context.short_name()})),
            ),
            (Path::keys(["spec", "ports"]), Some(json!(redirected))),
        ],
    );
    let name = throttle.service.clone();
    let mut actions = vec![
        Action::Create(upstream),
        Action::Wait(Wait::for_evidence(Condition::Endpoint(behind))),
    ];
    actions.extend(proxy.actions(context));
    // Undone before the proxy is deleted: the pods are behind the Service again by then.
    actions.push(Action::Wait(Wait::before_the_end(Condition::Endpoint(
        name.clone(),
    ))));
    actions.push(Action::Set(redirect));
    actions.push(Action::Wait(Wait::for_evidence(Condition::Endpoint(name))));
    Ok(Blueprint {
        actions,
        targets: vec![service.whole()],
    })
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

/// The proxy's words. Kubernetes puts the address of the Service behind it into them, by the variable
/// that every pod has for each Service that is older.
fn words(throttle: &Throttle, behind: &str, ports: &[Port]) -> Vec<String> {
    let host = behind.to_uppercase().replace('-', "_");
    let mut words = vec!["proxy".to_owned()];
    let mut word = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    for port in ports {
        word("listen", port.listen.to_string());
        word(
            "upstream",
            format!("$({host}_SERVICE_HOST):{}", port.number),
        );
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
