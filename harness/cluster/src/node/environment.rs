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

/// By which the processes of a pod can be told from others, as they can by their control group where
/// there is one.
const POD_UID: &str = "HOLDFAST_POD_UID";

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
            (
                POD_UID,
                self.pod.metadata.uid.as_deref().unwrap_or_default(),
            ),
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
mod tests;
