//! Marketing over HTTP: the coupons.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use service_kit::problem::Problem;

use crate::domain::Coupon;
use crate::ports::StorageError;
use crate::service::MarketingService;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CouponResponse {
    coupon_id: String,
    order_id: String,
    percent: u8,
}

impl From<Coupon> for CouponResponse {
    fn from(coupon: Coupon) -> Self {
        Self {
            coupon_id: coupon.id(),
            order_id: coupon.delivered.order_id.to_string(),
            percent: coupon.percent.get(),
        }
    }
}

/// `GET /coupons`.
pub fn router(service: MarketingService) -> Router {
    Router::new()
        .route("/coupons", get(list))
        .with_state(service)
}

async fn list(
    State(service): State<MarketingService>,
) -> Result<Json<Vec<CouponResponse>>, Problem> {
    let coupons = service.list().await.map_err(|error| failed(&error))?;
    Ok(Json(coupons.into_iter().map(Into::into).collect()))
}

fn failed(error: &StorageError) -> Problem {
    // What went wrong is for the log, never for the client.
    tracing::error!(cause = %error.0, "{error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
