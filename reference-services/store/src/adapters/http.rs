//! Store over HTTP: what there is to see.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use service_kit::problem::{PathParameters, Problem};
use service_kit::resilience::RefusalReason;
use tracing::Instrument as _;

use crate::domain::{Delivery, OrderId};
use crate::ports::StorageError;
use crate::service::StoreService;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryResponse {
    order_id: String,
    item: String,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    status: &'static str,
}

impl From<Delivery> for DeliveryResponse {
    fn from(delivery: Delivery) -> Self {
        Self {
            order_id: delivery.order_id.to_string(),
            item: delivery.meal.item,
            quantity: delivery.meal.quantity,
            address: delivery.meal.address,
            status: delivery.stage.as_str(),
        }
    }
}

/// `GET /deliveries` and `GET /deliveries/{orderId}`.
pub fn router(service: StoreService) -> Router {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{order_id}", get(find))
        .with_state(service)
}

async fn find(
    State(service): State<StoreService>,
    PathParameters(text): PathParameters<String>,
    headers: HeaderMap,
) -> Result<Json<DeliveryResponse>, Problem> {
    let unknown = || {
        let detail = format!("there is no delivery for the order {text}");
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    // Text that cannot be an order id names no order.
    let order_id: OrderId = text.parse().map_err(|_| unknown())?;
    let span = delivery_span(&order_id, &headers);
    let finding = async {
        let found = service.find(&order_id).await;
        found.map_err(|error| unavailable(&error))
    };
    let found = finding.instrument(span).await?;
    found
        .map(|delivery| Json(delivery.into()))
        .ok_or_else(unknown)
}

async fn list(State(service): State<StoreService>) -> Result<Json<Vec<DeliveryResponse>>, Problem> {
    let deliveries = service.list().await.map_err(|error| unavailable(&error))?;
    Ok(Json(deliveries.into_iter().map(Into::into).collect()))
}

/// Gives what is logged about a delivery the order, and the request that asked for it.
fn delivery_span(order_id: &OrderId, headers: &HeaderMap) -> tracing::Span {
    let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!(
        "delivery",
        correlation_id = %order_id,
        causation_id = request_id
    )
}

fn unavailable(error: &StorageError) -> Problem {
    match error {
        StorageError::Exhausted => RefusalReason::PoolExhausted.problem(error.to_string()),
        StorageError::Unreachable(cause) => {
            tracing::warn!(%cause, "{error}");
            RefusalReason::Connect.problem(error.to_string())
        }
        StorageError::Broken(cause) => {
            // What the database said is for the log, never for the client.
            tracing::error!(%cause, "{error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}
