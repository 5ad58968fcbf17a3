//! App over HTTP, in both languages of the business.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use service_kit::problem::{JsonBody, PathParameters, Problem};
use service_kit::resilience::{CIRCUIT, Command, RefusalReason, retry_after};
use tracing::Instrument as _;

use super::cause;
use crate::domain::{
    AcceptedOrder, Address, IdempotencyKey, InvalidIdempotencyKey, Item, OrderId, Quantity, Status,
};
use crate::ports::{PaymentError, StoreError};
use crate::service::{OrderError, OrderRequest, OrderService, Placed, order_span};

/// `/주문s` as clients send it: percent-encoded in either case of letters, or raw.
const ORDERS_IN_KOREAN: [&str; 3] = ["/%EC%A3%BC%EB%AC%B8s", "/%ec%a3%bc%eb%ac%b8s", "/주문s"];

#[derive(Debug, Deserialize)]
struct OrderBody {
    #[serde(alias = "품목")]
    item: String,
    #[serde(alias = "수량")]
    quantity: Option<Count>,
    #[serde(alias = "주소")]
    address: Option<String>,
}

/// A number, also as text: command-line clients send form-like `수량=1` as a JSON string.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u32),
    Text(String),
}

#[derive(Debug, Serialize)]
struct OrderResponse {
    id: String,
    item: &'static str,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    amount: u32,
    status: &'static str,
}

impl From<AcceptedOrder> for OrderResponse {
    fn from(AcceptedOrder { order, status }: AcceptedOrder) -> Self {
        Self {
            id: order.id.to_string(),
            item: order.item.as_str(),
            quantity: order.quantity.get(),
            amount: order.amount(),
            address: order.address.map(|address| address.as_str().to_owned()),
            status: status.as_str(),
        }
    }
}

#[derive(Debug, Serialize)]
struct CancellationResponse {
    id: String,
    status: &'static str,
}

impl CancellationResponse {
    fn new(id: OrderId, status: Status) -> Self {
        Self {
            id: id.to_string(),
            status: status.as_str(),
        }
    }
}

/// `POST /orders`, `GET /orders`, `GET /orders/{id}`, `POST /orders/{id}/cancellation`, and the same
/// under `/주문s`.
pub fn router(service: OrderService) -> Router {
    let mut router = resource(Router::new(), "/orders");
    for path in ORDERS_IN_KOREAN {
        router = resource(router, path);
    }
    router.with_state(service)
}

/// Has every response tell of the circuit to pay, if there is one.
pub fn telling_of_circuit(router: Router, pay: Option<Command>) -> Router {
    let Some(pay) = pay else {
        return router;
    };
    let tell = move |mut response: Response| {
        if let Some(circuit) = pay.circuit() {
            response.headers_mut().insert(CIRCUIT, circuit);
        }
        std::future::ready(response)
    };
    router.layer(map_response(tell))
}

fn resource(router: Router<OrderService>, path: &str) -> Router<OrderService> {
    let collection: MethodRouter<OrderService> = post(place).get(list);
    router
        .route(path, collection)
        .route(&format!("{path}/{{id}}"), get(find))
        .route(&format!("{path}/{{id}}/cancellation"), post(cancel))
}

