//! Who calls a Service, as faults between the two look at it: a Deployment, and its variable with the
//! Service's URL.

use holdfast_core::fault::Caller;
use serde_json::{Value, json};

use super::rollout::of_container;
use super::service::Found;
use super::workload::Workload;
use crate::error::FaultError;
use crate::field::Path;

/// What a URL without a port means.
const HTTP_PORT: u64 = 80;

/// The fields that make the caller's pods go to the Service `instead`, port by port, where they go to
/// `service` now. What the variable says besides the address stays.
pub(super) fn point_at(
    instead: &str,
    service: &Found,
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
    let way = Way {
        service: &service.object.name,
        spec: &service.found.data["spec"],
        instead,
    };
    let template = &deployment.found.data;
    let paths = holding(template, &caller.env).map_err(cannot)?;
    let point = |path: Path| {
        let found = path.get(template);
        let found = found.map(|entry| entry["value"].as_str().ok_or("it has no value of its own"));
        let found = found.transpose().map_err(|why| cannot(why.to_owned()))?;
        let url = way.url(found).map_err(cannot)?;
        Ok((path, Some(json!({"name": caller.env, "value": url}))))
    };
    paths.into_iter().map(point).collect()
}

/// Where the variable is in the pods of a Deployment: in every container that has it. Where none does,
/// in the only one: its program finds the Service by itself, and lets the variable come first.
fn holding(deployment: &Value, variable: &str) -> Result<Vec<Path>, String> {
    let spec = &deployment["spec"]["template"]["spec"];
    if spec["enableServiceLinks"] == false {
        let why = "its pods are not told the addresses of Services (enableServiceLinks: false)";
        return Err(why.to_owned());
    }
    if deployment["spec"]["paused"] == true {
        return Err("the rollouts of the deployment are paused".to_owned());
    }
    let list = |field: &str| spec[field].as_array().map_or(&[][..], Vec::as_slice);
    let has = |container: &Value| {
        let variables = container["env"].as_array().into_iter().flatten();
        variables.into_iter().any(|one| one["name"] == variable)
    };
    if list("initContainers").iter().any(has) {
        return Err("an init container has it, too".to_owned());
    }
    let containers = list("containers");
    let holding: Vec<&Value> = containers.iter().filter(|one| has(one)).collect();
    let chosen = match (&holding[..], containers) {
        ([], [only]) if only.get("envFrom").is_none() => vec![only],
        ([], [_]) => return Err("it may come by envFrom".to_owned()),
        ([], _) => return Err("none of its several containers has it".to_owned()),
        _ => holding,
    };
    let names = chosen.iter().filter_map(|one| one["name"].as_str());
    Ok(names
        .map(|name| of_container(name).key("env").named(variable))
        .collect())
}

/// The variables by which every newer pod knows the address and the first port of a Service.
fn told(service: &str, what: &str) -> String {
    let name = service.to_uppercase().replace('-', "_");
    format!("$({name}_SERVICE_{what})")
}

/// The address of a Service, as a newer pod is told it.
pub(super) fn address(service: &str) -> String {
    told(service, "HOST")
}

/// From a Service to another one with the same ports.
struct Way<'a> {
    service: &'a str,
    /// Of the Service as it is.
    spec: &'a Value,
    instead: &'a str,
}

