//! What a version of a definition says about its objects.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionVersion, CustomResourceSubresourceScale,
};

use super::columns::{self, Column};
use super::json_path::JsonPath;
use super::schema::{self, Schema};
use crate::cause::{Cause, CauseReason};

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) schema: Schema,
    /// Besides the name.
    pub(crate) columns: Vec<Column>,
    pub(crate) scale: Option<Scale>,
    /// Fields by which requests may select, such as `spec.color`.
    pub(crate) selectable_fields: Vec<String>,
}

/// Where an object keeps what its `Scale` shows, as JSON pointers.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) selector: Option<String>,
}

/// Reads the version at `path` and notes what is wrong with it.
pub(super) fn read(
    raw: &CustomResourceDefinitionVersion,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Version {
    let raw_schema = raw
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema_path = format!("{path}.schema.openAPIV3Schema");
    let schema = match raw_schema {
        Some(raw) => schema::read(raw, &schema_path, causes),
        None => {
            let message = "schemas are required";
            causes.push(Cause::new(CauseReason::Required, schema_path, message));
            Schema::default()
        }
    };
    let scale = raw
        .subresources
        .as_ref()
        .and_then(|parts| parts.scale.as_ref());
    let scale =
        scale.and_then(|raw| read_scale(raw, &format!("{path}.subresources.scale"), causes));
    Version {
        columns: columns::read(raw, path, causes),
        scale,
        selectable_fields: selectable_fields(raw, &schema, path, causes),
        schema,
    }
}

fn read_scale(
    raw: &CustomResourceSubresourceScale,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Option<Scale> {
    let mut pointer = |field: &str, value: &str, below: &[&str]| {
        let found = pointer(value, below);
        if found.is_none() {
            let allowed: Vec<_> = below.iter().map(|name| format!(".{name}.")).collect();
            let message = format!(
                "{value:?}: should be a json path under {}",
                allowed.join(" or ")
            );
            causes.push(Cause::new(
                CauseReason::Invalid,
                format!("{path}.{field}"),
                message,
            ));
        }
        found
    };
    let replicas = pointer("specReplicasPath", &raw.spec_replicas_path, &["spec"]);
    let status_replicas = pointer("statusReplicasPath", &raw.status_replicas_path, &["status"]);
    let selector = match raw.label_selector_path.as_deref() {
        None | Some("") => None,
        Some(selector) => Some(pointer("labelSelectorPath", selector, &["spec", "status"])?),
    };
    Some(Scale {
        replicas: replicas?,
        status_replicas: status_replicas?,
        selector,
    })
}

/// The JSON pointer of a path through fields of one of these maps.
fn pointer(path: &str, below: &[&str]) -> Option<String> {
    let path = JsonPath::parse(path).ok()?;
    let fields = path.fields()?;
    let escaped = |name: &&str| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    let fits = fields.len() > 1 && below.contains(fields.first()?);
    fits.then(|| fields.iter().map(escaped).collect())
}

fn selectable_fields(
    raw: &CustomResourceDefinitionVersion,
    schema: &Schema,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Vec<String> {
    let fields = raw.selectable_fields.iter().flatten().enumerate();
    fields
        .filter_map(|(index, field)| {
            let name = field.json_path.strip_prefix('.').unwrap_or_default();
            let found = schema.at(name).filter(|found| found.is_selectable());
            if found.is_none() || name.starts_with("metadata") {
                let path = format!("{path}.selectableFields[{index}].jsonPath");
                let message = format!(
                    "{:?}: must point to a field of type string, boolean or integer outside of the metadata",
                    field.json_path
                );
                causes.push(Cause::new(CauseReason::Invalid, path, message));
                return None;
            }
            Some(name.to_owned())
        })
        .collect()
}