/// 201 for a new order. With the header `Idempotency-Key`: 200 for an order that an earlier request
/// with the same key and content has placed, 422 for other content, 409 as long as it is under way.
/// A request that failed has not used its key up.
async fn place(
    State(service): State<OrderService>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Response, Problem> {
    let request = request(body, idempotency_key(&headers)?)?;
    let placed = service.place(request, cause::of_request(&headers)).await;
    let (status, accepted) = match placed.map_err(refuse)? {
        Placed::New(accepted) => (StatusCode::CREATED, accepted),
        Placed::Again(accepted) => (StatusCode::OK, accepted),
    };
    let location = [(header::LOCATION, format!("/orders/{}", accepted.order.id))];
    Ok((status, location, Json(OrderResponse::from(accepted))).into_response())
}

/// 202 when the store has been asked to decide, also when it has cancelled the order since; 409 when
/// the order is being cooked or further.
async fn cancel(
    State(service): State<OrderService>,
    PathParameters(id): PathParameters<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = order_id(&id)?;
    let status = service
        .cancel(order_id, cause::of_request(&headers))
        .await
        .map_err(|error| store_failed(&error))?
        .ok_or_else(|| unknown(&id))?;
    if status.is_cancelled_or_may_be() {
        let location = [(header::LOCATION, format!("/orders/{order_id}"))];
        let body = CancellationResponse::new(order_id, status);
        Ok((StatusCode::ACCEPTED, location, Json(body)).into_response())
    } else {
        let detail = format!(
            "the order cannot be cancelled any more: {}",
            status.as_str()
        );
        Err(Problem::new(StatusCode::CONFLICT, detail))
    }
}

async fn find(
    State(service): State<OrderService>,
    PathParameters(id): PathParameters<String>,
    headers: HeaderMap,
) -> Result<Json<OrderResponse>, Problem> {
    let order_id = order_id(&id)?;
    let span = order_span(order_id, &cause::of_request(&headers));
    let order = service.find(order_id).instrument(span).await;
    let order = order
        .map_err(|error| store_failed(&error))?
        .ok_or_else(|| unknown(&id))?;
    Ok(Json(order.into()))
}

/// Text that cannot be an order id names no order.
fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| unknown(text))
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no order {id}"))
}

async fn list(State(service): State<OrderService>) -> Result<Json<Vec<OrderResponse>>, Problem> {
    let orders = service.list().await.map_err(|error| store_failed(&error))?;
    Ok(Json(orders.into_iter().map(Into::into).collect()))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(|text| text.parse().ok());
    key.map(Some).ok_or_else(|| {
        let detail = InvalidIdempotencyKey.to_string();
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

fn request(body: OrderBody, key: Option<IdempotencyKey>) -> Result<OrderRequest, Problem> {
    let invalid = |error: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    let item: Item = body
        .item
        .parse()
        .map_err(|error| invalid(format!("{:?}: {error}", body.item)))?;
    let quantity = match body.quantity {
        None => Quantity::ONE,
        Some(count) => {
            let count = match count {
                Count::Number(number) => number,
                Count::Text(text) => text
                    .trim()
                    .parse()
                    .map_err(|_| invalid(format!("the quantity {text:?} is not a number")))?,
            };
            Quantity::new(count).map_err(|error| invalid(error.to_string()))?
        }
    };
    let address = body.address.map(|text| text.parse::<Address>()).transpose();
    Ok(OrderRequest {
        item,
        quantity,
        address: address.map_err(|error| invalid(error.to_string()))?,
        key,
    })
}

fn refuse(error: OrderError) -> Problem {
    match error {
        OrderError::Payment(error) => not_paid(error),
        OrderError::Store(error) => store_failed(&error),
        OrderError::Abandoned => RefusalReason::Timeout.problem(error.to_string()),
        OrderError::KeyReused => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        OrderError::KeyUnderWay => Problem::new(StatusCode::CONFLICT, error.to_string())
            .with_header(header::RETRY_AFTER, retry_after(Duration::from_secs(1))),
    }
}

fn not_paid(error: PaymentError) -> Problem {
    let detail = error.to_string();
    match error {
        PaymentError::BreakerOpen { retry_after: wait } => RefusalReason::BreakerOpen
            .problem(detail)
            .with_header(header::RETRY_AFTER, retry_after(wait)),
        PaymentError::BulkheadFull => RefusalReason::BulkheadFull.problem(detail),
        PaymentError::Timeout => RefusalReason::Timeout.problem(detail),
        PaymentError::Connect => RefusalReason::Connect.problem(detail),
        PaymentError::Upstream => RefusalReason::UpstreamError.problem(detail),
        PaymentError::Declined => Problem::new(StatusCode::PAYMENT_REQUIRED, detail),
    }
}

fn store_failed(error: &StoreError) -> Problem {
    let detail = error.to_string();
    match error {
        StoreError::Exhausted => RefusalReason::PoolExhausted.problem(detail),
        StoreError::Unreachable(_) => RefusalReason::Connect.problem(detail),
        StoreError::Broken(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
    }
}
