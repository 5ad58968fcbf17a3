//! Customer over HTTP: the page of the orders, and the notifications.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use service_kit::problem::{PathParameters, Problem};
use tracing::Instrument as _;

use crate::domain::{Happened, Order, OrderId};
use crate::ports::{Notification, StorageError};
use crate::service::CustomerService;

const USUAL_PART: usize = 20;
const LARGEST_PART: usize = 1000;

/// Which part of a list is asked for; the newest is first in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    before: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderResponse {
    order_id: String,
    item: String,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    amount: u32,
    status: &'static str,
    placed_at: String,
    history: Vec<EventResponse>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventResponse {
    event_id: String,
    r#type: &'static str,
    causation_id: String,
    occurred_at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotificationResponse {
    number: u64,
    event_id: String,
    order_id: String,
    r#type: &'static str,
    occurred_at: String,
    message: String,
}

impl From<Order> for OrderResponse {
    fn from(order: Order) -> Self {
        Self {
            order_id: order.id.to_string(),
            item: order.bought.item,
            quantity: order.bought.quantity,
            address: order.bought.address,
            amount: order.bought.amount,
            status: order.status.as_str(),
            placed_at: time(order.placed_at_ms),
            history: order.history.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Happened> for EventResponse {
    fn from(event: Happened) -> Self {
        Self {
            event_id: event.id.to_string(),
            r#type: event.what.name(),
            causation_id: event.cause,
            occurred_at: time(event.at_ms),
        }
    }
}

impl From<Notification> for NotificationResponse {
    fn from(notification: Notification) -> Self {
        let event = notification.event;
        Self {
            number: notification.number,
            event_id: event.id.to_string(),
            order_id: event.order_id.to_string(),
            r#type: event.what.name(),
            occurred_at: time(event.at_ms),
            message: event.what.message(),
        }
    }
}

/// In the form of RFC 3339. Whoever told the time may have told nonsense.
fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// `GET /my-page`, `GET /my-page/{orderId}` and `GET /notifications`. Lists come in parts: `limit`
/// says how long one is, and the header `link` where the next one is.
pub fn router(service: CustomerService) -> Router {
    Router::new()
        .route("/my-page", get(my_page))
        .route("/my-page/{order_id}", get(find))
        .route("/notifications", get(notifications))
        .with_state(service)
}

async fn my_page(
    State(service): State<CustomerService>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Response, Problem> {
    let (before, limit) = limits(part)?;
    let unknown = || unprocessable(format!("there is no order {before:?} to go on from"));
    let order_id: Option<OrderId> = match &before {
        Some(text) => Some(text.parse().map_err(|_| unknown())?),
        None => None,
    };
    let page = service.page(order_id, limit).await;
    let orders = page.map_err(|error| failed(&error))?.ok_or_else(unknown)?;
    let last = orders.last().map(|order| order.id.to_string());
    let orders: Vec<OrderResponse> = orders.into_iter().map(Into::into).collect();
    Ok(answer("/my-page", last, limit, orders))
}

async fn find(
    State(service): State<CustomerService>,
    PathParameters(text): PathParameters<String>,
    headers: HeaderMap,
) -> Result<Json<OrderResponse>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, format!("there is no order {text}"));
    // Text that cannot be an order id names no order.
    let order_id: OrderId = text.parse().map_err(|_| unknown())?;
    let span = order_span(&order_id, &headers);
    let finding = async {
        let found = service.find(order_id).await;
        found.map_err(|error| failed(&error))
    };
    let order = finding.instrument(span).await?;
    order.map(|order| Json(order.into())).ok_or_else(unknown)
}

async fn notifications(
    State(service): State<CustomerService>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Response, Problem> {
    let (before, limit) = limits(part)?;
    let number: Option<u64> = match before {
        Some(text) => Some(text.parse().map_err(|_| {
            unprocessable(format!("a notification has a number, and {text:?} is none"))
        })?),
        None => None,
    };
    let notifications = service.notifications(number, limit).await;
    let notifications = notifications.map_err(|error| failed(&error))?;
    let last = notifications.last().map(|last| last.number.to_string());
    let notifications: Vec<NotificationResponse> =
        notifications.into_iter().map(Into::into).collect();
    Ok(answer("/notifications", last, limit, notifications))
}

fn limits(part: Result<Query<Part>, QueryRejection>) -> Result<(Option<String>, usize), Problem> {
    let Query(part) = part.map_err(|rejection| unprocessable(rejection.body_text()))?;
    let limit = part.limit.unwrap_or(USUAL_PART);
    if (1..=LARGEST_PART).contains(&limit) {
        Ok((part.before, limit))
    } else {
        Err(unprocessable(format!(
            "the limit must be between 1 and {LARGEST_PART}"
        )))
    }
}

/// A part of a list, and where the next one is if this one ends with `last` only because it is full.
fn answer<T: Serialize>(path: &str, last: Option<String>, limit: usize, items: Vec<T>) -> Response {
    let is_full = items.len() == limit;
    let body = Json(items);
    match last.filter(|_| is_full) {
        Some(last) => {
            let next = format!("<{path}?before={last}&limit={limit}>; rel=\"next\"");
            ([(header::LINK, next)], body).into_response()
        }
        None => body.into_response(),
    }
}

fn unprocessable(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

/// Gives what is logged about an order its name, and the request that asked for it.
fn order_span(order_id: &OrderId, headers: &HeaderMap) -> tracing::Span {
    let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!("order", correlation_id = %order_id, causation_id = request_id)
}

fn failed(error: &StorageError) -> Problem {
    // What went wrong is for the log, never for the client.
    tracing::error!(cause = %error.0, "{error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
