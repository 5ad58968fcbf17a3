//! GET of one object and of lists.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::{Value, json};

use super::error::ApiError;
use super::request::{Filter, Parameters, Target, View};
use super::table;
use super::versions;
use crate::store::{Expired, Resource, Store, StoreError, Stored};
use crate::{clock, object};

/// An object in the wanted form.
pub(super) fn rendered(
    target: &Target,
    found: &Arc<Stored>,
    view: View,
    parameters: &Parameters,
) -> Value {
    match view {
        View::Full => versions::to_served(target, found).into_owned(),
        View::Metadata => table::partial_metadata(found),
        View::Table => {
            let metadata = json!({"resourceVersion": found["metadata"]["resourceVersion"]});
            let rows = std::slice::from_ref(found);
            table::table(
                target,
                rows,
                &metadata,
                &parameters.include_object,
                clock::now(),
            )
        }
    }
}

/// A JSON response with status 200.
pub(super) fn json_response(document: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        document.to_string(),
    )
        .into_response()
}

/// The object a request names.
pub(super) fn existing(store: &Store, target: &Target) -> Result<Arc<Stored>, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let resource = target.resource;
    store.get(resource, namespace, name).ok_or_else(|| {
        StoreError::NotFound {
            resource,
            name: name.to_owned(),
        }
        .into()
    })
}

pub(super) fn list(
    store: &Store,
    target: &Target,
    parameters: &Parameters,
    view: View,
) -> Result<Value, ApiError> {
    let filter = parameters.filter(target)?;
    let page = page(store, target.resource, &filter, parameters)?;
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = page.next {
        metadata["continue"] = next.into();
        if !filter.is_selective() {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    Ok(rendered_list(
        target,
        &page.objects,
        &metadata,
        view,
        parameters,
    ))
}

/// Objects in the wanted form.
pub(super) fn rendered_list(
    target: &Target,
    objects: &[Arc<Stored>],
    metadata: &Value,
    view: View,
    parameters: &Parameters,
) -> Value {
    match view {
        View::Table => table::table(
            target,
            objects,
            metadata,
            &parameters.include_object,
            clock::now(),
        ),
        View::Full => json!({
            "kind": format!("{}List", target.resource.kind()),
            "apiVersion": target.api_version(),
            "metadata": metadata,
            "items": objects.iter().map(|object| versions::to_served(target, object)).collect::<Vec<_>>(),
        }),
        View::Metadata => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": objects.iter().map(|object| table::partial_metadata(object)).collect::<Vec<_>>(),
        }),
    }
}

struct Page {
    objects: Vec<Arc<Stored>>,
    /// The revision of the first page: a watch from here misses nothing that
    /// changed while the client was reading the others.
    revision: u64,
    next: Option<String>,
    remaining: usize,
}

fn page(
    store: &Store,
    resource: Resource,
    filter: &Filter,
    parameters: &Parameters,
) -> Result<Page, ApiError> {
    let (mut objects, current) = store.list(resource, filter.namespace.as_deref());
    objects.retain(|object| filter.matches(object));
    let token = Token::parse(&parameters.continue_token)?;
    let revision = token.as_ref().map_or(current, |token| token.revision);
    if let Some(token) = token {
        store
            .watch(resource, Some(revision))
            .map_err(|expired: Expired| ApiError::ContinueExpired(expired))?;
        objects.retain(|object| (object::namespace(object), object::name(object)) > token.place());
    }
    let limit = match parameters.limit {
        0 => objects.len(),
        limit => limit,
    };
    let remaining = objects.len().saturating_sub(limit);
    objects.truncate(limit);
    let next = match objects.last() {
        Some(last) if remaining > 0 => Some(format!(
            "{revision}/{}/{}",
            object::namespace(last),
            object::name(last)
        )),
        _ => None,
    };
    Ok(Page {
        objects,
        revision,
        next,
        remaining,
    })
}

/// Where the next page begins; opaque to clients.
struct Token {
    revision: u64,
    namespace: String,
    name: String,
}

impl Token {
    fn parse(text: &str) -> Result<Option<Self>, ApiError> {
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = Self::parts(text);
        parsed
            .map(Some)
            .ok_or_else(|| ApiError::BadRequest("continue key is not valid".to_owned()))
    }

    fn parts(text: &str) -> Option<Self> {
        let (revision, place) = text.split_once('/')?;
        let (namespace, name) = place.split_once('/')?;
        let revision = revision.parse().ok()?;
        Some(Self {
            revision,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}
