//! Pay over HTTP.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use service_kit::problem::{JsonBody, PathParameters, Problem};
use service_kit::resilience::RefusalReason;
use tracing::Instrument as _;

use super::payment_span;
use crate::domain::{Entry, OrderId, Payment, Status};
use crate::ports::StoreError;
use crate::service::{PayError, PaymentService};

/// The latency drawn for a request, in milliseconds: what of its duration is not overhead.
pub const SIMULATED_LATENCY: HeaderName = HeaderName::from_static("x-simulated-latency-ms");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PaymentRequest {
    order_id: String,
    amount: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentResponse {
    order_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<u32>,
    status: &'static str,
}

impl From<Entry> for PaymentResponse {
    fn from(Entry { payment, status }: Entry) -> Self {
        Self {
            order_id: payment.order_id.as_str().to_owned(),
            amount: payment.amount,
            status: status.as_str(),
        }
    }
}

/// `POST /payments`, `GET /payments` and `GET /payments/{orderId}`.
pub fn router(service: Arc<PaymentService>) -> Router {
    Router::new()
        .route("/payments", post(pay).get(list))
        .route("/payments/{order_id}", get(find))
        .with_state(service)
}

/// 201 for a payment taken now, 200 for one that was taken before; 409 if it was taken with other
/// content, or if the order was given up.
async fn pay(
    State(service): State<Arc<PaymentService>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<PaymentRequest>,
) -> Result<Response, Problem> {
    let order_id = order_id(&request.order_id)?;
    let span = payment_span(&order_id, &headers);
    let payment = Payment {
        order_id,
        amount: request.amount,
    };
    let paying = async { service.pay(payment).await.map_err(refuse) };
    let taken = paying.instrument(span).await?;
    let status = if taken.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let headers = [
        (header::LOCATION, format!("/payments/{}", request.order_id)),
        (
            SIMULATED_LATENCY,
            format!("{:.3}", taken.latency.as_secs_f64() * 1e3),
        ),
    ];
    let body = PaymentResponse::from(Entry {
        payment: taken.payment,
        status: Status::Taken,
    });
    Ok((status, headers, Json(body)).into_response())
}

async fn find(
    State(service): State<Arc<PaymentService>>,
    PathParameters(text): PathParameters<String>,
    headers: HeaderMap,
) -> Result<Json<PaymentResponse>, Problem> {
    let order_id = order_id(&text)?;
    let span = payment_span(&order_id, &headers);
    let finding = async {
        let found = service.find(&order_id).await;
        found.map_err(|error| unavailable(&error))
    };
    match finding.instrument(span).await? {
        Some(payment) => Ok(Json(payment.into())),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("the order {text} has not been paid"),
        )),
    }
}

async fn list(
    State(service): State<Arc<PaymentService>>,
) -> Result<Json<Vec<PaymentResponse>>, Problem> {
    let payments = service.list().await.map_err(|error| unavailable(&error))?;
    Ok(Json(payments.into_iter().map(Into::into).collect()))
}

fn order_id(text: &str) -> Result<OrderId, Problem> {
    OrderId::parse(text)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

fn refuse(error: PayError) -> Problem {
    match error {
        PayError::Conflict(_) | PayError::GivenUp(_) => {
            Problem::new(StatusCode::CONFLICT, error.to_string())
        }
        PayError::Store(error) => unavailable(&error),
    }
}

fn unavailable(error: &StoreError) -> Problem {
    match error {
        StoreError::Exhausted => RefusalReason::PoolExhausted.problem(error.to_string()),
        StoreError::Unreachable(cause) => {
            tracing::warn!(%cause, "{error}");
            RefusalReason::Connect.problem(error.to_string())
        }
        StoreError::Broken(cause) => {
            // What the database said is for the log, never for the client.
            tracing::error!(%cause, "{error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}
