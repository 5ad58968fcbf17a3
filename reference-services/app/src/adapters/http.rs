//! App over HTTP, in both languages of the business.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use service_kit::problem::{JsonBody, Problem};
use service_kit::resilience::{RefusalReason, retry_after};

use crate::domain::{Item, Order, OrderId, Quantity};
use crate::ports::{PaymentError, StoreError};
use crate::service::{OrderError, OrderRequest, OrderService};

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

impl From<Order> for OrderResponse {
    fn from(order: Order) -> Self {
        Self {
            id: order.id.to_string(),
            item: order.item.as_str(),
            quantity: order.quantity.get(),
            amount: order.amount(),
            address: order.address,
            // Only paid orders are accepted, and only accepted ones can be seen.
            status: "paid",
        }
    }
}

/// `POST /orders`, `GET /orders`, `GET /orders/{id}`, and the same under `/주문s`.
pub fn router(service: OrderService) -> Router {
    let mut router = resource(Router::new(), "/orders");
    for path in ORDERS_IN_KOREAN {
        router = resource(router, path);
    }
    router.with_state(service)
}

fn resource(router: Router<OrderService>, path: &str) -> Router<OrderService> {
    let collection: MethodRouter<OrderService> = post(place).get(list);
    router
        .route(path, collection)
        .route(&format!("{path}/{{id}}"), get(find))
}

async fn place(
    State(service): State<OrderService>,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Response, Problem> {
    let request = request(body)?;
    let order = service.place(request).await.map_err(refuse)?;
    let location = [(header::LOCATION, format!("/orders/{}", order.id))];
    Ok((
        StatusCode::CREATED,
        location,
        Json(OrderResponse::from(order)),
    )
        .into_response())
}

async fn find(
    State(service): State<OrderService>,
    Path(id): Path<String>,
) -> Result<Json<OrderResponse>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, format!("there is no order {id}"));
    // Text that cannot be an order id names no order.
    let order_id: OrderId = id.parse().map_err(|_| unknown())?;
    let order = service
        .find(order_id)
        .await
        .map_err(|error| store_failed(&error))?;
    order.map(|order| Json(order.into())).ok_or_else(unknown)
}

async fn list(State(service): State<OrderService>) -> Result<Json<Vec<OrderResponse>>, Problem> {
    let orders = service.list().await.map_err(|error| store_failed(&error))?;
    Ok(Json(orders.into_iter().map(Into::into).collect()))
}

fn request(body: OrderBody) -> Result<OrderRequest, Problem> {
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
    Ok(OrderRequest {
        item,
        quantity,
        address: body.address,
    })
}

fn refuse(error: OrderError) -> Problem {
    match error {
        OrderError::Payment(error) => not_paid(error),
        OrderError::Store(error) => store_failed(&error),
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
