//! Pay's connections to the outside: HTTP in front, SQL and events behind.

use axum::http::HeaderMap;

use crate::domain::OrderId;

pub mod events;
pub mod grpc;
pub mod http;
pub mod sql;

/// Gives what is logged about a payment the order, and the request that asked for it.
fn payment_span(order_id: &OrderId, headers: &HeaderMap) -> tracing::Span {
    let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!(
        "payment",
        correlation_id = order_id.as_str(),
        causation_id = request_id
    )
}
