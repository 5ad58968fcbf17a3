//! Reading a request: what it addresses, its parameters, the wanted form of the answer.

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use crate::cause::{Cause, CauseReason};
use crate::selector::{Selector, field::FieldSelector};
use crate::store::{Resource, Subresource, api_version};

/// The objects or the object which a path means.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    /// The version in which the client speaks of it.
    pub(crate) version: String,
    /// `None` for all namespaces, and for kinds without namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<Subresource>,
}

impl Target {
    /// Parses, for the kinds in `served`, the part of a path behind group and version:
    /// `[namespaces/<namespace>/]<plural>[/<name>[/<subresource>]]`.
    pub(crate) fn parse(
        served: &[Resource],
        group: &str,
        version: &str,
        path: &str,
    ) -> Result<Self, ApiError> {
        let segments: Vec<_> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        let find = |plural| Resource::find(served, group, version, plural);
        let (namespace, plural, rest) = match segments.as_slice() {
            ["namespaces", namespace, plural, rest @ ..]
                if find(plural).is_some_and(|found| found.namespaced()) =>
            {
                (Some((*namespace).to_owned()), *plural, rest)
            }
            [plural, rest @ ..] => (None, *plural, rest),
            [] => return Err(ApiError::NoSuchPath),
        };
        let resource = find(plural).ok_or(ApiError::NoSuchPath)?;
        if !resource.description().serves(version) {
            return Err(ApiError::NoSuchPath);
        }
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some((*name).to_owned()), None),
            [name, part] => (
                Some((*name).to_owned()),
                Some(find_subresource(&resource, part)?),
            ),
            _ => return Err(ApiError::NoSuchPath),
        };
        if name.is_some() && namespace.is_none() == resource.namespaced() {
            return Err(ApiError::NoSuchPath);
        }
        Ok(Self {
            resource,
            version: version.to_owned(),
            namespace,
            name,
            subresource,
        })
    }
}

/// What a real cluster has, and this one does not.
const UNSUPPORTED_SUBRESOURCES: [(&str, &str); 10] = [
    ("pods", "attach"),
    ("pods", "binding"),
    ("pods", "ephemeralcontainers"),
    ("pods", "exec"),
    ("pods", "portforward"),
    ("pods", "proxy"),
    ("pods", "resize"),
    ("services", "proxy"),
    ("nodes", "proxy"),
    ("namespaces", "finalize"),
];

fn find_subresource(resource: &Resource, name: &str) -> Result<Subresource, ApiError> {
    let known = resource.description().subresources;
    let found = known.iter().copied().find(|known| known.name() == name);
    found.ok_or_else(|| {
        let plural = resource.plural();
        if UNSUPPORTED_SUBRESOURCES.contains(&(plural, name)) {
            ApiError::MethodNotAllowed(format!(
                "{plural}/{name} is not supported by the local cluster"
            ))
        } else {
            ApiError::NoSuchPath
        }
    })
}

impl Target {
    /// The same in the version in which the objects are stored.
    pub(crate) fn as_stored(&self) -> Self {
        Self {
            version: self.resource.version().to_owned(),
            ..self.clone()
        }
    }

    /// The `apiVersion` of an object in the client's version.
    pub(crate) fn api_version(&self) -> String {
        api_version(self.resource.group(), &self.version)
    }
}

/// Query parameters of all verbs.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Parameters {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) limit: usize,
    #[serde(rename = "continue")]
    pub(crate) continue_token: String,
    watch: String,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
    pub(crate) timeout_seconds: Option<u64>,
    allow_watch_bookmarks: String,
    send_initial_events: String,
    pub(crate) include_object: String,
    dry_run: String,
    pub(crate) field_manager: String,
    pub(crate) field_validation: String,
    force: String,
    pub(crate) grace_period_seconds: Option<u64>,
    pub(crate) propagation_policy: Option<String>,
    pub(crate) container: Option<String>,
    follow: String,
    previous: String,
    timestamps: String,
    pub(crate) tail_lines: Option<u64>,
    pub(crate) since_seconds: Option<u64>,
    pub(crate) since_time: Option<String>,
    pub(crate) limit_bytes: Option<u64>,
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "1" | "True")
}

