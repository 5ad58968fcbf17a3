//! Objects as rows of cells: what `kubectl get` prints.

mod cells;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Target;
use super::versions;
use crate::custom::{CellType, CustomResource};
use crate::store::{Resource, Stored};

/// A column of texts; those with a priority are shown with `-o wide` only.
struct Column<'a> {
    name: &'a str,
    cell_type: CellType,
    format: &'a str,
    description: &'a str,
    priority: i32,
}

const fn shown(name: &str) -> Column<'_> {
    Column {
        name,
        cell_type: CellType::Text,
        format: "",
        description: "",
        priority: 0,
    }
}

const fn wide(name: &str) -> Column<'_> {
    Column {
        priority: 1,
        ..shown(name)
    }
}

const NODE_DETAILS: [Column<'_>; 5] = [
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];
const WORKLOAD_DETAILS: [Column<'_>; 3] = [wide("Containers"), wide("Images"), wide("Selector")];

fn with<'a>(names: &[&'static str], rest: Vec<Column<'a>>) -> Vec<Column<'a>> {
    names.iter().map(|name| shown(name)).chain(rest).collect()
}

fn columns(resource: &Resource) -> Vec<Column<'_>> {
    match resource {
        Resource::Pods => with(
            &["Name", "Ready", "Status", "Restarts", "Age"],
            vec![
                wide("IP"),
                wide("Node"),
                wide("Nominated Node"),
                wide("Readiness Gates"),
            ],
        ),
        Resource::Deployments => with(
            &["Name", "Ready", "Up-to-date", "Available", "Age"],
            WORKLOAD_DETAILS.into(),
        ),
        Resource::ReplicaSets => with(
            &["Name", "Desired", "Current", "Ready", "Age"],
            WORKLOAD_DETAILS.into(),
        ),
        Resource::Services => with(
            &[
                "Name",
                "Type",
                "Cluster-IP",
                "External-IP",
                "Port(s)",
                "Age",
            ],
            vec![wide("Selector")],
        ),
        Resource::EndpointSlices => with(
            &["Name", "AddressType", "Ports", "Endpoints", "Age"],
            vec![],
        ),
        Resource::Nodes => with(
            &["Name", "Status", "Roles", "Age", "Version"],
            NODE_DETAILS.into(),
        ),
        Resource::Events => with(
            &["Last Seen", "Type", "Reason", "Object"],
            vec![
                wide("Subobject"),
                wide("Source"),
                shown("Message"),
                wide("First Seen"),
                wide("Count"),
                wide("Name"),
            ],
        ),
        Resource::Jobs => with(
            &["Name", "Status", "Completions", "Duration", "Age"],
            WORKLOAD_DETAILS.into(),
        ),
        Resource::HorizontalPodAutoscalers => with(
            &[
                "Name",
                "Reference",
                "Targets",
                "MinPods",
                "MaxPods",
                "Replicas",
                "Age",
            ],
            vec![],
        ),
        Resource::PodMetrics | Resource::NodeMetrics => {
            with(&["Name", "cpu", "memory", "Window"], vec![])
        }
        Resource::PodDisruptionBudgets => with(
            &[
                "Name",
                "Min Available",
                "Max Unavailable",
                "Allowed Disruptions",
                "Age",
            ],
            vec![],
        ),
        Resource::Leases => with(&["Name", "Holder", "Age"], vec![]),
        Resource::Namespaces => with(&["Name", "Status", "Age"], vec![]),
        Resource::ConfigMaps => with(&["Name", "Data", "Age"], vec![]),
        Resource::CustomResourceDefinitions => with(&["Name", "Created At"], vec![]),
        Resource::Custom(custom) => with(&["Name"], custom_columns(custom)),
    }
}

fn custom_columns(custom: &CustomResource) -> Vec<Column<'_>> {
    let columns = custom.version().columns.iter();
    columns
        .map(|column| Column {
            name: &column.name,
            cell_type: column.cell_type,
            format: &column.format,
            description: &column.description,
            priority: column.priority,
        })
        .collect()
}

/// A cell as its column's type wants it; what does not fit is left out.
fn cell(column: &Column<'_>, text: String) -> Value {
    match column.cell_type {
        CellType::Text | CellType::Date => Value::String(text),
        CellType::Integer | CellType::Number | CellType::Boolean => {
            serde_json::from_str(&text).unwrap_or_default()
        }
    }
}

/// The objects of one kind as a `Table`. `include_object` is the parameter
/// `includeObject`: `None`, `Metadata` (the default) or `Object`.
pub(super) fn table(
    target: &Target,
    objects: &[Arc<Stored>],
    metadata: &Value,
    include_object: &str,
    now: Timestamp,
) -> Value {
    let columns = columns(&target.resource);
    let definitions: Vec<_> = columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.cell_type.name(),
                "format": if column.name == "Name" { "name" } else { column.format },
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let embedded = match include_object {
                "None" => Value::Null,
                "Object" => versions::to_served(target, object).into_owned(),
                _ => partial_metadata(object),
            };
            let texts = cells::cells(&target.resource, object, now);
            let cells = columns.iter().zip(texts);
            let cells: Vec<_> = cells.map(|(column, text)| cell(column, text)).collect();
            json!({"cells": cells, "object": embedded})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// An object reduced to its metadata.
pub(super) fn partial_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let empty = Arc::new(Stored::new(json!({"metadata": {"name": "x"}})));
        for resource in Resource::ALL {
            let target = Target {
                version: resource.version().to_owned(),
                resource: resource.clone(),
                namespace: None,
                name: None,
                subresource: None,
            };
            let table = table(
                &target,
                &[Arc::clone(&empty)],
                &json!({}),
                "",
                crate::clock::now(),
            );
            let columns = table["columnDefinitions"].as_array().unwrap().len();
            assert_eq!(
                table["rows"][0]["cells"].as_array().unwrap().len(),
                columns,
                "{resource:?}"
            );
        }
    }
}
