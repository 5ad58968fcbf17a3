//! The versions of a kind besides the one it is stored in: conversion both ways.

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
        Some(_) | None => Cow::Borrowed(stored),
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
fn conversion(target: &Target) -> Option<Resource> {
    (target.version != target.resource.version()).then_some(target.resource)
}