impl Way<'_> {
    /// The URL `found` with another address; without one, that of the first port.
    fn url(&self, found: Option<&str>) -> Result<String, String> {
        let (scheme, port, path) = match found {
            None => ("http", self.port("first", |_| true)?, ""),
            Some(url) => self.read(url)?,
        };
        let address = address(self.instead);
        let is_v6 = self.spec["clusterIP"]
            .as_str()
            .is_some_and(|ip| ip.contains(':'));
        let address = if is_v6 {
            format!("[{address}]")
        } else {
            address
        };
        Ok(format!("{scheme}://{address}:{port}{path}"))
    }

    /// Scheme, port and what follows them of a URL that leads to the Service.
    fn read<'url>(&self, url: &'url str) -> Result<(&'url str, u64, &'url str), String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("{url} is no URL"))?;
        if scheme == "https" {
            return Err("the certificate behind an https URL is for another name".to_owned());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if !self.is_host(host) {
            return Err(format!("{url} does not lead to service {}", self.service));
        }
        Ok((scheme, self.port_of(port)?, path))
    }

    fn is_host(&self, host: &str) -> bool {
        let is_name = host
            .strip_prefix(self.service)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let is_address = self.spec["clusterIP"] == host.trim_matches(['[', ']']);
        is_name || is_address || host == address(self.service)
    }

    fn port_of(&self, text: Option<&str>) -> Result<u64, String> {
        let Some(text) = text else {
            return self.port("80", |port| port["port"] == HTTP_PORT);
        };
        if text == told(self.service, "PORT") {
            return self.port(text, |_| true);
        }
        self.port(text, |port| {
            let name = port["name"].as_str().unwrap_or_default();
            let name = name.to_uppercase().replace('-', "_");
            let number = port["port"].as_u64();
            (number.is_some() && text.parse().ok() == number)
                || text == told(self.service, &format!("PORT_{name}"))
        })
    }

    /// The first port that is as wanted.
    fn port(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<u64, String> {
        let mut ports = self.spec["ports"].as_array().into_iter().flatten();
        let found = ports.find(|port| wanted(port));
        let found = found.and_then(|port| port["port"].as_u64());
        found.ok_or_else(|| format!("service {} has no port {name}", self.service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pay(cluster_ip: &str) -> Value {
        json!({
            "clusterIP": cluster_ip,
            "ports": [
                {"name": "http", "port": 8082}, {"name": "grpc-web", "port": 9082}, {"port": 80},
            ],
        })
    }

    fn url(spec: &Value, found: Option<&str>) -> Result<String, String> {
        let way = Way {
            service: "pay",
            spec,
            instead: "a-proxy",
        };
        way.url(found)
    }

    #[test]
    fn only_the_address_of_a_url_changes() {
        for (found, rest) in [
            (None, "http://HOST:8082"),
            (Some("http://pay:9082"), "http://HOST:9082"),
            (Some("http://pay/v1?x=1"), "http://HOST:80/v1?x=1"),
            (Some("grpc://pay.shop.svc:9082/"), "grpc://HOST:9082/"),
            (Some("http://10.0.0.7:8082"), "http://HOST:8082"),
            (
                Some("http://$(PAY_SERVICE_HOST):$(PAY_SERVICE_PORT)/v1"),
                "http://HOST:8082/v1",
            ),
            (
                Some("http://$(PAY_SERVICE_HOST):$(PAY_SERVICE_PORT_GRPC_WEB)"),
                "http://HOST:9082",
            ),
        ] {
            let pointed = rest.replace("HOST", "$(A_PROXY_SERVICE_HOST)");
            assert_eq!(url(&pay("10.0.0.7"), found), Ok(pointed));
        }
        assert_eq!(
            url(&pay("fd00::7"), Some("http://[fd00::7]:80/")),
            Ok("http://[$(A_PROXY_SERVICE_HOST)]:80/".to_owned())
        );
    }

    #[test]
    fn a_url_that_leads_elsewhere_is_refused() {
        for (found, why) in [
            ("pay:8082", "pay:8082 is no URL"),
            (
                "https://pay:8082",
                "the certificate behind an https URL is for another name",
            ),
            ("http://pay:81", "service pay has no port 81"),
            ("http://pay:80x", "service pay has no port 80x"),
            (
                "http://store:80",
                "http://store:80 does not lead to service pay",
            ),
            (
                "http://payments:80",
                "http://payments:80 does not lead to service pay",
            ),
            (
                "http://me:secret@pay",
                "http://me:secret@pay does not lead to service pay",
            ),
        ] {
            assert_eq!(url(&pay("10.0.0.7"), Some(found)), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_variable_that_is_not_all_there_is_refused() {
        let with = |pod: Value| holding(&json!({"spec": {"template": {"spec": pod}}}), "PAY_URL");
        let env = json!([{"name": "PAY_URL", "value": "http://pay"}]);
        for (pod, why) in [
            (
                json!({"containers": [{"name": "a", "envFrom": []}]}),
                "it may come by envFrom",
            ),
            (
                json!({"containers": [{"name": "a"}, {"name": "b"}]}),
                "none of its several containers has it",
            ),
            (
                json!({"initContainers": [{"name": "i", "env": env}], "containers": [{"name": "a"}]}),
                "an init container has it, too",
            ),
        ] {
            assert_eq!(with(pod), Err(why.to_owned()));
        }
        let both = json!({"containers": [{"name": "a", "env": env}, {"name": "b", "env": env}]});
        assert_eq!(with(both).map(|paths| paths.len()), Ok(2));
    }
}
