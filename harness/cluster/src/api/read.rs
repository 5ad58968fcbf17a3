//! GET of one object and of lists.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::{Value, json};

use super::error::ApiError;
use super::freshness::{self, ListFrom, Place};
use super::request::{Filter, Parameters, Target, View};
use super::table;
use super::versions;
use crate::store::{Resource, Store, StoreError, Stored};
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
    let resource = &target.resource;
    store.get(resource.clone(), namespace, name).ok_or_else(|| {
        StoreError::NotFound {
            resource: resource.clone(),
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
    let page = page(store, &target.resource, &filter, parameters)?;
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = page.next {
        metadata["continue"] = next.to_string().into();
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
    /// The revision of the first page: all of them show the objects as they
    /// were then, and a watch from here misses nothing.
    revision: u64,
    next: Option<Place>,
    remaining: usize,
}

fn page(
    store: &Store,
    resource: &Resource,
    filter: &Filter,
    parameters: &Parameters,
) -> Result<Page, ApiError> {
    let from = freshness::of_list(parameters)?;
    let (mut objects, revision) = as_of(store, resource, filter, &from)?;
    if let ListFrom::Continued(place) = &from {
        let end = (place.namespace.as_str(), place.name.as_str());
        objects.retain(|object| (object::namespace(object), object::name(object)) > end);
    }
    objects.retain(|object| filter.matches(object));
    let limit = match parameters.limit {
        0 => objects.len(),
        limit => limit,
    };
    let remaining = objects.len().saturating_sub(limit);
    objects.truncate(limit);
    let place = |last: &Arc<Stored>| Place {
        revision,
        namespace: object::namespace(last).to_owned(),
        name: object::name(last).to_owned(),
    };
    let next = objects.last().filter(|_| remaining > 0).map(place);
    Ok(Page {
        objects,
        revision,
        next,
        remaining,
    })
}

/// The objects in the state which a list asks for, and its revision.
fn as_of(
    store: &Store,
    resource: &Resource,
    filter: &Filter,
    from: &ListFrom,
) -> Result<(Vec<Arc<Stored>>, u64), ApiError> {
    let namespace = filter.namespace.as_deref();
    let (objects, current) = store.list(resource.clone(), namespace);
    let asked = match from {
        ListFrom::Present(revision) | ListFrom::Exactly(revision) => *revision,
        ListFrom::Continued(place) => place.revision,
    };
    if asked > current {
        return Err(ApiError::FutureRevision { asked, current });
    }
    match from {
        ListFrom::Present(_) => Ok((objects, current)),
        ListFrom::Exactly(revision) => {
            let past = store.list_at(resource.clone(), namespace, *revision);
            Ok((past.map_err(ApiError::Expired)?, *revision))
        }
        ListFrom::Continued(Place { revision, .. }) => {
            let past = store.list_at(resource.clone(), namespace, *revision);
            Ok((past.map_err(ApiError::ContinueExpired)?, *revision))
        }
    }
}
