//! What a container's program is started with: its command line and its environment.
//!
//! Pure: everything it depends on is passed in. A container never sees the environment of the
//! cluster's own process, so that results do not depend on somebody's shell.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVarSource, Pod, Service};

use crate::images::Program;

/// What container runtimes give to an image that sets no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names and values of the environment variables.
pub(crate) type Variables = BTreeMap<String, String>;

/// Where and among what a container starts.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) node_name: &'a str,
    pub(crate) directory: &'a Path,
    /// The services of the pod's namespace at this moment.
    pub(crate) services: &'a [Arc<Service>],
    /// The config maps of the pod's namespace.
    pub(crate) config_maps: &'a [Arc<ConfigMap>],
}

/// Why a container cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    #[error("configmap \"{name}\" not found")]
    NoConfigMap { name: String },
    #[error("couldn't find key {key} in ConfigMap {name}")]
    NoKey { name: String, key: String },
    #[error(
        "environment variable {variable} has a source the local cluster does not support; give it a value or a reference to a config map or a field of the pod"
    )]
    UnsupportedSource { variable: String },
    #[error("field {path} is not one a container can refer to")]
    NoField { path: String },
}

impl Surroundings<'_> {
    /// The environment, in which a later source wins over an earlier one: the cluster's own
    /// variables, services, `envFrom`, `env`.
    pub(crate) fn variables(&self, container: &Container) -> Result<Variables, ConfigurationError> {
        let mut variables = self.own_variables();
        variables.extend(self.service_variables());
        for source in container.env_from.iter().flatten() {
            variables.extend(self.config_map_variables(source)?);
        }
        for variable in container.env.iter().flatten() {
            let value = match (&variable.value, &variable.value_from) {
                (Some(value), _) => Some(expand(value, &variables)),
                (None, Some(source)) => self.referenced(&variable.name, source)?,
                (None, None) => Some(String::new()),
            };
            if let Some(value) = value {
                variables.insert(variable.name.clone(), value);
            }
        }
        Ok(variables)
    }

    fn own_variables(&self) -> Variables {
        let directory = self.directory.to_string_lossy();
        let address = self.address.to_string();
        [
            ("PATH", DEFAULT_PATH),
            ("HOME", &directory),
            ("TMPDIR", &directory),
            ("HOSTNAME", self.host_name()),
            ("POD_IP", &address),
            ("BIND_ADDR", &address),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn host_name(&self) -> &str {
        let spec = self.pod.spec.as_ref();
        let given = spec.and_then(|spec| spec.hostname.as_deref());
        given.unwrap_or_else(|| self.pod.metadata.name.as_deref().unwrap_or_default())
    }

    fn service_variables(&self) -> Variables {
        let links = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.enable_service_links);
        if links == Some(false) {
            return Variables::new();
        }
        self.services
            .iter()
            .flat_map(|service| variables_of_service(service))
            .collect()
    }

    fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.config_maps
            .iter()
            .map(|map| &**map)
            .find(|map| map.metadata.name.as_deref() == Some(name))
    }

    fn config_map_variables(
        &self,
        source: &EnvFromSource,
    ) -> Result<Variables, ConfigurationError> {
        let Some(reference) = &source.config_map_ref else {
            let variable = source
                .prefix
                .clone()
                .unwrap_or_else(|| "envFrom".to_owned());
            return Err(ConfigurationError::UnsupportedSource { variable });
        };
        let prefix = source.prefix.as_deref().unwrap_or_default();
        match self.config_map(&reference.name) {
            Some(map) => Ok(map
                .data
                .iter()
                .flatten()
                .map(|(key, value)| (format!("{prefix}{key}"), value.clone()))
                .collect()),
            None if reference.optional == Some(true) => Ok(Variables::new()),
            None => Err(ConfigurationError::NoConfigMap {
                name: reference.name.clone(),
            }),
        }
    }

    /// The value a variable refers to; `None` when an optional one is missing.
    fn referenced(
        &self,
        variable: &str,
        source: &EnvVarSource,
    ) -> Result<Option<String>, ConfigurationError> {
        if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        }
        let Some(reference) = &source.config_map_key_ref else {
            return Err(ConfigurationError::UnsupportedSource {
                variable: variable.to_owned(),
            });
        };
        let optional = reference.optional == Some(true);
        let name = reference.name.clone();
        let Some(map) = self.config_map(&name) else {
            return if optional {
                Ok(None)
            } else {
                Err(ConfigurationError::NoConfigMap { name })
            };
        };
        let value = map.data.as_ref().and_then(|data| data.get(&reference.key));
        match value {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(ConfigurationError::NoKey {
                name,
                key: reference.key.clone(),
            }),
        }
    }

    fn field(&self, path: &str) -> Result<String, ConfigurationError> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let service_account = || spec.and_then(|spec| spec.service_account_name.clone());
        let value = match path {
            "metadata.name" => metadata.name.clone(),
            "metadata.namespace" => metadata.namespace.clone(),
            "metadata.uid" => metadata.uid.clone(),
            "spec.nodeName" => Some(self.node_name.to_owned()),
            "spec.serviceAccountName" => {
                Some(service_account().unwrap_or_else(|| "default".to_owned()))
            }
            "status.podIP" | "status.podIPs" => Some(self.address.to_string()),
            "status.hostIP" | "status.hostIPs" => Some(Ipv4Addr::LOCALHOST.to_string()),
            _ => {
                let (map, key) = subscript(path).ok_or_else(|| no_field(path))?;
                let entries = match map {
                    "metadata.labels" => metadata.labels.as_ref(),
                    "metadata.annotations" => metadata.annotations.as_ref(),
                    _ => return Err(no_field(path)),
                };
                entries.and_then(|entries| entries.get(key)).cloned()
            }
        };
        Ok(value.unwrap_or_default())
    }
}