impl Parameters {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let uri = format!("/?{}", query.unwrap_or_default());
        let uri: http::Uri = uri
            .parse()
            .map_err(|error| ApiError::BadRequest(format!("query: {error}")))?;
        axum::extract::Query::try_from_uri(&uri)
            .map(|axum::extract::Query(parameters)| parameters)
            .map_err(|error| ApiError::BadRequest(format!("query: {error}")))
    }

    /// Refuses values which a change must not be asked for with.
    pub(crate) fn check_change(&self) -> Result<(), ApiError> {
        let mut causes = Vec::new();
        let mut check = |field: &str, value: &str, supported: &[&str]| {
            if !value.is_empty() && !supported.contains(&value) {
                let message = format!("{value:?}: supported values: {supported:?}");
                causes.push(Cause::new(CauseReason::Invalid, field, message));
            }
        };
        check("dryRun", &self.dry_run, &["All"]);
        check(
            "fieldValidation",
            &self.field_validation,
            &["Ignore", "Strict", "Warn"],
        );
        if causes.is_empty() {
            return Ok(());
        }
        Err(ApiError::InvalidOptions {
            kind: "Options",
            causes,
        })
    }

    pub(crate) fn watch(&self) -> bool {
        is_true(&self.watch)
    }

    pub(crate) fn allow_watch_bookmarks(&self) -> bool {
        is_true(&self.allow_watch_bookmarks)
    }

    /// Whether a watch shall begin with the objects that are there, if that is said.
    pub(crate) fn asks_for_initial_events(&self) -> Option<bool> {
        let said = self.send_initial_events.as_str();
        (!said.is_empty()).then(|| is_true(said))
    }

    pub(crate) fn dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    pub(crate) fn force(&self) -> bool {
        is_true(&self.force)
    }

    pub(crate) fn follow(&self) -> bool {
        is_true(&self.follow)
    }

    pub(crate) fn previous(&self) -> bool {
        is_true(&self.previous)
    }

    pub(crate) fn timestamps(&self) -> bool {
        is_true(&self.timestamps)
    }

    /// The objects meant by namespace, labels and fields.
    pub(crate) fn filter(&self, target: &Target) -> Result<Filter, ApiError> {
        let bad_request = |text: String| ApiError::BadRequest(text);
        Ok(Filter {
            namespace: target.namespace.clone(),
            labels: Selector::parse(&self.label_selector)
                .map_err(|error| bad_request(error.to_string()))?,
            fields: FieldSelector::parse(&target.resource, &self.field_selector)
                .map_err(|error| bad_request(error.to_string()))?,
        })
    }
}

/// Which objects of a kind a list or a watch shows.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) namespace: Option<String>,
    labels: Selector,
    fields: FieldSelector,
}

impl Filter {
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let in_namespace = self
            .namespace
            .as_deref()
            .is_none_or(|namespace| namespace == crate::object::namespace(object));
        in_namespace
            && (self.labels.is_empty() || self.labels.matches(&crate::object::labels(object)))
            && self.fields.matches(object)
    }

    /// Whether labels or fields narrow the choice.
    pub(crate) fn is_selective(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

/// The form in which a client wants objects.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum View {
    Full,
    /// Rows of cells, as kubectl prints them.
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl View {
    /// The first acceptable form. JSON is always among them: clients which
    /// prefer protobuf accept it too.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut forms = accept.flat_map(|value| value.split(','));
        forms.find_map(Self::of_media_type).unwrap_or(Self::Full)
    }

    fn of_media_type(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?;
        if !matches!(media_type, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let parameters: Vec<_> = parts.collect();
        let form = parameters
            .iter()
            .find_map(|parameter| parameter.strip_prefix("as="));
        match form {
            None => Some(Self::Full),
            Some(_) if !parameters.contains(&"v=v1") => None,
            Some("Table") => Some(Self::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Option<Target> {
        Target::parse(&Resource::ALL, "", "v1", path).ok()
    }

    #[test]
    fn paths_address_collections_objects_and_subresources() {
        let target = |resource, namespace: Option<&str>, name: Option<&str>, subresource| {
            let (namespace, name) = (namespace.map(str::to_owned), name.map(str::to_owned));
            Some(Target {
                resource,
                version: "v1".to_owned(),
                namespace,
                name,
                subresource,
            })
        };
        assert_eq!(parsed("pods"), target(Resource::Pods, None, None, None));
        assert_eq!(
            parsed("namespaces/a/pods"),
            target(Resource::Pods, Some("a"), None, None)
        );
        let log = target(Resource::Pods, Some("a"), Some("p"), Some(Subresource::Log));
        assert_eq!(parsed("namespaces/a/pods/p/log"), log);
        assert_eq!(
            parsed("namespaces/a"),
            target(Resource::Namespaces, None, Some("a"), None)
        );
        let status = target(
            Resource::Namespaces,
            None,
            Some("a"),
            Some(Subresource::Status),
        );
        assert_eq!(parsed("namespaces/a/status"), status);
        for unknown in [
            "",
            "secrets",
            "pods/p",
            "namespaces/a/pods/p/log/x",
            "namespaces/a/nodes/n",
        ] {
            assert_eq!(parsed(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_first_acceptable_form_is_chosen() {
        let view = |accept: &'static str| {
            View::of(&HeaderMap::from_iter([(
                header::ACCEPT,
                http::HeaderValue::from_static(accept),
            )]))
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(view(kubectl), View::Table);
        assert_eq!(
            view("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            View::Metadata
        );
        assert_eq!(
            view("application/vnd.kubernetes.protobuf,application/json"),
            View::Full
        );
        assert_eq!(view("*/*"), View::Full);
    }

    #[test]
    fn parameters_are_decoded() {
        let parameters =
            Parameters::parse(Some("labelSelector=app%3Dx&watch=1&limit=5&continue=abc")).unwrap();
        assert_eq!(parameters.label_selector, "app=x");
        assert!(parameters.watch());
        assert_eq!(
            (parameters.limit, parameters.continue_token.as_str()),
            (5, "abc")
        );
        assert!(Parameters::parse(Some("limit=many")).is_err());
    }
}
