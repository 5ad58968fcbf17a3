//! Auditor over HTTP: the invariants as a read model.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use service_kit::problem::Problem;
use service_kit::trace::TRACEPARENT;

use crate::books::Books;
use crate::domain::{Audit, Events, Findings, audit};
use crate::ports::{ReadError, Services};

#[derive(Debug, Serialize)]
struct Report {
    /// No promise is broken.
    holds: bool,
    /// Nothing is due any more either: all orders have come to their end.
    settled: bool,
    entries: Entries,
    violations: Vec<Finding>,
    due: Vec<Finding>,
}

/// How many entries the books have; one that was not asked for is left out.
#[derive(Debug, Serialize)]
struct Entries {
    orders: usize,
    payments: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupons: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notifications: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    invariant: &'static str,
    statement: &'static str,
    order_ids: Vec<String>,
}

/// `GET /invariants`: 200 whatever is found, 502 when a book cannot be read.
pub fn router(services: Arc<dyn Services>, events: Events) -> Router {
    Router::new()
        .route("/invariants", get(invariants))
        .with_state((services, events))
}

async fn invariants(
    State((services, events)): State<(Arc<dyn Services>, Events)>,
    headers: HeaderMap,
) -> Result<Json<Report>, Problem> {
    let traceparent = headers.get(TRACEPARENT).and_then(|it| it.to_str().ok());
    let books = services.read(traceparent).await;
    let books = books.map_err(|error| unreadable(&error))?;
    let report = report(&books, audit(&books, events));
    if !report.holds {
        tracing::error!(violations = ?report.violations, "invariants are violated");
    }
    Ok(Json(report))
}

fn report(books: &Books, audit: Audit) -> Report {
    let holds = audit.violations.is_empty();
    Report {
        holds,
        settled: holds && audit.due.is_empty(),
        entries: Entries {
            orders: books.orders_after.len(),
            payments: books.payments.len(),
            deliveries: books.deliveries.as_ref().map(Vec::len),
            coupons: books.coupons.as_ref().map(Vec::len),
            notifications: books.notifications.as_ref().map(Vec::len),
        },
        violations: findings(audit.violations),
        due: findings(audit.due),
    }
}

fn findings(findings: Findings) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|(invariant, orders)| Finding {
            invariant: invariant.name(),
            statement: invariant.statement(),
            order_ids: orders.into_iter().collect(),
        })
        .collect()
}

fn unreadable(error: &ReadError) -> Problem {
    tracing::warn!(cause = %error.source, "{error}");
    Problem::new(StatusCode::BAD_GATEWAY, error.to_string())
}
