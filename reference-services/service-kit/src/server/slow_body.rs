//! Requests whose body takes too long to arrive are answered with 408, whatever they were for.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use crate::deadline::{DeadlineBody, TooSlow};
use crate::problem::Problem;

/// Gives the body of `request` until `limit` to arrive.
pub(super) async fn refuse(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let too_slow = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&too_slow);
    let deadline = Instant::now() + limit;
    let request = request.map(|body| {
        Body::new(DeadlineBody::new(body, deadline).map_err(move |error| {
            let is_too_slow = error.source().is_some_and(|cause| cause.is::<TooSlow>());
            told.store(is_too_slow, Ordering::Relaxed);
            error
        }))
    });
    let response = next.run(request).await;
    if !too_slow.load(Ordering::Relaxed) {
        return response;
    }
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the body of the request did not arrive within {limit:?}"),
    )
    .with_header(header::CONNECTION, HeaderValue::from_static("close"))
    .into_response()
}
