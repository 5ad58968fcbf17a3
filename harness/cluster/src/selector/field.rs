//! Field selectors: the few fields by which requests may select.

use serde_json::Value;

use crate::store::Resource;

/// A conjunction of comparisons of fields.
#[derive(Clone, Default, Debug)]
pub(crate) struct FieldSelector(Vec<Comparison>);

#[derive(Clone, Debug)]
struct Comparison {
    field: String,
    value: String,
    equal: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FieldSelectorError {
    #[error("invalid field selector: {0:?} is no comparison")]
    NoComparison(String),
    #[error("field label not supported: {0}")]
    NotSupported(String),
}

impl FieldSelector {
    /// Parses `metadata.name=a,status.phase!=Running`.
    pub(crate) fn parse(resource: &Resource, text: &str) -> Result<Self, FieldSelectorError> {
        let comparisons = text.split(',').filter(|comparison| !comparison.is_empty());
        comparisons
            .map(|comparison| parse_comparison(resource, comparison))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|comparison| {
            (field_text(object, &comparison.field) == comparison.value) == comparison.equal
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_comparison(resource: &Resource, text: &str) -> Result<Comparison, FieldSelectorError> {
    let split = |separator, equal| {
        text.split_once(separator)
            .map(|(field, value)| (field, value, equal))
    };
    let (field, value, equal) = split("!=", false)
        .or_else(|| split("==", true))
        .or_else(|| split("=", true))
        .ok_or_else(|| FieldSelectorError::NoComparison(text.to_owned()))?;
    let field = field.trim();
    if !is_supported(resource, field) {
        return Err(FieldSelectorError::NotSupported(field.to_owned()));
    }
    Ok(Comparison {
        field: field.to_owned(),
        value: value.trim().to_owned(),
        equal,
    })
}

fn is_supported(resource: &Resource, field: &str) -> bool {
    let own: &[&str] = match resource {
        Resource::Pods => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        Resource::Events => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Resource::Nodes => &["spec.unschedulable"],
        Resource::Namespaces => &["status.phase"],
        Resource::ReplicaSets => &["status.replicas"],
        Resource::Services => &["spec.clusterIP", "spec.type"],
        Resource::Jobs => &["status.successful"],
        Resource::ConfigMaps
        | Resource::EndpointSlices
        | Resource::Deployments
        | Resource::HorizontalPodAutoscalers
        | Resource::PodDisruptionBudgets
        | Resource::Leases
        | Resource::PodMetrics
        | Resource::NodeMetrics
        | Resource::CustomResourceDefinitions => &[],
        Resource::Custom(custom) => {
            let selectable = &custom.version().selectable_fields;
            return is_metadata(resource, field) || selectable.iter().any(|known| known == field);
        }
    };
    is_metadata(resource, field) || own.contains(&field)
}

fn is_metadata(resource: &Resource, field: &str) -> bool {
    field == "metadata.name" || field == "metadata.namespace" && resource.namespaced()
}

fn field_text(object: &Value, field: &str) -> String {
    let pointer = match field {
        "source" => "/source/component".to_owned(),
        field => format!("/{}", field.replace('.', "/")),
    };
    match object.pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None if matches!(field, "spec.hostNetwork" | "spec.unschedulable") => {
            "false".to_owned()
        }
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_as_text() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        let matches = |text| {
            FieldSelector::parse(&Resource::Pods, text)
                .unwrap()
                .matches(&pod)
        };
        assert!(matches(
            "metadata.name=a,status.phase==Running,spec.nodeName!=m,spec.hostNetwork=false"
        ));
        assert!(!matches("status.phase!=Running"));
        assert!(matches("status.podIP="));
    }

    #[test]
    fn other_fields_are_refused() {
        let refused = FieldSelector::parse(&Resource::Services, "spec.nodeName=n").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "field label not supported: spec.nodeName"
        );
        assert!(FieldSelector::parse(&Resource::Pods, "status.phase").is_err());
    }
}