fn no_field(path: &str) -> ConfigurationError {
    ConfigurationError::NoField {
        path: path.to_owned(),
    }
}

/// Splits `metadata.labels['app']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// What Kubernetes tells each container of a service: `APP_SERVICE_HOST`, `APP_SERVICE_PORT` and
/// the older `APP_PORT…` family.
fn variables_of_service(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let host = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => return Vec::new(),
        Some(host) => host,
    };
    let Some(first) = spec.ports.iter().flatten().next() else {
        return Vec::new();
    };
    let service_name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
    let mut variables = vec![
        (format!("{service_name}_SERVICE_HOST"), host.to_owned()),
        (
            format!("{service_name}_SERVICE_PORT"),
            first.port.to_string(),
        ),
        (
            format!("{service_name}_PORT"),
            format!("tcp://{host}:{}", first.port),
        ),
    ];
    for port in spec.ports.iter().flatten() {
        let number = port.port;
        if let Some(name) = &port.name {
            let port_name = variable_name(name);
            variables.push((
                format!("{service_name}_SERVICE_PORT_{port_name}"),
                number.to_string(),
            ));
        }
        let link = format!("{service_name}_PORT_{number}_TCP");
        variables.extend([
            (link.clone(), format!("tcp://{host}:{number}")),
            (format!("{link}_PROTO"), "tcp".to_owned()),
            (format!("{link}_PORT"), number.to_string()),
            (format!("{link}_ADDR"), host.to_owned()),
        ]);
    }
    variables
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The program and arguments of a container: its `command` takes the place of the image's whole
/// entry point, its `args` follow.
pub(crate) fn command_line(
    container: &Container,
    image: &Program,
    variables: &Variables,
) -> (OsString, Vec<OsString>) {
    let expanded = |texts: &Option<Vec<String>>| -> Vec<OsString> {
        let texts = texts.iter().flatten();
        texts.map(|text| expand(text, variables).into()).collect()
    };
    let mut command = expanded(&container.command);
    if command.is_empty() {
        command.push(image.path.clone());
        command.extend(image.arguments.iter().cloned());
    }
    command.extend(expanded(&container.args));
    let program = command.remove(0);
    (program, command)
}

