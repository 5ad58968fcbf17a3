//! Who calls a Service, as faults between the two look at it: a Deployment, and its variable with the
//! Service's URL.

use holdfast_core::fault::Caller;
use serde_json::{Value, json};

use super::rollout::of_container;
use super::workload::Workload;
use crate::error::FaultError;
use crate::field::Path;

/// What a URL without a port means.
const HTTP_PORT: u64 = 80;

/// The fields that make the caller's pods go to the Service `instead`, port by port, where they go to
/// one with these `ports` now. What the variable says besides the address stays.
pub(super) fn point_at(
    instead: &str,
    ports: &[u64],
    caller: &Caller,
    deployment: &Workload,
) -> Result<Vec<(Path, Option<Value>)>, FaultError> {
    let cannot = |why: String| FaultError::Parameter {
        what: format!(
            "variable {} of deployment {}",
            caller.env, caller.deployment
        ),
        why: format!("pointed at the proxy, for {why}"),
    };
    let pod = &deployment.found.data["spec"]["template"]["spec"];
    if pod["enableServiceLinks"] == false {
        let why = "its pods are not told the addresses of Services (enableServiceLinks: false)";
        return Err(cannot(why.to_owned()));
    }
    let containers = pod["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let names = containers.iter().filter_map(|one| one["name"].as_str());
    let paths: Vec<Path> = names
        .map(|name| of_container(name).key("env").named(&caller.env))
        .collect();
    let root = &deployment.found.data;
    let mut holding: Vec<_> = paths
        .iter()
        .filter(|path| path.get(root).is_some())
        .collect();
    if let ([], [only]) = (&holding[..], &paths[..]) {
        // A program that finds the Service by itself, and lets the variable come first.
        holding.push(only);
    }
    if holding.is_empty() {
        return Err(cannot("none of its several containers has it".to_owned()));
    }
    let point = |path: &Path| {
        let found = path.get(root);
        let found = found.map(|entry| entry["value"].as_str().ok_or("its value is elsewhere"));
        let found = found.transpose().map_err(|why| cannot(why.to_owned()))?;
        let url = instead_of(found, instead, ports).map_err(cannot)?;
        Ok((
            path.clone(),
            Some(json!({"name": caller.env, "value": url})),
        ))
    };
    holding.into_iter().map(point).collect()
}

/// The variable by which every newer pod knows the address of a Service.
pub(super) fn address(service: &str) -> String {
    let name = service.to_uppercase().replace('-', "_");
    format!("$({name}_SERVICE_HOST)")
}

/// A URL with the address of the Service `instead`: its scheme and path are those of `found`, and so
/// is its port, which must be one of `ports`. One that Kubernetes puts in is the first of them.
fn instead_of(found: Option<&str>, instead: &str, ports: &[u64]) -> Result<String, String> {
    let Some(first) = ports.first() else {
        return Err("the service has no port".to_owned());
    };
    let Some(url) = found else {
        return Ok(format!("http://{}:{first}", address(instead)));
    };
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("{url} is no URL"))?;
    if scheme == "https" {
        return Err("the certificate behind an https URL is for another name".to_owned());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let port = match authority.rsplit_once(':') {
        None => HTTP_PORT,
        Some((_, port)) => port.parse().unwrap_or(*first),
    };
    if !ports.contains(&port) {
        return Err(format!("the service has no port {port}"));
    }
    Ok(format!("{scheme}://{}:{port}{path}", address(instead)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_of_a_url_changes() {
        for (found, pointed) in [
            (None, "http://$(A_PROXY_SERVICE_HOST):8082"),
            (
                Some("http://pay:9082"),
                "http://$(A_PROXY_SERVICE_HOST):9082",
            ),
            (
                Some("http://pay/v1?x=1"),
                "http://$(A_PROXY_SERVICE_HOST):80/v1?x=1",
            ),
            (
                Some("grpc://pay:9082/"),
                "grpc://$(A_PROXY_SERVICE_HOST):9082/",
            ),
            (
                Some("http://$(PAY_SERVICE_HOST):$(PAY_SERVICE_PORT)/v1"),
                "http://$(A_PROXY_SERVICE_HOST):8082/v1",
            ),
        ] {
            let url = instead_of(found, "a-proxy", &[8082, 9082, 80]);
            assert_eq!(url.as_deref(), Ok(pointed));
        }
    }

    #[test]
    fn a_url_that_would_lead_elsewhere_is_refused() {
        for (url, why) in [
            ("pay:8082", "pay:8082 is no URL"),
            (
                "https://pay:8082",
                "the certificate behind an https URL is for another name",
            ),
            ("http://pay:81", "the service has no port 81"),
            ("http://pay", "the service has no port 80"),
        ] {
            let refused = instead_of(Some(url), "a-proxy", &[8082]);
            assert_eq!(refused, Err(why.to_owned()), "{url}");
        }
    }
}
