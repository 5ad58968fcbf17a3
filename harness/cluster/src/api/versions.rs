//! From an object as it is stored to what a request shows, and back: other
//! versions of its kind, and defaults which came later.

mod autoscaling_v1;

use std::borrow::Cow;

use serde_json::Value;

use super::error::ApiError;
use super::request::Target;
use crate::store::Resource;

/// An object as it is shown in the version of a request.
pub(super) fn to_served<'a>(target: &Target, stored: &'a Value) -> Cow<'a, Value> {
    match conversion(target) {
        Some(Resource::HorizontalPodAutoscalers) => Cow::Owned(autoscaling_v1::from_v2(stored)),
        Some(_) | None => with_defaults(&target.resource, stored),
    }
}

/// Whether a request shows objects exactly as they are stored.
pub(super) fn shows_as_stored(target: &Target) -> bool {
    conversion(target).is_none() && !matches!(target.resource, Resource::Custom(_))
}

/// A custom object may be older than the defaults of its schema.
fn with_defaults<'a>(resource: &Resource, stored: &'a Value) -> Cow<'a, Value> {
    match resource {
        Resource::Custom(custom) => {
            let mut whole = stored.clone();
            custom.version().schema.set_defaults(&mut whole);
            Cow::Owned(whole)
        }
        _ => Cow::Borrowed(stored),
    }
}

/// An object, or the part of it that someone applies, in the version it is stored in.
pub(super) fn to_stored(target: &Target, served: Value) -> Result<Value, ApiError> {
    match conversion(target) {
        Some(Resource::HorizontalPodAutoscalers) => autoscaling_v1::to_v2(served),
        Some(_) | None => Ok(served),
    }
}

/// The kind, if the request is for another version than the stored one.
fn conversion(target: &Target) -> Option<&Resource> {
    (target.version != target.resource.version()).then_some(&target.resource)
}