/// Replaces `$(NAME)` by the variable's value. An unknown name stays as it is, and `$$` stands for
/// one `$`.
pub(crate) fn expand(text: &str, variables: &Variables) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        expanded.push_str(&rest[..position]);
        let after = &rest[position + 1..];
        let reference = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        if let Some(literal) = after.strip_prefix('$') {
            expanded.push('$');
            rest = literal;
        } else if let Some((name, behind)) = reference {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = behind;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn variables_for(container: Value) -> Result<Variables, ConfigurationError> {
        let pod: Pod = from_value(json!({
            "metadata": {"name": "app-1", "namespace": "shop", "labels": {"app": "app"}},
        }))
        .unwrap();
        let service: Service = from_value(json!({
            "metadata": {"name": "pay-api"},
            "spec": {"clusterIP": "127.80.64.9", "ports": [{"name": "http", "port": 8082}]},
        }))
        .unwrap();
        let map: ConfigMap =
            from_value(json!({"metadata": {"name": "settings"}, "data": {"A": "from map"}}))
                .unwrap();
        Surroundings {
            pod: &pod,
            address: Ipv4Addr::new(127, 80, 128, 7),
            node_name: "local",
            directory: Path::new("/pods/1"),
            services: &[Arc::new(service)],
            config_maps: &[Arc::new(map)],
        }
        .variables(&from_value(container).unwrap())
    }

    #[test]
    fn services_fields_and_config_maps_are_told() {
        let variables = variables_for(json!({
            "name": "c",
            "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "CFG_"}],
            "env": [
                {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "A"}}},
                {"name": "URL", "value": "http://$(PAY_API_SERVICE_HOST):$(PAY_API_SERVICE_PORT_HTTP)"},
            ],
        }))
        .unwrap();
        let expected = [
            ("ME", "app-1"),
            ("LABEL", "app"),
            ("KEY", "from map"),
            ("CFG_A", "from map"),
            ("URL", "http://127.80.64.9:8082"),
            ("PAY_API_PORT", "tcp://127.80.64.9:8082"),
            ("POD_IP", "127.80.128.7"),
            ("BIND_ADDR", "127.80.128.7"),
            ("HOSTNAME", "app-1"),
        ];
        for (name, value) in expected {
            assert_eq!(
                variables.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_is_inherited() {
        let variables = variables_for(json!({"name": "c"})).unwrap();
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!variables.contains_key("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = json!({"name": "c", "env": [
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "A"}}},
        ]});
        let error = variables_for(missing).unwrap_err();
        assert_eq!(error.to_string(), "configmap \"nowhere\" not found");
        let optional = json!({"name": "c", "env": [
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "A", "optional": true}}},
        ]});
        assert!(!variables_for(optional).unwrap().contains_key("X"));
    }

    #[test]
    fn expansion_knows_escapes_and_leaves_the_unknown() {
        let variables = Variables::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(
            expand("$(A) $$(A) $(B) $A $", &variables),
            "1 $(A) $(B) $A $"
        );
    }

    #[test]
    fn a_command_replaces_the_entry_point_and_arguments_follow() {
        let image = Program {
            path: "/bin/app".into(),
            arguments: vec!["serve".into()],
        };
        let line = |container: Value| {
            let container: Container = from_value(container).unwrap();
            let (program, arguments) = command_line(&container, &image, &Variables::new());
            let mut line = vec![program];
            line.extend(arguments);
            line
        };
        assert_eq!(line(json!({"name": "c"})), ["/bin/app", "serve"]);
        assert_eq!(
            line(json!({"name": "c", "args": ["x"]})),
            ["/bin/app", "serve", "x"]
        );
        assert_eq!(
            line(json!({"name": "c", "command": ["sh"], "args": ["x"]})),
            ["sh", "x"]
        );
    }
}
